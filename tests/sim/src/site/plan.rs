//! What a seed does to a site: its boxes, what breaks, and when.

use super::boxes::SimBox;
use super::hub::SiteHub;
use super::post::HUB;
use crate::limits::EPOCH;
use holdfast_sim_world::{Net, PathFaults, Rng, Universe};
use std::sync::Arc;
use std::time::Duration;

/// A sort of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// No path between two boxes, both ways.
    Cut,
    /// No path one way.
    CutOneWay,
    /// No path between a box and all others.
    Alone,
    /// Loss, delay, duplicates, between all boxes.
    Lossy,
    /// The power of a box goes.
    Power,
    /// The power of all goes.
    PowerOfAll,
    /// The power of a box goes during one of its next disk operations.
    PowerInWrite,
    /// The agent dies and starts again.
    Agent,
    /// A box's next sync fails.
    Sync,
    /// A box's wall clock is wrong by years.
    Clock,
    /// The hub's machine starts again.
    HubReboot,
}

const FAULTS: &[Fault] = &[
    Fault::Cut,
    Fault::CutOneWay,
    Fault::Alone,
    Fault::Alone,
    Fault::Lossy,
    Fault::Power,
    Fault::Power,
    Fault::PowerOfAll,
    Fault::PowerInWrite,
    Fault::Agent,
    Fault::Sync,
    Fault::Clock,
    Fault::HubReboot,
];

/// What is drawn from the seed before the world begins.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Boxes; a set has three of them or more.
    pub boxes: u32,
    /// How long faults go on.
    pub busy: Duration,
    /// Sorts of faults that happen.
    pub faults: Vec<Fault>,
    /// Longest time between two faults.
    pub fault_every: Duration,
    /// Longest time between two acts of the hub.
    pub act_every: Duration,
    /// The hub's link comes and goes.
    pub hub_at_times: bool,
    /// One letter in so many comes again late; 0 for none.
    pub late_one_in: u64,
    /// Pods change places without need.
    pub restless: bool,
    /// A box is lost for good in the end.
    pub loses_a_box: bool,
    /// The hub is away in the end.
    pub ends_alone: bool,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x517E_517E);
        let mut faults: Vec<Fault> = (0..1 + rng.below(4)).map(|_| *rng.pick(FAULTS)).collect();
        faults.sort();
        faults.dedup();
        let seconds = |rng: &mut Rng, from, to| Duration::from_secs(rng.between(from, to));
        let mut plan = Plan {
            boxes: *rng.pick(&[3, 3, 4, 5]),
            busy: seconds(&mut rng, 100, 400),
            faults,
            fault_every: seconds(&mut rng, 5, 40),
            act_every: seconds(&mut rng, 5, 60),
            hub_at_times: rng.chance(2),
            late_one_in: *rng.pick(&[0, 10, 100]),
            restless: rng.chance(2),
            loses_a_box: rng.chance(2),
            ends_alone: rng.chance(2),
        };
        match rng.below(8) {
            // What was said before a cut arrives after it.
            0 => plan.faults = vec![Fault::Alone, Fault::Lossy, Fault::Lossy],
            // A box forgets what it has promised to a coordinator that another cannot hear.
            1 => plan.faults = vec![Fault::Cut, Fault::CutOneWay, Fault::Agent, Fault::Agent, Fault::Power],
            // The site hears of the hub's will by one box, which is gone a moment later.
            2 => {
                (plan.faults, plan.hub_at_times) = (vec![Fault::Alone, Fault::Power], true);
                plan.act_every = seconds(&mut rng, 5, 20);
            }
            _ => return plan,
        }
        plan.boxes = 3;
        plan.busy = seconds(&mut rng, 300, 500);
        plan.fault_every = seconds(&mut rng, 5, 25);
        plan
    }
}

fn pause(rng: &mut Rng, longest: Duration) -> Duration {
    Duration::from_millis(rng.between(10, u64::try_from(longest.as_millis()).unwrap_or(1000)))
}

/// Decides at the hub, and lets its link come and go.
pub async fn hub(plan: Plan, mut rng: Rng, universe: Universe, net: Net, hub: Arc<SiteHub>, boxes: Vec<Arc<SimBox>>) {
    let mut cut_until = Duration::ZERO;
    loop {
        universe.sleep(pause(&mut rng, plan.act_every)).await;
        hub.act(&mut rng, plan.boxes);
        let now = universe.now();
        if !plan.hub_at_times || now < cut_until {
            continue;
        }
        let is_cut = rng.chance(3);
        if is_cut {
            cut_until = now + pause(&mut rng, Duration::from_secs(150));
        }
        // Of all boxes, of all but the one that coordinates, or of some.
        let sort = rng.below(3);
        for one in &boxes {
            let is_hit = match sort {
                0 => true,
                1 => !one.acts(),
                _ => rng.chance(2),
            };
            set_hub_path(&net, one.no, is_cut && is_hit);
        }
    }
}

/// Cuts a box from the hub, or joins them.
pub fn set_hub_path(net: &Net, no: u32, cut: bool) {
    let faults = PathFaults { cut, ..PathFaults::default() };
    net.set_path(HUB, no, faults);
    net.set_path(no, HUB, faults);
}

/// Breaks things until the end, and mends them in time.
pub async fn chaos(plan: Plan, mut rng: Rng, universe: Universe, net: Net, hub: Arc<SiteHub>, boxes: Vec<Arc<SimBox>>) {
    let end = universe.now() + plan.busy;
    loop {
        universe.sleep(pause(&mut rng, plan.fault_every)).await;
        // Who coordinates is worth more trouble than others.
        let acting = boxes.iter().find(|one| one.acts()).filter(|_| rng.chance(2));
        let one = acting.cloned().unwrap_or_else(|| rng.pick(&boxes).clone());
        let other = rng.pick(&boxes).clone();
        let fault = *rng.pick(&plan.faults);
        // Mostly shorter than a promise; sometimes longer than every run lease.
        let longest = if rng.chance(3) { 120 } else { 20 };
        let length = Duration::from_millis(rng.between(100, longest * 1000));
        tracing::info!(?fault, no = one.no, seconds = length.as_secs_f32(), "Fault");
        universe.note(fault as u64);
        let later = universe.sleep(length);
        match fault {
            Fault::Cut | Fault::CutOneWay | Fault::Alone | Fault::Lossy => {
                let pairs = |of: &dyn Fn(u32, u32) -> bool| -> Vec<(u32, u32)> {
                    let all = (1..=plan.boxes).flat_map(|from| (1..=plan.boxes).map(move |to| (from, to)));
                    all.filter(|(from, to)| from != to && of(*from, *to)).collect()
                };
                let ways = match fault {
                    Fault::Cut => vec![(one.no, other.no), (other.no, one.no)],
                    Fault::CutOneWay if rng.chance(2) => pairs(&|from, _| from == one.no),
                    Fault::CutOneWay if rng.chance(2) => pairs(&|_, to| to == one.no),
                    Fault::CutOneWay => vec![(one.no, other.no)],
                    Fault::Alone => pairs(&|from, to| from == one.no || to == one.no),
                    _ => pairs(&|_, _| true),
                };
                let slowest = *rng.pick(&[20_000, 1_000_000, 3_000_000, 6_000_000, 25_000_000]);
                // A long way, or a bad one.
                let is_far = rng.chance(2);
                let faults = match fault {
                    Fault::Lossy => PathFaults {
                        loss_ppm: if is_far { 0 } else { u32::try_from(rng.below(400_000)).unwrap_or(0) },
                        twice_ppm: 200_000,
                        delay_us: (if is_far { slowest * 3 / 4 } else { 1_000 }, slowest),
                        ..PathFaults::default()
                    },
                    _ => PathFaults { cut: true, ..PathFaults::default() },
                };
                ways.iter().for_each(|(from, to)| net.set_path(*from, *to, faults));
                let (net, clock) = (net.clone(), universe.clone());
                let mend = async move {
                    later.await;
                    // Afterwards all is mended already.
                    if clock.now() < end {
                        ways.iter().for_each(|(from, to)| net.set_path(*from, *to, PathFaults::default()));
                    }
                };
                universe.spawn(Universe::NOBODY, "mend", Box::pin(mend));
            }
            Fault::Power | Fault::PowerOfAll => {
                let (all, clock) = (fault == Fault::PowerOfAll, universe.clone());
                let off: Vec<_> = boxes.iter().filter(|each| all || each.no == one.no).cloned().collect();
                off.iter().for_each(|each| each.power_off());
                let mend = async move {
                    later.await;
                    if clock.now() < end {
                        off.iter().for_each(SimBox::power_on);
                    }
                };
                universe.spawn(Universe::NOBODY, "mend", Box::pin(mend));
            }
            Fault::PowerInWrite => one.machine.disk().cut_after(rng.between(1, 12)),
            Fault::Agent => one.restart(),
            Fault::Sync => one.machine.disk().fail_syncs(1),
            Fault::Clock => {
                let years = Duration::from_secs(rng.below(40) * 365 * 24 * 3600);
                one.machine.set_wall(if rng.chance(2) { EPOCH + years } else { EPOCH.saturating_sub(years) });
            }
            Fault::HubReboot => hub.reboot(),
        }
    }
}
