//! The links to nodes: their listeners, and how nodes get certificates.

use super::{Shared, now};
use crate::data_dir;
use anyhow::Context;
use async_trait::async_trait;
use holdfast_apiserver::{ApiServer, BootstrapTokens, Pki};
use holdfast_core::Lineage;
use holdfast_env::{Task, World};
use holdfast_link::{QuicListener, ResetKey, TcpListener, Traffic};
use holdfast_links::{HubLinks, HubLinksConfig, NodeIssuer};
use holdfast_registry::HubRegistry;
use holdfast_server::Taker;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

/// A node is issued one certificate in this time at most, or in a tenth of a certificate's life.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(60);

/// The file of the key for stateless resets (RFC 9000, 10.3). Losing it costs nodes a wait after a restart of the hub.
const RESET_KEY: &str = "link-reset.key";

/// Running links.
pub(crate) struct Links {
    quic: Arc<QuicListener>,
    tcp: Arc<TcpListener>,
    links: Arc<HubLinks>,
    _serving: [Task; 2],
}

/// What asks for the link on the API's port, where UDP is blocked.
struct LinkTaker(Arc<TcpListener>);

impl Taker for LinkTaker {
    fn speaks(&self, protocol: &[u8]) -> bool {
        self.0.speaks(protocol)
    }

    fn take(&self, start: StartHandshake<TcpStream>, peer: SocketAddr) {
        self.0.offer(start, peer);
    }
}

impl Links {
    /// Where it listens for QUIC.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.quic.local_address()
    }

    /// Bytes by purpose.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        self.links.traffic()
    }

    /// Takes what asks for the link on the API's port.
    pub(crate) fn taker(&self) -> Arc<dyn Taker> {
        Arc::new(LinkTaker(self.tcp.clone()))
    }

    /// Closes the listeners and every connection.
    pub(crate) fn stop(self) {
        self.quic.close();
        self.tcp.close();
    }
}

/// Gives certificates to nodes that show a bootstrap token.
struct Issuer {
    pki: Arc<Pki>,
    tokens: Arc<BootstrapTokens>,
    world: World,
    ttl: Duration,
}

#[async_trait]
impl NodeIssuer for Issuer {
    async fn check_token(&self, id: &str, secret: &str) -> Result<(), String> {
        self.tokens.validate(id, secret).await.map(|_| ())
    }

    fn sign(&self, csr: &[u8], node_name: &str, node_uid: &str) -> Result<Vec<Vec<u8>>, String> {
        let issued = self.pki.ca.sign_node_certificate(csr, node_name, node_uid, now(&self.world), self.ttl);
        let issued = issued.map_err(|err| err.to_string())?;
        Ok(issued.chain.iter().map(|certificate| certificate.to_vec()).collect())
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        self.pki.roots().iter().map(|root| root.to_vec()).collect()
    }

    fn sign_time(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.pki.serving_ca().sign_message(message).map_err(|err| err.to_string())
    }
}

/// The key by which nodes believe this hub that a connection of its earlier life is gone; drawn once.
fn reset_key(data_dir: &Path, world: &World) -> anyhow::Result<ResetKey> {
    let path = data_dir.join(RESET_KEY);
    let kept = std::fs::read(&path).ok().and_then(|secret| <[u8; ResetKey::BYTES]>::try_from(secret).ok());
    if let Some(secret) = kept {
        return Ok(ResetKey::new(&secret));
    }
    let mut secret = [0; ResetKey::BYTES];
    world.fill_random(&mut secret);
    data_dir::write_private(&path, &secret)?;
    Ok(ResetKey::new(&secret))
}

/// Starts them, and tells the registry how nodes are reached.
pub(crate) fn start(
    shared: &Shared<'_>,
    server: &ApiServer,
    registry: &HubRegistry,
    lineage: Lineage,
) -> anyhow::Result<Links> {
    let chain: Vec<Vec<u8>> = shared.identity.chain.iter().map(|certificate| certificate.to_vec()).collect();
    let roots: Vec<Vec<u8>> = shared.pki.roots().iter().map(|root| root.to_vec()).collect();
    let key = shared.identity.key.secret_der();
    let grace = shared.config.node_certificate_grace;
    let tls = holdfast_link::tls::hub_config(shared.world.clone(), &chain, key, &roots, grace)
        .context("set up the link's TLS")?;
    let address = shared.config.link_listen;
    let longest = shared.config.longest_heartbeat;
    let tcp = Arc::new(TcpListener::new(shared.world.clone(), tls.clone(), longest));
    let key = reset_key(&shared.config.data_dir, &shared.world)?;
    let quic = QuicListener::bind_keyed(address, tls, longest, &key);
    let quic = quic.with_context(|| format!("listen on --link-listen {address}"))?;
    let quic = Arc::new(quic);
    let issuer = Issuer {
        pki: shared.pki.clone(),
        tokens: server.bootstrap_tokens().clone(),
        world: shared.world.clone(),
        ttl: shared.config.node_certificate_ttl,
    };
    let links = HubLinks::start(HubLinksConfig {
        env: shared.world.clone(),
        store: shared.store.clone(),
        api: server.api().clone(),
        issuer: Arc::new(issuer),
        lineage,
        heartbeat: shared.config.heartbeat,
        longest_heartbeat: longest,
        grace: shared.config.node_monitor_grace,
        certificate_grace: grace,
        renewal_interval: RENEWAL_INTERVAL.min(shared.config.node_certificate_ttl / 10),
    });
    registry.set_node_calls(links.node_calls());
    let serving = [
        shared.world.spawn("links", Box::pin(links.clone().serve(quic.clone()))),
        shared.world.spawn("links-tcp", Box::pin(links.clone().serve(tcp.clone()))),
    ];
    Ok(Links { quic, tcp, links, _serving: serving })
}
