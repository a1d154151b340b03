//! The join that makes the node's identity.

use crate::dialing::join_dialer;
use anyhow::{Context, bail};
use holdfast_core::Backoff;
use holdfast_env::{Dialer, NetError, World};
use holdfast_link::NodeIdentity;
use holdfast_link::join::{JoinError, JoinToken, OTHER_CA, join};
use holdfast_node::Identities;
use std::sync::Arc;
use std::time::Duration;

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
    let dialer = join_dialer(env, &token.ca_hash)?;
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
    dialer: &dyn Dialer,
    hub: &str,
    token: &JoinToken,
    node_name: &str,
) -> Result<NodeIdentity, JoinError> {
    let connection = dialer.dial(hub).await.map_err(|err| match err {
        // A hub whose CA is not the pinned one will not become another by waiting.
        NetError::Refused(why) if why.contains("hash") => JoinError::Tls(OTHER_CA.into()),
        other => JoinError::Link(other.into()),
    })?;
    join(env, &connection, token, node_name).await
}
