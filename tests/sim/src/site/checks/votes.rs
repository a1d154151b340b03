//! A vote once told survives a power cut, and is not cast again for another; so does what a box says to know to be over.

use super::Check;
use crate::site::ledger::{BoxNo, Seen, Violations};
use holdfast_site_engine::Message;
use std::collections::BTreeMap;

/// What each box has told.
#[derive(Default)]
pub struct VotesLast {
    told: BTreeMap<BoxNo, Told>,
}

#[derive(Default)]
struct Told {
    /// Whom it voted for, by term.
    votes: BTreeMap<u64, String>,
    /// The number of the highest set in which it has said anything that binds.
    set: u64,
    released: u64,
}

impl Check for VotesLast {
    fn name(&self) -> &'static str {
        "votes-last"
    }

    fn see(&mut self, what: &Seen<'_>, violations: &mut Violations<'_>) {
        match what {
            Seen::Sent { from, to, message: Message::Vote { set, term, numbers } } => {
                let told = self.told.entry(*from).or_default();
                let earlier = told.votes.entry(term.0).or_insert_with(|| to.0.clone());
                if *earlier != to.0 {
                    violations
                        .violation(format!("box {from} votes for {to} in term {term} after it voted for {earlier}"));
                }
                told.binds(*from, set.number, numbers.released, violations);
            }
            Seen::Sent { from, message: Message::Renewed { set, numbers, .. }, .. } => {
                self.told.entry(*from).or_default().binds(*from, set.number, numbers.released, violations);
            }
            Seen::Opened { no, kept } => {
                let told = self.told.entry(*no).or_default();
                if let Some((term, who)) = told.votes.last_key_value() {
                    let is_kept = kept.ballot.term.0 > *term
                        || (kept.ballot.term.0 == *term && kept.ballot.voted_for.as_ref().is_some_and(|v| v.0 == *who));
                    if !is_kept {
                        violations.violation(format!(
                            "box {no} has lost its vote for {who} in term {term}: {:?}",
                            kept.ballot
                        ));
                    }
                }
                if kept.set.as_ref().map_or(0, |set| set.id().number) < told.set {
                    violations.violation(format!("box {no} has lost voter set {}", told.set));
                }
                if kept.delegation.released < told.released {
                    violations.violation(format!("box {no} has forgotten that {} is over", told.released));
                }
            }
            _ => {}
        }
    }
}

impl Told {
    fn binds(&mut self, no: BoxNo, set: u64, released: u64, violations: &mut Violations<'_>) {
        if set < self.set {
            violations.violation(format!("box {no} speaks in set {set} after it left it for {}", self.set));
        }
        self.set = self.set.max(set);
        self.released = self.released.max(released);
    }
}
