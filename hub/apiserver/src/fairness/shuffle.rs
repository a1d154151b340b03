//! Shuffle sharding: which queues of a level a flow may use. Flows that share one queue hardly share another, so one that
//! floods leaves most others a queue that it does not fill.

use super::limits::HAND;

/// The queues, of `deck`, that the hash of a flow is dealt; `size` of them, all different.
pub(super) struct Hand {
    cards: [u32; HAND],
    size: usize,
}

impl Hand {
    /// Deals. The remainders of repeated division say which of the cards left is drawn next.
    pub(super) fn deal(hash: u64, deck: u32, size: u32) -> Hand {
        let size = (size.min(deck) as usize).clamp(1, HAND);
        let (mut hash, mut cards) = (hash, [0; HAND]);
        let mut drawn = [0; HAND];
        for index in 0..size {
            let left = u64::from(deck.max(1)) - index as u64;
            drawn[index] = (hash % left) as u32;
            hash /= left;
            let mut card = drawn[index];
            for before in drawn[..index].iter().rev() {
                card += u32::from(card >= *before);
            }
            cards[index] = card;
        }
        Hand { cards, size }
    }

    /// The cards, from the one at `offset` on: who comes first must not always be dealt the same card first.
    pub(super) fn cards(&self, offset: u64) -> impl Iterator<Item = u32> + '_ {
        let first = (offset % self.size as u64) as usize;
        (0..self.size).map(move |step| self.cards[(first + step) % self.size])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn hands_are_different_cards_of_the_deck() {
        for (deck, size) in [(1, 1), (2, 2), (16, 4), (64, 6), (128, 6), (10_000_000, 2)] {
            for seed in 0..500u64 {
                let hash = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let cards: BTreeSet<u32> = Hand::deal(hash, deck, size).cards(seed).collect();
                assert_eq!(cards.len(), size as usize, "{deck} {size} {hash}");
                assert!(cards.iter().all(|card| *card < deck));
            }
        }
    }

    /// Every hand, in every order, comes of as many hashes as any other.
    #[test]
    fn all_hands_are_as_likely() {
        let mut seen = std::collections::BTreeMap::new();
        for hash in 0..4 * 3 * 2 * 5 {
            let hand: Vec<u32> = Hand::deal(hash, 4, 3).cards(0).collect();
            *seen.entry(hand).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(seen.values().all(|count| *count == 5));
    }
}
