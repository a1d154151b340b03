//! TaintToleration: NoSchedule and NoExecute taints must be tolerated; PreferNoSchedule ones cost score.

use super::normalize;
use crate::framework::{ClusterEvent, PreFilter, Scores};
use crate::{NodeState, Plugin, PodInfo, Snapshot};

/// See the module.
pub struct TaintToleration;

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[ClusterEvent::NodeAdded, ClusterEvent::NodeTaints]
    }
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::Filter(Box::new(|state| {
            let hard = state.node.taints.iter().filter(|taint| taint.effect != "PreferNoSchedule");
            match hard.into_iter().find(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint))) {
                None => Ok(()),
                Some(taint) => Err(vec![format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value)]),
            }
        }))
    }
    fn score(&self, pod: &PodInfo, _: &Snapshot, feasible: &[&NodeState]) -> Option<Scores> {
        let soft = |state: &&NodeState| {
            let soft = state.node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
            soft.filter(|taint| !pod.tolerations.iter().any(|t| t.tolerates(taint))).count() as i64
        };
        Some(normalize(feasible.iter().map(soft).collect(), true))
    }
}
