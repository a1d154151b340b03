//! The parts of a running hub, in the order in which they start; they stop in the reverse order.
//!
//! Each part is a file that turns configuration and the parts before it into owned tasks. Tasks: those of the
//! parts, all held by [`Hub`].

mod controllers;
mod endpoint;
mod history;
mod links;
mod metrics;
mod store;

use crate::config::Config;
use crate::data_dir::{self, DataFolder};
use anyhow::Context;
use holdfast_apiserver::{ApiServer, ApiServerConfig, Pki, ServerIdentity, WebhookClient, trust};
use holdfast_core::Timestamp;
use holdfast_env::host::HostEnv;
use holdfast_env::{Task, World};
use holdfast_registry::{HubRegistry, HubRegistryConfig, JwtIssuer, TokenIssuer};
use holdfast_server::{Document, kubeconfig};
use holdfast_store::Store;
use serde_json::json;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Who issues ServiceAccount tokens, and whom they are for; as kubeadm has it.
const TOKEN_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// How long Events are kept (`--event-ttl` upstream).
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// What the parts share.
pub(crate) struct Shared<'a> {
    pub(crate) config: &'a Config,
    pub(crate) world: World,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) pki: Arc<Pki>,
    pub(crate) identity: ServerIdentity,
    /// The name of this one among the hubs that may share the store; `None` for the only one.
    pub(crate) hub_name: Option<String>,
    /// Where pods reach this hub's API, if they do.
    pub(crate) api: Option<SocketAddr>,
}

/// A running hub.
pub(crate) struct Hub {
    address: SocketAddr,
    store: Arc<dyn Store>,
    server: ApiServer,
    links: links::Links,
    controllers: controllers::Controllers,
    tasks: Vec<Task>,
}

impl Hub {
    /// Starts everything; when this returns, `/readyz` says yes.
    pub(crate) async fn start(config: &Config, folder: &DataFolder, listener: TcpListener) -> anyhow::Result<Hub> {
        let world: World = HostEnv::new(folder.path());
        let store = store::open(&config.store, folder, &world).await?;
        let pki = open_keys(config, folder, &world).await?;
        let identity = serving_identity(config, &pki, &world, &listener)?;
        let hub_name = config.store.is_shared().then(|| hub_name(&world));
        let port = listener.local_addr().context("tell the API's port")?.port();
        let api = endpoint::reachable(config, port);
        let shared = Shared { config, world, store, pki, identity, hub_name, api };
        let lineage =
            holdfast_links::lineage::ensure(&*shared.store, &shared.world).await.context("read the store's lineage")?;
        let issuer = JwtIssuer::from_pem(shared.pki.service_account_key_pem.as_bytes(), TOKEN_ISSUER, TOKEN_ISSUER)?;
        let issuer: Arc<dyn TokenIssuer> = Arc::new(issuer);
        let registry = Arc::new(HubRegistry::new(HubRegistryConfig {
            store: shared.store.clone(),
            env: shared.world.clone(),
            service_cidr: config.service_cidr,
            token_issuer: issuer.clone(),
            lineage,
            eviction_after: config.eviction_after,
        }));
        registry.ensure_defaults(port).await.context("make the default objects")?;
        let authorizer = registry.start_authorizer().await.context("start the authorizer")?;
        let custom_kinds = registry.start_custom_kinds().await.context("read the definitions of kinds")?;
        let advertised = advertised(config, port);
        let mut server = ApiServer::new(ApiServerConfig {
            kinds: registry.kinds().clone(),
            world: shared.world.clone(),
            pki: shared.pki.clone(),
            identity: shared.identity.duplicate(),
            registry: registry.clone(),
            authorizer,
            authenticators: vec![Arc::new(registry.token_authenticator())],
            advertise: advertised.clone(),
            anonymous: config.requests.anonymous.clone(),
            inflight: config.requests.inflight,
            fairness: config.requests.fairness,
            documents: token_documents(issuer, &advertised),
            auditor: config.audit.as_ref().map(|audit| crate::audit::auditor(audit, &shared.world)).transpose()?,
        })?;
        registry.set_token_authenticators(vec![server.bootstrap_tokens().clone()]);
        let links = links::start(&shared, &server, &registry, lineage, &advertised).await?;
        registry.set_webhook_calls(Arc::new(WebhookClient::new(shared.world.clone())));
        let traffic = links.traffic();
        server.metrics().append(move |out| metrics::link(&traffic, out));
        server.metrics().append(metrics::process);
        let counting = registry.clone();
        server.metrics().append(move |out| counting.metrics(out));
        if !config.store.is_shared() {
            let kept = folder.join("store");
            server.metrics().append(move |out| metrics::storage(&kept, out));
        }
        let controllers = controllers::start(&shared, &server, &registry, &links).await?;
        let trust = trust::keep(shared.world.clone(), server.client(controllers::api_server()), shared.pki.clone());
        let tasks = vec![
            custom_kinds,
            shared.world.spawn("client-cas", Box::pin(trust)),
            history::start(&shared),
            crate::backup::serve(&shared.world, folder, shared.store.clone())?,
            registry.start_event_expiry(EVENT_TTL),
            registry.start_flow_control(),
        ];
        if shared.hub_name.is_none() {
            let client = server.client(controllers::api_server());
            endpoint::publish(&*client, &shared.api.into_iter().collect()).await?;
        }
        let address = server.listen(listener, Some(links.taker()))?;
        write_kubeconfig(folder, &shared.pki, address)?;
        Ok(Hub { address, store: shared.store, server, links, controllers, tasks })
    }

    /// Where the API listens.
    pub(crate) fn api_address(&self) -> SocketAddr {
        self.address
    }

    /// Where nodes dial in.
    pub(crate) fn link_address(&self) -> Option<SocketAddr> {
        self.links.address()
    }

    /// Stops accepting, drains, flushes. Returns whether all requests had finished in time.
    pub(crate) async fn stop(self, grace: Duration) -> bool {
        let Hub { store, server, links, controllers, tasks, .. } = self;
        server.health().set_closing();
        controllers.stop().await;
        drop(tasks);
        links.stop().await;
        let drained = server.shutdown(grace).await;
        // Joins threads: not on a thread of the runtime.
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        drained && closed.is_ok()
    }
}

/// A name that no hub has, nor had before; the machine's is in it for people.
fn hub_name(world: &World) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-' || *c == '.').take(63).collect();
    format!("{plain}_{}", world.random_uuid())
}

async fn open_keys(config: &Config, folder: &DataFolder, world: &World) -> anyhow::Result<Arc<Pki>> {
    let (path, now) = (folder.join("pki"), now(world));
    let overlap = config.node_certificate_ttl.saturating_add(config.node_certificate_grace);
    let opened = tokio::task::spawn_blocking(move || Pki::open(&path, now, overlap)).await.context("open the keys")?;
    Ok(Arc::new(opened?))
}

/// What others verify ServiceAccount tokens by: the issuer's keys, and where these are (OpenID Connect Discovery 1.0).
fn token_documents(issuer: Arc<dyn TokenIssuer>, advertised: &str) -> Vec<(&'static str, Document)> {
    const KEYS: &str = "/openid/v1/jwks";
    let configuration = json!({
        "issuer": issuer.issuer(),
        "jwks_uri": format!("https://{advertised}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    vec![
        ("/.well-known/openid-configuration", Document::new("application/json", move || configuration.clone())),
        (KEYS, Document::new("application/jwk-set+json", move || issuer.jwks())),
    ]
}

fn now(world: &World) -> Timestamp {
    Timestamp::from_wall(world.wall().0)
}

fn serving_identity(
    config: &Config,
    pki: &Pki,
    world: &World,
    listener: &TcpListener,
) -> anyhow::Result<ServerIdentity> {
    let mut addresses = config.advertise_addresses.clone();
    addresses.push(IpAddr::V4(config.first_service_ip()));
    addresses.push(config.link_listen.ip());
    addresses.push(listener.local_addr().context("tell the API's address")?.ip());
    pki.serving_identity(&config.advertise_names, &addresses, now(world)).context("make the serving certificate")
}

/// The address of the API for others.
fn advertised(config: &Config, port: u16) -> String {
    let address = config.advertise_addresses.first().copied();
    let name = config.advertise_names.first().cloned();
    match (address, name) {
        (Some(address), _) => SocketAddr::new(address, port).to_string(),
        (None, Some(name)) => format!("{name}:{port}"),
        (None, None) => Config::local_server(SocketAddr::new(config.listen.ip(), port)).to_string(),
    }
}

fn write_kubeconfig(folder: &DataFolder, pki: &Pki, address: SocketAddr) -> anyhow::Result<()> {
    let server = format!("https://{}", Config::local_server(address));
    let text =
        kubeconfig::render("holdfast", &server, &pki.roots_pem(), &pki.admin_certificate_pem, &pki.admin_key_pem);
    data_dir::write_private(&data_dir::kubeconfig(folder.path()), text.as_bytes())
}
