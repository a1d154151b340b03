//! PodTopologySpread: pods of a selection spread over the domains of a label.
//!
//! `DoNotSchedule` filters, `ScheduleAnyway` scores. A pod without constraints that has a controller spreads over
//! hosts by score with the pods of the same controller (upstream's system default, by owner instead of by Service).

use crate::framework::{ClusterEvent, PreFilter, Scores};
use crate::limits::MAX_SCORE;
use crate::selector::SpreadConstraint;
use crate::{NodeState, Plugin, PodInfo, Snapshot};
use holdfast_core::LabelSelector;
use std::collections::BTreeMap;

/// See the module.
pub struct PodTopologySpread;

const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";

/// A `DoNotSchedule` constraint with what it counts.
struct Hard<'a> {
    constraint: &'a SpreadConstraint,
    counts: BTreeMap<&'a str, i64>,
    least: i64,
    counts_self: bool,
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }
    fn requeue_on(&self) -> &'static [ClusterEvent] {
        &[
            ClusterEvent::NodeAdded,
            ClusterEvent::NodeLabels,
            ClusterEvent::NodeTaints,
            ClusterEvent::PodBound,
            ClusterEvent::PodGone,
        ]
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, snapshot: &'a Snapshot) -> PreFilter<'a> {
        let constraints: Vec<_> = pod.spread.iter().filter(|c| c.when_unsatisfiable == "DoNotSchedule").collect();
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        let hard: Vec<Hard<'a>> = constraints.iter().map(|c| count(c, pod, snapshot, &constraints)).collect();
        PreFilter::Filter(Box::new(move |state| {
            for Hard { constraint, counts, least, counts_self } in &hard {
                let Some(domain) = state.node.labels.get(&constraint.topology_key) else {
                    return Err(vec![format!("{MISMATCH} (missing required label)")]);
                };
                let here = counts.get(domain.as_str()).copied().unwrap_or(0) + i64::from(*counts_self);
                if here - least > constraint.max_skew {
                    return Err(vec![MISMATCH.into()]);
                }
            }
            Ok(())
        }))
    }

    fn score(&self, pod: &PodInfo, snapshot: &Snapshot, feasible: &[&NodeState]) -> Option<Scores> {
        let soft: Vec<_> = pod.spread.iter().filter(|c| c.when_unsatisfiable == "ScheduleAnyway").collect();
        let mut raw = vec![0_i64; feasible.len()];
        if !soft.is_empty() {
            for constraint in &soft {
                let selector = constraint.selector(&pod.labels);
                let counts = domains(snapshot, constraint, selector.as_ref(), pod, |_| true);
                for (score, state) in raw.iter_mut().zip(feasible) {
                    let domain = state.node.labels.get(&constraint.topology_key);
                    // A node without the label is no domain: the worst.
                    *score += domain.map_or(i64::from(u16::MAX), |d| counts.get(d.as_str()).copied().unwrap_or(0));
                }
            }
        } else if pod.spread.is_empty() && !pod.controller.is_empty() {
            let siblings = |state: &&NodeState| {
                let siblings =
                    state.pods.values().filter(|other| other.controller == pod.controller && !other.deleting);
                siblings.count() as i64
            };
            raw = feasible.iter().map(siblings).collect();
        } else {
            return None;
        }
        let (most, least) = (raw.iter().max().copied().unwrap_or(0), raw.iter().min().copied().unwrap_or(0));
        let score = |raw: i64| if most == 0 { MAX_SCORE } else { MAX_SCORE * (most + least - raw) / most };
        Some(raw.into_iter().map(score).collect())
    }
}

fn count<'a>(
    constraint: &'a SpreadConstraint,
    pod: &PodInfo,
    snapshot: &'a Snapshot,
    all: &[&SpreadConstraint],
) -> Hard<'a> {
    let selector = constraint.selector(&pod.labels);
    let counts = domains(snapshot, constraint, selector.as_ref(), pod, |state| {
        all.iter().all(|other| state.node.labels.contains_key(&other.topology_key))
    });
    let too_few = constraint.min_domains.is_some_and(|least| counts.len() < least);
    let least = if too_few { 0 } else { counts.values().min().copied().unwrap_or(0) };
    let counts_self = selector.is_some_and(|selector| selector.matches(&pod.labels));
    Hard { constraint, counts, least, counts_self }
}

/// Counts the selected pods of each domain, over the nodes that the pod could use.
fn domains<'a>(
    snapshot: &'a Snapshot,
    constraint: &SpreadConstraint,
    selector: Option<&LabelSelector>,
    pod: &PodInfo,
    eligible: impl Fn(&NodeState) -> bool,
) -> BTreeMap<&'a str, i64> {
    let mut counts = BTreeMap::new();
    for state in snapshot.nodes().filter(|state| eligible(state)) {
        let node = &state.node;
        let Some(domain) = node.labels.get(&constraint.topology_key) else { continue };
        if constraint.node_affinity_policy != "Ignore" && !pod.wants(&node.name, &node.labels) {
            continue;
        }
        let hard = |effect: &str| effect != "PreferNoSchedule";
        let tainted = node.taints.iter().any(|t| hard(&t.effect) && !pod.tolerations.iter().any(|o| o.tolerates(t)));
        if constraint.node_taints_policy == "Honor" && tainted {
            continue;
        }
        let selected = |other: &PodInfo| {
            other.key.namespace == pod.key.namespace
                && !other.deleting
                && selector.is_some_and(|selector| selector.matches(&other.labels))
        };
        let here = state.pods.values().filter(|other| selected(other)).count() as i64;
        *counts.entry(domain.as_str()).or_insert(0) += here;
    }
    counts
}
