//! The two strategies, a step at a time: what a step changed comes back as an event and makes the next.

use super::scale::new_size;
use super::sets::Sets;
use super::{Controller, Deployment};
use holdfast_controller::{Key, ReconcileError};
use holdfast_core::Status;

impl Controller {
    /// RollingUpdate.
    pub(super) async fn roll(&self, deployment: &mut Deployment, sets: &mut Sets) -> Result<(), ReconcileError> {
        self.find_new(deployment, sets, true).await?;
        if self.grow_new(deployment, sets).await? || self.shrink_old(deployment, sets).await? {
            return Ok(());
        }
        if super::status::complete(deployment, sets) {
            self.clean_up(deployment, sets).await?;
        }
        Ok(())
    }

    /// Recreate: first every old pod goes, then the new ones come.
    pub(super) async fn recreate(&self, deployment: &mut Deployment, sets: &mut Sets) -> Result<(), ReconcileError> {
        self.find_new(deployment, sets, false).await?;
        let mut scaled = false;
        for set in sets.old.iter_mut().filter(|set| set.replicas > 0) {
            scaled |= self.scale(deployment, set, 0).await?;
        }
        if scaled || self.old_pods_run(deployment, sets) {
            return Ok(());
        }
        self.find_new(deployment, sets, true).await?;
        let wanted = deployment.replicas();
        if let Some(new) = &mut sets.new
            && new.replicas != wanted
        {
            self.scale(deployment, new, wanted).await?;
        }
        if super::status::complete(deployment, sets) {
            self.clean_up(deployment, sets).await?;
        }
        Ok(())
    }

    fn old_pods_run(&self, deployment: &Deployment, sets: &Sets) -> bool {
        let namespace = &deployment.key.namespace;
        let mut pods = sets.old.iter().flat_map(|set| self.pods.owned_by(&set.uid));
        pods.any(|pod| pod.key() == Key::new(namespace, &pod.meta.name) && !pod.value.ended())
    }

    async fn grow_new(&self, deployment: &Deployment, sets: &mut Sets) -> Result<bool, Status> {
        let all = sets.replicas();
        let Some(new) = &mut sets.new else { return Ok(false) };
        let wanted = deployment.replicas();
        let size = match new.replicas > wanted {
            true => wanted,
            false => new_size(deployment, new.replicas, all),
        };
        if size == new.replicas {
            return Ok(false);
        }
        self.scale(deployment, new, size).await
    }

    /// Takes from the old sets what can go while enough stays available: first what is not available anyway.
    async fn shrink_old(&self, deployment: &Deployment, sets: &mut Sets) -> Result<bool, Status> {
        if sets.old_replicas() == 0 {
            return Ok(false);
        }
        let least = deployment.replicas() - deployment.max_unavailable();
        let new_missing = sets.new.as_ref().map_or(0, |new| new.replicas - new.available);
        let may_go = sets.replicas() - least - new_missing;
        if may_go <= 0 {
            return Ok(false);
        }
        let mut changed = false;
        let mut gone = 0;
        for set in sets.old.iter_mut().filter(|set| set.replicas > 0) {
            let sick = (set.replicas - set.available).clamp(0, may_go - gone);
            if sick > 0 {
                gone += sick;
                let size = set.replicas - sick;
                changed |= self.scale(deployment, set, size).await?;
            }
        }
        let mut left = sets.available() - least;
        for set in sets.old.iter_mut().filter(|set| set.replicas > 0) {
            if left <= 0 {
                break;
            }
            let part = left.min(set.replicas);
            left -= part;
            let size = set.replicas - part;
            changed |= self.scale(deployment, set, size).await?;
        }
        Ok(changed)
    }
}
