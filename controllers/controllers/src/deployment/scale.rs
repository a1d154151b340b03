//! Scaling: of one set, and of all sets when the wanted number changes in the middle of a roll-out.

use super::sets::{DESIRED, MAX, Set, Sets};
use super::{Controller, Deployment};
use crate::shared::apps;
use holdfast_core::{Status, json as path};

/// How large the new set may be, now.
pub(super) fn new_size(deployment: &Deployment, current: i64, all: i64) -> i64 {
    if !deployment.rolls() {
        return deployment.replicas();
    }
    let most = deployment.replicas() + deployment.max_surge();
    if all >= most {
        return current;
    }
    current + (most - all).min(deployment.replicas() - current)
}

/// How large the new set begins.
pub(super) fn first_size(deployment: &Deployment, sets: &Sets) -> i64 {
    new_size(deployment, 0, sets.old_replicas())
}

impl Controller {
    /// Scales a set and says so; `false` when it has that size. Notes what it was scaled for in any case.
    pub(super) async fn scale(&self, deployment: &Deployment, set: &mut Set, size: i64) -> Result<bool, Status> {
        let mut doc = set.doc.clone();
        super::sync::annotate(&mut doc, deployment, true);
        path::set(&mut doc, &["spec", "replicas"], size);
        if doc == set.doc {
            return Ok(false);
        }
        let was = set.replicas;
        let at = set.key(&deployment.key.namespace).target(apps("replicasets"));
        *set = Set::of(&self.client.update(&at, doc).await?);
        if was != size {
            let direction = if was < size { "up" } else { "down" };
            let message = format!("Scaled {direction} replica set {} from {was} to {size}", set.name);
            self.events.normal(&deployment.involved(), "ScalingReplicaSet", message);
        }
        Ok(was != size)
    }

    /// Brings all sets to a new wanted number without rolling on (upstream's `scale`).
    pub(super) async fn scale_all(&self, deployment: &Deployment, sets: &mut Sets) -> Result<(), Status> {
        let wanted = deployment.replicas();
        if let Some(only) = only_active(sets) {
            // Even at the right size: what it was scaled for must be noted, else every reconcile ends here.
            self.scale(deployment, only, wanted).await?;
            return Ok(());
        }
        let saturated = sets.new.as_ref().is_some_and(|new| {
            new.replicas == wanted && new.available == wanted && new.number(DESIRED) == Some(wanted)
        });
        if saturated {
            for set in sets.old.iter_mut().filter(|set| set.replicas > 0) {
                self.scale(deployment, set, 0).await?;
            }
            return Ok(());
        }
        if deployment.rolls() {
            for (name, size) in proportions(deployment, sets) {
                let found = sets.old.iter_mut().chain(sets.new.iter_mut()).find(|set| set.name == name);
                if let Some(set) = found {
                    self.scale(deployment, set, size).await?;
                }
            }
        }
        Ok(())
    }
}

/// The only set with pods; without any, the newest.
fn only_active(sets: &mut Sets) -> Option<&mut Set> {
    let active = sets.all().filter(|set| set.replicas > 0).count();
    match active {
        0 => match &mut sets.new {
            Some(new) => Some(new),
            None => sets.old.last_mut(),
        },
        1 => sets.old.iter_mut().chain(sets.new.iter_mut()).find(|set| set.replicas > 0),
        _ => None,
    }
}

/// Shares what is to be added or taken among the sets by their size; what rounding leaves goes to the largest.
fn proportions(deployment: &Deployment, sets: &Sets) -> Vec<(String, i64)> {
    let wanted = deployment.replicas();
    let allowed = if wanted > 0 { wanted + deployment.max_surge() } else { 0 };
    let mut active: Vec<&Set> = sets.all().filter(|set| set.replicas > 0).collect();
    let total: i64 = active.iter().map(|set| set.replicas).sum();
    let to_add = allowed - total;
    // Growing favours the newest of equals, shrinking the oldest.
    match to_add > 0 {
        true => active.sort_by_key(|set| std::cmp::Reverse((set.replicas, set.created))),
        false => active.sort_by(|a, b| (b.replicas, a.created).cmp(&(a.replicas, b.created))),
    }
    let mut added = 0;
    let mut sizes: Vec<(String, i64)> = Vec::new();
    for set in &active {
        let most = set.number(MAX).filter(|most| *most > 0).unwrap_or(total.max(1));
        let exact = i128::from(set.replicas) * i128::from(allowed);
        let share = i64::try_from((2 * exact + i128::from(most)).div_euclid(2 * i128::from(most))).unwrap_or(0);
        let share = share - set.replicas;
        let left = to_add - added;
        let part = if to_add > 0 { share.clamp(0, left) } else { share.clamp(left, 0) };
        added += part;
        sizes.push((set.name.clone(), set.replicas + part));
    }
    if let Some(first) = sizes.first_mut() {
        first.1 = (first.1 + to_add - added).max(0);
    }
    sizes
}
