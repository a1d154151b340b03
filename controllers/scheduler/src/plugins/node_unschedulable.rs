//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use crate::framework::{ClusterEvent, PreFilter};
use crate::selector::Taint;
use crate::{Plugin, PodInfo, Snapshot};

/// See the module.
pub struct NodeUnschedulable;

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeTaints]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        let taint =
            Taint { key: "node.kubernetes.io/unschedulable".into(), value: String::new(), effect: "NoSchedule".into() };
        if pod.tolerations.iter().any(|toleration| toleration.tolerates(&taint)) {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(|state| match state.node.unschedulable {
            true => Err(vec!["node(s) were unschedulable".into()]),
            false => Ok(()),
        }))
    }
}
