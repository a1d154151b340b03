//! NodeName: a pod that names its node goes nowhere else. (Such a pod is bound already, so the queue never has it;
//! the plugin keeps the cycle right for callers that ask about it.)

use crate::framework::{ClusterEvent, PreFilter};
use crate::{Plugin, PodInfo, Snapshot};

/// See the module.
pub struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.node_name.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(|state| match state.node.name == pod.node_name {
            true => Ok(()),
            false => Err(vec!["node(s) didn't match the requested node name".into()]),
        }))
    }
}
