//! [`ApiServer`]: registry, authorizer, identities and listener put together.

use crate::auth::{BootstrapTokens, Certificates};
use crate::client::LocalClient;
use crate::fairness::{self, Fairness};
use crate::pki::{Pki, ServerIdentity};
use holdfast_core::UserInfo;
use holdfast_env::{Task, World};
use holdfast_server::docs::metrics::Metrics;
use holdfast_server::listen::tls::{self, TlsError};
use holdfast_server::{
    Anonymous, Api, ApiService, Auditor, Authenticator, Authorizer, Document, Gate, Health, InFlight, LiveKinds,
    Registry, Server, ServiceConfig, Taker,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What an API server is made of.
pub struct ApiServerConfig {
    /// Clock and randomness.
    pub world: World,
    /// The cluster's keys.
    pub pki: Arc<Pki>,
    /// The serving certificate.
    pub identity: ServerIdentity,
    /// Objects.
    pub registry: Arc<dyn Registry>,
    /// What is served; the registry changes it.
    pub kinds: Arc<LiveKinds>,
    /// Rights.
    pub authorizer: Arc<dyn Authorizer>,
    /// Beside certificates and bootstrap tokens: ServiceAccount tokens.
    pub authenticators: Vec<Arc<dyn Authenticator>>,
    /// `host:port` that discovery names.
    pub advertise: String,
    /// Who without credentials may ask.
    pub anonymous: Anonymous,
    /// How many requests are answered at once.
    pub inflight: InFlight,
    /// Whether they are shared between users by priority and fairness; else whoever comes first has them.
    pub fairness: bool,
    /// Small documents at paths of their own (the token issuer's keys).
    pub documents: Vec<(&'static str, Document)>,
    /// Notes requests, if anything does.
    pub auditor: Option<Arc<Auditor>>,
}

/// Why the API server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The listener.
    #[error("serve on the API's port")]
    Listen(#[source] std::io::Error),
}

/// An API server: first its API in process, then, once [`ApiServer::listen`] was called, over HTTPS.
pub struct ApiServer {
    api: Arc<Api>,
    world: World,
    health: Arc<Health>,
    service: Arc<ApiService>,
    tls: Arc<rustls::ServerConfig>,
    bootstrap: Arc<BootstrapTokens>,
    server: Option<Server>,
    _fairness: Option<[Task; 2]>,
}

impl ApiServer {
    /// Puts the parts together. Nothing listens yet.
    ///
    /// # Errors
    /// When the certificates do not fit.
    pub fn new(config: ApiServerConfig) -> Result<ApiServer, StartError> {
        let ApiServerConfig {
            world,
            pki,
            identity,
            registry,
            kinds,
            authorizer,
            authenticators,
            advertise,
            anonymous,
            inflight,
            fairness,
            documents,
            auditor,
        } = config;
        let tls = tls::server_config(identity.chain, identity.key, &pki.roots())?;
        let api = Arc::new(Api::new(registry.clone(), authorizer).with_auditor(auditor.clone()));
        let seats = inflight.reads.saturating_add(inflight.writes);
        // Without a bound there is nothing to share.
        let fairness = (fairness && seats > 0).then(|| Fairness::new(world.clone(), registry.clone(), seats));
        let gate: Arc<dyn Gate> = match &fairness {
            Some(fairness) => Arc::new(fairness.clone()),
            None => inflight.gate(),
        };
        let certificates = Arc::new(Certificates::new(registry.clone()));
        let bootstrap = Arc::new(BootstrapTokens::new(registry, world.clone()));
        let health = Arc::new(Health::new());
        let mut all: Vec<Arc<dyn Authenticator>> = vec![certificates, bootstrap.clone()];
        all.extend(authenticators);
        let service = ApiService::new(ServiceConfig {
            api: api.clone(),
            authenticators: all,
            anonymous,
            gate,
            kinds,
            health: health.clone(),
            world: world.clone(),
            advertise,
            documents,
        });
        if let Some(auditor) = auditor {
            service.metrics.append(move |out| auditor.metrics(out));
        }
        let tasks = fairness.map(|fairness| {
            let tasks = fairness::start(&fairness, &api);
            service.metrics.append(move |out| fairness.metrics(out));
            tasks
        });
        Ok(ApiServer { api, world, health, service, tls, bootstrap, server: None, _fairness: tasks })
    }

    /// Serves on a bound listener, and says so to `/readyz`. What asks for another protocol goes to `taker`.
    ///
    /// # Errors
    /// When the listener is unusable.
    pub fn listen(&mut self, listener: TcpListener, taker: Option<Arc<dyn Taker>>) -> Result<SocketAddr, StartError> {
        let server =
            Server::start(listener, self.tls.clone(), self.service.clone(), taker).map_err(StartError::Listen)?;
        let address = server.address();
        self.server = Some(server);
        self.health.set_ready();
        Ok(address)
    }

    /// The API behind its codecs.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Checks behind `/readyz`; parts add theirs.
    pub fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// What is counted; parts add theirs.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.service.metrics
    }

    /// The check of bootstrap tokens, for joins.
    pub fn bootstrap_tokens(&self) -> &Arc<BootstrapTokens> {
        &self.bootstrap
    }

    /// A client that acts as `user`.
    pub fn client(&self, user: UserInfo) -> Arc<LocalClient> {
        Arc::new(LocalClient::new(self.api.clone(), self.world.clone(), user))
    }

    /// A client of a controller: `system:serviceaccount:kube-system:<name>`.
    pub fn controller_client(&self, name: &str) -> Arc<LocalClient> {
        self.client(UserInfo::service_account("kube-system", name))
    }

    /// Stops accepting and lets requests finish for at most `grace`. Returns whether all had finished.
    pub async fn shutdown(self, grace: Duration) -> bool {
        self.health.set_closing();
        match self.server {
            Some(server) => server.shutdown(grace).await,
            None => true,
        }
    }
}
