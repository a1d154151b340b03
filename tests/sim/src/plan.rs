//! What a seed does: who works, what breaks, and when. Each seed draws a few sorts of faults, so that every pair of
//! them meets without the rest in some seed.

use crate::hub::SimHub;
use crate::limits::{CERTIFICATE_LIFE, EPOCH};
use crate::log::Backup;
use crate::node::SimNode;
use crate::wire::HUB;
use holdfast_apiserver::LocalClient;
use holdfast_controller::Client;
use holdfast_core::verbs::Propagation;
use holdfast_core::{DeleteOptions, Gvr, Json, Patch, PatchType, Target};
use holdfast_kinds::fencing::ANNOTATION;
use holdfast_sim_world::{Net, PathFaults, Rng, Universe};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A sort of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No path between a node and the hub, both ways.
    Cut,
    /// No path one way.
    CutOneWay,
    /// Loss, delay, duplicates.
    Lossy,
    /// The NAT forgets a node.
    Rebind,
    /// The power of a node goes at once.
    Power,
    /// The power of a node goes during one of its next disk operations.
    PowerInWrite,
    /// The agent is killed.
    Agent,
    /// The hub is killed.
    Hub,
    /// The hub is restored from a backup.
    Restore,
    /// A node's container runtime dies for a while.
    Runtime,
    /// A node's disk is full for a while.
    Full,
    /// A node's next sync fails.
    Sync,
    /// A node's wall clock is wrong by years.
    Clock,
    /// Bits of a node's store flip while its agent is off, or the machine.
    Flip,
}

/// All sorts.
pub const FAULTS: &[Fault] = &[
    Fault::Cut,
    Fault::CutOneWay,
    Fault::Lossy,
    Fault::Rebind,
    Fault::Power,
    Fault::PowerInWrite,
    Fault::Agent,
    Fault::Hub,
    Fault::Restore,
    Fault::Runtime,
    Fault::Full,
    Fault::Sync,
    Fault::Clock,
    Fault::Flip,
];

/// The sort of fault without which nothing comes of breaking this rule: seeds that lack it need not be run.
pub fn provokes(rule: &str) -> Option<Fault> {
    match rule {
        "doubtful-vitals-trusted" | "sweep-before-sync" => Some(Fault::Flip),
        "page-cache-trusted" => Some(Fault::Sync),
        "results-forgotten" | "adopt-deleted" | "adopt-under-new-uid" => Some(Fault::Restore),
        _ => None,
    }
}

/// The seed that caught this rule broken when last all were run: tried before all others, it saves them while it still does.
pub fn caught_by(rule: &str) -> u64 {
    match rule {
        "closure-not-atomic" | "view-shared-by-connections" => 17,
        "numbers-used-twice" => 265,
        "page-cache-trusted" | "sweep-before-sync" => 105,
        "doubtful-vitals-trusted" => 139,
        "adopt-deleted" => 31,
        "site-old-set-forgotten" => 209,
        "site-promise-ends-with-set" => 24,
        "site-vote-before-sync" => 53,
        "site-lease-from-receipt" => 48,
        "site-votes-after-reboot" => 177,
        _ => 1,
    }
}

/// What is drawn from the seed before the world begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Nodes.
    pub nodes: u32,
    /// How long faults and work go on.
    pub busy: Duration,
    /// Sorts of faults that happen.
    pub faults: Vec<Fault>,
    /// Longest time between two faults.
    pub fault_every: Duration,
    /// Longest time between two acts of the user.
    pub work_every: Duration,
    /// The user has Deployments, too.
    pub deployments: bool,
    /// Nodes that stay cut to the end, and are rebooted then.
    pub cut_to_the_end: u32,
    /// How long nodes' certificates live: mostly beyond the seed's end, in one of five so short that they are renewed
    /// and expire within it.
    pub certificate_life: Duration,
    /// Faults last longer than any run lease, and Deployments fail over: one seed in five is about fencing.
    pub long: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x5EED_5EED);
        let count = 1 + rng.below(4);
        let mut faults: Vec<Fault> = (0..count).map(|_| *rng.pick(FAULTS)).collect();
        faults.sort();
        faults.dedup();
        let nodes = 1 + u32::try_from(rng.below(3)).unwrap_or(0);
        let mut plan = Plan {
            nodes,
            busy: Duration::from_secs(rng.between(60, 400)),
            faults,
            fault_every: Duration::from_secs(rng.between(5, 90)),
            work_every: Duration::from_secs(rng.between(3, 40)),
            deployments: rng.chance(3),
            cut_to_the_end: if rng.chance(3) { 1 } else { 0 },
            certificate_life: CERTIFICATE_LIFE,
            long: rng.chance(5),
        };
        if rng.chance(5) {
            plan.certificate_life = Duration::from_secs(rng.between(30, 300));
        }
        if plan.long {
            plan.nodes = plan.nodes.max(2);
            plan.busy = Duration::from_secs(rng.between(400, 600));
            plan.faults = vec![Fault::Cut, *rng.pick(&[Fault::Power, Fault::CutOneWay, Fault::Agent])];
            plan.fault_every = Duration::from_secs(rng.between(60, 240));
            plan.deployments = true;
        } else if rng.chance(6) {
            // What a restore makes the hub forget has to live through reboots.
            plan.faults = vec![Fault::Restore, Fault::Power];
            plan.fault_every = Duration::from_secs(rng.between(20, 60));
            plan.work_every = Duration::from_secs(rng.between(3, 8));
        }
        plan
    }
}

fn pause(rng: &mut Rng, longest: Duration) -> Duration {
    Duration::from_millis(rng.between(10, u64::try_from(longest.as_millis()).unwrap_or(1000)))
}

/// Breaks things until the end, and mends them in time.
pub async fn chaos(plan: Plan, mut rng: Rng, universe: Universe, net: Net, hub: Arc<SimHub>, nodes: Vec<Arc<SimNode>>) {
    let end = universe.now() + plan.busy;
    let mut backup: Option<Backup> = None;
    let mut lineage = 1u64;
    while universe.now() < end {
        universe.sleep(pause(&mut rng, plan.fault_every)).await;
        if universe.now() >= end {
            return;
        }
        let node = rng.pick(&nodes).clone();
        let fault = *rng.pick(&plan.faults);
        // Mostly short; sometimes longer than every grace.
        let longest = if plan.long || rng.chance(4) { 400 } else { 20 };
        let length = Duration::from_millis(rng.between(100, longest * 1000));
        // Power that comes back early shows whether a lease outlives the boot.
        let length = if plan.long && fault == Fault::Power { length / 8 } else { length };
        tracing::info!(?fault, node = node.name, seconds = length.as_secs_f32(), "Fault");
        universe.note(fault as u64);
        let later = universe.sleep(length);
        match fault {
            Fault::Cut | Fault::CutOneWay | Fault::Lossy => {
                let ways = match fault {
                    Fault::CutOneWay if rng.chance(2) => vec![(HUB, node.no)],
                    Fault::CutOneWay => vec![(node.no, HUB)],
                    _ => vec![(node.no, HUB), (HUB, node.no)],
                };
                let faults = match fault {
                    Fault::Lossy => PathFaults {
                        loss_ppm: u32::try_from(rng.below(400_000)).unwrap_or(0),
                        twice_ppm: 200_000,
                        delay_us: (1_000, rng.between(10_000, 3_000_000)),
                        bytes_per_second: if rng.chance(2) { 4_000 } else { 0 },
                        ..PathFaults::default()
                    },
                    _ => PathFaults { cut: true, ..PathFaults::default() },
                };
                ways.iter().for_each(|(from, to)| net.set_path(*from, *to, faults));
                let (net, clock) = (net.clone(), universe.clone());
                universe.spawn(
                    Universe::NOBODY,
                    "mend",
                    Box::pin(async move {
                        later.await;
                        // Who is cut after the busy time is not for this fault to say.
                        if clock.now() < end {
                            ways.iter().for_each(|(from, to)| net.set_path(*from, *to, PathFaults::default()));
                        }
                    }),
                );
            }
            Fault::Rebind => net.rebind(node.no),
            Fault::Power => {
                node.power_off();
                if plan.faults.contains(&Fault::Clock) && rng.chance(2) {
                    node.machine.set_wall(wrong_time(&mut rng));
                }
                universe.spawn(
                    Universe::NOBODY,
                    "mend",
                    Box::pin(async move {
                        later.await;
                        node.power_on();
                    }),
                );
            }
            Fault::PowerInWrite => node.machine.disk().cut_after(rng.between(1, 40)),
            Fault::Agent => node.kill_agent(),
            Fault::Hub => {
                hub.kill();
                later.await;
                hub.start();
            }
            Fault::Restore => match backup.take() {
                None => backup = Some(hub.log.backup()),
                Some(from) => {
                    hub.kill();
                    lineage += 1;
                    hub.restore(&from, lineage);
                    later.await;
                    hub.start();
                }
            },
            Fault::Runtime => {
                node.oci.set_down(true);
                universe.spawn(
                    Universe::NOBODY,
                    "mend",
                    Box::pin(async move {
                        later.await;
                        node.oci.set_down(false);
                    }),
                );
            }
            Fault::Full => {
                node.machine.disk().set_full(true);
                universe.spawn(
                    Universe::NOBODY,
                    "mend",
                    Box::pin(async move {
                        later.await;
                        node.machine.disk().set_full(false);
                    }),
                );
            }
            Fault::Sync => node.machine.disk().fail_syncs(1),
            Fault::Clock => node.machine.set_wall(wrong_time(&mut rng)),
            Fault::Flip => {
                let power = rng.chance(2);
                if power {
                    node.power_off()
                } else {
                    node.kill_agent()
                }
                node.flip_bits(&mut rng);
                if power {
                    universe.spawn(
                        Universe::NOBODY,
                        "mend",
                        Box::pin(async move {
                            later.await;
                            node.power_on();
                        }),
                    );
                }
            }
        }
    }
}

/// 1970, 2106, or some years off.
fn wrong_time(rng: &mut Rng) -> Duration {
    const YEAR: u64 = 365 * 24 * 3600;
    match rng.below(4) {
        0 => Duration::from_secs(rng.below(1000)),
        1 => Duration::from_secs(4_294_967_295),
        2 => EPOCH + Duration::from_secs(rng.below(20) * YEAR),
        _ => EPOCH - Duration::from_secs(rng.below(20) * YEAR),
    }
}

/// The user's objects, as far as the user remembers.
#[derive(Default)]
struct Desk {
    pods: Vec<String>,
    deployments: Vec<String>,
    next: u32,
}

const NAMESPACE: &str = "default";

fn collection(group: &str, plural: &str) -> Target {
    Target::collection(Gvr::new(group, "v1", plural), NAMESPACE)
}

fn object(group: &str, plural: &str, name: &str) -> Target {
    Target::object(Gvr::new(group, "v1", plural), NAMESPACE, name)
}

/// Works with the API until the end, as people do: makes, changes and deletes; what fails is tried again another day.
pub async fn user(plan: Plan, mut rng: Rng, universe: Universe, hub: Arc<SimHub>) {
    let end = universe.now() + plan.busy;
    let desk: Arc<Mutex<Desk>> = Arc::default();
    for name in 0..3 {
        let body = json!({"metadata": {"name": format!("config-{name}")}, "data": {"a": "1"}});
        ask(&hub, |client| async move { client.create(&collection("", "configmaps"), body).await.is_ok() }).await;
        let body = json!({"metadata": {"name": format!("secret-{name}")}, "stringData": {"a": "1"}});
        ask(&hub, |client| async move { client.create(&collection("", "secrets"), body).await.is_ok() }).await;
    }
    while universe.now() < end {
        act(&plan, &mut rng, &hub, &desk).await;
        universe.sleep(pause(&mut rng, plan.work_every)).await;
    }
}

async fn ask<F>(hub: &SimHub, work: impl FnOnce(Arc<LocalClient>) -> F) -> bool
where
    F: Future<Output = bool> + Send + 'static,
{
    hub.request(work).await.unwrap_or(false)
}

async fn act(plan: &Plan, rng: &mut Rng, hub: &SimHub, desk: &Arc<Mutex<Desk>>) {
    let lock = || desk.lock().unwrap_or_else(PoisonError::into_inner);
    match rng.below(10) {
        0..=3 => {
            let name = {
                let mut desk = lock();
                desk.next += 1;
                // Names come again, under other UIDs.
                format!("pod-{}", desk.next % 12)
            };
            let node = format!("edge-{}", rng.between(1, u64::from(plan.nodes)));
            let body = json!({"metadata": {"name": name}, "spec": pod_spec(rng, Some(&node))});
            if ask(hub, |client| async move { client.create(&collection("", "pods"), body).await.is_ok() }).await {
                lock().pods.push(name);
            }
        }
        4 | 5 => {
            let name = {
                let mut desk = lock();
                if desk.pods.is_empty() {
                    return;
                }
                let at = usize::try_from(rng.below(desk.pods.len() as u64)).unwrap_or(0);
                desk.pods.swap_remove(at)
            };
            let grace = *rng.pick(&[None, None, Some(0), Some(3)]);
            let options = DeleteOptions { grace_period_seconds: grace, ..DeleteOptions::default() };
            ask(hub, |client| async move { client.delete(&object("", "pods", &name), &options).await.is_ok() }).await;
        }
        6 => {
            let (plural, field) = *rng.pick(&[("configmaps", "data"), ("secrets", "stringData")]);
            let name = format!("{}-{}", plural.trim_end_matches('s').trim_end_matches("map"), rng.below(3));
            let body = json!({field: {"a": rng.below(1000).to_string()}});
            let patch = Patch { patch_type: PatchType::Merge, body };
            ask(hub, |client| async move { client.patch(&object("", plural, &name), patch).await.is_ok() }).await;
        }
        7 | 8 if plan.deployments => deployment(plan, rng, hub, desk).await,
        _ => {}
    }
}

async fn deployment(plan: &Plan, rng: &mut Rng, hub: &SimHub, desk: &Arc<Mutex<Desk>>) {
    let lock = || desk.lock().unwrap_or_else(PoisonError::into_inner);
    let known = lock().deployments.clone();
    if known.len() < 2 {
        let name = format!("deploy-{}", known.len() + usize::try_from(rng.below(2)).unwrap_or(0) * 2);
        let labels = json!({"app": name});
        let annotations = match if plan.long { 0 } else { rng.below(3) } {
            0 => json!({ANNOTATION: format!("FailOverAfter={}s", rng.between(60, 120))}),
            1 => json!({ANNOTATION: "RunForever"}),
            _ => json!({}),
        };
        let body = json!({
            "metadata": {"name": name},
            "spec": {
                "replicas": rng.between(1, 4),
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": pod_spec(rng, None)},
            },
        });
        if ask(hub, |client| async move { client.create(&collection("apps", "deployments"), body).await.is_ok() }).await
        {
            lock().deployments.push(name);
        }
        return;
    }
    let name = rng.pick(&known).clone();
    let at = object("apps", "deployments", &name);
    if rng.chance(4) {
        lock().deployments.retain(|known| *known != name);
        let propagation_policy = Some(Propagation::Background);
        let options = DeleteOptions { propagation_policy, ..DeleteOptions::default() };
        ask(hub, |client| async move { client.delete(&at, &options).await.is_ok() }).await;
    } else {
        let patch = Patch { patch_type: PatchType::Merge, body: json!({"spec": {"replicas": rng.between(0, 5)}}) };
        ask(hub, |client| async move { client.patch(&at, patch).await.is_ok() }).await;
    }
}

fn pod_spec(rng: &mut Rng, node: Option<&str>) -> Json {
    let policy = if node.is_some() { *rng.pick(&["Always", "Always", "OnFailure", "Never"]) } else { "Always" };
    let args = match rng.below(5) {
        0 if node.is_some() => json!(["exit", rng.pick(&["0", "0", "1"]), rng.between(2, 40).to_string()]),
        _ => json!(["run"]),
    };
    let image = if rng.chance(20) { "missing:1" } else { "registry.local/app:1" };
    let mut container = json!({"name": "main", "image": image, "args": args});
    let mut volumes = Vec::new();
    if rng.chance(3) {
        let name = format!("config-{}", rng.below(3));
        volumes.push(json!({"name": "config", "configMap": {"name": name}}));
        container["volumeMounts"] = json!([{"name": "config", "mountPath": "/config"}]);
    }
    if rng.chance(3) {
        let reference = json!({"name": format!("secret-{}", rng.below(3)), "key": "a"});
        container["env"] = json!([{"name": "A", "valueFrom": {"secretKeyRef": reference}}]);
    }
    if rng.chance(3) {
        container["readinessProbe"] = json!({"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 5});
    }
    let mut spec = json!({
        "restartPolicy": policy,
        "terminationGracePeriodSeconds": 2,
        "automountServiceAccountToken": rng.chance(4),
        "containers": [container],
        "volumes": volumes,
    });
    if let Some(node) = node {
        spec["nodeName"] = json!(node);
    }
    spec
}
