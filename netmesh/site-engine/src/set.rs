//! The voter set: who has a vote in a site, and who may coordinate it.

use crate::limits::MAX_SEATS;
use holdfast_core::{Lineage, NodeUid};
use holdfast_mutation::broken;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Which set. Numbers rise with every set that a hub makes for the site, after a restore as well (the hub's revisions
/// do); sets of two histories may still have one number, and are not the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetId {
    /// Its number.
    pub number: u64,
    /// The history of the hub that made it.
    pub lineage: Lineage,
}

/// A box of a set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seat {
    /// The box.
    pub node: NodeUid,
    /// It votes, and neither coordinates nor runs anything.
    pub witness: bool,
}

/// What is wrong with a set, or with giving it to this box.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// No two of them could outvote the third.
    #[error("a voter set needs three voters, or two and a witness; this one has {0}")]
    TooFew(usize),
    /// Nobody could take over.
    #[error("a voter set needs at least two boxes that may coordinate; {0} of this one are no witnesses")]
    TooFewCoordinators(usize),
    /// More than the protocol is meant for.
    #[error("a voter set has at most {MAX_SEATS} boxes; this one has {0}")]
    TooMany(usize),
    /// One box, two votes.
    #[error("box {0} is twice in the voter set")]
    Twice(NodeUid),
    /// The hub has not heard a coordinator of the present set.
    #[error("voter set {0} has not begun: no coordinator of it has reported, so its own predecessor may still act")]
    NotBegun(u64),
    /// A number that does not rise.
    #[error("voter set {new} does not come after {old}")]
    Older {
        /// The number that was given.
        new: u64,
        /// The number that is there.
        old: u64,
    },
    /// The set follows one that this box has left behind, or none.
    #[error("voter set {new} does not follow {held}, which this box holds: the hub has to learn of {held} first")]
    Unrelated {
        /// The number that was given.
        new: u64,
        /// The number that is held.
        held: u64,
    },
}

/// A voter set. It is checked when it is made and whenever a box is given one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSet {
    id: SetId,
    /// In the order in which they stand for election.
    seats: Vec<Seat>,
    /// The set before it, and its seats.
    before: Option<(SetId, Vec<Seat>)>,
}

impl VoterSet {
    /// The first set of a site.
    ///
    /// # Errors
    /// What is wrong with the seats.
    pub fn first(id: SetId, seats: Vec<Seat>) -> Result<VoterSet, SetError> {
        VoterSet { id, seats, before: None }.checked()
    }

    /// The set after `self`. `begun` says that a coordinator of `self` has reported.
    ///
    /// # Errors
    /// What is wrong with the seats, the number or the moment.
    pub fn next(&self, begun: bool, id: SetId, seats: Vec<Seat>) -> Result<VoterSet, SetError> {
        if !begun {
            return Err(SetError::NotBegun(self.id.number));
        }
        VoterSet { id, seats, before: Some((self.id, self.seats.clone())) }.checked()
    }

    fn checked(self) -> Result<VoterSet, SetError> {
        self.check()?;
        Ok(self)
    }

    /// Whether it is a set at all.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), SetError> {
        check_seats(&self.seats)?;
        let Some((id, seats)) = &self.before else { return Ok(()) };
        if id.number >= self.id.number {
            return Err(SetError::Older { new: self.id.number, old: id.number });
        }
        check_seats(seats)
    }

    /// Whether a box that holds `held` may go over to this set.
    ///
    /// # Errors
    /// Why not.
    pub fn check_after(&self, held: &VoterSet) -> Result<(), SetError> {
        let (new, held) = (self.id.number, held.id);
        if new <= held.number {
            return Err(SetError::Older { new, old: held.number });
        }
        // Whoever holds an older one than the predecessor skips it: the hub knew that the predecessor had begun.
        match self.before {
            Some((before, _)) if before == held || before.number > held.number => Ok(()),
            _ => Err(SetError::Unrelated { new, held: held.number }),
        }
    }

    /// Which it is.
    pub fn id(&self) -> SetId {
        self.id
    }

    /// Its seats.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// All that have a vote in it: its own, and those of the set before.
    pub fn voters(&self) -> BTreeSet<&NodeUid> {
        self.seats.iter().chain(self.before.iter().flat_map(|(_, seats)| seats)).map(|seat| &seat.node).collect()
    }

    /// Whether a box may coordinate, and run pods.
    pub fn may_coordinate(&self, node: &NodeUid) -> bool {
        self.rank(node).is_some()
    }

    /// How many boxes stand before this one.
    pub fn rank(&self, node: &NodeUid) -> Option<u32> {
        let at = self.seats.iter().filter(|seat| !seat.witness).position(|seat| seat.node == *node)?;
        u32::try_from(at).ok()
    }

    /// Whether those of whom `has` is true are majorities of this set and of the one before.
    pub fn is_majority(&self, has: impl Fn(&NodeUid) -> bool) -> bool {
        let most = |seats: &[Seat]| {
            let count = seats.iter().filter(|seat| has(&seat.node)).count();
            count * 2 > seats.len() || (broken("site-minority") && count * 2 + 1 >= seats.len())
        };
        let before = self.before.as_ref().filter(|_| !broken("site-old-set-forgotten"));
        most(&self.seats) && before.is_none_or(|(_, seats)| most(seats))
    }
}

fn check_seats(seats: &[Seat]) -> Result<(), SetError> {
    if seats.len() > MAX_SEATS {
        return Err(SetError::TooMany(seats.len()));
    }
    let mut seen = BTreeSet::new();
    if let Some(seat) = seats.iter().find(|seat| !seen.insert(&seat.node)) {
        return Err(SetError::Twice(seat.node.clone()));
    }
    if seats.len() < 3 {
        return Err(SetError::TooFew(seats.len()));
    }
    match seats.iter().filter(|seat| !seat.witness).count() {
        few @ ..2 => Err(SetError::TooFewCoordinators(few)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(text: &str) -> Vec<Seat> {
        let seat = |c: char| Seat { node: NodeUid(c.to_ascii_lowercase().into()), witness: c.is_ascii_uppercase() };
        text.chars().map(seat).collect()
    }

    fn id(number: u64) -> SetId {
        SetId { number, lineage: Lineage(1) }
    }

    fn has(set: &VoterSet, boxes: &str) -> bool {
        set.is_majority(|node| boxes.contains(&node.0))
    }

    #[test]
    fn what_is_no_set_is_explained() {
        let first = |text: &str| VoterSet::first(id(1), seats(text)).map(drop).map_err(|err| err.to_string());
        assert_eq!(first("abc"), Ok(()));
        assert_eq!(first("abW"), Ok(()));
        assert_eq!(first("ab").unwrap_err(), "a voter set needs three voters, or two and a witness; this one has 2");
        assert!(first("aVW").unwrap_err().contains("at least two boxes that may coordinate"));
        assert!(first("aba").unwrap_err().contains("box a is twice"));
        assert!(first("abA").unwrap_err().contains("twice"));
        assert!(first("abcdefgh").unwrap_err().contains("at most 7"));
    }

    #[test]
    fn a_change_needs_majorities_of_both_sets() {
        let old = VoterSet::first(id(1), seats("abc")).unwrap();
        assert!(has(&old, "ab") && !has(&old, "a") && !has(&old, "ade"));
        assert!(old.next(false, id(2), seats("cde")).unwrap_err().to_string().contains("has not begun"));
        let new = old.next(true, id(2), seats("cde")).unwrap();
        assert!(!has(&new, "cde") && !has(&new, "abc") && has(&new, "bcde") && has(&new, "bcd"));
        assert_eq!(new.voters().len(), 5);
        let settled = new.next(true, id(3), seats("cde")).unwrap();
        assert!(has(&settled, "de"));
        assert_eq!(new.next(true, id(2), seats("cde")).unwrap_err(), SetError::Older { new: 2, old: 2 });
    }

    #[test]
    fn a_box_goes_forward_only_and_along_one_history() {
        let one = VoterSet::first(id(1), seats("abc")).unwrap();
        let two = one.next(true, id(2), seats("abd")).unwrap();
        let three = two.next(true, id(3), seats("abd")).unwrap();
        assert_eq!(two.check_after(&one), Ok(()));
        assert_eq!(three.check_after(&one), Ok(()));
        assert_eq!(one.check_after(&two), Err(SetError::Older { new: 1, old: 2 }));
        // A hub that was restored does not know of set 2, and makes another out of set 1.
        let fork = one.next(true, SetId { number: 9, lineage: Lineage(2) }, seats("bce")).unwrap();
        assert_eq!(fork.check_after(&one), Ok(()));
        assert_eq!(fork.check_after(&two), Err(SetError::Unrelated { new: 9, held: 2 }));
        assert_eq!(two.check_after(&fork), Err(SetError::Older { new: 2, old: 9 }));
        let other = VoterSet::first(SetId { number: 5, lineage: Lineage(2) }, seats("abc")).unwrap();
        assert_eq!(other.check_after(&one), Err(SetError::Unrelated { new: 5, held: 1 }));
    }
}
