//! How many seats a request takes: a list by the bytes that it shows, a write some time longer where many watch.

use super::limits::{
    BYTES_PER_SEAT, EVENT_TIME, GUESS, LIST_BYTES, LIST_SEATS, LONGEST_WAIT, WAIT_SHARE, WATCHES_PER_SEAT, WRITE_SEATS,
};
use holdfast_server::Stored;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seats times time, in seats × nanoseconds.
pub(super) type Work = i128;

/// Seats for a time.
pub(super) fn work(seats: u64, time: Duration) -> Work {
    i128::from(seats) * time.as_nanos() as i128
}

/// What a request means to the server, whatever its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Next to nothing.
    One,
    /// A list that would take so many seats.
    List(u64),
    /// A write of what so many watch.
    Write(usize),
}

/// The seats of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Width {
    /// While it is served.
    pub(super) first: u64,
    /// After that.
    pub(super) last: u64,
    /// For how long.
    pub(super) lasting: Duration,
}

impl Width {
    /// Of a request in a level where one may take `most` seats; 0 when the level does not say.
    pub(super) fn of(load: Load, most: u64) -> Width {
        let within = |cap: u64| if most == 0 { cap } else { most.min(cap) };
        let plain = Width { first: 1, last: 0, lasting: Duration::ZERO };
        match load {
            Load::List(seats) => Width { first: seats.clamp(1, within(LIST_SEATS)), ..plain },
            Load::Write(watches) if watches >= WATCHES_PER_SEAT => {
                let wanted = watches.div_ceil(WATCHES_PER_SEAT) as u64;
                let width = Width { last: wanted, lasting: EVENT_TIME, ..plain };
                width.narrowed(within(WRITE_SEATS))
            }
            Load::One | Load::Write(_) => plain,
        }
    }

    /// The seats that it keeps from others.
    pub(super) fn most(&self) -> u64 {
        self.first.max(self.last)
    }

    /// What it is taken to cost before it has run.
    pub(super) fn work(&self) -> Work {
        work(self.first, GUESS) + work(self.last, self.lasting)
    }

    /// The same work after it was served, on at most `seats` and longer for it.
    pub(super) fn narrowed(self, seats: u64) -> Width {
        if self.last <= seats || seats == 0 {
            return self;
        }
        let nanos = work(self.last, self.lasting) / i128::from(seats);
        let lasting = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Width { last: seats, lasting, ..self }
    }
}

/// The seats for a list of what is stored, of which `limit` objects are shown (0: all); of a `single` one where it is named.
pub(super) fn list_seats(stored: Stored, limit: u64, single: bool) -> u64 {
    let shown = match (single, limit) {
        (true, _) => 1,
        (false, 0) => stored.objects,
        (false, limit) => stored.objects.min(limit),
    };
    shown.saturating_mul(stored.bytes_each).min(LIST_BYTES).div_ceil(BYTES_PER_SEAT)
}

/// How long a request waits that may take `time` in all.
pub(super) fn patience(time: Duration) -> Duration {
    (time / WAIT_SHARE).min(LONGEST_WAIT)
}

/// What is watched: group, resource, namespace, name; empty where a watch is about all.
pub(super) type Watched = [String; 4];

/// How many watches there are over the network. Their number is bounded by that of connections.
#[derive(Default)]
pub(super) struct Watches(BTreeMap<Watched, usize>);

impl Watches {
    /// One more.
    pub(super) fn add(&mut self, watched: &Watched) {
        *self.0.entry(watched.clone()).or_default() += 1;
    }

    /// One less.
    pub(super) fn remove(&mut self, watched: &Watched) {
        if let Some(count) = self.0.get_mut(watched) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(watched);
            }
        }
    }

    /// How many a write of this object, or of a new one without a name, is told to: those of all, of its namespace, of it.
    pub(super) fn interested(&self, [group, resource, namespace, name]: &Watched) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let mut wanted = [group.clone(), resource.clone(), String::new(), String::new()];
        let mut count = self.0.get(&wanted).copied().unwrap_or_default();
        for (field, value) in [(2, namespace), (3, name)] {
            if !value.is_empty() {
                wanted[field].clone_from(value);
                count += self.0.get(&wanted).copied().unwrap_or_default();
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_show() {
        let stored = Stored { objects: 1000, bytes_each: 500 };
        assert_eq!(list_seats(stored, 0, false), 5);
        assert_eq!(list_seats(stored, 250, false), 2);
        assert_eq!(list_seats(stored, 0, true), 1);
        assert_eq!(list_seats(Stored { objects: 1_000_000, ..stored }, 0, false), 10);
        assert_eq!(Width::of(Load::List(0), 0).first, 1);
        assert_eq!(Width::of(Load::List(10), 4), Width { first: 4, last: 0, lasting: Duration::ZERO });
    }

    #[test]
    fn writes_that_many_watch_keep_seats() {
        assert_eq!(Width::of(Load::Write(9), 0), Width::of(Load::One, 0));
        let wide = Width::of(Load::Write(95), 0);
        assert_eq!(wide, Width { first: 1, last: 10, lasting: EVENT_TIME });
        // On fewer seats it is the same work.
        let narrow = Width::of(Load::Write(95), 5);
        assert_eq!(narrow, Width { first: 1, last: 5, lasting: EVENT_TIME * 2 });
        assert_eq!((narrow.work(), narrow.most()), (wide.work(), 5));
    }

    #[test]
    fn watches_of_all_of_a_namespace_and_of_one_are_told() {
        let watched = |namespace: &str, name: &str| ["", "pods", namespace, name].map(String::from);
        let mut watches = Watches::default();
        for (namespace, name) in [("", ""), ("", ""), ("a", ""), ("b", ""), ("a", "x")] {
            watches.add(&watched(namespace, name));
        }
        assert_eq!(watches.interested(&watched("a", "x")), 4);
        assert_eq!(watches.interested(&watched("a", "")), 3);
        assert_eq!(watches.interested(&watched("c", "x")), 2);
        assert_eq!(watches.interested(&["", "nodes", "", "n"].map(String::from)), 0);
        for (namespace, name) in [("", ""), ("", ""), ("a", ""), ("b", ""), ("a", "x"), ("a", "x")] {
            watches.remove(&watched(namespace, name));
        }
        assert!(watches.0.is_empty());
    }

    #[test]
    fn nobody_waits_longer_than_a_quarter_of_his_time() {
        assert_eq!(patience(Duration::from_secs(60)), Duration::from_secs(15));
        assert_eq!(patience(Duration::from_secs(3600)), Duration::from_secs(60));
    }
}
