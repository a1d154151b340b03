//! One pod's worker: feeds the machine, does what it says.
//!
//! Whatever takes time runs in a task that the worker owns and answers with an event; the worker itself never
//! waits on anything outside but the journal.

use super::probes::ProbeTarget;
use super::results;
use super::work::{
    ANSWER, Common, Place, detach, drop_sandbox, fetch_image, known_home, launch, make_sandbox, observe, run_hook,
    runtime_with,
};
use crate::kept;
use holdfast_core::Timestamp;
use holdfast_edge_store::Record;
use holdfast_env::{Mono, Task};
use holdfast_kinds::fencing::{self, Fencing};
use holdfast_mutation::broken;
use holdfast_pods::{
    ImageFailure, Now, PodAction, PodEvent, PodMachine, PodMemory, ProbeKind, StartFailure, container_id,
    container_named, typed,
};
use holdfast_runtime::RuntimeError;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Events that wait for a worker; tasks wait when it is full.
const EVENTS: usize = 64;
/// How often a pod's volumes are compared with their sources.
const REFRESH: Duration = Duration::from_secs(10);
/// How often the runtimes are asked although nothing rang.
const LOOK: Duration = Duration::from_secs(60);
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
    Changed(Arc<Pod>),
    /// The hub no longer has the pod.
    DeletedAtHub,
    /// Something happened to a container, or a runtime came back.
    Look,
    /// Say again how the pod is: the hub may have written it off meanwhile.
    Report,
    /// Something that others say in the pod's status has changed.
    Refresh,
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

/// Starts a worker.
pub(super) fn start(common: Arc<Common>, pod: Arc<Pod>) -> Worker {
    let (orders, order_queue) = mpsc::channel(EVENTS);
    let (events, event_queue) = mpsc::channel(EVENTS);
    let (show, shown) = watch::channel(Shown { pod: pod.clone(), ..Shown::default() });
    let env = common.parts.env.clone();
    let run = async move {
        let mut state = State::new(common, pod, events, show);
        state.run(order_queue, event_queue).await;
    };
    let task = env.spawn("pod", Box::pin(run));
    Worker { orders, shown, task }
}

/// How long after the last renewal a pod may run, when its mode says that it fails over.
fn fails_over_after(pod: &Pod) -> Option<Duration> {
    let doc = typed::document(pod);
    match fencing::of(&doc) {
        Fencing::FailOverAfter(after) => Some(after),
        Fencing::RunForever | Fencing::Kubernetes => None,
    }
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
    /// How long after the last renewal the pod may run, when it fails over.
    fails_over_after: Option<Duration>,
    fenced: bool,
}

impl State {
    fn new(common: Arc<Common>, pod: Arc<Pod>, events: mpsc::Sender<Word>, show: watch::Sender<Shown>) -> State {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let memory = common.store.read(|state| {
            let known = state.notes().get(&Common::memory_key(&uid)).and_then(|bytes| PodMemory::decode(bytes));
            known.or_else(|| results::of(state, &uid)).unwrap_or_default()
        });
        let mut machine = PodMachine::new((*pod).clone(), memory, now(&common));
        machine.set_host_ips(common.parts.config.node_ips.clone());
        let fails_over_after = fails_over_after(&pod);
        let fenced = fails_over_after.is_some_and(|after| common.lease.left(after).is_zero());
        machine.set_fenced(fenced);
        State {
            common,
            machine,
            pod,
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
            fails_over_after,
            fenced,
        }
    }

    /// Looks at the run lease; when to look again, if it covers the pod for a while.
    fn look_at_lease(&mut self) -> (Option<PodEvent>, Duration) {
        let Some(after) = self.fails_over_after else { return (None, Duration::MAX) };
        let left = self.common.lease.left(after);
        let fenced = left.is_zero();
        let changed = std::mem::replace(&mut self.fenced, fenced) != fenced;
        // The lease runs on a clock that goes on in suspend, and timers do not: it is looked at often.
        let wait = if fenced { fencing::LOOK } else { left.min(fencing::LOOK) };
        (changed.then_some(PodEvent::Fenced(fenced)), wait)
    }

    async fn run(&mut self, mut orders: mpsc::Receiver<Order>, mut events: mpsc::Receiver<Word>) {
        let env = self.common.parts.env.clone();
        self.look();
        let mut refresh = env.monotonic().after(REFRESH);
        let mut look = env.monotonic().after(LOOK);
        let mut renewals = self.common.lease.follow();
        while !self.gone {
            self.tasks.retain(|task| !task.is_finished());
            let (fence, lease_left) = self.look_at_lease();
            if let Some(event) = fence {
                self.feed(event).await;
                continue;
            }
            let deadline = self.machine.next_deadline().map(Mono).map_or(refresh, |due| due.min(refresh));
            let deadline = deadline.min(env.monotonic().after(lease_left));
            let event = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Changed(pod)) => {
                        self.pod = pod.clone();
                        self.fails_over_after = fails_over_after(&pod);
                        self.show.send_modify(|shown| shown.pod = self.pod.clone());
                        PodEvent::PodChanged(Box::new((*pod).clone()))
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
                    Some(Order::Refresh) => {
                        self.report(false).await;
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
                renewed = renewals.changed(), if self.fenced => match renewed {
                    Ok(()) => continue,
                    Err(_) => return,
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
            self.feed(event).await;
        }
    }

    /// Feeds the machine and does what it says.
    async fn feed(&mut self, event: PodEvent) {
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
        let mut notes = Vec::new();
        if self.machine.has_run_its_course() && !broken("results-forgotten") {
            notes = self.common.store.read(|state| results::note(state, &self.uid, &value));
        }
        notes.push(Record::PutNote { key: Common::memory_key(&self.uid), value });
        if let Err(err) = self.common.store.commit(notes).await {
            tracing::error!(pod = Common::key(&self.pod), %err, "A pod's memory could not be written");
        }
    }

    /// Puts the status into the outbox. `anew` numbers it again although it has not changed.
    async fn report(&self, anew: bool) {
        let mut status = self.machine.status(now(&self.common));
        self.common.readiness.mark(&self.uid, &mut status);
        self.show.send_replace(Shown { pod: self.pod.clone(), status: status.clone(), gone: self.gone });
        self.common.changed.notify_one();
        let terminal = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let mut body = json!({"uid": self.uid, "status": typed::status_document(&status)});
        if anew {
            body["reported"] = json!(now(&self.common).wall.to_micro_string());
        }
        self.fact(body, terminal).await;
    }

    async fn fact(&self, mut body: serde_json::Value, durable: bool) {
        if self.machine.memory().deleted_at_hub {
            // The hub has nothing to write it to, and a pod of the same name may be reporting already.
            return;
        }
        let kept = self.common.store.read(|state| kept::object(state, &Common::key(&self.pod), &self.uid));
        if let Some((object, assigned)) = kept {
            (body["object"], body["assigned"]) = (object, assigned);
        }
        let body = serde_json::to_vec(&body).unwrap_or_default();
        if let Err(err) = self.common.store.state_fact(Common::key(&self.pod), body.into(), durable).await {
            tracing::warn!(pod = Common::key(&self.pod), %err, "A pod's status could not be noted");
        }
    }

    async fn finish(&mut self) {
        self.gone = true;
        self.common.unsettle(&format!("{}-", self.uid));
        self.common.tokens.forget(&self.uid);
        self.fact(json!({"uid": self.uid, "gone": true}), true).await;
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
            let (volumes, objects) = (common.parts.volumes.clone(), common.pod_objects());
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
            let (volumes, objects, of) = (common.parts.volumes.clone(), common.pod_objects(), pod.clone());
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
            let image = container_named(&pod, &name).and_then(|c| c.image.clone()).unwrap_or_default();
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
            let hook = container_named(&pod, &name)
                .and_then(|c| c.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.clone()))
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
