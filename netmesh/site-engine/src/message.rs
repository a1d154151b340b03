//! What boxes say to each other, and to the hub. Not on a wire yet: these become frames of the link, with numbers and
//! golden bytes of their own.

use crate::delegation::{Delegation, PodUid};
use crate::set::SetId;
use crate::voter::Term;
use serde::{Deserialize, Serialize};

/// What travels of the delegation with votes and renewals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// The hub wants all up to here back.
    pub asked_back: u64,
    /// All up to here are over.
    pub released: u64,
}

impl Numbers {
    pub(crate) fn of(delegation: &Delegation) -> Numbers {
        Numbers { asked_back: delegation.asked_back, released: delegation.released }
    }

    /// What both know.
    pub(crate) fn and(self, other: Numbers) -> Numbers {
        let asked_back = self.asked_back.max(other.asked_back);
        Numbers { asked_back, released: self.released.max(other.released) }
    }
}

/// What a box says to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Would you vote for me in this term?
    Sound {
        /// In which set.
        set: SetId,
        /// The term.
        term: Term,
    },
    /// The answer, which binds nobody.
    Sounded {
        /// In which set.
        set: SetId,
        /// The term that was asked for.
        term: Term,
        /// Whether it would.
        yes: bool,
        /// The term of who answers.
        known: Term,
    },
    /// Vote for me.
    Ask {
        /// In which set.
        set: SetId,
        /// The term.
        term: Term,
    },
    /// My vote is yours, durably. It counts as the answer to a renewal.
    Vote {
        /// In which set.
        set: SetId,
        /// The term.
        term: Term,
        /// What the voter knows durably.
        numbers: Numbers,
    },
    /// I coordinate.
    Renew {
        /// In which set.
        set: SetId,
        /// The term.
        term: Term,
        /// Counts renewals of this term.
        round: u64,
        /// What the coordinator knows.
        numbers: Numbers,
    },
    /// The answer: I vote for no other for a while.
    Renewed {
        /// In which set.
        set: SetId,
        /// The term.
        term: Term,
        /// Of the renewal.
        round: u64,
        /// What the voter knows durably.
        numbers: Numbers,
    },
    /// What may I run?
    Claim {
        /// The coordinator's term.
        term: Term,
        /// Drawn when the box started; tells its lives apart.
        life: u64,
        /// Counts claims of this life.
        round: u64,
        /// What the box runs by a lease that is not over.
        holds: Vec<PodUid>,
    },
    /// The answer: these and no others.
    Granted {
        /// The coordinator's term.
        term: Term,
        /// Of the claim.
        life: u64,
        /// Of the claim.
        round: u64,
        /// The pods.
        pods: Vec<PodUid>,
    },
}

/// What a coordinator says to the hub: a state fact, of which the latest is kept until it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The set, which has begun.
    pub set: SetId,
    /// The term.
    pub term: Term,
    /// Majorities know durably that all delegations up to this number are over.
    pub released: u64,
}
