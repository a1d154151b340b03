//! Letters between machines. A letter may be lost, doubled, overtaken, and it outlives the process that sent it: one in
//! many comes much later, or once more much later, to whoever has the address by then.

use bytes::Bytes;
use holdfast_sim_world::{Net, Universe};
use holdfast_site_engine::{Message, Record, Report, VoterSet};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// A machine by its number; the hub is 0.
pub type MachineNo = u32;

/// The hub's number.
pub const HUB: MachineNo = 0;

/// What is in a letter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Letter {
    /// Between boxes.
    Site(Message),
    /// From a box to the hub.
    Report(Report),
    /// From the hub to a box: all it has to say.
    Items {
        /// The voter set.
        set: VoterSet,
        /// The delegation that stands, asked back or not.
        record: Option<Record>,
        /// Up to where it is asked back.
        asked_back: u64,
    },
}

type Inbox = mpsc::UnboundedSender<(MachineNo, Bytes)>;

/// The post. It uses the network's paths, and no connections.
pub struct Post {
    universe: Universe,
    net: Net,
    /// One letter in so many comes late, or again; 0 for none.
    late_one_in: AtomicU64,
    inboxes: Mutex<BTreeMap<MachineNo, Inbox>>,
}

impl Post {
    /// A post over a network.
    pub fn new(universe: &Universe, net: &Net, late_one_in: u64) -> Arc<Post> {
        let inboxes = Mutex::default();
        let late_one_in = AtomicU64::new(late_one_in);
        Arc::new(Post { universe: universe.clone(), net: net.clone(), late_one_in, inboxes })
    }

    fn inboxes(&self) -> std::sync::MutexGuard<'_, BTreeMap<MachineNo, Inbox>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The letters of a process that starts now; its forerunner gets no more.
    pub fn open(&self, machine: MachineNo) -> mpsc::UnboundedReceiver<(MachineNo, Bytes)> {
        let (inbox, letters) = mpsc::unbounded_channel();
        self.inboxes().insert(machine, inbox);
        letters
    }

    /// Nobody is there any more.
    pub fn close(&self, machine: MachineNo) {
        self.inboxes().remove(&machine);
    }

    /// From now on no letter is late.
    pub fn mend(&self) {
        self.late_one_in.store(0, Ordering::Relaxed);
    }

    /// Sends a letter.
    pub fn send(self: &Arc<Post>, from: MachineNo, to: MachineNo, letter: &Letter) {
        let data = Bytes::from(postcard::to_allocvec(letter).unwrap_or_default());
        let faults = self.net.path(from, to);
        if faults.cut {
            return;
        }
        let late_one_in = self.late_one_in.load(Ordering::Relaxed);
        let delays: Vec<Duration> = self.universe.random(|rng| {
            let copies = 1 + usize::from(rng.ppm(faults.twice_ppm));
            let mut delays = Vec::new();
            for _ in 0..copies {
                let delay = Duration::from_micros(rng.between(faults.delay_us.0, faults.delay_us.1));
                delays.extend((!rng.ppm(faults.loss_ppm)).then_some(delay));
            }
            if late_one_in > 0 && rng.chance(late_one_in) {
                if rng.chance(2) {
                    delays.clear();
                }
                let latest = *rng.pick(&[20_000, 200_000]);
                delays.push(Duration::from_millis(rng.between(2_000, latest)));
            }
            delays
        });
        for delay in delays {
            let (post, data) = (self.clone(), data.clone());
            let deliver = async move {
                post.universe.sleep(delay).await;
                let inbox = post.inboxes().get(&to).cloned();
                if let Some(inbox) = inbox {
                    let _ = inbox.send((from, data));
                }
            };
            self.universe.spawn(Universe::NOBODY, "letter", Box::pin(deliver));
        }
    }
}
