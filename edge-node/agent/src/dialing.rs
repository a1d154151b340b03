//! The way to the hub: QUIC, or TCP where UDP is blocked.

use async_trait::async_trait;
use holdfast_env::{Connection, Dialer, NetError, World};
use holdfast_link::tls::node_config;
use holdfast_link::{FallbackDialer, NodeIdentity, QuicDialer, TcpDialer};
use holdfast_node::Connector;
use std::sync::Arc;
use std::time::Duration;

/// Heartbeat that the idle time-out of the node's connections is made for.
const HEARTBEAT: Duration = Duration::from_secs(10);

type Both = (Arc<dyn Dialer>, Arc<dyn Dialer>);

fn both(env: &World, tls: rustls::ClientConfig) -> anyhow::Result<Both> {
    let quic = QuicDialer::new(tls.clone(), HEARTBEAT)?;
    Ok((Arc::new(quic), Arc::new(TcpDialer::new(env.clone(), tls, HEARTBEAT))))
}

/// Dials hubs (`HOST:PORT[/TCPPORT]`) for a join.
pub(crate) fn join_dialer(env: &World, tls: rustls::ClientConfig) -> anyhow::Result<impl Dialer> {
    let (quic, tcp) = both(env, tls)?;
    Ok(FallbackDialer::for_joins(env.clone(), quic, tcp))
}

/// Dials hubs with the node's identity.
pub(crate) struct HubConnector {
    dialer: FallbackDialer,
}

impl HubConnector {
    /// A connector for this identity.
    pub(crate) fn new(env: World, identity: &NodeIdentity) -> anyhow::Result<HubConnector> {
        let (quic, tcp) = both(&env, node_config(env.clone(), identity)?)?;
        Ok(HubConnector { dialer: FallbackDialer::new(env, quic, tcp) })
    }
}

#[async_trait]
impl Connector for HubConnector {
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        self.dialer.dial(hub).await
    }
}
