//! One seed from beginning to end.

use crate::limits::{MAX_POLLS, SETTLE};
use crate::log::Backup;
use crate::plan::{Plan, chaos, user};
use crate::wire::HUB;
use crate::world::Cluster;
use holdfast_sim_world::{PathFaults, Rng, Step, Universe};
use std::path::Path;
use std::time::Duration;

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What was violated; empty when all held.
    pub violations: Vec<String>,
    /// The hash of all that happened.
    pub trace: u64,
    /// Virtual time that passed.
    pub lasted: Duration,
    /// Polls of tasks.
    pub polls: u64,
}

/// Runs a seed over a hub whose log begins with `log`; `dir` is for what nodes' volumes write.
pub fn run(seed: u64, log: Backup, dir: &Path) -> Outcome {
    let plan = Plan::of(seed);
    tracing::info!(?plan, "Seed {seed}");
    let cluster = Cluster::new(seed, plan.nodes, plan.certificate_life, log, dir);
    let (universe, ledger) = (cluster.universe.clone(), cluster.ledger.clone());
    cluster.hub.start();
    drive(&cluster, |_| cluster.hub.is_ready(), Duration::from_secs(60));
    cluster.nodes.iter().for_each(|node| node.power_on());
    // A disk that fails before there is anything on it is not what this is about.
    drive(&cluster, |_| cluster.nodes.iter().all(|node| node.is_connected()), universe.now() + Duration::from_secs(60));
    let (work, breaks) = (Rng::new(seed ^ 0xA11CE), Rng::new(seed ^ 0xB0B));
    let hub = cluster.hub.clone();
    universe.spawn(Universe::NOBODY, "user", Box::pin(user(plan.clone(), work, universe.clone(), hub.clone())));
    let chaos = chaos(plan.clone(), breaks, universe.clone(), cluster.net.clone(), hub, cluster.nodes.clone());
    let chaos = universe.spawn(Universe::NOBODY, "chaos", Box::pin(chaos));
    drive(&cluster, |_| false, universe.now() + plan.busy);
    universe.abort(chaos);
    mend(&cluster, &plan);
    drive(&cluster, |_| false, universe.now() + SETTLE);
    if !ledger.has_violations() {
        ledger.settled(&cluster.end());
    }
    Outcome {
        seed,
        violations: ledger.violations(),
        trace: universe.trace(),
        lasted: universe.now(),
        polls: universe.polls(),
    }
}

/// All faults stop; some nodes stay cut, and are rebooted.
fn mend(cluster: &Cluster, plan: &Plan) {
    cluster.hub.start();
    for node in &cluster.nodes {
        node.machine.disk().set_full(false);
        node.machine.disk().fail_syncs(0);
        // A power cut that waits for a write waits no more; one that has come ends below.
        if !node.machine.disk().is_dead() {
            node.machine.disk().cut_after(u64::MAX);
        }
        node.oci.set_down(false);
        let left_cut = node.no <= plan.cut_to_the_end;
        let faults = PathFaults { cut: left_cut, ..PathFaults::default() };
        cluster.net.set_path(node.no, HUB, faults);
        cluster.net.set_path(HUB, node.no, faults);
        if left_cut && node.is_on() {
            node.power_off();
        }
        node.power_on();
    }
}

/// Runs until `done` says so, or true time reaches `limit`, or something was violated.
fn drive(cluster: &Cluster, mut done: impl FnMut(&Cluster) -> bool, limit: Duration) {
    let universe = &cluster.universe;
    loop {
        let step = universe.step(limit);
        match step {
            Step::Idle => return,
            Step::Polled(machine, _) => {
                let hit = cluster.nodes.iter().find(|node| node.no == machine && node.machine.disk().is_dead());
                if let Some(node) = hit {
                    node.power_off();
                    let node = node.clone();
                    let off = universe.sleep(Duration::from_secs(2));
                    let on = async move {
                        off.await;
                        node.power_on();
                    };
                    universe.spawn(Universe::NOBODY, "mend", Box::pin(on));
                }
            }
            Step::Waited => {
                if done(cluster) {
                    return;
                }
            }
        }
        if cluster.ledger.has_violations() {
            return;
        }
        if universe.polls() > MAX_POLLS {
            return cluster.ledger.violation("the world spins");
        }
    }
}
