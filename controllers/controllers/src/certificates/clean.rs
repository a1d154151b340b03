//! Cleaning: requests that nobody needs any more, with upstream's times (`csrcleaner`).

use super::{CertificateAuthority, certificate, conditions, gvr};
use crate::limits::{REQUEST_DONE, REQUEST_PENDING, REQUESTS_PERIOD};
use async_trait::async_trait;
use holdfast_controller::{Cache, Client, Outcome, ReconcileError, Reconciler};
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Json, Object, Reason, Timestamp, json as path};
use holdfast_env::World;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Cleaner {
    pub(super) world: World,
    pub(super) client: Arc<dyn Client>,
    pub(super) requests: Arc<Cache<Arc<Object>>>,
    pub(super) authority: Arc<dyn CertificateAuthority>,
}

#[async_trait]
impl Reconciler for Cleaner {
    type Key = ();

    async fn reconcile(&self, (): &()) -> Result<Outcome, ReconcileError> {
        let now = Timestamp::from_wall(self.world.wall().0);
        for item in self.requests.all() {
            let doc = item.value.to_json();
            let Some(why) = self.over(&doc, item.meta.creation_timestamp, now) else { continue };
            let preconditions = Some(Preconditions { uid: Some(item.meta.uid.clone()), resource_version: None });
            let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
            match self.client.delete(&item.key().target(gvr()), &options).await {
                Ok(()) => tracing::info!(request = %item.key(), why, "Removed a certificate request"),
                Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => {}
                Err(status) => {
                    tracing::warn!(request = %item.key(), err = %status, "An old certificate request stays for now");
                }
            }
        }
        Ok(Outcome::RequeueAfter(REQUESTS_PERIOD))
    }
}

impl Cleaner {
    /// Why a request is over; `None` when it is not.
    fn over(&self, doc: &Json, made: Option<Timestamp>, now: Timestamp) -> Option<&'static str> {
        let older = |kind: &str, than: Duration| {
            let time = |condition: &Json| path::str_at(condition, &["lastUpdateTime"]).and_then(Timestamp::parse);
            conditions(doc, kind).filter_map(time).any(|at| now.since(at) > than)
        };
        let (issued, approved) = (!certificate(doc).is_empty(), conditions(doc, "Approved").next().is_some());
        if approved && issued && older("Approved", REQUEST_DONE) {
            return Some("its certificate was issued long ago");
        }
        if approved && issued && self.authority.ends(certificate(doc)).is_some_and(|end| end < now) {
            return Some("its certificate has ended");
        }
        if older("Denied", REQUEST_DONE) {
            return Some("it was denied long ago");
        }
        if older("Failed", REQUEST_DONE) {
            return Some("it failed long ago");
        }
        if approved && !issued && older("Approved", REQUEST_PENDING) {
            return Some("nobody signed it");
        }
        let untouched = path::items_at(doc, &["status", "conditions"]).is_empty();
        let waited = made.is_some_and(|made| now.since(made) > REQUEST_PENDING);
        (untouched && waited).then_some("nobody looked at it")
    }
}
