//! NodeAffinity: `nodeSelector` and required affinity must match; preferred terms that match add their weight.

use super::normalize;
use crate::framework::{ClusterEvent, PreFilter, Scores};
use crate::{NodeState, Plugin, PodInfo, Snapshot};

/// See the module.
pub struct NodeAffinity;

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeLabels]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.node_selector.is_empty() && pod.required_affinity.is_none() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(|state| match pod.wants(&state.node.name, &state.node.labels) {
            true => Ok(()),
            false => Err(vec!["node(s) didn't match Pod's node affinity/selector".into()]),
        }))
    }
    fn score(&self, pod: &PodInfo, _: &Snapshot, feasible: &[&NodeState]) -> Option<Scores> {
        if pod.preferred_affinity.is_empty() {
            return None;
        }
        let weight = |state: &&NodeState| {
            let matching =
                pod.preferred_affinity.iter().filter(|t| t.preference.matches(&state.node.name, &state.node.labels));
            matching.map(|term| term.weight).sum()
        };
        Some(normalize(feasible.iter().map(weight).collect(), false))
    }
}
