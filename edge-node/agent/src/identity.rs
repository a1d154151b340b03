//! The join that makes the node's identity, and the way to the hub with it.

use anyhow::{Context, bail};
use async_trait::async_trait;
use holdfast_core::Backoff;
use holdfast_env::{Connection, Dialer, NetError, World};
use holdfast_link::join::{JoinError, JoinToken, join};
use holdfast_link::tls::{TlsError, join_config, node_config};
use holdfast_link::{NodeIdentity, QuicDialer};
use holdfast_node::{Connector, Identities, NodeClock};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Heartbeat that the idle time-out of the node's connections is made for.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);

/// Joins, trying until a hub answers; a refusal is final.
pub(crate) async fn obtain(
    env: &World,
    hubs: &[String],
    token: Option<&str>,
    node_name: &str,
) -> anyhow::Result<Arc<Identities>> {
    let Some(token) = token else {
        bail!("this node has not joined yet: give it a token with --token (made by `holdfast-hub token create`)");
    };
    let token = JoinToken::parse(token).map_err(anyhow::Error::msg)?;
    let dialer = QuicDialer::new(join_config(&token.ca_hash)?, HEARTBEAT)?;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    loop {
        for hub in hubs {
            match attempt(env, &dialer, hub, &token, node_name).await {
                Ok(identity) => {
                    tracing::info!(node = node_name, node_uid = identity.node_uid, hub, "Joined");
                    return Identities::create(env.clone(), identity).context("the identity cannot be kept");
                }
                Err(JoinError::Refused(reason)) => bail!("the hub at {hub} refused to let this node join: {reason}"),
                Err(err @ JoinError::Tls(_)) => bail!("cannot join at {hub}: {err}"),
                Err(err) => tracing::warn!(hub, %err, "Could not join; trying again"),
            }
        }
        env.sleep(backoff.fail()).await;
    }
}

async fn attempt(
    env: &World,
    dialer: &QuicDialer,
    hub: &str,
    token: &JoinToken,
    node_name: &str,
) -> Result<NodeIdentity, JoinError> {
    let connection = dialer.dial(hub).await.map_err(|err| match err {
        // A hub whose CA is not the pinned one will not become another by waiting.
        NetError::Refused(why) if why.contains("hash") => JoinError::Tls(why),
        other => JoinError::Link(other.into()),
    })?;
    join(env, &connection, token, node_name).await
}

/// Dials hubs with the node's identity.
pub(crate) struct HubConnector {
    clock: Arc<NodeClock>,
    dialer: Mutex<Arc<QuicDialer>>,
}

impl HubConnector {
    /// A connector for this identity.
    pub(crate) fn new(clock: Arc<NodeClock>, identity: &NodeIdentity) -> anyhow::Result<HubConnector> {
        let dialer = dialer(&clock, identity)?;
        Ok(HubConnector { clock, dialer: Mutex::new(Arc::new(dialer)) })
    }
}

fn dialer(clock: &Arc<NodeClock>, identity: &NodeIdentity) -> Result<QuicDialer, TlsError> {
    QuicDialer::new(node_config(clock.clone(), identity)?, HEARTBEAT)
}

#[async_trait]
impl Connector for HubConnector {
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        let dialer = self.dialer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        dialer.dial(hub).await
    }

    async fn connect_bare(&self, hub: &str, ca_hash: &str) -> Result<Arc<dyn Connection>, NetError> {
        let dialer = join_config(ca_hash).and_then(|tls| QuicDialer::new(tls, HEARTBEAT));
        dialer.map_err(|err| NetError::Refused(err.to_string()))?.dial(hub).await
    }

    fn use_identity(&self, identity: &NodeIdentity) -> Result<(), String> {
        let new = dialer(&self.clock, identity).map_err(|err| err.to_string())?;
        *self.dialer.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        Ok(())
    }
}
