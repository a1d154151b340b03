//! The links to nodes: their listeners, and how nodes get certificates.

use super::{Shared, now};
use crate::data_dir;
use anyhow::Context;
use async_trait::async_trait;
use holdfast_apiserver::{ApiServer, BootstrapTokens, Pki};
use holdfast_core::Lineage;
use holdfast_env::{Task, World};
use holdfast_link::tls::HubPeers;
use holdfast_link::{QuicListener, ResetKey, TcpDialer, TcpListener, Traffic, relay};
use holdfast_links::{HubLinks, HubLinksConfig, HubsConfig, NodeIssuer};
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
    /// On the API's port: of nodes, and where there are several hubs of those.
    tcp: Vec<Arc<TcpListener>>,
    links: Arc<HubLinks>,
    _serving: Vec<Task>,
}

/// What asks on the API's port for the link, where UDP is blocked, or for another hub's nodes.
struct LinkTaker(Vec<Arc<TcpListener>>);

impl Taker for LinkTaker {
    fn speaks(&self, protocol: &[u8]) -> bool {
        self.0.iter().any(|listener| listener.speaks(protocol))
    }

    fn take(&self, start: StartHandshake<TcpStream>, peer: SocketAddr) {
        let offered: Vec<Vec<u8>> = start.client_hello().alpn().into_iter().flatten().map(<[u8]>::to_vec).collect();
        let speaks = |listener: &&Arc<TcpListener>| offered.iter().any(|protocol| listener.speaks(protocol));
        if let Some(listener) = self.0.iter().find(speaks) {
            listener.offer(start, peer);
        }
    }
}

impl Links {
    /// Where it listens for QUIC.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.quic.local_address()
    }

    /// The links themselves.
    pub(crate) fn links(&self) -> &Arc<HubLinks> {
        &self.links
    }

    /// Bytes by purpose.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        self.links.traffic()
    }

    /// Takes what asks for the link on the API's port.
    pub(crate) fn taker(&self) -> Arc<dyn Taker> {
        Arc::new(LinkTaker(self.tcp.clone()))
    }

    /// Closes the listeners and every connection, and says so to the other hubs.
    pub(crate) async fn stop(self) {
        self.quic.close();
        self.tcp.iter().for_each(|listener| listener.close());
        self.links.leave().await;
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

/// What one of several hubs works with, and where it is called by the others, if it is one. They reach it at `advertised`.
fn among_hubs(shared: &Shared<'_>, advertised: &str) -> anyhow::Result<Option<(HubsConfig, Arc<TcpListener>)>> {
    let Some(name) = shared.hub_name.clone() else { return Ok(None) };
    let world = &shared.world;
    let identity = shared.pki.hub_identity(&name, now(world)).context("make the certificate for other hubs")?;
    let chain: Vec<Vec<u8>> = identity.chain.iter().map(|certificate| certificate.to_vec()).collect();
    let roots: Vec<Vec<u8>> = shared.pki.roots().iter().map(|root| root.to_vec()).collect();
    let peers = HubPeers { chain: &chain, key: identity.key.secret_der(), roots: &roots };
    let listens = peers.listener(world.clone()).context("set up TLS for other hubs")?;
    let dials = peers.dialer(world.clone()).context("set up TLS to other hubs")?;
    let listener = TcpListener::new(world.clone(), listens, relay::SIGN);
    let dialer = Arc::new(TcpDialer::new(world.clone(), dials, relay::SIGN));
    let hubs = HubsConfig { name, address: advertised.to_string(), api: shared.api, dialer };
    Ok(Some((hubs, Arc::new(listener))))
}

/// Starts them, and tells the registry how nodes are reached. Returns once other hubs, if there may be some, know of this one.
pub(crate) async fn start(
    shared: &Shared<'_>,
    server: &ApiServer,
    registry: &HubRegistry,
    lineage: Lineage,
    advertised: &str,
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
    let (hubs, from_hubs) = among_hubs(shared, advertised)?.unzip();
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
        hubs,
    });
    registry.set_node_calls(links.node_calls());
    links.entered().await;
    let mut serving = vec![
        shared.world.spawn("links", Box::pin(links.clone().serve(quic.clone()))),
        shared.world.spawn("links-tcp", Box::pin(links.clone().serve(tcp.clone()))),
    ];
    let mut tcp = vec![tcp];
    if let Some(from_hubs) = from_hubs {
        serving.push(shared.world.spawn("links-of-hubs", Box::pin(links.clone().serve_hubs(from_hubs.clone()))));
        tcp.push(from_hubs);
    }
    Ok(Links { quic, tcp, links, _serving: serving })
}
