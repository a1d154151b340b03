//! One scheduling cycle: filter, score, choose. Pure.

use crate::framework::{Filter, PreFilter};
use crate::{Framework, NodeState, PodInfo, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// Why a pod fits nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// The plugins that said no; empty when there is no node at all.
    pub plugins: BTreeSet<&'static str>,
    /// Upstream's text for the condition and the Event.
    pub message: String,
}

/// Chooses a node for `pod`. Among equals `tie` decides, so that the caller owns the randomness.
///
/// # Errors
/// Why no node fits.
pub fn schedule<'a>(
    framework: &'a Framework,
    snapshot: &'a Snapshot,
    pod: &'a PodInfo,
    tie: u64,
) -> Result<&'a str, Rejection> {
    if snapshot.is_empty() {
        return Err(Rejection { message: "no nodes available to schedule pods".into(), ..Rejection::default() });
    }
    let filters = pre_filter(framework, snapshot, pod)?;
    let feasible = feasible(snapshot, &filters)?;
    let best = best(framework, snapshot, pod, &feasible);
    let chosen = usize::try_from(tie % best.len() as u64).unwrap_or(0);
    Ok(&best[chosen].node.name)
}

fn pre_filter<'a>(
    framework: &'a Framework,
    snapshot: &'a Snapshot,
    pod: &'a PodInfo,
) -> Result<Vec<(&'static str, Filter<'a>)>, Rejection> {
    let mut filters = Vec::new();
    for (plugin, _) in &framework.plugins {
        match plugin.pre_filter(pod, snapshot) {
            PreFilter::Skip => {}
            PreFilter::Filter(filter) => filters.push((plugin.name(), filter)),
            PreFilter::Reject(why) => {
                let message = format!("0/{} nodes are available: {why}.", snapshot.len());
                return Err(Rejection { plugins: [plugin.name()].into(), message });
            }
        }
    }
    Ok(filters)
}

/// A node is judged by one plugin after the other until one says no.
fn feasible<'a>(
    snapshot: &'a Snapshot,
    filters: &[(&'static str, Filter<'_>)],
) -> Result<Vec<&'a NodeState>, Rejection> {
    let mut feasible = Vec::new();
    let mut plugins = BTreeSet::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for node in snapshot.nodes() {
        let no = filters.iter().find_map(|(name, filter)| filter(node).err().map(|why| (*name, why)));
        match no {
            None => feasible.push(node),
            Some((name, why)) => {
                plugins.insert(name);
                why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
            }
        }
    }
    if !feasible.is_empty() {
        return Ok(feasible);
    }
    // Sorted as text, count first: upstream's order.
    let mut counted: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    counted.sort();
    let message = format!("0/{} nodes are available: {}.", snapshot.len(), counted.join(", "));
    Err(Rejection { plugins, message })
}

fn best<'a>(
    framework: &Framework,
    snapshot: &Snapshot,
    pod: &PodInfo,
    feasible: &[&'a NodeState],
) -> Vec<&'a NodeState> {
    let mut totals = vec![0; feasible.len()];
    if feasible.len() > 1 {
        for (plugin, weight) in framework.plugins.iter().filter(|(_, weight)| *weight > 0) {
            let Some(scores) = plugin.score(pod, snapshot, feasible) else { continue };
            assert_eq!(scores.len(), feasible.len(), "{} scores every feasible node", plugin.name());
            totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
        }
    }
    let most = totals.iter().max().copied().unwrap_or(0);
    feasible.iter().zip(&totals).filter(|(_, total)| **total == most).map(|(node, _)| *node).collect()
}
