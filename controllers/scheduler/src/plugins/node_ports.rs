//! NodePorts: two pods cannot have one host port of a node.

use crate::framework::{ClusterEvent, PreFilter};
use crate::{Plugin, PodInfo, Snapshot};

/// See the module.
pub struct NodePorts;

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::PodGone]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.host_ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(|state| {
            let mut taken = state.pods.values().flat_map(|pod| &pod.host_ports);
            match taken.any(|taken| pod.host_ports.iter().any(|wanted| wanted.conflicts(taken))) {
                true => Err(vec!["node(s) didn't have free ports for the requested pod ports".into()]),
                false => Ok(()),
            }
        }))
    }
}
