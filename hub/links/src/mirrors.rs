//! Mirror pods: a node's static pods as the API shows them. Each is a write of the node through the chain of any write, where
//! NodeRestriction judges it; nothing here grants anything.

use crate::facts::{FactWriter, as_node};
use holdfast_core::json::{at, str_at};
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Json, Object, Status, Target};
use holdfast_registry::CommitWith;
use holdfast_server::{Operation, Reply};
use holdfast_store::{Check, Op};
use std::sync::Arc;

/// The annotation of a mirror pod: the hash of what it shows.
const MIRROR: &str = "kubernetes.io/config.mirror";

fn hash(pod: &Json) -> Option<&str> {
    str_at(pod, &["metadata", "annotations", MIRROR])
}

impl FactWriter {
    /// Sees that the mirror is there as the node asks for it, and writes its status. A mirror of another content, and one that
    /// somebody deletes, is replaced. The mark comes with the status: cut off before that, all of it is done again.
    pub(crate) async fn mirror(
        &self,
        target: &Target,
        mirror: &Json,
        body: &Json,
        with: (&Check, &Op),
    ) -> Result<(), Status> {
        let only_checked = || Some(CommitWith { checks: vec![with.0.clone()], ..CommitWith::default() });
        // Read as the hub: who has the name may be none of the node's.
        let there = self.stored(target).await?;
        let there = match there {
            Some(pod) => {
                let doc = pod.to_json();
                let of_node = str_at(&doc, &["spec", "nodeName"]) == Some(&self.node_name);
                if !of_node || hash(&doc).is_none() {
                    return Err(Status::bad_request(format!(
                        "a pod {:?} is there already that is no mirror of this node's",
                        target.name()
                    )));
                }
                let is_current = hash(&doc) == hash(mirror) && at(&doc, &["metadata", "deletionTimestamp"]).is_none();
                if !is_current {
                    let preconditions = Preconditions { uid: Some(pod.meta.uid.clone()), resource_version: None };
                    let options = DeleteOptions {
                        grace_period_seconds: Some(0),
                        preconditions: Some(preconditions),
                        ..DeleteOptions::default()
                    };
                    self.call_with(target.clone(), Operation::Delete(options), only_checked()).await?;
                }
                is_current.then(|| Arc::new(pod))
            }
            None => None,
        };
        let pod: Arc<Object> = match there {
            Some(pod) => pod,
            None => {
                let operation = Operation::Create { body: mirror.clone(), options: as_node() };
                let place = Target::collection(target.gvr.clone(), target.namespace());
                match self.call_with(place, operation, only_checked()).await? {
                    Reply::Object { object, .. } => object,
                    _ => return Err(Status::internal("create gave no object")),
                }
            }
        };
        self.write_status(target, &pod, body, with).await
    }
}
