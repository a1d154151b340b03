//! What was seen, in true time and order: the checkers' only source.

use crate::checks::{self, Check, MARKS, PODS};
use crate::panel::Panel;
pub use crate::panel::Report;
use bytes::Bytes;
use holdfast_core::{Object, Revision};
use holdfast_edge_store::State;
use holdfast_link_engine::Frame;
use holdfast_sim_world::{TapSide, Universe};
use holdfast_store::LogEntry;
use serde_json::Value;
use std::cell::OnceCell;
use std::sync::Arc;

/// A node by its number, 1 and up.
pub type NodeNo = u32;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the hub to a node.
    Down,
    /// From a node to the hub.
    Up,
}

/// Something that happened.
pub enum Seen<'a> {
    /// A transaction is durable in the hub's log.
    Commit(&'a Commit<'a>),
    /// The hub's log was set back to a backup, which holds these objects and records.
    Restored(&'a [(Arc<str>, Bytes)]),
    /// The hub's process has ended.
    HubEnded,
    /// A whole frame of a link was sent or delivered, on this connection.
    Frame {
        /// The node.
        node: NodeNo,
        /// The connection.
        connection: u64,
        /// Direction.
        way: Way,
        /// Sent or delivered.
        side: TapSide,
        /// The frame.
        frame: &'a Frame,
    },
    /// A node's agent has opened its journal.
    NodeOpened {
        /// The node.
        node: NodeNo,
        /// What the journal holds.
        state: &'a State,
    },
    /// Bits of a node's store have flipped, or all of it is gone.
    Flipped {
        /// The node.
        node: NodeNo,
    },
    /// A node's agent has ended; with `power` the machine went off.
    NodeEnded {
        /// The node.
        node: NodeNo,
        /// Whether the machine lost power, and its containers with it.
        power: bool,
    },
    /// A container runs.
    Started {
        /// The node.
        node: NodeNo,
        /// The pod.
        pod_uid: &'a str,
        /// Its name in the pod.
        container: &'a str,
        /// Counts its restarts.
        attempt: u32,
    },
    /// A container no longer runs.
    Stopped {
        /// The node.
        node: NodeNo,
        /// The pod.
        pod_uid: &'a str,
        /// Its name in the pod.
        container: &'a str,
        /// Counts its restarts.
        attempt: u32,
        /// It was told to; else it ended by itself or with the power.
        told: bool,
    },
}

/// A transaction of the hub's log.
pub struct Commit<'a> {
    /// What it wrote.
    pub entries: &'a [LogEntry],
    /// Most checkers look at the pods: each is read once for all of them.
    pods: OnceCell<Vec<(usize, Option<Value>)>>,
}

impl<'a> Commit<'a> {
    pub(crate) fn of(entries: &'a [LogEntry]) -> Commit<'a> {
        Commit { entries, pods: OnceCell::new() }
    }

    /// The pods that it wrote, as documents, each with its entry; `None` for one that it deleted.
    pub fn pods(&self) -> impl Iterator<Item = (&LogEntry, Option<&Value>)> {
        let read = || {
            let pods = self.entries.iter().enumerate().filter(|(_, entry)| entry.key.starts_with(PODS));
            pods.map(|(at, entry)| (at, entry.value.as_ref().map(pod))).collect()
        };
        self.pods.get_or_init(read).iter().map(|(at, pod)| (&self.entries[*at], pod.as_ref()))
    }

    /// Whether a fact of a node made it: only those bring a mark.
    pub fn is_of_node(&self) -> bool {
        self.entries.iter().any(|entry| entry.key.starts_with(MARKS))
    }
}

/// The ledger. Clones are the same one.
pub type Ledger = Panel<dyn Check>;

impl Panel<dyn Check> {
    /// A ledger with all checkers.
    pub fn new(universe: &Universe) -> Ledger {
        Panel::of(universe, checks::all().into_iter().map(|check| (check.name(), check)).collect())
    }

    /// Shows something to every checker.
    pub fn see(&self, what: &Seen<'_>) {
        self.each(|check, report| check.see(what, report));
    }

    /// The faults are over and the world had its time: it must agree.
    pub fn settled(&self, end: &checks::End) {
        self.each(|check, report| check.settled(end, report));
    }
}

/// A pod of the hub's log as a document; no checker looks at its `managedFields`, which are as much as all the rest.
fn pod(body: &Bytes) -> Value {
    Object::from_stored(body.clone(), Revision(0)).map(|pod| pod.to_json()).unwrap_or_default()
}

/// A body of the hub's log as JSON.
pub fn json(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}
