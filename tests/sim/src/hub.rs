//! The hub: registry, store, links, controllers and scheduler as `holdfast-hub` puts them together.

use crate::certificate::SimCa;
use crate::ledger::{Ledger, Seen};
use crate::limits::{CERTIFICATE_GRACE, CERTIFICATE_LIFE, GRACE, HEARTBEAT, HUB_ADDRESS};
use crate::log::{Backup, SimLog};
use crate::webhook::SimWebhooks;
use crate::wire::HUB;
use async_trait::async_trait;
use holdfast_apiserver::LocalClient;
use holdfast_controller::{Client, ResourceKind};
use holdfast_controllers::ControllersConfig;
use holdfast_core::{Lineage, Timestamp, UserInfo, user};
use holdfast_env::{Connection, World};
use holdfast_link_engine::heartbeat::longest_for;
use holdfast_links::{HubLinks, HubLinksConfig, NodeIssuer, lineage};
use holdfast_registry::{HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_server::Api;
use holdfast_sim_world::{Machine, Net, Universe};
use holdfast_store::CachedStore;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A key that signs tokens of simulated clusters and nothing else.
const TOKEN_KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg9rFQShbhxLlSvcFV
x0z1W/NJbc2ZSPLkd4ZSWE63aIWhRANCAARaTX42KhmCrHAEFWjWKLW2WNK4ZkPr
CqNMeuYhAxAxTlK/080Y2FJ2VdlyVerwblQlTCT4EQpB10TOZT2Mlm20
-----END PRIVATE KEY-----
";
/// How long a request of the user may take before it is given up, its outcome unknown.
const REQUEST: Duration = Duration::from_secs(30);

/// Signs nodes' certificates; every token is good, as guessing them is not what is simulated.
struct SimIssuer {
    ca: SimCa,
    env: World,
    life: Duration,
}

#[async_trait]
impl NodeIssuer for SimIssuer {
    async fn check_token(&self, _id: &str, _secret: &str) -> Result<(), String> {
        Ok(())
    }

    fn sign(&self, csr: &[u8], node_name: &str, node_uid: &str) -> Result<Vec<Vec<u8>>, String> {
        let now = self.env.wall().0;
        let leaf = self.ca.sign(csr, node_name, node_uid, now, self.life).map_err(|err| err.to_string())?;
        Ok(vec![leaf])
    }

    fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.ca.certificate().to_vec()]
    }

    fn sign_time(&self, _message: &[u8]) -> Result<Vec<u8>, String> {
        Err("not implemented: signatures of the simulated hub".into())
    }
}

/// The hub.
pub struct SimHub {
    /// The machine.
    pub machine: Arc<Machine>,
    /// The log, which outlives the process.
    pub log: Arc<SimLog>,
    /// Answers its webhooks.
    pub webhooks: SimWebhooks,
    universe: Universe,
    net: Net,
    ledger: Option<Ledger>,
    certificate_life: Duration,
    address: Mutex<String>,
    client: Mutex<Option<Arc<LocalClient>>>,
    is_on: Mutex<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimHub {
    /// A hub that is off, over a log that begins with `from`; its nodes' certificates live for `certificate_life`.
    pub fn new(
        universe: &Universe,
        net: &Net,
        ledger: Option<&Ledger>,
        from: Backup,
        certificate_life: Duration,
    ) -> Arc<SimHub> {
        Arc::new(SimHub {
            machine: Machine::new(universe, HUB, crate::limits::EPOCH, 0),
            log: SimLog::new(from, ledger.cloned()),
            webhooks: SimWebhooks::default(),
            universe: universe.clone(),
            net: net.clone(),
            ledger: ledger.cloned(),
            certificate_life,
            address: Mutex::new(HUB_ADDRESS.into()),
            client: Mutex::new(None),
            is_on: Mutex::new(false),
        })
    }

    /// Whether the process runs.
    pub fn is_on(&self) -> bool {
        *lock(&self.is_on)
    }

    /// Whether the API answers.
    pub fn is_ready(&self) -> bool {
        lock(&self.client).is_some()
    }

    /// Starts the process.
    pub fn start(self: &Arc<SimHub>) {
        if std::mem::replace(&mut *lock(&self.is_on), true) {
            return;
        }
        let (me, env) = (self.clone(), self.machine.process());
        let run = async move {
            let env: World = env;
            if let Err(why) = me.run(env).await {
                tracing::error!(why, "The hub does not start");
                if let Some(ledger) = &me.ledger {
                    ledger.violation(format!("the hub does not start: {why}"));
                }
            }
        };
        self.universe.spawn(HUB, "hub", Box::pin(run));
    }

    /// Kills the process.
    pub fn kill(&self) {
        if !std::mem::replace(&mut *lock(&self.is_on), false) {
            return;
        }
        self.net.silence(HUB);
        let client = lock(&self.client).take();
        self.machine.crash();
        drop(client);
        if let Some(ledger) = &self.ledger {
            ledger.see(&Seen::HubEnded);
        }
    }

    /// Gives the hub another address, from its next start on.
    pub fn move_to(&self, address: &str) {
        *lock(&self.address) = address.to_string();
    }

    /// Sets the log back to a backup; the process must be off.
    pub fn restore(&self, backup: &Backup, lineage: u64) {
        let now = Timestamp::from_wall(self.machine.wall());
        let restored = self.log.restore(backup, Lineage(u128::from(lineage)), now);
        if let Some(ledger) = &self.ledger {
            if let Err(why) = restored {
                ledger.violation(format!("the backup is of no use: {why}"));
            }
            ledger.see(&Seen::Restored(&self.log.under("/")));
        }
    }

    async fn run(&self, env: World) -> Result<(), String> {
        let text = |err: &dyn std::fmt::Display| err.to_string();
        let (store, _writer) = CachedStore::open_over(&env, self.log.clone()).map_err(|err| text(&err))?;
        let lineage = lineage::ensure(&*store, &env).await.map_err(|err| text(&err))?;
        let issuer =
            JwtIssuer::from_pem(TOKEN_KEY.as_bytes(), "https://hub", "https://hub").map_err(|err| text(&err))?;
        let registry = Arc::new(HubRegistry::new(HubRegistryConfig {
            store: store.clone(),
            env: env.clone(),
            service_cidr: "10.43.0.0/16".parse().map_err(|err| text(&err))?,
            token_issuer: Arc::new(issuer),
            lineage,
            eviction_after: holdfast_registry::EVICTION_AFTER,
        }));
        registry.set_webhook_calls(self.webhooks.calls(env.clone()));
        registry.ensure_defaults(6443).await.map_err(|err| text(&err))?;
        let authorizer = registry.start_authorizer().await.map_err(|err| text(&err))?;
        let api = Arc::new(Api::new(registry.clone(), authorizer));
        let client = |user: UserInfo| Arc::new(LocalClient::new(api.clone(), env.clone(), user));
        let links = HubLinks::start(HubLinksConfig {
            env: env.clone(),
            store: store.clone(),
            api: api.clone(),
            issuer: Arc::new(SimIssuer {
                ca: SimCa::new().map_err(|err| text(&err))?,
                env: env.clone(),
                life: self.certificate_life,
            }),
            lineage,
            heartbeat: HEARTBEAT,
            longest_heartbeat: longest_for(GRACE, HEARTBEAT),
            grace: GRACE,
            certificate_grace: CERTIFICATE_GRACE,
            renewal_interval: Duration::from_secs(60).min(self.certificate_life / 10),
            hubs: None,
        });
        registry.set_node_calls(links.node_calls());
        let admin = client(UserInfo::new("kubernetes-admin", &[user::MASTERS]));
        holdfast_controllers::ensure_roles(&*admin).await.map_err(|err| text(&err))?;
        let clients = |name: &str| -> Arc<dyn Client> { client(UserInfo::service_account("kube-system", name)) };
        let config = ControllersConfig {
            root_ca_pem: "simulated".into(),
            kinds: holdfast_controllers::served(holdfast_kinds::all().iter().map(ResourceKind::from)),
            ..ControllersConfig::default()
        };
        let mut tasks = holdfast_controllers::start_all(env.clone(), &clients, config);
        let scheduler = holdfast_scheduler::run_scheduler(env.clone(), clients("kube-scheduler"));
        tasks.push(env.spawn("scheduler", Box::pin(scheduler)));
        *lock(&self.client) = Some(admin);
        let address = lock(&self.address).clone();
        let mut incoming = self.net.listen(&address, HUB);
        while let Some(connection) = incoming.recv().await {
            let links = links.clone();
            tasks.retain(|task| !task.is_finished());
            tasks.push(env.spawn("link", Box::pin(serve(links, connection))));
        }
        Ok(())
    }

    /// Lets the administrator do something at the hub; `None` when the hub is not there, ended meanwhile, or took too
    /// long: then the outcome is not known.
    pub async fn request<T: Send + 'static, F>(&self, work: impl FnOnce(Arc<LocalClient>) -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let client = lock(&self.client).clone()?;
        let work = work(client);
        let (done, answer) = oneshot::channel();
        let run = async move {
            let _ = done.send(work.await);
        };
        let id = self.universe.spawn(HUB, "request", Box::pin(run));
        let limit = self.universe.sleep(REQUEST);
        tokio::select! {
            biased;
            answer = answer => answer.ok(),
            () = limit => {
                self.universe.abort(id);
                None
            }
        }
    }
}

async fn serve(links: Arc<HubLinks>, connection: Arc<dyn Connection>) {
    if connection.peer_certificates().is_empty() {
        links.join(connection).await;
    } else {
        links.connection(connection).await;
    }
}

/// The log of a hub that has started once: what every seed begins with.
///
/// # Errors
/// When the hub does not start.
pub fn first_log() -> Result<Backup, String> {
    let universe = Universe::new(1);
    let net = Net::new(&universe);
    let hub = SimHub::new(&universe, &net, None, Backup::default(), CERTIFICATE_LIFE);
    hub.start();
    let limit = Duration::from_secs(120);
    while universe.now() < limit {
        universe.step(limit);
        // The controllers make ServiceAccounts and the CA's ConfigMap in every namespace.
        if hub.is_ready() && hub.log.under("/registry/core/serviceaccounts/default/default").len() == 1 {
            let settled = universe.now() + Duration::from_secs(5);
            while universe.now() < settled {
                universe.step(settled);
            }
            let log = hub.log.backup();
            hub.kill();
            return Ok(log);
        }
    }
    Err("the first hub did not get ready".into())
}
