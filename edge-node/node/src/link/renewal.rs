//! The node renews its certificate: in good time over its session, or, when it was away for too long, over a
//! connection that is good for nothing else.

use super::LinkHost;
use crate::identity::{renewal_due, validity_of};
use holdfast_core::Backoff;
use holdfast_edge_store::Vitals;
use holdfast_env::Connection;
use holdfast_link::renew::{CERTIFICATE_EXPIRED, renew};
use std::sync::Arc;
use std::time::Duration;

/// The calendar is looked at so often: the time may have been corrected.
const LOOK: Duration = Duration::from_secs(3600);
/// The longest wait after a renewal that did not work.
const RETRY_CAP: Duration = Duration::from_secs(3600);

/// Whether the hub refused a session because the node's certificate has expired, and may be renewed.
pub(super) fn is_expired(refusal: &str) -> bool {
    refusal.strip_prefix(CERTIFICATE_EXPIRED).is_some_and(|rest| rest.starts_with(':'))
}

impl LinkHost {
    /// Waits until the certificate is due while `connection` has a session, renews it, and completes once the
    /// successor is durable: then it is time to connect anew.
    pub(super) async fn renew_when_due(&self, connection: &Arc<dyn Connection>) {
        let mut state = self.state.subscribe();
        if state.wait_for(|state| state.connected).await.is_err() {
            return std::future::pending().await;
        }
        if let Err(err) = self.parts.identity.connected().await {
            tracing::warn!(%err, "The node's new identity could not take the old one's place");
        }
        let env = &self.parts.env;
        let Some(validity) = validity_of(&self.parts.identity.in_use().0) else {
            tracing::error!("The node's certificate cannot be read; it will not be renewed");
            return std::future::pending().await;
        };
        let due = renewal_due(validity, (env.random_u64() % 1000) as f64 / 1000.0);
        let first = (validity.not_after.saturating_sub(validity.not_before) / 100).max(Duration::from_secs(1));
        let mut backoff = Backoff::new(first.min(RETRY_CAP), RETRY_CAP);
        loop {
            let left = due.saturating_sub(env.wall().0);
            if !left.is_zero() {
                env.sleep(left.min(LOOK)).await;
                continue;
            }
            match self.renew_over(connection).await {
                Ok(()) => return,
                Err(err) => tracing::warn!(err, "The certificate could not be renewed; trying again"),
            }
            env.sleep(backoff.fail()).await;
        }
    }

    /// Renews an expired certificate over a connection of its own.
    pub(super) async fn renew_expired(&self, hub: &str) -> Result<(), String> {
        let connection = self.parts.connector.connect(hub).await.map_err(|err| err.to_string())?;
        let renewed = self.renew_over(&connection).await;
        connection.close("renewed");
        renewed
    }

    async fn renew_over(&self, connection: &Arc<dyn Connection>) -> Result<(), String> {
        let (identity, _) = self.parts.identity.in_use();
        let Vitals { lineage, session, .. } = self.store.vitals();
        let renewed = renew(&self.parts.env, connection, &identity, lineage, session).await;
        let next = renewed.map_err(|err| err.to_string())?;
        self.parts.identity.renewed(next).await.map_err(|err| err.to_string())?;
        tracing::info!("The node's certificate was renewed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_certificate_is_told_by_the_code() {
        assert!(is_expired("CertificateExpired: only good for its renewal"));
        assert!(!is_expired("CertificateExpiredLongAgo: x") && !is_expired("UnknownNode: CertificateExpired: x"));
    }
}
