//! One pod's worker: feeds the machine, does what it says.
//!
//! Whatever takes time runs in a task that the worker owns and answers with an event ([`actions`]); the worker itself never
//! waits on anything outside but the journal.

mod actions;

use super::containers::log_dir;
use super::mirrors::{self, Address};
use super::results;
use super::work::{ANSWER, Common, Place, observe};
use crate::{kept, static_pods};
use holdfast_core::Timestamp;
use holdfast_edge_store::Record;
use holdfast_env::{Mono, Task};
use holdfast_kinds::fencing::{self, Fencing};
use holdfast_mutation::broken;
use holdfast_pods::admission::Host;
use holdfast_pods::{
    Allocation, Now, ObservedUser, PodAction, PodEvent, PodMachine, PodMemory, admit, container_id, ledger, qos_class,
    shutdown, typed,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Events that wait for a worker; tasks wait when it is full.
const EVENTS: usize = 64;
/// How often the runtimes are asked and the volumes are compared with their sources although nothing rang. Tokens that the node
/// itself signs come so.
const LOOK: Duration = Duration::from_secs(60);

/// What reaches a worker from its tasks.
#[derive(Debug)]
enum Word {
    /// For the machine.
    Event(PodEvent),
    /// What the runtimes list, and how many events had been fed when they were asked.
    Observed(u64, PodEvent),
    /// The runtime that a container runs in, and whom it runs as.
    RunsIn(String, &'static str, Option<ObservedUser>),
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
    /// What the pod's volumes are made of has changed.
    RefreshVolumes,
    /// This pod has to go.
    Evict { message: String, grace: Option<Duration> },
    /// The node shuts down: the pod has so long to stop.
    ShutDown(Duration),
    /// The node goes on after all.
    CancelShutdown,
}

/// What others may see of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// The pod.
    pub(crate) pod: Arc<Pod>,
    /// Its status.
    pub(crate) status: k8s_openapi::api::core::v1::PodStatus,
    /// Everything is torn down, and the hub may forget it.
    pub(crate) gone: bool,
    /// The pod is to stop, for whatever reason.
    pub(crate) ending: bool,
    /// Nothing of it runs.
    pub(crate) down: bool,
}

impl Shown {
    /// The id of the container that a status of this pod speaks of.
    pub(crate) fn container_id(&self, status: &ContainerStatus) -> String {
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        container_id(uid, &status.name, u32::try_from(status.restart_count).unwrap_or(0))
    }

    /// Whether a container of the pod proper runs.
    pub(crate) fn is_running(&self) -> bool {
        let states = self.status.container_statuses.iter().flatten().filter_map(|status| status.state.as_ref());
        !self.gone && states.into_iter().any(|state| state.running.is_some())
    }
}

/// A running worker.
pub(super) struct Worker {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) shown: watch::Receiver<Shown>,
    pub(super) task: Task,
    /// What its volumes are made of.
    pub(super) sources: u64,
}

/// Starts a worker.
pub(super) fn start(common: Arc<Common>, pod: Arc<Pod>, sources: u64) -> Worker {
    let (orders, order_queue) = mpsc::channel(EVENTS);
    let (events, event_queue) = mpsc::channel(EVENTS);
    let (show, shown) = watch::channel(Shown { pod: pod.clone(), ..Shown::default() });
    let env = common.parts.env.clone();
    // Here and not in the task: what all pods hold is known before the first one asks for more.
    let mut state = State::new(common, pod, events, show);
    let run = async move { state.run(order_queue, event_queue).await };
    let task = env.spawn("pod", Box::pin(run));
    Worker { orders, shown, task, sources }
}

/// How long after the last renewal a pod may run, when its mode says that it fails over.
fn fails_over_after(pod: &Pod) -> Option<Duration> {
    if static_pods::is_static(pod) {
        return None;
    }
    let doc = typed::document(pod);
    match fencing::of(&doc) {
        Fencing::FailOverAfter(after) => Some(after),
        Fencing::RunForever | Fencing::Kubernetes => None,
    }
}

/// Whether others may replace a pod that ends here: the hub hears of it, and it is not bound to this machine.
fn is_replaceable(common: &Common, pod: &Pod) -> bool {
    common.linked() && !static_pods::is_static(pod) && fencing::of(&typed::document(pod)) != Fencing::RunForever
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
    /// What was last written down of what the pod was granted.
    allocated: Vec<u8>,
    /// The node has granted the pod more, and the machine has not heard of it yet.
    granting: bool,
    /// What the machine must not forget is on disk, as it was last asked for.
    remembered: bool,
}

impl State {
    fn new(common: Arc<Common>, pod: Arc<Pod>, events: mpsc::Sender<Word>, show: watch::Sender<Shown>) -> State {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let memory = common.store.read(|state| {
            let known = state.notes().get(&Common::memory_key(&uid)).and_then(|bytes| PodMemory::decode(bytes));
            known.or_else(|| results::of(state, &uid, &pod)).unwrap_or_default()
        });
        // The pod is here, so the hub has it: one that was restored from a backup hands out again what it had deleted, also
        // what the power took in the middle of that.
        let memory = PodMemory { deleted_at_hub: false, ..memory }.for_another_life(&pod);
        let mut machine = PodMachine::new((*pod).clone(), memory, now(&common));
        let allocated =
            common.store.read(|state| state.notes().get(&Common::allocation_key(&uid)).map(|bytes| bytes.to_vec()));
        if let Some(allocation) = allocated.as_deref().and_then(Allocation::decode) {
            machine.set_allocation(allocation);
        }
        machine.set_host_ips(common.parts.config.node_ips.clone());
        let fails_over_after = fails_over_after(&pod);
        let fenced = fails_over_after.is_some_and(|after| common.lease.left(after).is_zero());
        machine.set_fenced(fenced);
        let unsafe_sysctls = common.parts.config.resources.unsafe_sysctls.clone();
        let host = Host { apparmor: common.parts.host.apparmor(), pressure: common.pressure(), unsafe_sysctls };
        if let Err((reason, message)) = admit(&pod, &host) {
            machine.reject(reason, message);
        }
        machine.set_recursive_read_only(super::work::recursive_read_only_for(&common, &pod));
        if *common.shutting_down.borrow() {
            if is_replaceable(&common, &pod) {
                let (reason, message) = shutdown::REJECTED;
                machine.reject(reason, message.into());
            }
            machine.set_shutting_down(common.parts.config.shutdown.total());
        }
        let state = State {
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
            allocated: allocated.unwrap_or_default(),
            granting: false,
            remembered: true,
        };
        state.account();
        state
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
        let mut look = env.monotonic().after(LOOK);
        let mut renewals = self.common.lease.follow();
        let mut room = self.common.room.subscribe();
        while !self.gone {
            self.tasks.retain(|task| !task.is_finished());
            let (fence, lease_left) = self.look_at_lease();
            if let Some(event) = fence {
                self.feed(event).await;
                continue;
            }
            let deadline = self.machine.next_deadline().map(Mono).map_or(look, |due| due.min(look));
            let deadline = deadline.min(env.monotonic().after(lease_left));
            let event = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Changed(pod)) => {
                        self.pod = pod.clone();
                        self.fails_over_after = fails_over_after(&pod);
                        self.show.send_modify(|shown| shown.pod = self.pod.clone());
                        // Labels and annotations may be shown in a volume.
                        self.refresh_volumes();
                        PodEvent::PodChanged(Box::new((*pod).clone()))
                    }
                    Some(Order::DeletedAtHub) => PodEvent::DeletedAtHub,
                    Some(Order::Evict { message, grace }) => PodEvent::Evicted { message, grace },
                    Some(Order::ShutDown(grace)) => {
                        PodEvent::ShuttingDown { grace, ends: is_replaceable(&self.common, &self.pod) }
                    }
                    Some(Order::CancelShutdown) => PodEvent::ShutdownCancelled,
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
                    Some(Order::RefreshVolumes) => {
                        self.refresh_volumes();
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
                    Some(Word::RunsIn(container, runtime, user)) => {
                        self.machine.set_runtime(&container, runtime);
                        self.machine.set_user(&container, user);
                        continue;
                    }
                    None => return,
                },
                changed = room.changed(), if self.machine.waits_for_room() => match changed {
                    Ok(()) => PodEvent::Room,
                    Err(_) => return,
                },
                renewed = renewals.changed(), if self.fenced => match renewed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = env.sleep_until(deadline) => {
                    if env.monotonic() >= look {
                        look = env.monotonic().after(LOOK);
                        self.refresh_volumes();
                        self.look();
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
        if matches!(event, PodEvent::SizeAnswered(_)) {
            self.granting = false;
        }
        if !matches!(event, PodEvent::Tick | PodEvent::ProbeResult { .. } | PodEvent::Observed { .. }) {
            self.fed += 1;
        }
        let actions = self.machine.handle(now(&self.common), event);
        for action in actions {
            self.act(action).await;
        }
        self.show_where_it_is();
        if stopped {
            self.look();
        }
    }

    /// What of the pod shows in no status. The data plane has to know at once that it is to stop.
    fn show_where_it_is(&self) {
        let (ending, down) = (self.machine.ending(), self.machine.is_down());
        let mut begins_to_end = false;
        self.show.send_if_modified(|shown| {
            begins_to_end = shown.ending != ending;
            let changed = begins_to_end || shown.down != down;
            (shown.ending, shown.down) = (ending, down);
            changed
        });
        if begins_to_end {
            self.common.changed.notify_one();
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
            PodAction::StartContainer { container, attempt }
                if !self.remembered && self.machine.runs_once(&container) =>
            {
                self.refuse(container, attempt);
            }
            PodAction::StartContainer { container, attempt } => self.start_container(container, attempt),
            PodAction::StopContainer { container, attempt, grace, reason } => {
                tracing::info!(pod = Common::key(&self.pod), container, attempt, reason, "Stopping container");
                self.stop_container(container, attempt, grace);
            }
            PodAction::RunProbe { container, attempt, probe } => self.run_probe(container, attempt, probe),
            PodAction::RemoveContainer { container, attempt } => self.remove_container(container, attempt),
            PodAction::AskForSize => self.ask_for_size(),
            PodAction::Resize { containers } => self.resize(&containers),
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

    /// Says to the node's account what the pod takes.
    fn account(&self) {
        let over = self.gone || self.machine.memory().finished;
        if self.granting && !over {
            return;
        }
        let pod = self.machine.held_pod();
        let (needs, burstable) = (ledger::requests(&pod), qos_class(&pod) == "Burstable");
        self.common.account(|all| if over { all.release(&self.uid) } else { all.hold(&self.uid, needs, burstable) });
    }

    async fn remember(&mut self) {
        let value = self.machine.memory().encode();
        let mut notes = Vec::new();
        // A static pod that comes back under the same UID is to run again.
        let ends_for_good = self.machine.has_run_its_course() && !static_pods::is_static(&self.pod);
        if ends_for_good && !broken("results-forgotten") {
            notes = self.common.store.read(|state| results::note(state, &self.uid, &value));
        }
        notes.push(Record::PutNote { key: Common::memory_key(&self.uid), value });
        let allocated = self.machine.allocation().encode();
        if allocated != self.allocated {
            notes.push(Record::PutNote { key: Common::allocation_key(&self.uid), value: allocated.clone() });
        }
        let written = self.common.store.commit(notes).await;
        self.remembered = written.is_ok();
        match written {
            Ok(()) => self.allocated = allocated,
            Err(err) => tracing::error!(pod = Common::key(&self.pod), %err, "A pod's memory could not be written"),
        }
        self.account();
    }

    /// Puts the status into the outbox. `anew` numbers it again although it has not changed.
    async fn report(&self, anew: bool) {
        let mut status = self.machine.status(now(&self.common));
        self.common.readiness.mark(&self.uid, &mut status);
        self.show.send_replace(Shown {
            pod: self.pod.clone(),
            status: status.clone(),
            gone: self.gone,
            ending: self.machine.ending(),
            down: self.machine.is_down(),
        });
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
        let key = Common::key(&self.pod);
        if static_pods::is_static(&self.pod) {
            let config = &self.common.parts.config;
            let address = self.common.store.read(|state| mirrors::address(state, &key, &self.pod, config));
            match address {
                // The name is another's.
                None => return,
                Some(Address::Mirror(uid)) => body["uid"] = uid.into(),
                Some(Address::Make(mirror)) => body["mirror"] = mirror,
            }
        } else if let Some((object, assigned)) = self.common.store.read(|state| kept::object(state, &key, &self.uid)) {
            (body["object"], body["assigned"]) = (object, assigned);
        }
        let body = serde_json::to_vec(&body).unwrap_or_default();
        if let Err(err) = self.common.store.state_fact(key, body.into(), durable).await {
            tracing::warn!(pod = Common::key(&self.pod), %err, "A pod's status could not be noted");
        }
    }

    async fn finish(&mut self) {
        self.gone = true;
        self.account();
        let logs = log_dir(&self.common.parts.config, &self.pod);
        if let Some(Err(err)) = self.common.parts.env.blocking(move || remove_logs(&logs)).await {
            tracing::warn!(pod = Common::key(&self.pod), %err, "A pod's logs could not be removed");
        }
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
}

/// Removes the logs of a pod. Fine when there are none. Blocks.
fn remove_logs(dir: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(err) if err.kind() != std::io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

fn now(common: &Common) -> Now {
    let env = &common.parts.env;
    Now { mono: env.monotonic().0, wall: Timestamp::from_wall(env.wall().0) }
}
