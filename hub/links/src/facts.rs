//! Applying facts: what a node reports becomes writes of `system:node:<name>`.
//!
//! Each write carries the node's session as a check, and the one that is the fact's effect its mark as a further write: so
//! a fact is applied exactly once within a lineage, and a session that was replaced writes nothing any more, however late
//! its requests come to the store. A fact about an object that is gone, or is another one by now, is done with. One that a
//! webhook keeps from being judged waits, and with it those behind it; the link goes on beside that.

use crate::adoption::{self, KeptPod, Verdict};
use crate::sessions::{Mark, mark};
use holdfast_core::{
    Backoff, DeleteOptions, Gvr, Json, NodeUid, Object, OutboxGen, Patch, PatchType, Reason, Revision, Status, Target,
    UserInfo, WriteOptions, json,
};
use holdfast_env::World;
use holdfast_link_engine::wire::{FactSort, WireFact};
use holdfast_mutation::broken;
use holdfast_registry::{CommitWith, is_stale_session, is_webhook_failure};
use holdfast_server::{Api, Operation, Reply, Request, RequestContext};
use holdfast_store::{Check, Op, Store, Txn, TxnOutcome};
use serde_json::json as document;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Prefix of the keys of facts about pods.
const PODS: &str = "/v1/pods/";
/// How often a fact is tried again when other writers come first.
const CONFLICT_TRIES: u32 = 5;
/// How long a fact that waits for a webhook is left alone, at first and at most.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MOST: Duration = Duration::from_secs(30);

/// One node's writer of facts, for one session.
pub(crate) struct FactWriter {
    pub(crate) env: World,
    pub(crate) api: Arc<Api>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) node_name: String,
    pub(crate) node_uid: NodeUid,
    /// The revision of the session record, which every write checks.
    pub(crate) session_at: Revision,
    /// What became of the kept pods among the facts, by key, with their UIDs.
    pub(crate) verdicts: Mutex<BTreeMap<String, (String, Verdict)>>,
}

impl FactWriter {
    /// Applies one fact. It may take as long as its webhooks need.
    ///
    /// # Errors
    /// A reason to end the connection: the session was replaced, or the store does not take writes. The node
    /// sends again what has no mark.
    pub(crate) async fn apply(&self, outbox: OutboxGen, fact: &WireFact) -> Result<(), String> {
        let reached = Mark { outbox, seq: fact.seq };
        let (check, op) = mark(&self.node_uid, self.session_at, &reached).map_err(|err| err.to_string())?;
        let outcome = self.once_judged(fact, &check, &op).await;
        if broken("mark-outside-the-transaction") && outcome.is_ok() {
            self.mark_only(check.clone(), op.clone()).await?;
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(status) if is_stale_session(&status) => Err("the session was replaced".into()),
            // The node cannot mend these; it must not be held up by them either.
            Err(status) if (400..500).contains(&status.code()) && !status.is(Reason::TooManyRequests) => {
                if !status.is(Reason::NotFound) && !status.is(Reason::AlreadyExists) {
                    tracing::warn!(node = self.node_name, key = fact.key, err = %status, "A fact was not applicable");
                }
                self.mark_only(check, op).await
            }
            Err(status) => Err(status.to_string()),
        }
    }

    /// Tries again while nothing was written, and waiting helps: others wrote the object at the same time, which is no
    /// reason to lose the node's word, or a webhook cannot be asked. What may have been written is not tried again within
    /// the session: it could then come to the store a second time, behind what comes after it.
    async fn once_judged(&self, fact: &WireFact, check: &Check, op: &Op) -> Result<(), Status> {
        let (mut conflicts, mut wait) = (0, Backoff::new(WAIT, WAIT_MOST));
        loop {
            match self.one(fact, check, op).await {
                Err(status) if status.is(Reason::Conflict) && !is_stale_session(&status) => {
                    if conflicts == CONFLICT_TRIES {
                        return Err(status);
                    }
                    conflicts += 1;
                }
                Err(status) if is_webhook_failure(&status) => {
                    if wait.failures() == 0 {
                        tracing::warn!(node = self.node_name, key = fact.key, err = %status, "Facts wait for a webhook");
                    }
                    self.env.sleep(wait.fail()).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn one(&self, fact: &WireFact, check: &Check, op: &Op) -> Result<(), Status> {
        match fact.sort {
            FactSort::State => self.state(fact, check, op).await,
            FactSort::Log => self.log(fact, check, op).await,
        }
    }

    async fn mark_only(&self, check: Check, op: Op) -> Result<(), String> {
        match self.store.txn(Txn { checks: vec![check], ops: vec![op] }).await {
            Ok(TxnOutcome::Committed { .. }) => Ok(()),
            Ok(TxnOutcome::CheckFailed { .. }) => Err("the session was replaced".into()),
            Err(err) => Err(err.to_string()),
        }
    }

    async fn call(&self, target: Target, operation: Operation, with: Option<(&Check, &Op)>) -> Result<Reply, Status> {
        let with = with.filter(|_| !broken("mark-outside-the-transaction"));
        let with = with.map(|(check, op)| CommitWith {
            checks: vec![check.clone()],
            ops: vec![op.clone()],
            ..CommitWith::default()
        });
        self.call_with(target, operation, with).await
    }

    pub(crate) async fn call_with(
        &self,
        target: Target,
        operation: Operation,
        with: Option<CommitWith>,
    ) -> Result<Reply, Status> {
        let mut cx = RequestContext::new(UserInfo::node(&self.node_name), format!("link-{}", self.node_name));
        if let Some(with) = with {
            cx.extension = Some(Arc::new(with));
        }
        self.api.call(Request { cx, target, operation }).await
    }

    /// The latest word about an object: `{"uid", "status", "metadata"?, "gone"?}`; of a pod that this hub did not know when
    /// the session began also `{"object", "assigned"}`, and of a static pod that has no mirror yet `{"mirror"}`.
    async fn state(&self, fact: &WireFact, check: &Check, op: &Op) -> Result<(), Status> {
        let target = parse_key(&fact.key)
            .ok_or_else(|| Status::bad_request(format!("{:?} is the key of no object", fact.key)))?;
        let body: Json = serde_json::from_slice(&fact.body)
            .map_err(|err| Status::bad_request(format!("the fact does not decode: {err}")))?;
        let uid = json::str_at(&body, &["uid"]).unwrap_or_default().to_string();
        if let Some(mirror) = body.get("mirror").filter(|_| fact.key.starts_with(PODS)) {
            return self.mirror(&target, mirror, &body, (check, op)).await;
        }
        if let Some(kept) = KeptPod::of(&body).filter(|_| fact.key.starts_with(PODS)) {
            // Read as the hub: who has the name now may be none of the node's.
            let there = self.stored(&target).await?;
            if there.as_ref().is_none_or(|pod| pod.meta.uid != uid) {
                let other = there.map(|pod| pod.to_json());
                return self.kept(fact, &target, &kept, other, &body, (check, op)).await;
            }
        }
        let Reply::Object { object, .. } = self.call(target.clone(), Operation::Get, None).await? else {
            return Err(Status::internal("get gave no object"));
        };
        if object.meta.uid != uid {
            return Err(Status::not_found(&target.gvr, target.name()));
        }
        if json::bool_at(&body, &["gone"]) == Some(true) {
            let options = DeleteOptions {
                grace_period_seconds: Some(0),
                preconditions: Some(holdfast_core::verbs::Preconditions { uid: Some(uid), resource_version: None }),
                ..DeleteOptions::default()
            };
            return self.call(target, Operation::Delete(options), Some((check, op))).await.map(|_| ());
        }
        if let Some(metadata) = body.get("metadata") {
            let patch = Patch { patch_type: PatchType::Merge, body: document!({"metadata": metadata}) };
            let operation = Operation::Patch { patch, options: as_node() };
            // Its mark comes with the status.
            let with = CommitWith { checks: vec![check.clone()], ..CommitWith::default() };
            self.call_with(target.clone(), operation, Some(with)).await?;
        }
        self.write_status(&target, &object, &body, (check, op)).await
    }

    /// Replaces an object's status: a merge patch in which fields that the node no longer reports are null.
    pub(crate) async fn write_status(
        &self,
        target: &Target,
        object: &Object,
        body: &Json,
        (check, op): (&Check, &Op),
    ) -> Result<(), Status> {
        let old = object.skim(&["status"]);
        let status = replacing(old.as_ref(), body.get("status").cloned().unwrap_or_default());
        let body = document!({"metadata": {"uid": object.meta.uid}, "status": status});
        let patch = Patch { patch_type: PatchType::Merge, body };
        let operation = Operation::Patch { patch, options: as_node() };
        self.call(target.clone().with_subresource("status"), operation, Some((check, op))).await.map(|_| ())
    }

    pub(crate) async fn stored(&self, pod: &Target) -> Result<Option<Object>, Status> {
        let kind = holdfast_kinds::by_gvr("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
        let key = format!("{}{}/{}", holdfast_kinds::storage_prefix(kind), pod.namespace(), pod.name());
        let record = self.store.get(&key).await.map_err(|err| Status::unavailable(err.to_string(), 1))?;
        record.map(|record| Object::from_stored(record.value.clone(), record.modified)).transpose()
    }

    /// A pod that its node kept although this hub does not know it.
    async fn kept(
        &self,
        fact: &WireFact,
        target: &Target,
        kept: &KeptPod,
        other: Option<Json>,
        body: &Json,
        (check, op): (&Check, &Op),
    ) -> Result<(), Status> {
        let not_found = || Status::not_found(&target.gvr, target.name());
        let failed = |err: holdfast_store::StoreError| Status::unavailable(err.to_string(), 1);
        let told = |verdict| {
            let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
            verdicts.insert(fact.key.clone(), (kept.uid.clone(), verdict));
        };
        let other_is_here = other.as_ref().and_then(|pod| json::str_at(pod, &["spec", "nodeName"]));
        if other_is_here == Some(&self.node_name) {
            // The node has it already, in the place of the one that it kept.
            return Err(not_found());
        }
        if let Some(verdict) =
            adoption::judge(&*self.store, &self.node_name, kept, target, other.as_ref()).await.map_err(failed)?
        {
            told(verdict);
            return Err(not_found());
        }
        let (pod, lost_owners) = kept.renewed(&*self.store, body.get("status")).await.map_err(failed)?;
        let operation = Operation::Create { body: pod, options: as_node() };
        let ops = vec![op.clone(), adoption::note(&kept.uid)];
        let with = CommitWith { checks: vec![check.clone()], ops, adopts: true };
        let at = Target::collection(target.gvr.clone(), target.namespace());
        match self.call_with(at, operation, Some(with)).await {
            Ok(_) => {
                tracing::info!(node = self.node_name, key = fact.key, uid = kept.uid, "Took a kept pod back");
                told(Verdict::Adopted(lost_owners));
                Ok(())
            }
            Err(status) => {
                if (400..500).contains(&status.code())
                    && ![Reason::Conflict, Reason::AlreadyExists, Reason::TooManyRequests]
                        .iter()
                        .any(|r| status.is(r.clone()))
                {
                    told(Verdict::Kept(status.message().to_string()));
                }
                Err(status)
            }
        }
    }

    /// Something that happened: an Event to create, under a name of its own.
    async fn log(&self, fact: &WireFact, check: &Check, op: &Op) -> Result<(), Status> {
        let body: Json = serde_json::from_slice(&fact.body)
            .map_err(|err| Status::bad_request(format!("the event does not decode: {err}")))?;
        let namespace = json::str_at(&body, &["metadata", "namespace"]).unwrap_or("default").to_string();
        let target = Target::collection(Gvr::new("", "v1", "events"), &namespace);
        let operation = Operation::Create { body, options: as_node() };
        self.call(target, operation, Some((check, op))).await.map(|_| ())
    }
}

/// What a node writes is its agent's.
pub(crate) fn as_node() -> WriteOptions {
    WriteOptions { field_manager: "holdfast-edge".into(), ..WriteOptions::default() }
}

/// `new` with a null for every field of `old` that it lacks, so that a merge patch replaces.
fn replacing(old: Option<&Json>, mut new: Json) -> Json {
    if let (Some(old), Some(new)) = (old.and_then(Json::as_object), new.as_object_mut()) {
        for field in old.keys() {
            new.entry(field.clone()).or_insert(Json::Null);
        }
    }
    new
}

/// Reads `<group>/<version>/<plural>/<namespace>/<name>`.
fn parse_key(key: &str) -> Option<Target> {
    let parts: Vec<&str> = key.split('/').collect();
    let [group, version, plural, namespace, name] = parts[..] else { return None };
    Some(Target::object(Gvr::new(group, version, plural), namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_patch_replaces() {
        let old = document!({"a": 1, "b": {"c": 2}});
        assert_eq!(replacing(Some(&old), document!({"b": 3})), document!({"b": 3, "a": null}));
        assert_eq!(parse_key("/v1/pods/ns/a").unwrap().gvr, Gvr::new("", "v1", "pods"));
        assert_eq!(parse_key("/v1/nodes//n").unwrap().namespace, None);
        assert!(parse_key("pods/a").is_none());
    }
}
