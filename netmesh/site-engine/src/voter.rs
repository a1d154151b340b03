//! The vote and the promise of a box.

use crate::limits::{PROMISE, TERM_JUMP};
use holdfast_core::NodeUid;
use holdfast_mutation::broken;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Counts elections. It goes on across voter sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub u64);

impl Term {
    /// The term after this one.
    #[must_use]
    pub fn next(self) -> Term {
        Term(self.0.saturating_add(1))
    }
}

impl std::fmt::Display for Term {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The durable vote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The highest term in which the box has voted, or whose coordinator it has answered.
    pub term: Term,
    /// Whom it has voted for in that term.
    pub voted_for: Option<NodeUid>,
}

impl Ballot {
    /// Whether a vote for `who` in `term` is this vote, or one that may still be cast.
    pub(crate) fn allows(&self, term: Term, who: &NodeUid) -> bool {
        let is_cast = term == self.term && self.voted_for.as_ref() == Some(who);
        is_cast || (term > self.term && self.is_near(term))
    }

    /// Whether a term is not further above than elections ever lead.
    pub(crate) fn is_near(&self, term: Term) -> bool {
        term.0 <= self.term.0.saturating_add(TERM_JUMP)
    }
}

/// To vote for no other for a while. In memory only.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    to: Option<NodeUid>,
    until: Duration,
}

impl Promise {
    /// Of a box that has just started: whatever it promised before is over by then.
    pub(crate) fn of_the_start(now: Duration) -> Promise {
        let until = if broken("site-votes-after-reboot") { now } else { now.saturating_add(PROMISE) };
        Promise { to: None, until }
    }

    /// From now on; an earlier one to somebody else is over, or its coordinator is.
    pub(crate) fn give(&mut self, now: Duration, to: &NodeUid) {
        *self = Promise { to: Some(to.clone()), until: now.saturating_add(PROMISE) };
    }

    /// What a box promised itself it may take back, once it does not act on it any more.
    pub(crate) fn take_back(&mut self, me: &NodeUid) {
        if self.to.as_ref() == Some(me) {
            self.until = Duration::ZERO;
        }
    }

    /// Forgets it, which no rule allows.
    pub(crate) fn break_it(&mut self) {
        self.until = Duration::ZERO;
    }

    /// When it is over.
    pub(crate) fn until(&self) -> Duration {
        self.until
    }

    /// Whether the box is free to vote for `who`.
    pub(crate) fn allows(&self, now: Duration, who: &NodeUid) -> bool {
        now >= self.until || self.to.as_ref() == Some(who)
    }
}
