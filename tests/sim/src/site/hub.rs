//! The hub of a site. What it decides is durable at once; its link to the site is there at times.

use super::ledger::{Ledger, Seen};
use super::limits::{SAY, STOP};
use super::post::{HUB, Letter, Post};
use holdfast_core::{Lineage, NodeUid};
use holdfast_env::World;
use holdfast_sim_world::{Machine, Rng, Universe};
use holdfast_site_engine::hub::{Site, Standing, may_replace};
use holdfast_site_engine::{Pod, PodUid, Seat, SetId, VoterSet};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const LINEAGE: Lineage = Lineage(1);

/// The hub.
pub struct SiteHub {
    machine: Arc<Machine>,
    env: World,
    post: Arc<Post>,
    ledger: Ledger,
    desk: Mutex<Desk>,
}

struct Desk {
    site: Site,
    /// Every pod that was ever handed over, and not replaced.
    pods: Vec<Pod>,
    next_pod: u32,
}

impl SiteHub {
    /// A hub with a site to which nothing is delegated.
    pub fn new(machine: Arc<Machine>, post: &Arc<Post>, ledger: &Ledger, set: VoterSet) -> Arc<SiteHub> {
        let env: World = machine.process();
        let desk = Mutex::new(Desk { site: Site::new(set), pods: Vec::new(), next_pod: 1 });
        Arc::new(SiteHub { machine, env, post: post.clone(), ledger: ledger.clone(), desk })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves until the world's end: says what it has to say to each box, and hears reports.
    pub async fn serve(self: Arc<SiteHub>, boxes: u32) {
        let mut letters = self.post.open(HUB);
        let mut timer = self.env.sleep(SAY);
        loop {
            tokio::select! {
                biased;
                letter = letters.recv() => {
                    let Some((from, data)) = letter else { return };
                    match postcard::from_bytes(&data) {
                        Ok(Letter::Report(report)) => {
                            self.ledger.see(&Seen::Reported(&report));
                            self.desk().site.reported(self.env.boottime(), &report);
                        }
                        _ => self.ledger.violation(format!("the hub has a letter from {from} that it cannot read")),
                    }
                }
                () = &mut timer => {
                    timer = self.env.sleep(SAY);
                    self.say(boxes);
                }
            }
        }
    }

    fn say(&self, boxes: u32) {
        let letter = {
            let desk = self.desk();
            let (record, asked_back) = desk.site.told();
            Letter::Items { set: desk.site.set.clone(), record: record.cloned(), asked_back }
        };
        (1..=boxes).for_each(|no| self.post.send(HUB, no, &letter));
    }

    /// The hub's machine starts again.
    pub fn reboot(&self) {
        self.machine.boot();
        self.desk().site.started(self.env.boottime());
    }

    /// Does something at random. What is not allowed is refused, and is another time's.
    pub fn act(&self, rng: &mut Rng, boxes: u32) {
        match rng.below(10) {
            0 | 1 => self.change(draw_seats(rng, boxes)),
            2..=4 => self.delegate(1 + u32::try_from(rng.below(2)).unwrap_or(0)),
            5 | 6 => {
                let _ = self.desk().site.ask_back();
            }
            _ => self.replace(rng),
        }
    }

    fn change(&self, seats: Vec<Seat>) {
        let mut desk = self.desk();
        let number = desk.site.set.id().number + 1;
        if desk.site.change(SetId { number, lineage: LINEAGE }, seats).is_ok() {
            tracing::info!(set = ?desk.site.set, "The hub changes the voter set");
        }
    }

    fn delegate(&self, more: u32) {
        let now = self.env.boottime();
        let mut desk = self.desk();
        let mut pods = desk.pods.clone();
        for at in 0..if pods.len() < 6 { more } else { 0 } {
            pods.push(Pod { uid: PodUid(format!("pod-{}", desk.next_pod + at)), stop: STOP });
        }
        if desk.site.delegate(now, pods.clone()).is_err() {
            return;
        }
        desk.next_pod += more;
        desk.pods = pods;
        if let Standing::Given(record) = &desk.site.standing {
            self.ledger.see(&Seen::Delegated(record));
        }
    }

    /// Tries to replace each pod: it would like to, since it has not heard of them for long.
    fn replace(&self, rng: &mut Rng) {
        let now = self.env.boottime();
        let mut desk = self.desk();
        let Desk { site, pods, .. } = &mut *desk;
        pods.retain(|pod| {
            let replaced = rng.chance(2) && may_replace(pod, &site.standing, now);
            if replaced {
                self.ledger.see(&Seen::Replaced(&pod.uid));
            }
            !replaced
        });
    }

    /// Works towards a site that can do without it: pods handed over, and no need for voters of an earlier set.
    pub async fn hand_over(self: Arc<SiteHub>, universe: Universe) {
        let mut settled: Option<u64> = None;
        loop {
            let is_given = matches!(self.desk().site.standing, Standing::Given(_));
            if !is_given {
                self.delegate(2);
            }
            let (number, begun, seats) = {
                let site = &self.desk().site;
                (site.set.id().number, site.begun, site.set.seats().to_vec())
            };
            match settled {
                Some(at) if number > at => {}
                _ if begun => {
                    settled = Some(number);
                    self.change(seats);
                }
                _ => {}
            }
            universe.sleep(SAY).await;
        }
    }

    /// All boxes of the newest set.
    pub fn seated(&self) -> BTreeSet<NodeUid> {
        self.desk().site.set.seats().iter().map(|seat| seat.node.clone()).collect()
    }

    /// Pods that are the site's.
    pub fn delegated(&self) -> BTreeSet<PodUid> {
        match &self.desk().site.standing {
            Standing::Given(record) => record.pods.iter().map(|pod| pod.uid.clone()).collect(),
            _ => BTreeSet::new(),
        }
    }
}

/// A set of three, or more when there are more boxes; one of them may be a witness.
pub fn draw_seats(rng: &mut Rng, boxes: u32) -> Vec<Seat> {
    let mut left: Vec<u32> = (1..=boxes).collect();
    let count = rng.between(3, u64::from(boxes));
    let with_witness = rng.chance(2);
    (0..count)
        .map(|at| {
            let no = left.swap_remove(usize::try_from(rng.below(left.len() as u64)).unwrap_or(0));
            Seat { node: super::boxes::name(no), witness: with_witness && at + 1 == count }
        })
        .collect()
}

/// The first set.
///
/// # Errors
/// What is wrong with the seats.
pub fn first_set(seats: Vec<Seat>) -> Result<VoterSet, holdfast_site_engine::SetError> {
    VoterSet::first(SetId { number: 1, lineage: LINEAGE }, seats)
}
