//! One seed of a site from beginning to end.

use super::checks::End;
use super::ledger::{BoxNo, Seen};
use super::limits::{HAND_OVER, REPAIR, SETTLE};
use super::plan::{Plan, chaos, hub, set_hub_path};
use super::world::World;
use crate::limits::MAX_POLLS;
use crate::run::Outcome;
use holdfast_sim_world::{PathFaults, Rng, Step, Universe};
use std::time::Duration;

/// Runs a seed.
pub fn run(seed: u64) -> Outcome {
    let plan = Plan::of(seed);
    tracing::info!(?plan, "Seed {seed}");
    let mut outcome = Outcome { seed, violations: Vec::new(), trace: 0, lasted: Duration::ZERO, polls: 0 };
    let world = match World::new(seed, &plan, None) {
        Ok(world) => world,
        Err(err) => {
            outcome.violations.push(format!("world: {err}"));
            return outcome;
        }
    };
    let universe = world.universe.clone();
    let mut stage = Stage { world, acting: Vec::new() };
    stage.play(&plan);
    outcome.violations = stage.world.ledger.violations();
    (outcome.trace, outcome.lasted, outcome.polls) = (universe.trace(), universe.now(), universe.polls());
    universe.end();
    outcome
}

/// A world that runs.
pub struct Stage {
    /// The world.
    pub world: World,
    acting: Vec<BoxNo>,
}

impl Stage {
    /// A world whose boxes start now.
    pub fn open(world: World) -> Stage {
        world.boxes.iter().for_each(|one| one.power_on());
        Stage { world, acting: Vec::new() }
    }

    fn play(&mut self, plan: &Plan) {
        let World { universe, net, hub: site_hub, boxes, .. } = &self.world;
        let (universe, net, site_hub) = (universe.clone(), net.clone(), site_hub.clone());
        boxes.iter().for_each(|one| one.power_on());
        let mut seeds = Rng::new(universe.trace() ^ universe.random(Rng::next));
        let acts = hub(plan.clone(), seeds.fork(), universe.clone(), net.clone(), site_hub.clone(), boxes.clone());
        let breaks = chaos(plan.clone(), seeds.fork(), universe.clone(), net, site_hub.clone(), boxes.clone());
        let acts = universe.spawn(Universe::NOBODY, "acts", Box::pin(acts));
        let breaks = universe.spawn(Universe::NOBODY, "chaos", Box::pin(breaks));
        self.pass(plan.busy);
        universe.abort(acts);
        universe.abort(breaks);
        self.mend();
        let hand_over = universe.spawn(Universe::NOBODY, "hand over", Box::pin(site_hub.hand_over(universe.clone())));
        self.pass(HAND_OVER);
        universe.abort(hand_over);
        let lost = plan.loses_a_box.then(|| self.lose_a_box(&mut seeds)).flatten();
        if plan.ends_alone {
            (1..=plan.boxes).for_each(|no| set_hub_path(&self.world.net, no, true));
        }
        self.pass(SETTLE);
        self.settle(lost);
    }

    /// All faults stop.
    fn mend(&self) {
        let World { net, post, boxes, .. } = &self.world;
        post.mend();
        for one in boxes {
            one.calm();
            let disk = one.machine.disk();
            if disk.is_dead() {
                one.power_off();
            }
            disk.cut_after(u64::MAX);
            disk.fail_syncs(0);
            boxes.iter().for_each(|other| net.set_path(one.no, other.no, PathFaults::default()));
            set_hub_path(net, one.no, false);
            one.power_on();
        }
    }

    /// A box of the set goes for good, often the one that coordinates.
    fn lose_a_box(&self, rng: &mut Rng) -> Option<BoxNo> {
        let seated: Vec<_> = self.world.hub.seated().into_iter().collect();
        let acting = self.acting.first().copied().filter(|_| !rng.chance(3));
        let no = acting.or_else(|| self.world.named(rng.pick(&seated)).map(|one| one.no))?;
        self.world.boxes.iter().find(|one| one.no == no)?.power_off();
        Some(no)
    }

    /// Judges the end.
    pub fn settle(&self, lost: Option<BoxNo>) {
        let World { boxes, hub, ledger, .. } = &self.world;
        if ledger.has_violations() {
            return;
        }
        for one in boxes.iter().filter(|one| one.is_on() == (lost == Some(one.no))) {
            ledger.violation(format!("box {} is on: {}", one.no, one.is_on()));
        }
        let on = boxes.iter().filter(|one| one.is_on()).map(|one| one.no).collect();
        ledger.settled(&End { pods: hub.delegated(), on });
    }

    /// Lets time pass, and looks at every instant.
    pub fn pass(&mut self, time: Duration) {
        let end = self.world.universe.now() + time;
        while !self.step(end) {}
    }

    /// One step; true at the end, or when something was violated.
    pub fn step(&mut self, end: Duration) -> bool {
        let World { universe, boxes, ledger, .. } = &self.world;
        match universe.step(end) {
            Step::Idle => return true,
            Step::Waited => {}
            Step::Polled(machine, _) => {
                let hit = boxes.iter().find(|one| one.no == machine && one.machine.disk().is_dead());
                if let Some(one) = hit {
                    one.power_off();
                    let (one, off) = (one.clone(), universe.sleep(REPAIR));
                    let on = async move {
                        off.await;
                        one.power_on();
                    };
                    universe.spawn(Universe::NOBODY, "mend", Box::pin(on));
                }
            }
        }
        let acting: Vec<BoxNo> = boxes.iter().filter(|one| one.acts()).map(|one| one.no).collect();
        if acting != self.acting {
            universe.note(acting.iter().fold(0xAC7, |word, no| word * 31 + u64::from(*no)));
            ledger.see(&Seen::Acting(&acting));
            self.acting = acting;
        }
        if universe.polls() > MAX_POLLS {
            ledger.violation("the world spins");
        }
        ledger.has_violations()
    }

    /// Who coordinates.
    pub fn acting(&self) -> &[BoxNo] {
        &self.acting
    }
}
