//! A node's container runtime: containers that run as their arguments say, and outlive the agent.
//!
//! Programs: `run` goes on for ever; `exit CODE SECONDS` ends by itself.

use crate::ledger::{Ledger, NodeNo, Seen};
use async_trait::async_trait;
use holdfast_core::Timestamp;
use holdfast_runtime::{
    Answer, ContainerInfo, ContainerSpec, ContainerState, ExecRequest, ExecSession, Found, ImageInfo, Registries,
    RemoteImage, Runtime, RuntimeError, RuntimeEvent, RuntimeVersion, SandboxInfo, SandboxSpec, SandboxState,
    WantedImage,
};
use holdfast_sim_world::{Machine, Universe};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::broadcast;

/// Registries that have what the nodes have: images are there from the beginning.
pub(crate) struct SimRegistries;

#[async_trait]
impl Registries for SimRegistries {
    async fn find(&self, wanted: &WantedImage) -> Result<Answer, RuntimeError> {
        match wanted.here {
            Some(_) => Ok(Answer { found: Found::Same, shown: None }),
            None => Err(RuntimeError::ImagePull { image: wanted.name.clone(), reason: "not found".into() }),
        }
    }
}

/// How long a call takes, in microseconds.
const LATENCY_US: (u64, u64) = (500, 40_000);
/// Name of the Wasm host.
pub const WASM: &str = "wasm";
/// Names of images that are not here and cannot be had begin so.
pub const MISSING: &str = "docker.io/library/missing";

struct Sandbox {
    info: SandboxInfo,
    ips: Vec<String>,
}

struct Container {
    info: ContainerInfo,
    pod_uid: String,
    args: Vec<String>,
    /// Counts starts, so that the end of an earlier one is not taken for this one's.
    starts: u64,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    down: bool,
    starts: u64,
}

/// The runtime.
pub struct SimRuntime {
    name: &'static str,
    node: NodeNo,
    universe: Universe,
    machine: Arc<Machine>,
    ledger: Ledger,
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    me: Weak<SimRuntime>,
}

impl SimRuntime {
    /// A runtime on a machine.
    pub fn new(
        name: &'static str,
        node: NodeNo,
        universe: &Universe,
        machine: &Arc<Machine>,
        ledger: &Ledger,
    ) -> Arc<SimRuntime> {
        Arc::new_cyclic(|me| SimRuntime {
            name,
            node,
            universe: universe.clone(),
            machine: machine.clone(),
            ledger: ledger.clone(),
            state: Mutex::default(),
            events: broadcast::channel(64).0,
            me: me.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_wall(self.machine.wall())
    }

    /// The runtime's daemon dies, or comes back; containers go on.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
        if !down {
            let _ = self.events.send(RuntimeEvent::Resync);
        }
    }

    /// The machine lost power: nothing runs any more, and how it ended is not known.
    pub fn power_lost(&self) {
        let mut state = self.lock();
        state.down = false;
        for sandbox in state.sandboxes.values_mut() {
            sandbox.info.state = SandboxState::NotReady;
        }
        let mut ended = Vec::new();
        for container in state.containers.values_mut() {
            if matches!(container.info.state, ContainerState::Running { .. }) {
                container.info.state = ContainerState::Unknown;
                container.starts = 0;
                ended.push((container.pod_uid.clone(), container.info.name.clone(), container.info.attempt));
            }
        }
        drop(state);
        for (pod_uid, name, attempt) in ended {
            self.stopped(&pod_uid, &name, attempt, false);
        }
    }

    /// Pods with a running container, and their containers.
    pub fn running(&self) -> BTreeMap<String, Vec<String>> {
        let mut running: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for container in self.lock().containers.values() {
            if matches!(container.info.state, ContainerState::Running { .. }) {
                running.entry(container.pod_uid.clone()).or_default().push(container.info.name.clone());
            }
        }
        running
    }

    /// Whether a running pod has this address.
    pub fn answers(&self, ip: &str) -> bool {
        let state = self.lock();
        state.sandboxes.values().any(|sandbox| {
            sandbox.ips.iter().any(|own| own == ip)
                && state.containers.values().any(|c| {
                    c.pod_uid == sandbox.info.pod_uid && matches!(c.info.state, ContainerState::Running { .. })
                })
        })
    }

    fn stopped(&self, pod_uid: &str, container: &str, attempt: u32, told: bool) {
        self.ledger.see(&Seen::Stopped { node: self.node, pod_uid, container, attempt, told });
    }

    /// Whether this runtime has an image or can have it: nothing of what is simulated is Wasm.
    fn can_have(&self, reference: &str) -> bool {
        self.name != WASM && !reference.starts_with(MISSING)
    }

    /// Lets a call take its time, and fails when the daemon is not there.
    async fn called(&self) -> Result<(), RuntimeError> {
        let latency = self.universe.random(|rng| rng.between(LATENCY_US.0, LATENCY_US.1));
        self.universe.sleep(Duration::from_micros(latency)).await;
        if self.lock().down {
            return Err(RuntimeError::Unavailable { runtime: self.name, reason: "connection refused".into() });
        }
        Ok(())
    }

    fn exit(&self, id: &str, start: u64, exit_code: i32, told: bool) {
        let wall = self.wall();
        let mut state = self.lock();
        let Some(container) = state.containers.get_mut(id).filter(|container| container.starts == start) else {
            return;
        };
        let ContainerState::Running { started_at } = container.info.state else { return };
        container.info.state = ContainerState::Exited {
            started_at,
            finished_at: wall,
            exit_code,
            reason: if exit_code == 0 { "Completed" } else { "Error" }.into(),
            message: String::new(),
        };
        let (uid, name, attempt) = (container.pod_uid.clone(), container.info.name.clone(), container.info.attempt);
        let down = state.down;
        drop(state);
        self.stopped(&uid, &name, attempt, told);
        if !down {
            let _ = self.events.send(RuntimeEvent::Exited { container_id: id.to_string() });
        }
    }
}

fn image(reference: &str) -> ImageInfo {
    let digest: u64 = reference.bytes().fold(7, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    ImageInfo {
        id: format!("sha256:{digest:064x}"),
        names: vec![reference.to_string()],
        size_bytes: 1 << 20,
        is_wasm: false,
        user: String::new(),
    }
}

#[async_trait]
impl Runtime for SimRuntime {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        self.called().await?;
        Ok(RuntimeVersion { name: self.name.into(), version: "1.0".into() })
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        self.called().await?;
        let created_at = self.wall();
        let mut state = self.lock();
        let info =
            SandboxInfo { id: spec.id.clone(), pod_uid: spec.pod_uid.clone(), state: SandboxState::Ready, created_at };
        let sandbox = state.sandboxes.entry(spec.id.clone()).or_insert(Sandbox { info, ips: spec.ips.clone() });
        if sandbox.info.state == SandboxState::NotReady {
            return Err(RuntimeError::Failed {
                operation: "create pod sandbox",
                reason: format!("{} exists and has stopped", spec.id),
            });
        }
        Ok(sandbox.info.clone())
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.called().await?;
        let running: Vec<(String, u64)> = {
            let mut state = self.lock();
            if let Some(sandbox) = state.sandboxes.get_mut(id) {
                sandbox.info.state = SandboxState::NotReady;
            }
            let of = state.containers.iter().filter(|(_, c)| c.info.sandbox_id == id);
            of.map(|(id, container)| (id.clone(), container.starts)).collect()
        };
        running.iter().for_each(|(id, start)| self.exit(id, *start, 137, true));
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.called().await?;
        let mut state = self.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, container| container.info.sandbox_id != id);
        Ok(())
    }

    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        self.called().await?;
        Ok(self.lock().sandboxes.values().map(|sandbox| sandbox.info.clone()).collect())
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        self.called().await?;
        Ok(self.can_have(reference).then(|| image(reference)))
    }

    async fn pull_image(&self, _image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        Err(RuntimeError::NotImplemented("pulls in the simulator"))
    }

    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        self.called().await?;
        Ok(Vec::new())
    }

    async fn import_image(&self, _tar: &std::path::Path) -> Result<Vec<String>, RuntimeError> {
        Err(RuntimeError::NotImplemented("images in the simulator"))
    }

    async fn create_container(&self, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.called().await?;
        let mut state = self.lock();
        let ready = state.sandboxes.get(&sandbox.id).is_some_and(|s| s.info.state == SandboxState::Ready);
        if !ready {
            return Err(RuntimeError::NotFound(format!("sandbox {}", sandbox.id)));
        }
        state.containers.entry(spec.id.clone()).or_insert(Container {
            info: ContainerInfo {
                id: spec.id.clone(),
                sandbox_id: sandbox.id.clone(),
                name: spec.name.clone(),
                attempt: spec.attempt,
                image: spec.image.clone(),
                image_id: image(&spec.image).id,
                state: ContainerState::Created,
            },
            pod_uid: sandbox.pod_uid.clone(),
            args: spec.args.clone(),
            starts: 0,
        });
        Ok(())
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.called().await?;
        let started_at = self.wall();
        let mut state = self.lock();
        state.starts += 1;
        let start = state.starts;
        let Some(container) = state.containers.get_mut(id) else {
            return Err(RuntimeError::NotFound(format!("container {id}")));
        };
        match container.info.state {
            ContainerState::Running { .. } => return Ok(()),
            ContainerState::Created => {}
            _ => {
                let reason = format!("{id} has ended");
                return Err(RuntimeError::Failed { operation: "start container", reason });
            }
        }
        container.info.state = ContainerState::Running { started_at };
        container.starts = start;
        let (uid, name, attempt) = (container.pod_uid.clone(), container.info.name.clone(), container.info.attempt);
        let program = container.args.clone();
        drop(state);
        self.ledger.see(&Seen::Started { node: self.node, pod_uid: &uid, container: &name, attempt });
        if let [verb, code, seconds] = &program[..]
            && verb == "exit"
        {
            let (code, seconds) = (code.parse().unwrap_or(1), seconds.parse().unwrap_or(1));
            let (me, universe, id) = (self.me.clone(), self.universe.clone(), id.to_string());
            // The power may go meanwhile; `exit` finds another start then, or none.
            let end = async move {
                universe.sleep(Duration::from_secs(seconds)).await;
                if let Some(me) = me.upgrade() {
                    me.exit(&id, start, code, false);
                }
            };
            self.universe.spawn(Universe::NOBODY, "program", Box::pin(end));
        }
        Ok(())
    }

    async fn stop_container(&self, id: &str, _signal: Option<&str>, grace: Duration) -> Result<(), RuntimeError> {
        self.called().await?;
        let start = self.lock().containers.get(id).map(|container| container.starts);
        let Some(start) = start.filter(|start| *start > 0) else { return Ok(()) };
        let millis = self.universe.random(|rng| rng.below(1500));
        let wait = Duration::from_millis(millis);
        self.universe.sleep(wait.min(grace)).await;
        self.exit(id, start, if wait <= grace { 143 } else { 137 }, true);
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.called().await?;
        let mut state = self.lock();
        if state.containers.get(id).is_some_and(|c| matches!(c.info.state, ContainerState::Running { .. })) {
            return Err(RuntimeError::Failed { operation: "remove container", reason: format!("{id} runs") });
        }
        state.containers.remove(id);
        Ok(())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        self.called().await?;
        Ok(self.lock().containers.values().map(|container| container.info.clone()).collect())
    }

    async fn exec(&self, _id: &str, _request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::NotImplemented("exec in the simulator"))
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}
