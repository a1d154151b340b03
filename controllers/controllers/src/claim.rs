//! Adoption: an owner takes dependents that its selector matches and that nobody owns, and lets those go that it no
//! longer matches (upstream's controller reference manager).

use holdfast_controller::{Client, Item, Project};
use holdfast_core::{Gvr, LabelSelector, Object, Patch, PatchType, Reason, Status};
use serde_json::json;
use std::sync::Arc;

/// Who claims what.
pub(crate) struct Claim<'a> {
    pub(crate) client: &'a Arc<dyn Client>,
    pub(crate) owner: &'a Object,
    pub(crate) owner_gvr: Gvr,
    pub(crate) selector: &'a LabelSelector,
    pub(crate) dependents: Gvr,
}

/// The owner reference to a controller.
pub(crate) fn controller_ref(owner: &Object) -> holdfast_core::OwnerReference {
    holdfast_core::OwnerReference {
        api_version: owner.gvk.api_version(),
        kind: owner.gvk.kind.clone(),
        name: owner.meta.name.clone(),
        uid: owner.meta.uid.clone(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

impl Claim<'_> {
    /// Those of `items` that the owner has in the end.
    pub(crate) async fn claim<P: Project>(&self, items: Vec<Arc<Item<P>>>) -> Result<Vec<Arc<Item<P>>>, Status> {
        let mut ours = Vec::new();
        let mut may_adopt = None;
        for item in items {
            let matches = self.selector.matches(&item.meta.labels);
            match item.meta.controller() {
                Some(owner) if owner.uid != self.owner.meta.uid => {}
                Some(_) if matches => ours.push(item),
                Some(_) => {
                    if !self.owner.meta.is_deleting() {
                        self.release(&item).await?;
                    }
                }
                None if !matches || self.owner.meta.is_deleting() || item.meta.is_deleting() => {}
                None => {
                    if may_adopt.is_none() {
                        may_adopt = Some(self.lives().await?);
                    }
                    if may_adopt == Some(true) && self.adopt(&item).await? {
                        ours.push(item);
                    }
                }
            }
        }
        Ok(ours)
    }

    /// Asks the API rather than the cache: adopting for an owner that is gone would give orphans to the collector.
    async fn lives(&self) -> Result<bool, Status> {
        let at = holdfast_controller::Key::of(self.owner).target(self.owner_gvr.clone());
        match self.client.get(&at).await {
            Ok(live) => Ok(live.meta.uid == self.owner.meta.uid && !live.meta.is_deleting()),
            Err(status) if status.is(Reason::NotFound) => Ok(false),
            Err(status) => Err(status),
        }
    }

    async fn adopt<P: Project>(&self, item: &Item<P>) -> Result<bool, Status> {
        let mut owners = item.meta.owner_references.clone();
        owners.push(controller_ref(self.owner));
        self.write_owners(item, owners).await
    }

    async fn release<P: Project>(&self, item: &Item<P>) -> Result<(), Status> {
        let mut owners = item.meta.owner_references.clone();
        owners.retain(|owner| owner.uid != self.owner.meta.uid);
        self.write_owners(item, owners).await.map(|_| ())
    }

    /// `false` when it is gone.
    async fn write_owners<P: Project>(
        &self,
        item: &Item<P>,
        owners: Vec<holdfast_core::OwnerReference>,
    ) -> Result<bool, Status> {
        let body = json!({"metadata": {
            "uid": item.meta.uid,
            "resourceVersion": item.revision.to_string(),
            "ownerReferences": owners,
        }});
        let at = item.key().target(self.dependents.clone());
        match self.client.patch(&at, Patch { patch_type: PatchType::Merge, body }).await {
            Ok(_) => Ok(true),
            Err(status) if status.is(Reason::NotFound) => Ok(false),
            Err(status) => Err(status),
        }
    }
}
