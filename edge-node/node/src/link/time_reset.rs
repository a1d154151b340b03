//! The node asks for its time floor to be taken down, when it is ahead of the hub.

use super::LinkHost;
use holdfast_link::identity::ca_hash;
use holdfast_link::time_reset::ask;
use std::time::Duration;

/// How long a connected node waits before it asks again.
const AGAIN: Duration = Duration::from_secs(600);

impl LinkHost {
    /// While a session is up: asks if the hub's time is behind the floor. Never completes.
    pub(super) async fn reset_while_behind(&self, hub: &str) {
        let mut state = self.state.subscribe();
        while state.wait_for(|state| state.connected).await.is_ok() {
            if self.parts.clock.is_hub_behind() {
                tracing::warn!(hub, "The hub's time is behind this node's time floor: its clock is or was wrong");
                self.reset_time(hub).await;
            }
            self.parts.env.sleep(AGAIN).await;
        }
        std::future::pending().await
    }

    /// Asks once. The hub answers only while an administrator allows it.
    pub(super) async fn reset_time(&self, hub: &str) {
        let (identity, _) = self.parts.identity.in_use();
        for hash in identity.roots.iter().filter_map(|root| ca_hash(root).ok()) {
            let Ok(connection) = self.parts.connector.connect_bare(hub, &hash).await else { continue };
            match ask(&self.parts.env, &connection, &identity).await {
                Ok(time) => match self.parts.clock.reset(time).await {
                    Ok(()) => tracing::warn!(secs = time.as_secs(), "The time floor was reset by the cluster's CA"),
                    Err(err) => tracing::error!(err, "The reset of the time floor could not be written"),
                },
                // The link's own reason was logged; this one is asked at every attempt.
                Err(err) => tracing::debug!(hub, %err, "The time floor stays"),
            }
            return;
        }
    }
}
