//! One file an invariant of a site, each written against what is seen from outside.

pub mod alive;
pub mod coordinator;
pub mod delegated;
pub mod identity;
pub mod votes;

use super::ledger::{BoxNo, Seen, Violations};
use holdfast_site_engine::PodUid;
use std::collections::BTreeSet;

/// A checker: it sees everything in order, and the end.
pub trait Check: Send {
    /// Its name in reports.
    fn name(&self) -> &'static str;
    /// Something happened.
    fn see(&mut self, what: &Seen<'_>, violations: &mut Violations<'_>);
    /// The faults are over, and the site had its time.
    fn settled(&mut self, _end: &End, _violations: &mut Violations<'_>) {}
}

/// What ought to be so at the end.
#[derive(Clone, Debug, Default)]
pub struct End {
    /// Pods that the hub has handed to the site and not asked back.
    pub pods: BTreeSet<PodUid>,
    /// Boxes that are on.
    pub on: BTreeSet<BoxNo>,
}

/// All checkers.
pub fn all() -> Vec<Box<dyn Check>> {
    vec![
        Box::new(coordinator::OneCoordinator),
        Box::new(identity::OneIdentity::default()),
        Box::new(votes::VotesLast::default()),
        Box::new(delegated::NothingDelegatedReplaced::default()),
        Box::new(alive::Alive::default()),
    ]
}
