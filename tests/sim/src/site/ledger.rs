//! What was seen of a site, in true time and order: the checkers' only source.

use super::checks::{self, Check, End};
use holdfast_core::NodeUid;
use holdfast_sim_world::Universe;
use holdfast_site_engine::{Kept, Message, PodUid, Record, Report};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A box by its number, 1 and up.
pub type BoxNo = u32;

/// Something that happened.
#[derive(Debug)]
pub enum Seen<'a> {
    /// These boxes act as coordinators from now on.
    Acting(&'a [BoxNo]),
    /// A box says something to another.
    Sent {
        /// Who.
        from: BoxNo,
        /// To whom.
        to: &'a NodeUid,
        /// What.
        message: &'a Message,
    },
    /// A box has started and read this.
    Opened {
        /// The box.
        no: BoxNo,
        /// What it had kept.
        kept: &'a Kept,
    },
    /// A pod runs.
    Started {
        /// The box.
        no: BoxNo,
        /// The pod.
        pod: &'a PodUid,
    },
    /// A pod no longer runs.
    Stopped {
        /// The box.
        no: BoxNo,
        /// The pod.
        pod: &'a PodUid,
    },
    /// The hub has handed pods to the site.
    Delegated(&'a Record),
    /// A coordinator's report has reached the hub.
    Reported(&'a Report),
    /// The hub has replaced a pod: another has its place.
    Replaced(&'a PodUid),
}

struct Inner {
    checks: Vec<Box<dyn Check>>,
    violations: Vec<String>,
}

/// The ledger. Clones are the same one.
#[derive(Clone)]
pub struct Ledger {
    universe: Universe,
    inner: Arc<Mutex<Inner>>,
}

/// What checkers report with.
pub struct Violations<'a> {
    now: Duration,
    name: &'static str,
    list: &'a mut Vec<String>,
}

impl Violations<'_> {
    /// An invariant does not hold.
    pub fn add(&mut self, what: impl std::fmt::Display) {
        self.list.push(format!("{}: at {:.3} s: {what}", self.name, self.now.as_secs_f64()));
    }
}

impl Ledger {
    /// A ledger with all checkers.
    pub fn new(universe: &Universe) -> Ledger {
        let inner = Inner { checks: checks::all(), violations: Vec::new() };
        Ledger { universe: universe.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn each(&self, mut show: impl FnMut(&mut dyn Check, &mut Violations<'_>)) {
        let now = self.universe.now();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { checks, violations } = &mut *inner;
        for check in checks {
            let name = check.name();
            show(check.as_mut(), &mut Violations { now, name, list: violations });
        }
    }

    /// Shows something to every checker.
    pub fn see(&self, what: &Seen<'_>) {
        if matches!(what, Seen::Sent { .. }) {
            tracing::debug!(at = self.universe.now().as_secs_f64(), ?what);
        } else {
            tracing::info!(at = self.universe.now().as_secs_f64(), ?what);
        }
        self.each(|check, violations| check.see(what, violations));
    }

    /// The faults are over and the site had its time.
    pub fn settled(&self, end: &End) {
        self.each(|check, violations| check.settled(end, violations));
    }

    /// Reports something that no checker can see.
    pub fn violation(&self, what: impl std::fmt::Display) {
        let now = self.universe.now().as_secs_f64();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.violations.push(format!("world: at {now:.3} s: {what}"));
    }

    /// What was violated so far.
    pub fn violations(&self) -> Vec<String> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).violations.clone()
    }

    /// Whether anything was violated.
    pub fn has_violations(&self) -> bool {
        !self.inner.lock().unwrap_or_else(PoisonError::into_inner).violations.is_empty()
    }
}
