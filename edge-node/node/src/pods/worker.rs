//! One pod's worker: feeds the machine, does what it says.
//!
//! Whatever takes time runs in a task that the worker owns and answers with an event; the worker itself never
//! waits on anything outside but the journal.

use super::containers::{self, Surroundings, container, container_spec, sandbox_spec, service_env};
use super::probes::ProbeTarget;
use crate::events::Events;
use crate::objects::Objects;
use crate::parts::{Attachment, NodeParts, PodRef};
use crate::store::SharedStore;
use holdfast_core::Timestamp;
use holdfast_edge_store::Record;
use holdfast_env::{Mono, Task};
use holdfast_pods::{
    ImageFailure, Now, ObservedContainer, ObservedSandbox, ObservedState, PodAction, PodEvent, PodMachine, PodMemory,
    ProbeKind, StartFailure, container_id, sandbox_id,
};
use holdfast_runtime::{ContainerState, Runtime, RuntimeError, SandboxSpec, SandboxState};
use holdfast_volumes::{HostDns, MountedVolume, hostname_file, hosts_file, resolv_conf, resolve_env};
use k8s_openapi::api::core::v1::{LifecycleHandler, Pod};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Events that wait for a worker; tasks wait when it is full.
const EVENTS: usize = 64;
/// How often a pod's volumes are compared with their sources.
const REFRESH: Duration = Duration::from_secs(10);
/// How often the runtimes are asked although nothing rang.
const LOOK: Duration = Duration::from_secs(60);
/// How long one answer of a runtime or of the network may take.
const ANSWER: Duration = Duration::from_secs(120);
/// How long a container may take to start, its compilation and `postStart` hook included.
const LAUNCH: Duration = Duration::from_secs(300);
/// How long an image may take to come.
const PULL: Duration = Duration::from_secs(30 * 60);
/// How long a stop may take beyond the container's grace.
const STOP_SLACK: Duration = Duration::from_secs(30);
/// How often a pod's address is tried to be given back before it is left to the clean-up of the next start.
const DETACH_TRIES: u32 = 3;

/// What reaches a worker from its tasks.
#[derive(Debug)]
enum Word {
    /// For the machine.
    Event(PodEvent),
    /// What the runtimes list, and how many events had been fed when they were asked.
    Observed(u64, PodEvent),
    /// The runtime that a container runs in.
    RunsIn(String, &'static str),
}

/// What the manager tells a worker.
#[derive(Debug)]
pub(super) enum Order {
    /// The pod changed.
    Changed(Box<Pod>),
    /// The hub no longer has the pod.
    DeletedAtHub,
    /// Something happened to a container, or a runtime came back.
    Look,
    /// Say again how the pod is: the hub may have written it off meanwhile.
    Report,
}

/// What others may see of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// The pod.
    pub(super) pod: Arc<Pod>,
    /// Its status.
    pub(super) status: k8s_openapi::api::core::v1::PodStatus,
    /// Everything is torn down, and the hub may forget it.
    pub(super) gone: bool,
}

/// A running worker.
pub(super) struct Worker {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) shown: watch::Receiver<Shown>,
    pub(super) task: Task,
}

/// What the workers of a node share.
pub(crate) struct Common {
    pub(crate) parts: NodeParts,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) objects: Objects,
    pub(crate) events: Events,
    /// Rung by workers when their pod's status changed.
    pub(crate) changed: tokio::sync::Notify,
    /// Which containers are in the Wasm runtime (`true`) or the other one, by id.
    pub(crate) homes: Mutex<BTreeMap<String, bool>>,
}

impl Common {
    /// The key of a pod's facts and items.
    pub(super) fn key(pod: &Pod) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("/v1/pods/{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
    }

    /// The key of the note that holds a pod's memory.
    pub(super) fn memory_key(uid: &str) -> String {
        format!("pod/{uid}")
    }

    /// Notes where a container is.
    fn settle(&self, container_id: &str, runtime: &dyn Runtime) {
        let wasm = runtime.name() == self.parts.wasm.name();
        self.homes.lock().unwrap_or_else(PoisonError::into_inner).insert(container_id.to_string(), wasm);
    }

    /// Forgets where containers with this prefix of their ids are.
    fn unsettle(&self, prefix: &str) {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        homes.retain(|id, _| !id.starts_with(prefix));
    }

    /// The runtime that has the image; the pod's own when neither has it.
    pub(super) async fn runtime_of(&self, image: &str, dense: bool) -> Result<Arc<dyn Runtime>, RuntimeError> {
        let (first, second) =
            if dense { (&self.parts.wasm, &self.parts.oci) } else { (&self.parts.oci, &self.parts.wasm) };
        match first.image(image).await {
            Ok(Some(_)) => return Ok(first.clone()),
            Ok(None) => {}
            // The other may still have it; if not, this is the answer.
            Err(err) => {
                return match second.image(image).await {
                    Ok(Some(_)) => Ok(second.clone()),
                    _ => Err(err),
                };
            }
        }
        Ok(if second.image(image).await.ok().flatten().is_some() { second.clone() } else { first.clone() })
    }
}

/// Starts a worker.
pub(super) fn start(common: Arc<Common>, pod: Pod) -> Worker {
    let (orders, order_queue) = mpsc::channel(EVENTS);
    let (events, event_queue) = mpsc::channel(EVENTS);
    let (show, shown) = watch::channel(Shown { pod: Arc::new(pod.clone()), ..Shown::default() });
    let env = common.parts.env.clone();
    let run = async move {
        let mut state = State::new(common, pod, events, show);
        state.run(order_queue, event_queue).await;
    };
    let task = env.spawn("pod", Box::pin(run));
    Worker { orders, shown, task }
}

struct State {
    common: Arc<Common>,
    machine: PodMachine,
    pod: Arc<Pod>,
    uid: String,
    events: mpsc::Sender<Word>,
    show: watch::Sender<Shown>,
    tasks: Vec<Task>,
    place: Arc<Mutex<Place>>,
    gone: bool,
    /// Events fed that change what an observation must show.
    fed: u64,
    /// An observation is under way.
    looking: bool,
    /// Another one is needed after it.
    look_again: bool,
    /// Containers whose `preStop` hook has been run, or is.
    stopping: BTreeSet<String>,
}

/// What was found out on the way, for the tasks.
#[derive(Clone, Debug, Default)]
struct Place {
    volumes: BTreeMap<String, MountedVolume>,
    attachment: Option<Attachment>,
    sandbox: Option<SandboxSpec>,
}

impl State {
    fn new(common: Arc<Common>, pod: Pod, events: mpsc::Sender<Word>, show: watch::Sender<Shown>) -> State {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let memory = common
            .store
            .read(|state| state.notes().get(&Common::memory_key(&uid)).cloned())
            .and_then(|bytes| PodMemory::decode(&bytes))
            .unwrap_or_default();
        let mut machine = PodMachine::new(pod.clone(), memory, now(&common));
        machine.set_host_ips(common.parts.config.node_ips.clone());
        State {
            common,
            machine,
            pod: Arc::new(pod),
            uid,
            events,
            show,
            tasks: Vec::new(),
            place: Arc::default(),
            gone: false,
            fed: 0,
            looking: false,
            look_again: false,
            stopping: BTreeSet::new(),
        }
    }

    async fn run(&mut self, mut orders: mpsc::Receiver<Order>, mut events: mpsc::Receiver<Word>) {
        let env = self.common.parts.env.clone();
        self.look();
        let mut refresh = env.monotonic().after(REFRESH);
        let mut look = env.monotonic().after(LOOK);
        while !self.gone {
            self.tasks.retain(|task| !task.is_finished());
            let deadline = self.machine.next_deadline().map(Mono).map_or(refresh, |due| due.min(refresh));
            let event = tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Changed(pod)) => {
                        self.pod = Arc::new((*pod).clone());
                        self.show.send_modify(|shown| shown.pod = self.pod.clone());
                        PodEvent::PodChanged(pod)
                    }
                    Some(Order::DeletedAtHub) => PodEvent::DeletedAtHub,
                    Some(Order::Look) => {
                        self.look();
                        continue;
                    }
                    Some(Order::Report) => {
                        self.report(true).await;
                        continue;
                    }
                    None => return,
                },
                word = events.recv() => match word {
                    Some(Word::Event(event)) => event,
                    Some(Word::Observed(at, event)) => {
                        self.looking = false;
                        // Listed before the latest event: it may show less than the machine knows.
                        if at != self.fed || std::mem::take(&mut self.look_again) {
                            self.look();
                        }
                        if at != self.fed {
                            continue;
                        }
                        event
                    }
                    Some(Word::RunsIn(container, runtime)) => {
                        self.machine.set_runtime(&container, runtime);
                        continue;
                    }
                    None => return,
                },
                () = env.sleep_until(deadline) => {
                    if env.monotonic() >= refresh {
                        refresh = env.monotonic().after(REFRESH);
                        self.refresh_volumes();
                        if env.monotonic() >= look {
                            look = env.monotonic().after(LOOK);
                            self.look();
                        }
                    }
                    PodEvent::Tick
                }
            };
            let stopped = matches!(event, PodEvent::ContainerStopped { .. });
            if !matches!(event, PodEvent::Tick | PodEvent::ProbeResult { .. } | PodEvent::Observed { .. }) {
                self.fed += 1;
            }
            let actions = self.machine.handle(now(&self.common), event);
            for action in actions {
                self.act(action).await;
            }
            if stopped {
                self.look();
            }
        }
    }

    /// Runs work in a task of its own and feeds what it yields.
    fn go(&mut self, work: impl Future<Output = PodEvent> + Send + 'static) {
        let events = self.events.clone();
        let run = async move {
            // The worker has ended when this fails.
            let _ = events.send(Word::Event(work.await)).await;
        };
        self.tasks.push(self.common.parts.env.spawn("pod-work", Box::pin(run)));
    }

    async fn act(&mut self, action: PodAction) {
        match action {
            PodAction::SetUpVolumes => self.set_up_volumes(),
            PodAction::RunSandbox { attempt } => self.run_sandbox(attempt),
            PodAction::PullImage { container, always, never } => self.pull_image(container, always, never),
            PodAction::StartContainer { container, attempt } => self.start_container(container, attempt),
            PodAction::StopContainer { container, attempt, grace, reason } => {
                tracing::info!(pod = Common::key(&self.pod), container, attempt, reason, "Stopping container");
                self.stop_container(container, attempt, grace);
            }
            PodAction::RunProbe { container, attempt, probe } => self.run_probe(container, attempt, probe),
            PodAction::RemoveContainer { container, attempt } => self.remove_container(container, attempt),
            PodAction::StopSandbox { attempt } => self.stop_sandbox(attempt),
            PodAction::TearDownVolumes => self.tear_down(),
            PodAction::Event { warning, reason, message, container } => {
                self.common.events.pod(&self.pod, container.as_deref(), warning, reason, &message).await;
            }
            PodAction::Remember => self.remember().await,
            PodAction::StatusChanged => self.report(false).await,
            PodAction::Gone => self.finish().await,
        }
    }

    async fn remember(&self) {
        let value = self.machine.memory().encode();
        let note = Record::PutNote { key: Common::memory_key(&self.uid), value };
        if let Err(err) = self.common.store.commit(vec![note]).await {
            tracing::error!(pod = Common::key(&self.pod), %err, "A pod's memory could not be written");
        }
    }

    /// Puts the status into the outbox. `anew` numbers it again although it has not changed.
    async fn report(&self, anew: bool) {
        let status = self.machine.status(now(&self.common));
        self.show.send_replace(Shown { pod: self.pod.clone(), status: status.clone(), gone: self.gone });
        self.common.changed.notify_one();
        let terminal = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let mut body = json!({"uid": self.uid, "status": status});
        if anew {
            body["reported"] = json!(now(&self.common).wall.to_micro_string());
        }
        self.fact(&body, terminal).await;
    }

    async fn fact(&self, body: &serde_json::Value, durable: bool) {
        if self.machine.memory().deleted_at_hub {
            // The hub has nothing to write it to, and a pod of the same name may be reporting already.
            return;
        }
        let body = serde_json::to_vec(body).unwrap_or_default();
        if let Err(err) = self.common.store.state_fact(Common::key(&self.pod), body.into(), durable).await {
            tracing::warn!(pod = Common::key(&self.pod), %err, "A pod's status could not be noted");
        }
    }

    async fn finish(&mut self) {
        self.gone = true;
        self.common.unsettle(&format!("{}-", self.uid));
        self.fact(&json!({"uid": self.uid, "gone": true}), true).await;
        self.show.send_modify(|shown| shown.gone = true);
        self.common.changed.notify_one();
        tracing::info!(pod = Common::key(&self.pod), pod_uid = self.uid, "Pod is gone");
    }

    /// Asks both runtimes what there is of this pod. One question at a time.
    fn look(&mut self) {
        if self.looking {
            self.look_again = true;
            return;
        }
        (self.looking, self.look_again) = (true, false);
        let (common, uid, place, pod) = (self.common.clone(), self.uid.clone(), self.place.clone(), self.pod.clone());
        let (events, fed) = (self.events.clone(), self.fed);
        let run = async move {
            let env = &common.parts.env;
            loop {
                match env.timeout(ANSWER, observe(&common, &uid, &place, &pod)).await {
                    Some(Ok(event)) => {
                        // The worker has ended when this fails.
                        let _ = events.send(Word::Observed(fed, event)).await;
                        return;
                    }
                    Some(Err(err)) => tracing::warn!(pod_uid = uid, %err, "A runtime does not answer"),
                    None => tracing::warn!(pod_uid = uid, "A runtime does not answer in time"),
                }
                env.sleep(Duration::from_secs(1)).await;
            }
        };
        self.tasks.push(self.common.parts.env.spawn("pod-look", Box::pin(run)));
    }

    /// Gives the pod's address back and removes its volumes: it ends for good.
    fn tear_down(&mut self) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        self.go(async move {
            let env = &common.parts.env;
            for attempt in 1..=DETACH_TRIES {
                match env.timeout(ANSWER, detach(&common, &pod)).await.unwrap_or_else(|| Err("no answer".into())) {
                    Ok(()) => break,
                    Err(err) => tracing::warn!(pod_uid = uid, attempt, err, "Could not detach a pod from the network"),
                }
                env.sleep(Duration::from_secs(1)).await;
            }
            let (volumes, of) = (common.parts.volumes.clone(), uid.clone());
            if let Some(Err(err)) = env.blocking(move || volumes.tear_down(&of)).await {
                tracing::warn!(pod_uid = uid, %err, "Could not tear down volumes");
            }
            PodEvent::VolumesGone
        });
    }

    fn set_up_volumes(&mut self) {
        let (common, pod, place) = (self.common.clone(), self.pod.clone(), self.place.clone());
        self.go(async move {
            let (volumes, objects) = (common.parts.volumes.clone(), common.objects.clone());
            let done = common.parts.env.blocking(move || volumes.set_up(&pod, &objects)).await;
            match done {
                Some(Ok(mounted)) => {
                    place.lock().unwrap_or_else(PoisonError::into_inner).volumes = mounted;
                    PodEvent::VolumesReady
                }
                Some(Err(err)) => PodEvent::VolumesFailed(err.to_string()),
                None => PodEvent::VolumesFailed("the node is stopping".into()),
            }
        });
    }

    fn refresh_volumes(&mut self) {
        let (common, pod) = (self.common.clone(), self.pod.clone());
        let run = async move {
            let (volumes, objects, of) = (common.parts.volumes.clone(), common.objects.clone(), pod.clone());
            if let Some(Err(err)) = common.parts.env.blocking(move || volumes.refresh(&of, &objects)).await {
                tracing::warn!(pod = Common::key(&pod), %err, "Could not refresh volumes");
            }
        };
        self.tasks.push(self.common.parts.env.spawn("pod-volumes", Box::pin(run)));
    }

    fn run_sandbox(&mut self, attempt: u32) {
        let (common, pod, place, uid) = (self.common.clone(), self.pod.clone(), self.place.clone(), self.uid.clone());
        self.go(async move {
            let made = common.parts.env.timeout(ANSWER, make_sandbox(&common, &pod, &uid, attempt)).await;
            match made.unwrap_or_else(|| Err("the runtime did not answer in time".into())) {
                Ok((attachment, spec)) => {
                    let ips = attachment.ips.clone();
                    let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                    place.attachment = Some(attachment);
                    place.sandbox = Some(spec);
                    PodEvent::SandboxReady { attempt, ips }
                }
                Err(message) => PodEvent::SandboxFailed { attempt, message },
            }
        });
    }

    fn pull_image(&mut self, name: String, always: bool, never: bool) {
        let (common, pod, events) = (self.common.clone(), self.pod.clone(), self.events.clone());
        self.go(async move {
            let image = container(&pod, &name).and_then(|c| c.image.clone()).unwrap_or_default();
            let pulling = async {
                let _ = events.send(Word::Event(PodEvent::ImagePulling { container: name.clone() })).await;
            };
            let fetch = fetch_image(&common, &pod, &image, always, never, pulling);
            let late = || RuntimeError::Failed {
                operation: "PullImage",
                reason: format!("the image did not come within {} minutes", PULL.as_secs() / 60),
            };
            match common.parts.env.timeout(PULL, fetch).await.unwrap_or_else(|| Err(late())) {
                Ok(image_id) => PodEvent::ImageReady { container: name, image_id },
                Err(err) => {
                    let reason = match err {
                        RuntimeError::ImageNeverPull(_) => ImageFailure::NeverPull,
                        RuntimeError::InvalidImageName { .. } => ImageFailure::InvalidName,
                        _ => ImageFailure::Pull,
                    };
                    PodEvent::ImageFailed { container: name, reason, message: err.to_string() }
                }
            }
        });
    }

    fn start_container(&mut self, name: String, attempt: u32) {
        let (common, pod, place, uid) = (self.common.clone(), self.pod.clone(), self.place.clone(), self.uid.clone());
        let events = self.events.clone();
        self.go(async move {
            let at = place.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let launched = common.parts.env.timeout(LAUNCH, launch(&common, &pod, &at, &uid, &name, attempt)).await;
            let late = || Err((StartFailure::Create, "context deadline exceeded".to_string()));
            if let Some(runtime) = known_home(&common, &container_id(&uid, &name, attempt)) {
                let _ = events.send(Word::RunsIn(name.clone(), runtime.name())).await;
            }
            match launched.unwrap_or_else(late) {
                Ok(()) => PodEvent::ContainerStarted { container: name, attempt },
                Err((reason, message)) => PodEvent::ContainerFailed { container: name, attempt, reason, message },
            }
        });
    }

    fn stop_container(&mut self, name: String, attempt: u32, grace: Duration) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        let pod_ip = self.pod_ip();
        let id = container_id(&uid, &name, attempt);
        // A second order shortens the grace; the hook is run once.
        let first = self.stopping.insert(id.clone());
        self.go(async move {
            let env = common.parts.env.clone();
            let begun = env.monotonic();
            let hook = container(&pod, &name)
                .and_then(|c| c.lifecycle.as_ref())
                .and_then(|lifecycle| lifecycle.pre_stop.clone())
                .filter(|_| first);
            if let Some(hook) = hook
                && let Some(runtime) = runtime_with(&common, &id).await
            {
                let target = ProbeTarget {
                    env: env.clone(),
                    runtime,
                    prober: common.parts.prober.clone(),
                    pod: pod.clone(),
                    container: name.clone(),
                    container_id: id.clone(),
                    pod_ip,
                };
                let run = env.timeout(grace, run_hook(&target, &hook, grace)).await;
                if let Err(err) = run.unwrap_or_else(|| Err("the hook did not end within the grace".into())) {
                    let message = format!("PreStopHook failed: {err}");
                    common.events.pod(&pod, Some(&name), true, "FailedPreStopHook", &message).await;
                }
            }
            // A runtime that is just restarting is asked again: a container that was not stopped is not gone.
            let until = begun.after(grace + STOP_SLACK);
            loop {
                let left = grace.saturating_sub(env.monotonic().since(begun)).max(Duration::from_secs(1).min(grace));
                let stopped = match runtime_with(&common, &id).await {
                    Some(runtime) => env.timeout(left + STOP_SLACK, runtime.stop_container(&id, None, left)).await,
                    None => None,
                };
                match stopped {
                    Some(Ok(())) => break,
                    Some(Err(err)) => tracing::warn!(container = id, %err, "Could not stop a container"),
                    None => tracing::warn!(container = id, "No runtime answers for a container"),
                }
                if env.monotonic() >= until {
                    break;
                }
                env.sleep(Duration::from_secs(1)).await;
            }
            PodEvent::ContainerStopped { container: name }
        });
    }

    fn pod_ip(&self) -> String {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.attachment.as_ref().and_then(|attachment| attachment.ips.first().cloned()).unwrap_or_default()
    }

    fn run_probe(&mut self, name: String, attempt: u32, probe: ProbeKind) {
        let (common, pod, uid, pod_ip) = (self.common.clone(), self.pod.clone(), self.uid.clone(), self.pod_ip());
        self.go(async move {
            let id = container_id(&uid, &name, attempt);
            let (success, message) = match runtime_with(&common, &id).await {
                Some(runtime) => {
                    let target = ProbeTarget {
                        env: common.parts.env.clone(),
                        runtime,
                        prober: common.parts.prober.clone(),
                        pod,
                        container: name.clone(),
                        container_id: id,
                        pod_ip,
                    };
                    target.run(probe).await
                }
                None => (false, "the container's runtime does not answer".to_string()),
            };
            PodEvent::ProbeResult { container: name, probe, success, message }
        });
    }

    fn remove_container(&mut self, name: String, attempt: u32) {
        let (common, uid) = (self.common.clone(), self.uid.clone());
        let run = async move {
            let id = container_id(&uid, &name, attempt);
            if let Some(runtime) = runtime_with(&common, &id).await
                && let Err(err) = runtime.remove_container(&id).await
            {
                tracing::warn!(container = id, %err, "Could not remove a container");
                return;
            }
            common.homes.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        };
        self.tasks.push(self.common.parts.env.spawn("pod-remove", Box::pin(run)));
    }

    fn stop_sandbox(&mut self, attempt: u32) {
        let (common, pod, uid) = (self.common.clone(), self.pod.clone(), self.uid.clone());
        self.go(async move {
            loop {
                let dropped = common.parts.env.timeout(ANSWER, drop_sandbox(&common, &pod, &uid, attempt)).await;
                match dropped.unwrap_or_else(|| Err("the runtime did not answer in time".into())) {
                    Ok(()) => return PodEvent::SandboxStopped,
                    Err(err) => {
                        tracing::warn!(pod_uid = uid, %err, "Could not tear down a sandbox");
                        common.parts.env.sleep(Duration::from_secs(2)).await;
                    }
                }
            }
        });
    }
}

fn now(common: &Common) -> Now {
    let env = &common.parts.env;
    Now { mono: env.monotonic().0, wall: Timestamp::from_wall(env.wall().0) }
}

fn pod_ref(pod: &Pod) -> PodRef {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &pod.metadata;
    PodRef { uid: part(&meta.uid), name: part(&meta.name), namespace: part(&meta.namespace) }
}

/// The handler of the pod's RuntimeClass, empty for the default.
fn handler(common: &Common, pod: &Pod) -> Result<String, String> {
    match pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.as_deref()) {
        None | Some("") => Ok(String::new()),
        Some(class) => common
            .objects
            .runtime_handler(class)
            .ok_or_else(|| format!("failed to get sandbox runtime: no runtime for {class:?} is configured")),
    }
}

/// Wasm pods share one network namespace; whatever else a pod holds, its class decides.
fn is_dense(handler: &str) -> bool {
    handler == "wasmtime"
}

async fn make_sandbox(
    common: &Common,
    pod: &Pod,
    uid: &str,
    attempt: u32,
) -> Result<(Attachment, SandboxSpec), String> {
    let handler = handler(common, pod)?;
    let (attachment, spec) = place_of(common, pod, uid, attempt, &handler).await?;
    let runtime = if is_dense(&handler) { &common.parts.wasm } else { &common.parts.oci };
    let dir = containers::log_dir(&common.parts.config, pod);
    common.parts.env.blocking(move || std::fs::create_dir_all(dir)).await;
    runtime.run_sandbox(&spec).await.map_err(|err| err.to_string())?;
    Ok((attachment, spec))
}

async fn place_of(
    common: &Common,
    pod: &Pod,
    uid: &str,
    attempt: u32,
    handler: &str,
) -> Result<(Attachment, SandboxSpec), String> {
    let config = &common.parts.config;
    let host_network = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let attachment = if host_network {
        Attachment { netns_path: String::new(), ips: config.node_ips.clone() }
    } else {
        common.parts.network.attach(&pod_ref(pod), is_dense(handler)).await?
    };
    let spec = sandbox_spec(config, pod, &sandbox_id(uid, attempt), handler, &attachment);
    Ok((attachment, spec))
}

/// Stops and removes a sandbox. The network attachment stays: a pod whose sandbox is made anew keeps its address.
async fn drop_sandbox(common: &Common, pod: &Pod, uid: &str, attempt: u32) -> Result<(), String> {
    let id = sandbox_id(uid, attempt);
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        let dropped = async {
            runtime.stop_sandbox(&id).await?;
            runtime.remove_sandbox(&id).await
        };
        match dropped.await {
            // A runtime that this pod does not use may be missing altogether.
            Err(RuntimeError::Unavailable { .. }) if !uses(common, pod, &**runtime) => {}
            done => done.map_err(|err| err.to_string())?,
        }
    }
    Ok(())
}

/// Gives the pod's place in the network back.
async fn detach(common: &Common, pod: &Pod) -> Result<(), String> {
    if pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false) {
        return Ok(());
    }
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    common.parts.network.detach(&pod_ref(pod), dense).await
}

async fn fetch_image(
    common: &Common,
    pod: &Pod,
    image: &str,
    always: bool,
    never: bool,
    pulling: impl Future<Output = ()>,
) -> Result<String, RuntimeError> {
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    let runtime = common.runtime_of(image, dense).await?;
    if !always && let Some(info) = runtime.image(image).await? {
        return Ok(info.id);
    }
    if never {
        return match runtime.image(image).await? {
            Some(info) => Ok(info.id),
            None => Err(RuntimeError::ImageNeverPull(image.to_string())),
        };
    }
    pulling.await;
    Ok(runtime.pull_image(image, None).await?.id)
}

async fn launch(
    common: &Common,
    pod: &Pod,
    place: &Place,
    uid: &str,
    name: &str,
    attempt: u32,
) -> Result<(), (StartFailure, String)> {
    let config_error = |text: String| (StartFailure::Config, text);
    let container = container(pod, name).ok_or_else(|| config_error(format!("no container {name:?}")))?;
    let sandbox = place.sandbox.clone().ok_or_else(|| config_error("the pod has no sandbox".into()))?;
    let objects = &common.objects;
    let config = &common.parts.config;
    let services = service_env(pod, &objects.services());
    let host_ip = config.node_ips.first().cloned().unwrap_or_default();
    let env = resolve_env(pod, container, objects, &services, &sandbox.ips, &host_ip, &config.node_name)
        .map_err(config_error)?;
    let id = container_id(uid, name, attempt);
    let files = pod_files(common, pod, &sandbox, name, attempt).await.map_err(config_error)?;
    let around = Surroundings { volumes: &place.volumes, env, files };
    let spec = container_spec(config, pod, container, &id, attempt, around).map_err(config_error)?;
    let dense = is_dense(&sandbox.handler);
    let runtime = common.runtime_of(&spec.image, dense).await.map_err(start_failure)?;
    if dense && runtime.name() != common.parts.wasm.name() {
        return Err(config_error(format!(
            "image {:?} is not a Wasm module, and the pod's runtime class is for Wasm",
            spec.image
        )));
    }
    // A hybrid pod has a sandbox in both runtimes, over one network namespace.
    runtime.run_sandbox(&sandbox).await.map_err(start_failure)?;
    common.settle(&id, &*runtime);
    runtime.create_container(&sandbox, &spec).await.map_err(start_failure)?;
    runtime.start_container(&id).await.map_err(|err| (StartFailure::Run, err.to_string()))?;
    if let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.clone()) {
        let target = ProbeTarget {
            env: common.parts.env.clone(),
            runtime: runtime.clone(),
            prober: common.parts.prober.clone(),
            pod: Arc::new(pod.clone()),
            container: name.to_string(),
            container_id: id.clone(),
            pod_ip: sandbox.ips.first().cloned().unwrap_or_default(),
        };
        if let Err(err) = run_hook(&target, &hook, Duration::from_secs(60)).await {
            let message = format!("PostStartHook failed: {err}");
            common.events.pod(pod, Some(name), true, "FailedPostStartHook", &message).await;
            // Best effort: the machine hears of the failed start either way.
            let _ = runtime.stop_container(&id, None, Duration::from_secs(2)).await;
            return Err((StartFailure::Run, message));
        }
    }
    Ok(())
}

/// Writes the files that every container of a pod gets (`/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`) and
/// makes the folder of the log: (host path, container path) of each file.
async fn pod_files(
    common: &Common,
    pod: &Pod,
    sandbox: &SandboxSpec,
    name: &str,
    attempt: u32,
) -> Result<Vec<(String, String)>, String> {
    let config = &common.parts.config;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let dir = common.parts.volumes.pod_dir(&uid).ok_or_else(|| format!("{uid:?} is no UID of a pod"))?.join("etc");
    let log = containers::log_path(config, pod, name, attempt);
    let (pod, sandbox, config) = (pod.clone(), sandbox.clone(), config.clone());
    let write = move || -> std::io::Result<Vec<(String, String)>> {
        let dns = HostDns {
            cluster_servers: vec![config.dns_ip.clone()],
            cluster_domain: config.cluster_domain.clone(),
            host_resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        };
        let host_hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        std::fs::create_dir_all(&dir)?;
        if let Some(dir) = log.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let contents = [
            ("hosts", hosts_file(&pod, &sandbox.ips, &config.node_name, &config.cluster_domain, &host_hosts)),
            ("hostname", hostname_file(&sandbox.hostname)),
            ("resolv.conf", resolv_conf(&pod, &dns)),
        ];
        let mut files = Vec::new();
        for (file, content) in contents {
            let path = dir.join(file);
            // A container may have it mounted: the file is changed in place, and only when it differs.
            if std::fs::read_to_string(&path).ok().as_deref() != Some(&content) {
                std::fs::write(&path, content)?;
            }
            files.push((path.to_string_lossy().into_owned(), format!("/etc/{file}")));
        }
        Ok(files)
    };
    match common.parts.env.blocking(write).await {
        Some(Ok(files)) => Ok(files),
        Some(Err(err)) => Err(format!("the pod's files could not be written: {err}")),
        None => Err("the node is stopping".into()),
    }
}

fn start_failure(err: RuntimeError) -> (StartFailure, String) {
    let reason = match err {
        RuntimeError::Config(_) | RuntimeError::NotImplemented(_) => StartFailure::Config,
        _ => StartFailure::Create,
    };
    (reason, err.to_string())
}

async fn run_hook(target: &ProbeTarget, hook: &LifecycleHandler, limit: Duration) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        return match target.exec(exec, limit).await? {
            (0, _) => Ok(()),
            (code, output) => Err(format!("the command exited with {code}: {output}")),
        };
    }
    if let Some(http) = &hook.http_get {
        let container = container(&target.pod, &target.container).cloned().unwrap_or_default();
        return target.http(&container, http, limit).await.map(|_| ());
    }
    if let Some(sleep) = &hook.sleep {
        let wait = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0)).min(limit);
        target.env.sleep(wait).await;
        return Ok(());
    }
    Err("not implemented: this sort of hook".into())
}

/// The runtime in which a container was started or last seen.
fn known_home(common: &Common, container_id: &str) -> Option<Arc<dyn Runtime>> {
    let wasm = *common.homes.lock().unwrap_or_else(PoisonError::into_inner).get(container_id)?;
    Some(if wasm { common.parts.wasm.clone() } else { common.parts.oci.clone() })
}

/// The runtime that has this container; both are asked only when nobody has seen it yet.
pub(super) async fn runtime_with(common: &Common, container_id: &str) -> Option<Arc<dyn Runtime>> {
    if let Some(runtime) = known_home(common, container_id) {
        return Some(runtime);
    }
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        if let Some(Ok(containers)) = common.parts.env.timeout(ANSWER, runtime.list_containers()).await
            && containers.iter().any(|container| container.id == container_id)
        {
            common.settle(container_id, &**runtime);
            return Some(runtime.clone());
        }
    }
    None
}

/// What the runtimes have of a pod, and its place again after a restart of the agent.
async fn observe(common: &Common, uid: &str, place: &Mutex<Place>, pod: &Pod) -> Result<PodEvent, RuntimeError> {
    let mut sandbox: Option<ObservedSandbox> = None;
    let mut found = Vec::new();
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        let ours = |id: &str| id.strip_prefix(uid).is_some_and(|rest| rest.starts_with('-'));
        let sandboxes = match runtime.list_sandboxes().await {
            Ok(sandboxes) => sandboxes,
            // A runtime that this pod does not use may be missing altogether.
            Err(RuntimeError::Unavailable { .. }) if !uses(common, pod, &**runtime) => continue,
            Err(err) => return Err(err),
        };
        for info in sandboxes.into_iter().filter(|info| info.pod_uid == uid) {
            let attempt = info.id.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let ready = info.state == SandboxState::Ready;
            let newest =
                sandbox.as_ref().is_none_or(|known| attempt > known.attempt || (attempt == known.attempt && ready));
            if newest {
                sandbox = Some(ObservedSandbox { id: info.id, attempt, ready, ips: Vec::new() });
            }
        }
        for info in runtime.list_containers().await? {
            if ours(&info.sandbox_id) {
                common.settle(&info.id, &**runtime);
                found.push(ObservedContainer {
                    id: info.id,
                    name: info.name,
                    attempt: info.attempt,
                    image: info.image,
                    image_id: info.image_id,
                    state: observed_state(info.state),
                });
            }
        }
    }
    if let Some(sandbox) = sandbox.as_mut().filter(|sandbox| sandbox.ready) {
        let known = place.lock().unwrap_or_else(PoisonError::into_inner).attachment.clone();
        let attachment = match known {
            Some(attachment) => Some(attachment),
            None => {
                let handler = handler(common, pod).unwrap_or_default();
                match place_of(common, pod, uid, sandbox.attempt, &handler).await {
                    Ok((attachment, spec)) => {
                        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
                        place.attachment = Some(attachment.clone());
                        place.sandbox = Some(spec);
                        Some(attachment)
                    }
                    Err(err) => {
                        tracing::warn!(pod_uid = uid, err, "The network of a running pod is gone");
                        None
                    }
                }
            }
        };
        match attachment {
            Some(attachment) => sandbox.ips = attachment.ips,
            None => sandbox.ready = false,
        }
    }
    Ok(PodEvent::Observed { sandbox, containers: found })
}

fn uses(common: &Common, pod: &Pod, runtime: &dyn Runtime) -> bool {
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    (runtime.name() == common.parts.wasm.name()) == dense
}

fn observed_state(state: ContainerState) -> ObservedState {
    match state {
        ContainerState::Created => ObservedState::Created,
        ContainerState::Running { started_at } => ObservedState::Running { started_at },
        ContainerState::Exited { started_at, finished_at, exit_code, reason, message } => {
            ObservedState::Exited { started_at, finished_at, exit_code, reason, message }
        }
        ContainerState::Unknown => ObservedState::Unknown,
    }
}
