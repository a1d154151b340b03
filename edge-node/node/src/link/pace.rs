//! What the node knows of its heartbeats: per path what was found, and how long the hub can have heard nothing.

use holdfast_env::Mono;
use holdfast_link_engine::{Keepalive, Pace};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Paths that are remembered: a machine has few networks, and each transport its own.
const PATHS: usize = 8;
/// Heartbeats that wait for their answer; older ones are forgotten.
const PENDING: usize = 8;

/// How heartbeats go, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Time between two of them.
    pub interval: Duration,
    /// The longest silence that this path is known to survive.
    pub survived: Option<Duration>,
    /// The shortest that it did not survive.
    pub lost: Option<Duration>,
    /// From sending the last one to its answer.
    pub round_trip: Option<Duration>,
    /// How many were answered in this life of the agent.
    pub answered: u64,
}

/// Heartbeats of this life of the agent.
#[derive(Debug, Default)]
pub(super) struct Paces {
    /// The latest last.
    paths: VecDeque<(String, Keepalive)>,
    /// Of the connection that is up.
    pace: Option<(Keepalive, Pace)>,
    sent: BTreeMap<u64, Mono>,
    /// When the last one that was answered was sent: the hub heard it then or later.
    answered: Option<Mono>,
    round_trip: Option<Duration>,
    count: u64,
}

impl Paces {
    /// What earlier connections found on this path.
    pub(super) fn known(&self, path: &str) -> Keepalive {
        self.paths.iter().find(|(known, _)| known == path).map(|(_, known)| *known).unwrap_or_default()
    }

    /// More is known of this path; `pace` while the connection lives.
    pub(super) fn learned(&mut self, path: &str, known: Keepalive, pace: Option<Pace>) {
        self.paths.retain(|(other, _)| other != path);
        self.paths.push_back((path.to_string(), known));
        if self.paths.len() > PATHS {
            self.paths.pop_front();
        }
        self.pace = pace.map(|pace| (known, pace));
    }

    pub(super) fn shown(&self) -> Option<Shown> {
        let (known, pace) = self.pace?;
        let (survived, lost) = (known.survived_silence(), known.lost_silence());
        Some(Shown { interval: pace.interval, survived, lost, round_trip: self.round_trip, answered: self.count })
    }

    /// The hello (0) or a heartbeat is about to be sent.
    pub(super) fn sending(&mut self, now: Mono, count: u64) {
        if count == 0 {
            self.sent.clear();
        }
        self.sent.insert(count, now);
        while self.sent.len() > PENDING {
            self.sent.pop_first();
        }
    }

    /// The hub has answered it: whether it may have written the node off before. It heard the one that was answered last
    /// no earlier than that was sent, and this one before now: a longer time it cannot have been without a word. `grace`
    /// is its patience with a node that it does not allow an interval of its own.
    pub(super) fn answered(&mut self, now: Mono, count: u64, grace: Duration) -> bool {
        let Some(sent) = self.sent.remove(&count) else { return false };
        self.round_trip = Some(now.since(sent));
        self.count += u64::from(count > 0);
        let latest = self.answered.max(Some(sent));
        let Some(last) = std::mem::replace(&mut self.answered, latest) else { return true };
        let tolerated = self.pace.and_then(|(_, pace)| pace.tolerated).unwrap_or(grace);
        // The hub counts a node as heard some time after the hello.
        now.since(last) > if count == 0 { tolerated / 2 } else { tolerated / 8 * 7 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn a_silence_counts_from_when_the_last_answered_heartbeat_was_sent() {
        let (mut paces, grace) = (Paces::default(), Duration::from_secs(40));
        paces.sending(at(0), 0);
        assert!(paces.answered(at(1), 0, grace), "the first contact of a life");
        paces.sending(at(30), 1);
        assert!(!paces.answered(at(31), 1, grace));
        paces.sending(at(61), 2);
        paces.sending(at(63), 3);
        assert!(!paces.answered(at(64), 3, grace), "34 s after 1 was sent");
        paces.sending(at(94), 4);
        paces.sending(at(102), 5);
        assert!(paces.answered(at(103), 5, grace), "40 s after 3 was sent");
        assert!(!paces.answered(at(103), 5, grace), "twice");
        // A new connection.
        paces.sending(at(110), 0);
        assert!(!paces.answered(at(111), 0, grace));
        paces.sending(at(140), 0);
        assert!(paces.answered(at(141), 0, grace));
        let pace = Pace { interval: Duration::from_secs(600), tolerated: Some(Duration::from_secs(610)) };
        paces.learned("quic 10.0.0.1", Keepalive::default(), Some(pace));
        paces.sending(at(641), 1);
        assert!(!paces.answered(at(642), 1, grace), "the hub waits for the interval that it was told");
        assert_eq!(paces.shown().unwrap().round_trip, Some(Duration::from_secs(1)));
    }
}
