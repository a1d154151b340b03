//! The node's identity on disk, and the join that makes it.

use crate::token_key;
use anyhow::{Context, bail};
use async_trait::async_trait;
use holdfast_core::{Backoff, Timestamp};
use holdfast_edge_store::file;
use holdfast_env::{Connection, Dialer, NetError, World};
use holdfast_link::identity::ends_at;
use holdfast_link::join::{JoinError, JoinToken, join};
use holdfast_link::tls::{join_config, node_config};
use holdfast_link::{NodeIdentity, QuicDialer};
use holdfast_node::Connector;
use holdfast_node::tokens::TokenKey;
use std::sync::Arc;
use std::time::Duration;

const PATH: &str = "identity";
/// Heartbeat that the idle time-out of the node's connections is made for.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(10);

/// The identity of this node, if it has joined.
pub(crate) fn load(env: &World) -> anyhow::Result<Option<NodeIdentity>> {
    let Some(bytes) = file::read(&*env.disk(), PATH).context("the node's identity cannot be read")? else {
        return Ok(None);
    };
    Ok(Some(postcard::from_bytes(&bytes).context("the node's identity is damaged")?))
}

/// Joins, trying until a hub answers; a refusal is final.
pub(crate) async fn obtain(
    env: &World,
    hubs: &[String],
    token: Option<&str>,
    node_name: &str,
) -> anyhow::Result<NodeIdentity> {
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
                    let bytes = postcard::to_allocvec(&identity).context("the identity does not encode")?;
                    file::write(&*env.disk(), PATH, &bytes).context("the identity cannot be written")?;
                    tracing::info!(node = node_name, node_uid = identity.node_uid, hub, "Joined");
                    return Ok(identity);
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
    dialer: QuicDialer,
    certificate_ends: Option<Timestamp>,
    token_key: Arc<dyn TokenKey>,
}

impl HubConnector {
    /// A connector for this identity.
    pub(crate) fn new(env: World, identity: &NodeIdentity) -> anyhow::Result<HubConnector> {
        let certificate_ends = identity.chain.first().and_then(|leaf| ends_at(leaf).ok());
        let token_key = token_key::open(&env)?;
        let dialer = QuicDialer::new(node_config(env, identity)?, HEARTBEAT)?;
        Ok(HubConnector { dialer, certificate_ends, token_key })
    }
}

#[async_trait]
impl Connector for HubConnector {
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        self.dialer.dial(hub).await
    }

    fn token_key(&self) -> Option<Arc<dyn TokenKey>> {
        Some(self.token_key.clone())
    }

    fn certificate_ends(&self) -> Option<Timestamp> {
        self.certificate_ends
    }
}
