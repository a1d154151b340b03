//! Approving: a node's request for its client certificate, when whoever asks may have it (upstream's `csrapproving`).

use super::rules::{KUBELET_CLIENT, kubelet_client};
use super::{CertificateAuthority, add_condition, certificate, gvr, has, text, usages};
use async_trait::async_trait;
use holdfast_controller::{Cache, Client, Key, Outcome, ReconcileError, Reconciler};
use holdfast_core::{Gvr, Json, Object, Reason, Status, Target, json as path};
use serde_json::json;
use std::sync::Arc;

pub(super) struct Approver {
    pub(super) client: Arc<dyn Client>,
    pub(super) requests: Arc<Cache<Arc<Object>>>,
    pub(super) authority: Arc<dyn CertificateAuthority>,
}

#[async_trait]
impl Reconciler for Approver {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let mut doc = item.value.to_json();
        if !certificate(&doc).is_empty() || has(&doc, "Approved") || has(&doc, "Denied") {
            return Ok(Outcome::Done);
        }
        if text(&doc, "signerName") != KUBELET_CLIENT {
            return Ok(Outcome::Done);
        }
        let request = self.authority.read(text(&doc, "request")).map_err(ReconcileError::GiveUp)?;
        if kubelet_client(&request, &usages(&doc)).is_err() {
            return Ok(Outcome::Done);
        }
        let its_own = text(&doc, "username") == request.common_name;
        let rights = [
            ("selfnodeclient", its_own, "Auto approving self kubelet client certificate after SubjectAccessReview."),
            ("nodeclient", true, "Auto approving kubelet client certificate after SubjectAccessReview."),
        ];
        for (right, _, message) in rights.into_iter().filter(|(_, applies, _)| *applies) {
            if self.may(&doc, right).await? {
                add_condition(&mut doc, "Approved", "AutoApproved", message);
                return self.write(key, doc).await;
            }
        }
        // The right may still be given.
        Err(ReconcileError::retry(format!("{key} asks for a node's certificate, and its user may not")))
    }
}

impl Approver {
    /// Whether the user behind a request may create `certificatesigningrequests/<right>`.
    async fn may(&self, doc: &Json, right: &str) -> Result<bool, Status> {
        let mut spec = json!({
            "user": text(doc, "username"), "uid": text(doc, "uid"),
            "groups": path::items_at(doc, &["spec", "groups"]),
            "resourceAttributes": {
                "group": gvr().group, "resource": gvr().resource, "verb": "create", "subresource": right,
            },
        });
        if let Some(extra) = path::at(doc, &["spec", "extra"]) {
            path::set(&mut spec, &["extra"], extra.clone());
        }
        let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec});
        let at = Target::collection(Gvr::new("authorization.k8s.io", "v1", "subjectaccessreviews"), "");
        let answer = self.client.create(&at, review).await?.to_json();
        Ok(path::bool_at(&answer, &["status", "allowed"]) == Some(true))
    }

    async fn write(&self, key: &Key, doc: Json) -> Result<Outcome, ReconcileError> {
        match self.client.update(&key.target(gvr()).with_subresource("approval"), doc).await {
            Err(status) if status.is(Reason::NotFound) => Ok(Outcome::Done),
            Err(status) => Err(status.into()),
            Ok(_) => {
                tracing::info!(request = %key, "Approved the request of a node");
                Ok(Outcome::Done)
            }
        }
    }
}
