//! The way to the hub: QUIC, or TCP where UDP is blocked.

use async_trait::async_trait;
use holdfast_env::{Connection, Dialer, NetError, World};
use holdfast_link::tls::{TlsError, join_config, node_config};
use holdfast_link::{FallbackDialer, NodeIdentity, QuicDialer, TcpDialer};
use holdfast_link_engine::limits::LONGEST_HEARTBEAT;
use holdfast_node::{Connector, NodeClock};
use std::sync::Arc;

type Both = (Arc<dyn Dialer>, Arc<dyn Dialer>);

/// How long silence is borne is the hub's to say, and the link's: it knows the interval of heartbeats.
fn both(env: &World, tls: rustls::ClientConfig) -> Result<Both, TlsError> {
    let quic = QuicDialer::new(tls.clone(), LONGEST_HEARTBEAT)?;
    Ok((Arc::new(quic), Arc::new(TcpDialer::new(env.clone(), tls, LONGEST_HEARTBEAT))))
}

/// Dials hubs (`HOST:PORT[/TCPPORT]`) without an identity: it must prove the CA with this hash.
pub(crate) fn join_dialer(env: &World, ca_hash: &str) -> Result<impl Dialer + use<>, TlsError> {
    let (quic, tcp) = both(env, join_config(ca_hash)?)?;
    Ok(FallbackDialer::for_joins(env.clone(), quic, tcp))
}

/// Dials hubs with the node's identity. Which transport works is remembered across identities.
pub(crate) struct HubConnector {
    env: World,
    clock: Arc<NodeClock>,
    dialer: FallbackDialer,
}

impl HubConnector {
    /// A connector for this identity.
    pub(crate) fn new(clock: Arc<NodeClock>, identity: &NodeIdentity) -> Result<HubConnector, TlsError> {
        let env: World = clock.clone();
        let (quic, tcp) = both(&env, node_config(clock.clone(), identity)?)?;
        let dialer = FallbackDialer::new(env.clone(), quic, tcp);
        Ok(HubConnector { env, clock, dialer })
    }
}

#[async_trait]
impl Connector for HubConnector {
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        self.dialer.dial(hub).await
    }

    async fn connect_bare(&self, hub: &str, ca_hash: &str) -> Result<Arc<dyn Connection>, NetError> {
        let dialer = join_dialer(&self.env, ca_hash).map_err(|err| NetError::Refused(err.to_string()))?;
        dialer.dial(hub).await
    }

    fn use_identity(&self, identity: &NodeIdentity) -> Result<(), String> {
        let tls = node_config(self.clock.clone(), identity).map_err(|err| err.to_string())?;
        let (quic, tcp) = both(&self.env, tls).map_err(|err| err.to_string())?;
        self.dialer.dial_with(quic, tcp);
        Ok(())
    }
}
