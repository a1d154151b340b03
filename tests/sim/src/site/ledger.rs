//! What was seen of a site, in true time and order: the checkers' only source.

use super::checks::{self, Check, End};
use crate::panel::Panel;
/// What checkers report with; a coordinator's report has its name.
pub use crate::panel::Report as Violations;
use holdfast_core::NodeUid;
use holdfast_sim_world::Universe;
use holdfast_site_engine::{Kept, Message, PodUid, Record, Report};

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

/// The ledger. Clones are the same one.
pub type Ledger = Panel<dyn Check>;

impl Panel<dyn Check> {
    /// A ledger with all checkers.
    pub fn new(universe: &Universe) -> Ledger {
        Panel::of(universe, checks::all().into_iter().map(|check| (check.name(), check)).collect())
    }

    /// Shows something to every checker.
    pub fn see(&self, what: &Seen<'_>) {
        if matches!(what, Seen::Sent { .. }) {
            tracing::debug!(at = self.now().as_secs_f64(), ?what);
        } else {
            tracing::info!(at = self.now().as_secs_f64(), ?what);
        }
        self.each(|check, violations| check.see(what, violations));
    }

    /// The faults are over and the site had its time.
    pub fn settled(&self, end: &End) {
        self.each(|check, violations| check.settled(end, violations));
    }
}
