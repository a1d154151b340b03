//! The heartbeats of one connection.

use super::{Keepalive, tolerated};
use crate::limits::{ANSWER, ANSWER_MOST, HEARTBEATS_PENDING, SILENCE};
use std::collections::BTreeMap;
use std::time::Duration;

/// How heartbeats go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two of them.
    pub interval: Duration,
    /// Silence after which the hub counts the node as gone; none when the hub did not say.
    pub tolerated: Option<Duration>,
}

/// What the hub allows; an older one says nothing, and gets the interval that it named.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    longest: Duration,
    grace: Duration,
}

/// Heartbeats that wait for an answer: one, and what was sent again for it.
#[derive(Clone, Debug)]
struct Exchange {
    began: Duration,
    /// The silence before the first.
    silence: Duration,
    /// Silence before each, by its number.
    sent: BTreeMap<u64, (Duration, Duration)>,
    again_at: Duration,
}

/// The heartbeats of one connection. Times are those of one monotonic clock.
#[derive(Clone, Debug)]
pub struct Pulse {
    start: Duration,
    allowed: Option<Allowed>,
    known: Keepalive,
    /// When something was last sent or came, heartbeats that wait for their answer aside.
    quiet_since: Duration,
    /// The longest silence since the last answer that something else than a heartbeat ended.
    longest_gap: Duration,
    heard: Duration,
    count: u64,
    answered: u64,
    address: Option<u32>,
    next: Duration,
    /// When the last one was sent.
    beat_at: Duration,
    round_trip: Duration,
    waiting: Option<Exchange>,
    /// The longest interval that the node's own pods allow.
    own_limit: Duration,
}

impl Pulse {
    /// A connection that is up now; `start` is the interval that the hub named, `known` what was found on this path.
    pub fn new(now: Duration, start: Duration, known: Keepalive) -> Pulse {
        Pulse {
            start,
            allowed: None,
            known,
            quiet_since: now,
            longest_gap: Duration::ZERO,
            heard: now,
            count: 0,
            answered: 0,
            address: None,
            next: now + start,
            beat_at: now,
            round_trip: Duration::ZERO,
            waiting: None,
            own_limit: Duration::MAX,
        }
    }

    /// The hub says how long an interval may be, how long it lets a node be silent, and as whom it sees us.
    pub fn allow(&mut self, longest: Duration, grace: Duration, address: u32) {
        self.allowed = Some(Allowed { longest, grace });
        self.address = Some(address);
        // What is known of the path may forbid to wait for as long as the hub has named.
        self.hasten();
    }

    fn hasten(&mut self) {
        self.next = self.next.min(self.beat_at.saturating_add(self.interval()));
    }

    /// Whether the hub knows of intervals that are not its own.
    pub fn is_allowed(&self) -> bool {
        self.allowed.is_some()
    }

    /// The node's own pods allow no longer interval than this.
    pub fn limit(&mut self, longest: Duration) {
        self.own_limit = longest;
        self.hasten();
    }

    /// What is known of the path.
    pub fn known(&self) -> Keepalive {
        self.known
    }

    /// How heartbeats go now.
    pub fn pace(&self) -> Pace {
        let interval = self.interval();
        Pace { interval, tolerated: self.allowed.map(|allowed| tolerated(allowed.grace, interval)) }
    }

    fn longest(&self) -> Duration {
        self.allowed.map_or(self.start, |allowed| allowed.longest).min(self.own_limit)
    }

    fn interval(&self) -> Duration {
        if self.is_allowed() { self.known.interval(self.start, self.longest()) } else { self.start.min(self.own_limit) }
    }

    /// When [`Pulse::beat`] or [`Pulse::is_dead`] is due.
    pub fn next_deadline(&self) -> Duration {
        let next = self.waiting.as_ref().map_or(self.next, |waiting| waiting.again_at);
        next.min(self.dead_at())
    }

    fn dead_at(&self) -> Duration {
        self.heard.saturating_add(self.interval()).saturating_add(SILENCE)
    }

    /// Whether the hub has been silent for so long that the connection is of no use.
    pub fn is_dead(&self, now: Duration) -> bool {
        now >= self.dead_at()
    }

    /// Something else than a heartbeat is sent.
    pub fn sent(&mut self, now: Duration) {
        if self.waiting.is_none() {
            self.longest_gap = self.longest_gap.max(now.saturating_sub(self.quiet_since));
        }
        self.quiet_since = now;
    }

    /// Bytes came; that says nothing of a silence that was measured, as they may be acknowledgements.
    pub fn alive(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Something came.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
        self.sent(now);
    }

    /// The heartbeat that is to be sent now, if one is: its number, and the longest interval that may follow it.
    pub fn beat(&mut self, now: Duration) -> Option<(u64, Duration)> {
        if self.waiting.as_ref().map_or(self.next, |waiting| waiting.again_at) > now {
            return None;
        }
        self.count += 1;
        self.beat_at = now;
        let silence = now.saturating_sub(self.quiet_since);
        let first = ANSWER.min(self.start / 4).max(self.round_trip * 3);
        let waiting =
            self.waiting.get_or_insert_with(|| Exchange { began: now, silence, sent: BTreeMap::new(), again_at: now });
        waiting.sent.insert(self.count, (now, silence));
        while waiting.sent.len() > HEARTBEATS_PENDING {
            waiting.sent.pop_first();
        }
        // After 1, 2, 4 … waits from the first.
        waiting.again_at = now + (now - waiting.began).max(first).min(ANSWER_MOST.max(first));
        let mut hoped = self.known;
        hoped.survived(now, waiting.silence.max(self.longest_gap), self.start, self.longest());
        let hoped = if self.is_allowed() { hoped.interval(self.start, self.longest()) } else { self.start };
        Some((self.count, hoped.max(self.interval())))
    }

    /// The hub has answered a heartbeat; `address` is the hash of where it sees the node, from a hub that says so.
    pub fn answered(&mut self, now: Duration, count: u64, address: Option<u32>) {
        let exchange = self.waiting.take_if(|waiting| waiting.sent.contains_key(&count));
        if let Some(exchange) = exchange {
            let (sent_at, silence) = exchange.sent.get(&count).copied().unwrap_or_default();
            self.round_trip = now.saturating_sub(sent_at);
            let (start, longest) = (self.start, self.longest());
            match (self.address, address) {
                (Some(before), Some(after)) if before == after => {
                    // The first may have been lost behind the translation: then no longer silence was survived.
                    self.known.survived(now, exchange.silence.max(self.longest_gap), start, longest);
                }
                // It was the longest of these silences, or a shorter one.
                (Some(_), Some(_)) => {
                    let longest_silence = silence.max(exchange.silence).max(self.longest_gap);
                    self.known.lost(now, longest_silence, start, longest);
                }
                _ => {}
            }
            self.next = now + self.interval();
        }
        if count > self.answered {
            self.answered = count;
            self.address = address.or(self.address);
        }
        self.heard(now);
        self.longest_gap = Duration::ZERO;
    }

    /// The connection has ended. When that came right after a silence, the path may not have outlived it.
    pub fn ended(&mut self, now: Duration) {
        if let Some(exchange) = self.waiting.take().filter(|_| self.address.is_some()) {
            let (start, longest) = (self.start, self.longest());
            if exchange.silence >= self.interval() * 9 / 10 {
                self.known.lost(now, exchange.silence, start, longest);
            }
        }
    }
}
