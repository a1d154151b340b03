//! NodeResourcesFit: what the pod takes must be free; among the rest, the least allocated node is the best.

use crate::framework::{ClusterEvent, PreFilter, Scores};
use crate::limits::MAX_SCORE;
use crate::{NodeState, Plugin, PodInfo, Snapshot};

/// See the module.
pub struct NodeResourcesFit;

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeAllocatable, ClusterEvent::PodGone]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Filter(Box::new(|state| {
            let mut lacking = Vec::new();
            if state.pods.len() as i64 + 1 > state.node.allocatable.get("pods") {
                lacking.push("Too many pods".to_string());
            }
            for (name, amount) in pod.requests.iter().filter(|(_, amount)| *amount > 0) {
                if amount > state.node.allocatable.get(name) - state.requested.get(name) {
                    lacking.push(format!("Insufficient {name}"));
                }
            }
            if lacking.is_empty() { Ok(()) } else { Err(lacking) }
        }))
    }
    fn score(&self, pod: &PodInfo, _: &Snapshot, feasible: &[&NodeState]) -> Option<Scores> {
        let free = |capacity: i64, taken: i64| match capacity {
            0 => 0,
            _ => (i128::from(capacity - taken).max(0) * i128::from(MAX_SCORE) / i128::from(capacity)) as i64,
        };
        let score = |state: &&NodeState| {
            let cpu = free(state.node.allocatable.get("cpu"), state.nonzero.0 + pod.nonzero.0);
            let memory = free(state.node.allocatable.get("memory"), state.nonzero.1 + pod.nonzero.1);
            (cpu + memory) / 2
        };
        Some(feasible.iter().map(score).collect())
    }
}
