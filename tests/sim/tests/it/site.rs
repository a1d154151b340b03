//! A site without its hub.

use holdfast_sim::site::boxes::name;
use holdfast_sim::site::plan::{Plan, set_hub_path};
use holdfast_sim::site::run::Stage;
use holdfast_sim::site::world::World;
use holdfast_sim::site::{self, limits::HAND_OVER, limits::SETTLE};
use holdfast_sim_world::{PathFaults, Universe};
use holdfast_site_engine::Seat;
use std::time::Duration;

/// Three boxes, the last of which may be a witness, with pods handed over and the hub gone.
fn alone(seed: u64, witness: bool) -> Stage {
    let plan = Plan { boxes: 3, late_one_in: 0, restless: false, ..Plan::of(seed) };
    let seats = (1..=3).map(|no| Seat { node: name(no), witness: witness && no == 3 }).collect();
    let world = World::new(seed, &plan, Some(seats)).unwrap();
    let hand_over = world.hub.clone().hand_over(world.universe.clone());
    let hand_over = world.universe.spawn(Universe::NOBODY, "hand over", Box::pin(hand_over));
    let mut stage = Stage::open(world);
    stage.pass(HAND_OVER);
    stage.world.universe.abort(hand_over);
    (1..=3).for_each(|no| set_hub_path(&stage.world.net, no, true));
    stage.pass(SETTLE);
    stage.settle(None);
    check(&stage);
    stage
}

fn check(stage: &Stage) {
    let violations = stage.world.ledger.violations();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn cut_off(stage: &Stage, no: u32, cut: bool) {
    for other in (1..=3).filter(|other| *other != no) {
        stage.world.net.set_path(no, other, PathFaults { cut, ..PathFaults::default() });
        stage.world.net.set_path(other, no, PathFaults { cut, ..PathFaults::default() });
    }
}

#[test]
fn a_seed_of_a_site_is_one_history() {
    for seed in [3, 8] {
        let (first, second) = (site::run(seed), site::run(seed));
        assert_eq!(first, second);
        assert!(first.violations.is_empty(), "{first:?}");
        assert!(first.polls > 1000, "{first:?}");
    }
    assert_ne!(site::run(3).trace, site::run(4).trace);
}

#[test]
fn a_lost_coordinator_is_followed_and_its_pods_go_on_elsewhere() {
    for witness in [false, true] {
        let mut stage = alone(1, witness);
        let [no] = stage.acting()[..] else { panic!("{:?} act", stage.acting()) };
        stage.world.boxes[no as usize - 1].power_off();
        stage.pass(SETTLE);
        stage.settle(Some(no));
        check(&stage);
        assert!(!stage.acting().contains(&no));
    }
}

#[test]
fn a_coordinator_that_is_cut_off_stops_and_does_not_come_back_as_one() {
    let mut stage = alone(2, false);
    let [no] = stage.acting()[..] else { panic!("{:?} act", stage.acting()) };
    cut_off(&stage, no, true);
    stage.pass(SETTLE);
    check(&stage);
    let followed = stage.acting().to_vec();
    assert!(!followed.is_empty() && !followed.contains(&no), "{followed:?}");
    cut_off(&stage, no, false);
    stage.pass(SETTLE);
    stage.settle(None);
    check(&stage);
    assert_eq!(stage.acting(), followed);
}

#[test]
fn a_site_comes_back_from_a_power_cut_without_its_hub() {
    let mut stage = alone(3, true);
    stage.world.boxes.iter().for_each(|one| one.power_off());
    stage.pass(Duration::from_secs(5));
    stage.world.boxes.iter().for_each(|one| one.power_on());
    stage.pass(SETTLE);
    stage.settle(None);
    check(&stage);
}
