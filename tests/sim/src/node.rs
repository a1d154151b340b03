//! A node: a machine, its runtimes, and the agent as `holdfast-edge` puts it together.

use crate::certificate::SimCa;
use crate::ledger::{Ledger, NodeNo, Seen};
use crate::limits::{EPOCH, FLOOR_SLACK, GRACE, HEARTBEAT, HUB_ADDRESS, MAX_DRIFT};
use crate::parts::{NoIndex, SimConnector, SimDataplane, SimHost, SimNet, SimProber};
use crate::runtime::{SimRegistries, SimRuntime, WASM};
use holdfast_edge_store::{EdgeStore, StoreError};
use holdfast_env::{Disk, World};
use holdfast_link::identity::validity;
use holdfast_link::join::{JoinToken, join};
use holdfast_link::quic::idle_timeout;
use holdfast_link_engine::heartbeat::longest_for;
use holdfast_node::commands::Commands;
use holdfast_node::{Eviction, Identities, NodeClock, NodeConfig, NodeHandle, NodeParts, SharedStore, node_main};
use holdfast_sim_world::{Machine, Net, Rng, Universe};
use holdfast_volumes::VolumeManager;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long the service manager waits before it starts the agent again.
const RESTART: Duration = Duration::from_secs(1);

/// A running agent.
struct Agent {
    store: Arc<SharedStore>,
    handle: NodeHandle,
}

/// A node.
pub struct SimNode {
    /// Its number, also in the network.
    pub no: NodeNo,
    /// Its name.
    pub name: String,
    /// The machine.
    pub machine: Arc<Machine>,
    /// Runs containers.
    pub oci: Arc<SimRuntime>,
    wasm: Arc<SimRuntime>,
    pods_net: Arc<SimNet>,
    universe: Universe,
    net: Net,
    ledger: Ledger,
    dir: PathBuf,
    agent: Mutex<Option<Agent>>,
    powered: Mutex<bool>,
    boots: Mutex<u64>,
    hubs: Mutex<Vec<String>>,
    /// What is on `/run`.
    kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    /// Rung when the agent has ended by itself.
    ended: Notify,
    me: Weak<SimNode>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimNode {
    /// A node that is off. `dir` is where its pods' volumes go.
    pub fn new(
        no: NodeNo,
        universe: &Universe,
        net: &Net,
        ledger: &Ledger,
        wall: Duration,
        dir: &Path,
    ) -> Arc<SimNode> {
        let ppm = i64::from(1_000_000 / MAX_DRIFT);
        let drift = universe.random(|rng| i64::try_from(rng.below(2 * ppm.unsigned_abs())).unwrap_or(0) - ppm);
        let machine = Machine::new(universe, no, wall, drift);
        let runtime = |name| SimRuntime::new(name, no, universe, &machine, ledger);
        let node = Arc::new_cyclic(|me| SimNode {
            no,
            name: format!("edge-{no}"),
            oci: runtime("containerd"),
            wasm: runtime(WASM),
            machine: machine.clone(),
            pods_net: Arc::default(),
            universe: universe.clone(),
            net: net.clone(),
            ledger: ledger.clone(),
            dir: dir.join(format!("edge-{no}")),
            agent: Mutex::new(None),
            powered: Mutex::new(false),
            boots: Mutex::new(0),
            hubs: Mutex::new(vec![HUB_ADDRESS.into()]),
            kept: Arc::default(),
            ended: Notify::new(),
            me: me.clone(),
        });
        let supervised = Arc::downgrade(&node);
        let universe = universe.clone();
        universe.clone().spawn(Universe::NOBODY, "service-manager", Box::pin(supervise(universe, supervised)));
        node
    }

    /// Whether the machine is on.
    pub fn is_on(&self) -> bool {
        *lock(&self.powered)
    }

    /// The journal, while the agent runs.
    pub fn store(&self) -> Option<Arc<SharedStore>> {
        lock(&self.agent).as_ref().map(|agent| agent.store.clone())
    }

    /// Whether the agent says that its link is up.
    pub fn is_connected(&self) -> bool {
        lock(&self.agent).as_ref().is_some_and(|agent| agent.handle.commands.status().connected)
    }

    /// What the agent may be asked on the machine, while it runs.
    pub fn commands(&self) -> Option<Commands> {
        lock(&self.agent).as_ref().map(|agent| agent.handle.commands.clone())
    }

    /// Switches the machine on.
    pub fn power_on(&self) {
        let was_on = std::mem::replace(&mut *lock(&self.powered), true);
        if !was_on {
            *lock(&self.boots) += 1;
            self.machine.boot();
            self.start_agent();
        }
    }

    /// The power goes at once.
    pub fn power_off(&self) {
        *lock(&self.powered) = false;
        self.stop_agent();
        self.machine.cut_power();
        lock(&self.kept).clear();
        for runtime in [&self.oci, &self.wasm] {
            runtime.power_lost();
        }
        self.ledger.see(&Seen::NodeEnded { node: self.no, power: true });
    }

    /// The agent is killed; the service manager starts it again.
    pub fn kill_agent(&self) {
        if !self.is_on() {
            return;
        }
        self.stop_agent();
        self.machine.crash();
        self.ledger.see(&Seen::NodeEnded { node: self.no, power: false });
        self.ended.notify_one();
    }

    /// Gives the agent other addresses of the hub, from its next start on.
    pub fn set_hubs(&self, hubs: &[&str]) {
        *lock(&self.hubs) = hubs.iter().map(|hub| hub.to_string()).collect();
    }

    /// Puts another card in. The machine must be off.
    pub fn replace_disk(&self) {
        self.machine.disk().replace();
        self.ledger.see(&Seen::Flipped { node: self.no });
    }

    /// Flips bits of one file of the store, among the bytes that are in use. The agent must be off.
    pub fn flip_bits(&self, rng: &mut Rng) {
        let disk = self.machine.disk();
        let mut files: Vec<String> =
            disk.list("journal").unwrap_or_default().iter().map(|name| format!("journal/{name}")).collect();
        files.extend(["snapshot.a", "snapshot.b", "vitals"].map(String::from));
        let file = rng.pick(&files).clone();
        let used = disk.used(&file);
        let single: Vec<u64> = (0..=rng.below(3)).map(|_| rng.below(used as u64 + 1)).collect();
        let (burst, first) = (rng.chance(3), single[0]);
        let mut flipped = false;
        let mut flip = |at: u64| {
            let (at, bit) = (usize::try_from(at).unwrap_or(0), u8::try_from(rng.below(8)).unwrap_or(0));
            flipped |= disk.flip_bit(&file, at, bit);
        };
        if burst {
            // A bad sector.
            (first / 512 * 512..).step_by(40).take(13).for_each(&mut flip);
        } else {
            single.into_iter().for_each(&mut flip);
        }
        tracing::info!(node = self.name, file, used, flipped, "Bits flip");
        if flipped {
            self.ledger.see(&Seen::Flipped { node: self.no });
        }
    }

    fn stop_agent(&self) {
        // Its connections first: what ends with the process says nothing more.
        self.net.silence(self.no);
        let agent = lock(&self.agent).take();
        drop(agent);
    }

    fn start_agent(&self) {
        let Some(me) = self.me.upgrade() else { return };
        let process: World = self.machine.process();
        let run = async move {
            if let Err(why) = me.run_agent(process).await {
                tracing::info!(node = me.name, why, "Agent has ended");
            }
            me.ended.notify_one();
        };
        self.universe.spawn(self.no, "agent", Box::pin(run));
    }

    /// As `holdfast-edge agent` does it.
    async fn run_agent(&self, process: World) -> Result<(), String> {
        let boot_id = format!("00000000-0000-0000-0000-{:04x}{:08x}", self.no, *lock(&self.boots));
        let boot = u128::from_str_radix(&boot_id.replace('-', ""), 16).map_err(|err| err.to_string())?;
        let clock = NodeClock::open(process, boot);
        let now = EPOCH + self.universe.now();
        if clock.floor() > now + FLOOR_SLACK + self.universe.now() / MAX_DRIFT {
            self.ledger.violation(format!("{}: the time floor {:?} is ahead of {now:?}", self.name, clock.floor()));
        }
        let env: World = clock.clone();
        let store = match EdgeStore::open(env.disk()) {
            Ok((store, report)) => {
                tracing::info!(node = self.name, ?report, doubt = ?store.vitals().doubt, "The journal is open");
                store
            }
            Err(err) => {
                if matches!(err, StoreError::Damaged { .. }) {
                    self.ledger.violation(format!("{}: the journal does not open: {err}", self.name));
                }
                return Err(err.to_string());
            }
        };
        self.ledger.see(&Seen::NodeOpened { node: self.no, state: store.state() });
        let identities = match Identities::load(env.clone()).map_err(|err| err.to_string())? {
            Some(identities) => identities,
            None => self.join(&env).await?,
        };
        let (identity, _) = identities.in_use();
        let leaf = identity.chain.first().cloned().unwrap_or_default();
        clock.certified(validity(&leaf).map_err(|err| err.to_string())?.not_before);
        let parts = NodeParts {
            env: env.clone(),
            clock,
            identity: identities,
            token_key: None,
            config: NodeConfig {
                node_name: self.name.clone(),
                node_uid: identity.node_uid,
                node_ips: vec![format!("10.0.0.{}", self.no)],
                hubs: lock(&self.hubs).clone(),
                log_dir: self.dir.join("logs"),
                cgroup_root: "/holdfast".into(),
                dns_ip: "10.43.0.10".into(),
                cluster_domain: "cluster.local".into(),
                grace: GRACE,
                max_pods: 110,
                eviction: Eviction::default(),
                parallel_pulls: 1,
                ..NodeConfig::default()
            },
            oci: self.oci.clone(),
            wasm: self.wasm.clone(),
            registries: Arc::new(SimRegistries),
            network: self.pods_net.clone(),
            volumes: Arc::new(VolumeManager::new(self.dir.join("pods"))),
            dataplane: Arc::new(SimDataplane),
            prober: Arc::new(SimProber(self.oci.clone())),
            connector: Arc::new(SimConnector {
                net: self.net.clone(),
                machine: self.no,
                certificate: Mutex::new(leaf),
                idle: idle_timeout(longest_for(GRACE, HEARTBEAT)),
            }),
            host: Arc::new(SimHost { boot_id, kept: self.kept.clone() }),
            events: Arc::new(NoIndex),
        };
        let store = SharedStore::new(env.clone(), store);
        let handle = node_main(parts, store.clone()).await;
        let mut fatal = store.fatal();
        *lock(&self.agent) = Some(Agent { store, handle });
        loop {
            if let Some(reason) = fatal.borrow_and_update().clone() {
                return Err(reason);
            }
            fatal.changed().await.map_err(|_| "the node has stopped".to_string())?;
        }
    }

    async fn join(&self, env: &World) -> Result<Arc<Identities>, String> {
        let hubs = lock(&self.hubs).clone();
        let mut connected = Err("the agent was given no hub".to_string());
        for hub in &hubs {
            connected =
                self.net.dial(self.no, hub, Vec::new(), Duration::from_secs(30)).await.map_err(|e| e.to_string());
            if connected.is_ok() {
                break;
            }
        }
        let connection = connected?;
        let ca_hash = SimCa::new().map_err(|err| err.to_string())?.hash()?;
        let token = JoinToken { id: "good".into(), secret: "secret".into(), ca_hash };
        let identity = join(env, &connection, &token, &self.name).await.map_err(|err| err.to_string())?;
        Identities::create(env.clone(), identity).map_err(|err| err.to_string())
    }
}

/// Starts the agent again whenever it has ended, while the machine is on.
async fn supervise(universe: Universe, node: Weak<SimNode>) {
    loop {
        let Some(held) = node.upgrade() else { return };
        held.ended.notified().await;
        drop(held);
        universe.sleep(RESTART).await;
        let Some(held) = node.upgrade() else { return };
        if held.is_on() {
            held.stop_agent();
            held.machine.crash();
            held.start_agent();
        }
    }
}
