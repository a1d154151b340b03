//! Signing: approved requests to the signers of the cluster (upstream's `csrsigning-*`, one for each signer).

use super::{CertificateAuthority, add_condition, certificate, gvr, has, rules, text, usages};
use crate::limits::{CERTIFICATE_TTL, CERTIFICATE_TTL_MIN};
use async_trait::async_trait;
use holdfast_controller::{Cache, Client, Key, Outcome, ReconcileError, Reconciler};
use holdfast_core::{Json, Object, Reason, Timestamp, json as path};
use holdfast_env::World;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct Signer {
    pub(super) world: World,
    pub(super) client: Arc<dyn Client>,
    pub(super) requests: Arc<Cache<Arc<Object>>>,
    pub(super) authority: Arc<dyn CertificateAuthority>,
}

#[async_trait]
impl Reconciler for Signer {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.requests.get(key) else { return Ok(Outcome::Done) };
        let mut doc = item.value.to_json();
        let may = has(&doc, "Approved") && !has(&doc, "Denied") && !has(&doc, "Failed");
        if !may || !certificate(&doc).is_empty() {
            return Ok(Outcome::Done);
        }
        let (signer, request, usages) = (text(&doc, "signerName"), text(&doc, "request"), usages(&doc));
        let judged = match self.authority.read(request) {
            Ok(read) => rules::judge(signer, &read, &usages),
            // Others have signers of their own.
            Err(why) => rules::is_ours(signer).then_some(Err(why)),
        };
        match judged {
            None => return Ok(Outcome::Done),
            Some(Err(why)) => add_condition(&mut doc, "Failed", "SignerValidationFailure", &why),
            Some(Ok(())) => {
                let now = Timestamp::from_wall(self.world.wall().0);
                let signed = self.authority.sign(request, &usages, now, ttl(&doc)).map_err(ReconcileError::retry)?;
                path::set(&mut doc, &["status", "certificate"], signed);
            }
        }
        match self.client.update(&key.target(gvr()).with_subresource("status"), doc).await {
            Err(status) if status.is(Reason::NotFound) => Ok(Outcome::Done),
            Err(status) => Err(status.into()),
            Ok(_) => Ok(Outcome::Done),
        }
    }
}

/// How long a certificate is to be good: as asked for, within bounds.
fn ttl(doc: &Json) -> Duration {
    let asked = path::i64_at(doc, &["spec", "expirationSeconds"]).and_then(|seconds| u64::try_from(seconds).ok());
    asked.map_or(CERTIFICATE_TTL, Duration::from_secs).clamp(CERTIFICATE_TTL_MIN, CERTIFICATE_TTL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_time_that_is_asked_for_has_bounds() {
        let of = |seconds: Json| ttl(&json!({"spec": {"expirationSeconds": seconds}})).as_secs();
        assert_eq!(ttl(&json!({"spec": {}})), CERTIFICATE_TTL);
        assert_eq!((of(json!(3600)), of(json!(1))), (3600, 600));
        assert_eq!(of(json!(i64::MAX)), CERTIFICATE_TTL.as_secs());
    }
}
