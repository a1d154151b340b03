//! A node that has not joined yet: it runs its static pods, and nothing else, until a hub takes it in. Then the same machine
//! begins anew as that node, as after a restart of the agent: what runs is found and goes on.

use crate::cli::SOCKET;
use crate::config::Config;
use crate::identity;
use crate::local::server::{self, LocalServer};
use async_trait::async_trait;
use holdfast_env::{Connection, NetError, World};
use holdfast_link::NodeIdentity;
use holdfast_node::{Connector, Identities, NodeHandle, NodeParts, SharedStore, node_main};
use std::path::Path;
use std::sync::Arc;

/// The way to no hub.
pub(crate) struct NoHub;

#[async_trait]
impl Connector for NoHub {
    async fn connect(&self, _hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        Err(NetError::Closed("the node has not joined".into()))
    }

    async fn connect_bare(&self, _hub: &str, _ca_hash: &str) -> Result<Arc<dyn Connection>, NetError> {
        Err(NetError::Closed("the node has not joined".into()))
    }

    fn use_identity(&self, _identity: &NodeIdentity) -> Result<(), String> {
        Ok(())
    }
}

/// Such a node, running; dropping it leaves its pods running.
struct Alone {
    _node: NodeHandle,
    local: LocalServer,
}

impl Alone {
    async fn start(config: &Config, parts: NodeParts, store: Arc<SharedStore>) -> anyhow::Result<Alone> {
        let node = node_main(parts, store).await;
        let local = server::start(Path::new(SOCKET), config.data_dir.join("imports"), node.commands.clone())?;
        Ok(Alone { _node: node, local })
    }
}

/// Joins. Beside that the static pods run, if `parts` are given; without a token they run for good. What listened for commands
/// then goes on doing so, for the node that is to come: whoever asked meanwhile gets an answer.
pub(crate) async fn join(
    env: &World,
    config: &Config,
    parts: Option<NodeParts>,
    store: &Arc<SharedStore>,
) -> anyhow::Result<(Arc<Identities>, Option<LocalServer>)> {
    let alone = match parts {
        Some(parts) => Some(Alone::start(config, parts, store.clone()).await?),
        None => None,
    };
    if alone.is_some() && config.token.is_none() {
        tracing::warn!("This node has not joined and has no token: it runs static pods and nothing else");
        return std::future::pending().await;
    }
    let joined = identity::obtain(env, &config.hubs, config.token.as_deref(), &config.node_name).await?;
    let local = alone.map(|alone| {
        alone.local.wait();
        alone.local
    });
    Ok((joined, local))
}
