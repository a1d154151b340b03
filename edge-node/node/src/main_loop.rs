//! `node_main`: starts the node's tasks and owns them.

use crate::commands::Commands;
use crate::disk::DiskMeter;
use crate::events::Events;
use crate::lease::RunLease;
use crate::link::LinkHost;
use crate::objects::Objects;
use crate::pages::Pages;
use crate::parts::{DataplaneSnapshot, NodeParts};
use crate::pods::{Common, PodCalls, PodManager, Pulls, collect_images};
use crate::readiness::{self, Readiness};
use crate::static_pods::{self, Keeper};
use crate::store::SharedStore;
use crate::tokens::NodeTokens;
use crate::{shutdown, status, trouble};
use holdfast_env::{Task, World};
use holdfast_pods::Ledger;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Changes within this time go into one update of the data plane.
const SETTLE: Duration = Duration::from_millis(50);
/// How often the data plane is made to fit even if nothing changed: someone else may have touched it.
const DATAPLANE_PERIOD: Duration = Duration::from_secs(30);
/// The wait after the data plane refused an update.
const DATAPLANE_RETRY: Duration = Duration::from_secs(2);

/// What the node's tasks share.
pub(crate) struct Running {
    pub(crate) parts: NodeParts,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) events: Events,
    /// Whether the node shuts down.
    pub(crate) shutting_down: Arc<watch::Sender<bool>>,
    pub(crate) disk: DiskMeter,
    network: Mutex<Option<String>>,
    evictions: Mutex<BTreeMap<&'static str, u64>>,
}

impl Running {
    /// Why pods cannot be attached to the network; `None` when they can.
    pub(crate) fn network_error(&self) -> Option<String> {
        self.network.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A pod has to go, because of this signal.
    pub(crate) fn count_eviction(&self, signal: &'static str) {
        *self.evictions.lock().unwrap_or_else(PoisonError::into_inner).entry(signal).or_default() += 1;
    }

    /// Pods that had to go since the start, by signals.
    pub(crate) fn evictions(&self) -> BTreeMap<&'static str, u64> {
        self.evictions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_network(&self, error: Option<String>) -> bool {
        let mut current = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != error;
        *current = error;
        changed
    }
}

/// A running node; dropping it ends the node's tasks, and leaves the pods running.
pub struct NodeHandle {
    /// What may be asked of it locally.
    pub commands: Commands,
    store: Arc<SharedStore>,
    env: World,
    _tasks: Vec<Task>,
}

impl NodeHandle {
    /// Completes when the node cannot go on (a failed sync): the process must end and recover. While the disk takes no
    /// writes at all it could not: until it does, the node goes on with what it has in memory, and says so.
    pub async fn fatal(&self) -> String {
        let mut fatal = self.store.fatal();
        loop {
            let reason = fatal.borrow_and_update().clone();
            if let Some(reason) = reason {
                while !self.store.is_writable().await {
                    self.env.sleep(trouble::RETRY).await;
                }
                return reason;
            }
            if fatal.changed().await.is_err() {
                return "the node has stopped".into();
            }
        }
    }
}

/// Starts the node. No step waits for the hub: what the journal holds runs at once.
pub async fn node_main(parts: NodeParts, store: Arc<SharedStore>) -> NodeHandle {
    let env = parts.env.clone();
    let objects = Objects::new(store.clone());
    let events = Events::new(env.clone(), store.clone(), parts.events.clone(), &parts.config.node_name);
    let unknown = Some("the node has no pod network yet".to_string());
    let readiness = Arc::new(Readiness::default());
    let tokens = NodeTokens::new(env.clone(), &parts.config.node_uid, parts.token_key.clone());
    let shutting_down = Arc::new(watch::channel(shutdown::was_under_way(&parts)).0);
    let node = Arc::new(Running {
        parts: parts.clone(),
        store: store.clone(),
        readiness: readiness.clone(),
        events: events.clone(),
        shutting_down: shutting_down.clone(),
        disk: DiskMeter::new(parts.clone()),
        network: Mutex::new(unknown),
        evictions: Mutex::default(),
    });
    let (reconnected, whole) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (report_pods, report_node) = (Arc::new(Notify::new()), Arc::new(Notify::new()));

    let lease = RunLease::new(&parts, store.vitals().doubt);
    let common = Arc::new(Common {
        lease: lease.clone(),
        parts: parts.clone(),
        store: store.clone(),
        objects: objects.clone(),
        events: events.clone(),
        readiness,
        tokens: tokens.clone(),
        changed: Notify::new(),
        homes: Mutex::default(),
        pulls: Pulls::new(parts.config.parallel_pulls),
        images: Mutex::default(),
        pressure: Mutex::default(),
        ledger: Mutex::new(Ledger::new(status::allocatable(&parts.config, &parts.host.read()))),
        room: watch::channel(0).0,
        link: OnceLock::new(),
        users: Mutex::default(),
        shutting_down,
    });
    let pods = PodManager::new(common.clone(), report_pods.clone());
    let calls = PodCalls::new(pods.clone(), Pages::new(node.clone(), pods.clone()));
    let link = LinkHost::new(parts.clone(), store.clone(), calls.clone(), reconnected.clone(), whole.clone(), lease);
    tokens.follow(link.state());
    // Nothing was set before.
    let _ = common.link.set(link.state());
    let commands = Commands { node: node.clone(), pods: pods.clone(), calls, link: link.clone() };

    let keeper = static_keeper(&node).await;
    configure_network(&node, &objects).await;
    events.tell_repair(&parts.config.node_uid).await;
    events.node(&parts.config.node_uid, false, "Starting", "Starting holdfast-edge.").await;
    let readiness_task = Box::pin(readiness::run(node.clone(), objects.clone(), pods.clone()));
    let mut tasks = vec![
        env.spawn("pods", Box::pin(pods.clone().run())),
        env.spawn("node-status", Box::pin(status::run(node.clone(), pods.clone(), report_node.clone()))),
        env.spawn("dataplane", Box::pin(dataplane(node.clone(), objects, pods, report_node.clone()))),
        env.spawn("gaps", Box::pin(events.clone().tell_gaps(parts.config.node_uid.clone(), link.state()))),
        env.spawn("doubt", Box::pin(doubt(node.clone(), events, whole))),
        env.spawn("disk-trouble", Box::pin(trouble::tell(node.clone(), report_node.clone()))),
        env.spawn("link", Box::pin(link.run())),
        env.spawn("image-gc", Box::pin(collect_images(common))),
        env.spawn("time-floor", Box::pin(parts.clock.clone().keep())),
        env.spawn("readiness", readiness_task),
        env.spawn(
            "reconnected",
            Box::pin(async move {
                loop {
                    reconnected.notified().await;
                    report_node.notify_one();
                    report_pods.notify_one();
                }
            }),
        ),
    ];
    tasks.extend(keeper.map(|keeper| env.spawn("static-pods", Box::pin(keeper.run()))));
    NodeHandle { commands, store, env, _tasks: tasks }
}

/// The keeper of static pods, after its first look: before anything of unknown pods is swept away.
async fn static_keeper(node: &Running) -> Option<Keeper> {
    let (config, env) = (&node.parts.config, node.parts.env.clone());
    let Some(path) = config.static_pods.clone() else {
        static_pods::let_go(&node.store).await;
        return None;
    };
    let (store, events, readiness) = (node.store.clone(), node.events.clone(), node.readiness.clone());
    let mut keeper = Keeper::new(env, store, events, readiness, (&config.node_name, &config.node_uid), path);
    keeper.look().await;
    Some(keeper)
}

/// Ends the doubt about the journal whenever the node has the hub's whole view.
async fn doubt(node: Arc<Running>, events: Events, whole: Arc<Notify>) {
    loop {
        whole.notified().await;
        // What could not be told at the start, as on a full disk.
        events.tell_repair(&node.parts.config.node_uid).await;
        if let Err(err) = node.store.settle().await {
            tracing::warn!(%err, "That the journal is whole again could not be noted yet");
        }
    }
}

/// Tells the network what the hub gave this node; whether the node's readiness changed by it.
async fn configure_network(node: &Running, objects: &Objects) -> bool {
    let own = objects.node(&node.parts.config.node_name);
    let Some(cidr) = own.and_then(|own| own.spec).and_then(|spec| spec.pod_cidr) else {
        return node.set_network(Some("the node has no pod network yet".into()));
    };
    match node.parts.network.configure(&cidr).await {
        Ok(()) => node.set_network(None),
        Err(err) => {
            tracing::warn!(cidr, err, "The pod network could not be set up");
            node.set_network(Some(err))
        }
    }
}

/// Keeps Services, routes and DNS in step with objects and pods.
async fn dataplane(node: Arc<Running>, objects: Objects, pods: Arc<PodManager>, report: Arc<Notify>) {
    let env = node.parts.env.clone();
    let mut items = node.store.items();
    let mut ready = pods.watch_ready();
    loop {
        items.mark_unchanged();
        ready.mark_unchanged();
        if configure_network(&node, &objects).await {
            report.notify_one();
        }
        let snapshot = DataplaneSnapshot {
            node_name: node.parts.config.node_name.clone(),
            services: objects.services(),
            slices: objects.slices(),
            nodes: objects.nodes(),
            local_ready: pods.ready_by_ip(),
        };
        let wait = match node.parts.dataplane.apply(Arc::new(snapshot)).await {
            Ok(()) => DATAPLANE_PERIOD,
            Err(err) => {
                tracing::warn!(err, "The data plane could not be updated");
                DATAPLANE_RETRY
            }
        };
        tokio::select! {
            biased;
            changed = items.changed() => if changed.is_err() { return },
            changed = ready.changed() => if changed.is_err() { return },
            () = env.sleep(wait) => {}
        }
        env.sleep(SETTLE).await;
    }
}
