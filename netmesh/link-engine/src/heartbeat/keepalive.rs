//! What is known of a path's time-out, and the interval that follows from it.

use crate::limits::{KEEPALIVE_FLOOR, KEEPALIVE_REPROBE, KEEPALIVE_WINS};
use std::time::Duration;

/// What is known of how long a path keeps the node's place in an address translation.
///
/// The interval rises by half while silences are survived. The first that is not makes an upper bound; the middle
/// between the bounds is tried until they are within a tenth, and the node settles at 0.8 of the longest silence that was
/// survived. Once a day the upper bound is tried again. A silence that was survived before must be lost twice in a row
/// to count: once may be the router's restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// The longest silence that the binding survived.
    survived: Option<Duration>,
    /// The shortest that lost it.
    lost: Option<Duration>,
    /// The interval to use; none before anything is known.
    chosen: Option<Duration>,
    /// Silences of the interval survived in a row.
    wins: u32,
    /// Survived silences that were lost in a row.
    strikes: u32,
    /// When the upper bound is tried again, by the monotonic clock; set while the search is settled.
    reprobe_at: Option<Duration>,
}

impl Keepalive {
    /// The interval to use: `start` before anything is known, never more than `longest`.
    pub fn interval(&self, start: Duration, longest: Duration) -> Duration {
        self.chosen.unwrap_or(start).min(longest)
    }

    /// The longest silence that the path is known to survive.
    pub fn survived_silence(&self) -> Option<Duration> {
        self.survived
    }

    /// The shortest silence that the path is known not to survive.
    pub fn lost_silence(&self) -> Option<Duration> {
        self.lost
    }

    /// The hub sees the node at the same address after this silence.
    pub(super) fn survived(&mut self, now: Duration, silence: Duration, start: Duration, longest: Duration) {
        let interval = self.interval(start, longest);
        if silence < interval * 9 / 10 {
            // Nothing new: it says nothing of the interval in use.
            return;
        }
        self.strikes = 0;
        self.survived = self.survived.max(Some(silence));
        if self.lost.is_some_and(|lost| lost <= silence) {
            // The path keeps it longer than it did.
            (self.lost, self.reprobe_at) = (None, None);
        }
        self.wins += 1;
        if self.wins >= KEEPALIVE_WINS {
            self.wins = 0;
            self.choose(now, start, longest);
        }
    }

    /// The hub sees the node at another address after this silence, or the connection did not outlive it.
    pub(super) fn lost(&mut self, now: Duration, silence: Duration, start: Duration, longest: Duration) {
        self.wins = 0;
        if self.survived.is_some_and(|survived| silence <= survived) {
            self.strikes += 1;
            if self.strikes < 2 {
                return;
            }
            (self.survived, self.reprobe_at) = (None, None);
        }
        self.strikes = 0;
        self.lost = Some(self.lost.map_or(silence, |lost| lost.min(silence)));
        self.choose(now, start, longest);
    }

    /// Sets the interval by what is known.
    fn choose(&mut self, now: Duration, start: Duration, longest: Duration) {
        let floor = KEEPALIVE_FLOOR.min(start);
        let chosen = match (self.survived, self.lost) {
            (None, None) => return,
            (Some(survived), None) => (survived * 3 / 2).max(self.interval(start, longest)),
            (None, Some(lost)) => lost * 6 / 10,
            (Some(survived), Some(lost)) if lost > survived * 11 / 10 => (survived + lost) / 2,
            (Some(survived), Some(lost)) => match self.reprobe_at {
                Some(at) if now >= at => {
                    self.reprobe_at = Some(now + KEEPALIVE_REPROBE);
                    lost
                }
                settled => {
                    self.reprobe_at = settled.or(Some(now + KEEPALIVE_REPROBE));
                    survived * 8 / 10
                }
            },
        };
        self.chosen = Some(chosen.clamp(floor, longest.max(floor)));
    }
}
