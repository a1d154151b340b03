//! Scheduler and controllers, each as its own ServiceAccount of `kube-system`.
//!
//! A hub with a store of its own runs them from its start to its end. Of hubs that share one, the leader runs them, and what
//! else only one may do ([`holdfast_links::HubLinks::watch_over_the_lost`]): who holds the Lease `kube-system/holdfast-hub`.
//! Who takes it writes [`LEADER`] in the same transaction, and every write of a leader checks that record: one that does not
//! know yet that another leads writes nothing any more.

use super::links::Links;
use super::{Shared, endpoint};
use anyhow::Context;
use holdfast_apiserver::{ApiServer, LocalClient, RequestAuthority};
use holdfast_controller::{Candidacy, Candidate, Client, Key, ResourceKind, Term, Timing};
use holdfast_controllers::ControllersConfig;
use holdfast_core::UserInfo;
use holdfast_core::user::MASTERS;
use holdfast_env::{Task, World};
use holdfast_registry::{CommitWith, HubRegistry};
use holdfast_server::Served;
use holdfast_store::{Check, Condition, Op};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The scheduler's ServiceAccount; its role is among the default objects.
const SCHEDULER: &str = "kube-scheduler";
/// The Lease of the hub that leads.
const LEASE: (&str, &str) = ("kube-system", "holdfast-hub");
/// Written by whoever takes the Lease, and by nobody else.
const LEADER: &str = "/holdfast/leader";
/// How long the work of a leader may take to end, and its Lease to be let go, when the hub stops.
const RESIGN: Duration = Duration::from_secs(5);

/// What reconciles.
pub(crate) struct Controllers {
    world: World,
    /// Follows which kinds are served.
    _following: Task,
    /// Of the only hub.
    tasks: Vec<Task>,
    /// Of one of several.
    candidacy: Option<Candidacy>,
}

impl Controllers {
    /// Ends everything that reconciles, and lets another hub lead.
    pub(crate) async fn stop(self) {
        drop(self.tasks);
        if let Some(candidacy) = self.candidacy
            && self.world.timeout(RESIGN, candidacy.resign()).await.is_none()
        {
            tracing::warn!("Could not let go of the lead; another hub takes it when the lease has run out");
        }
    }
}

/// Makes the roles that are missing, and starts everything that reconciles, at once or when this hub leads.
pub(crate) async fn start(
    shared: &Shared<'_>,
    server: &ApiServer,
    registry: &HubRegistry,
    links: &Links,
) -> anyhow::Result<Controllers> {
    let admin = server.client(UserInfo::new("system:holdfast:hub", &[MASTERS]));
    holdfast_controllers::ensure_roles(&*admin).await.context("make the controllers' roles")?;
    let (kinds, following) = served(shared, registry);
    let config = ControllersConfig {
        cluster_cidr: shared.config.cluster_cidr,
        root_ca_pem: shared.pki.roots_pem(),
        kinds,
        authority: Some(Arc::new(RequestAuthority::new(shared.pki.clone(), shared.world.clone()))),
        ..ControllersConfig::default()
    };
    let world = shared.world.clone();
    let mut controllers =
        Controllers { world: world.clone(), _following: following, tasks: Vec::new(), candidacy: None };
    // A client that acts as a controller of this name.
    let actor = server.client(UserInfo::default());
    let client = move |name: &str| (*actor).clone().acting_as(UserInfo::service_account("kube-system", name));
    let Some(name) = &shared.hub_name else {
        controllers.tasks = run(&world, config, &|name| Arc::new(client(name)));
        return Ok(controllers);
    };
    let takes = Op::Put { key: LEADER.into(), value: name.clone().into() };
    let taking = CommitWith { ops: vec![takes], ..CommitWith::default() };
    let candidate = Candidate {
        world,
        client: admin.clone(),
        taking: Arc::new((*admin).clone().with_extension(taking)),
        lease: Key::new(LEASE.0, LEASE.1),
        identity: name.clone(),
        component: "holdfast-hub",
        timing: Timing::default(),
    };
    let links = links.links().clone();
    let publisher = server.client(api_server());
    let lead = move |world: World, term: Term| {
        let leads = Check { key: LEADER.into(), condition: Condition::ModifiedAt(term.revision) };
        let fence = CommitWith { checks: vec![leads.clone()], ..CommitWith::default() };
        let mut tasks = run(&world, config.clone(), &|name| Arc::new(client(name).with_extension(fence.clone())));
        let (apis, there) = watch::channel(BTreeSet::new());
        tasks.push(world.spawn("links-lost", links.watch_over_the_lost(leads, apis)));
        let publisher = Arc::new((*publisher).clone().with_extension(fence));
        tasks.push(world.spawn("api-endpoints", Box::pin(endpoint::follow(world.clone(), publisher, there))));
        tasks
    };
    controllers.candidacy = Some(candidate.start(Box::new(lead)));
    Ok(controllers)
}

/// Who publishes where the API is.
pub(crate) fn api_server() -> UserInfo {
    UserInfo::new("system:apiserver", &[MASTERS])
}

/// Runs controllers and scheduler until the tasks are dropped.
fn run(world: &World, config: ControllersConfig, client: &dyn Fn(&str) -> Arc<LocalClient>) -> Vec<Task> {
    let clients = |name: &str| -> Arc<dyn Client> { client(name) };
    let mut tasks = holdfast_controllers::start_all(world.clone(), &clients, config);
    let scheduler = holdfast_scheduler::run_scheduler(world.clone(), clients(SCHEDULER));
    tasks.push(world.spawn("scheduler", Box::pin(scheduler)));
    tasks
}

/// The kinds that are served, in the words of controllers; the task follows their changes.
fn served(shared: &Shared<'_>, registry: &HubRegistry) -> (watch::Receiver<Arc<[ResourceKind]>>, Task) {
    let words = |served: &Served| served.kinds.iter().map(ResourceKind::from).collect::<Arc<[_]>>();
    let mut live = registry.kinds().subscribe();
    let (sender, kinds) = watch::channel(words(&live.borrow_and_update()));
    let follow = async move {
        while live.changed().await.is_ok() {
            sender.send_replace(words(&live.borrow_and_update()));
        }
    };
    (kinds, shared.world.spawn("served-kinds", Box::pin(follow)))
}
