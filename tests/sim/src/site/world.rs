//! A site: boxes, a hub, the post between them.

use super::boxes::{SimBox, name};
use super::hub::{SiteHub, draw_seats, first_set};
use super::ledger::Ledger;
use super::limits::DRIFT_PPM;
use super::plan::Plan;
use super::post::{HUB, Post};
use crate::limits::EPOCH;
use holdfast_sim_world::{Machine, Net, Rng, Universe};
use holdfast_site_engine::{Seat, SetError};
use std::sync::Arc;
use std::time::Duration;

/// A site and its hub.
pub struct World {
    /// Time and tasks.
    pub universe: Universe,
    /// The paths.
    pub net: Net,
    /// Letters over them.
    pub post: Arc<Post>,
    /// What was seen.
    pub ledger: Ledger,
    /// The hub.
    pub hub: Arc<SiteHub>,
    /// The boxes, all off.
    pub boxes: Vec<Arc<SimBox>>,
}

/// A rate within the bound, often at its edge.
fn drift(rng: &mut Rng) -> i64 {
    match rng.below(3) {
        0 => DRIFT_PPM,
        1 => -DRIFT_PPM,
        _ => i64::try_from(rng.below(2 * DRIFT_PPM.unsigned_abs())).unwrap_or(0) - DRIFT_PPM,
    }
}

impl World {
    /// The site of a seed, whose first set has these seats, or ones that the seed draws.
    ///
    /// # Errors
    /// What is wrong with the seats.
    pub fn new(seed: u64, plan: &Plan, seats: Option<Vec<Seat>>) -> Result<World, SetError> {
        let universe = Universe::new(seed);
        let net = Net::new(&universe);
        let ledger = Ledger::new(&universe);
        let post = Post::new(&universe, &net, plan.late_one_in);
        let machine = |no: u32| {
            let wall = EPOCH + Duration::from_secs(universe.random(|rng| rng.below(1_000_000)));
            let drift = universe.random(drift);
            Machine::new(&universe, no, wall, drift)
        };
        let seats = seats.unwrap_or_else(|| universe.random(|rng| draw_seats(rng, plan.boxes)));
        let hub = SiteHub::new(machine(HUB), &post, &ledger, first_set(seats)?);
        universe.spawn(Universe::NOBODY, "hub", Box::pin(hub.clone().serve(plan.boxes)));
        let one = |no| SimBox::new(no, &universe, machine(no), &post, &ledger, plan.restless);
        let boxes = (1..=plan.boxes).map(one).collect();
        Ok(World { universe: universe.clone(), net, post: post.clone(), ledger, hub, boxes })
    }

    /// The box of a number.
    pub fn named(&self, node: &holdfast_core::NodeUid) -> Option<&Arc<SimBox>> {
        self.boxes.iter().find(|one| name(one.no) == *node)
    }
}
