//! When to lead.

use crate::limits::{LEASE_DURATION, LEASE_RETRY, RENEW_DEADLINE};
use holdfast_core::Revision;
use std::time::Duration;

/// A follower waits up to so much longer than a leader between two tries, in thousandths, so that followers do not come all
/// at once (client-go's `JitterFactor`).
const JITTER: u64 = 1200;

/// How long what takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Followers leave a Lease alone for so long after its last change.
    pub lease: Duration,
    /// A leader stops when it could not renew for so long.
    pub deadline: Duration,
    /// Between two tries.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { lease: LEASE_DURATION, deadline: RENEW_DEADLINE, retry: LEASE_RETRY }
    }
}

/// A time of leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The revision at which the Lease was taken.
    pub revision: Revision,
    /// `leaseTransitions` of it.
    pub transitions: i64,
}

/// A Lease, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its version.
    pub revision: Revision,
    /// Who has it; empty for nobody.
    pub holder: String,
    /// How long it lasts after its last change.
    pub duration: Duration,
    /// How often it was taken.
    pub transitions: i64,
}

/// A write of the Lease. All but the first are of one version only, else they conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes it, as ours.
    Create,
    /// Makes it ours.
    Take {
        /// What it replaces.
        over: Lease,
    },
    /// Says that we go on.
    Renew {
        /// The version.
        at: Revision,
    },
    /// Makes it nobody's.
    Release {
        /// The version.
        at: Revision,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The Lease was read; `None`: there is none.
    Read(Option<Lease>),
    /// The write is done.
    Written(Revision),
    /// Somebody else wrote first; nothing was done.
    Conflict,
    /// The Lease is gone; nothing was done.
    Missing,
    /// No answer, or one that says nothing of the Lease. A write may have been done.
    Failed,
    /// The led work has ended.
    Ended,
    /// Give it up for good.
    Resign,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Read the Lease; the answer is an input.
    Read,
    /// Write it; likewise.
    Write(Write),
    /// Begin the work.
    Lead(Term),
    /// End the work; [`Input::Ended`] when nothing of it is left.
    Stop,
    /// All is over after [`Input::Resign`].
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Following,
    /// Until the deadline after the last renewal was sent.
    Leading {
        renewed: Duration,
    },
    /// The work is told to end.
    Ending {
        ended: bool,
    },
    Releasing,
    Over,
}

/// A candidate's part in an election. One read or write is under way at a time.
#[derive(Debug)]
pub struct Election {
    me: String,
    timing: Timing,
    phase: Phase,
    resigned: bool,
    /// When the read or write under way was asked for.
    sent: Option<Duration>,
    /// When the next try is, if none is under way.
    next: Duration,
    /// The Lease, and since when it has been as it is.
    known: Option<(Lease, Duration)>,
    /// A write without an answer: it has to be read before the next one.
    is_unsure: bool,
}

impl Election {
    /// A candidate of this identity, which no other has, nor had before.
    pub fn new(me: &str, timing: Timing) -> Election {
        Election {
            me: me.to_string(),
            timing,
            phase: Phase::Following,
            resigned: false,
            sent: None,
            next: Duration::ZERO,
            known: None,
            is_unsure: false,
        }
    }

    /// When [`Input::Tick`] is due. On the clock of [`Election::handle`].
    pub fn next_deadline(&self) -> Option<Duration> {
        let next = self.sent.is_none().then_some(self.next);
        match self.phase {
            Phase::Following => next,
            Phase::Leading { renewed } => {
                let end = renewed + self.timing.deadline;
                Some(next.map_or(end, |next| next.min(end)))
            }
            Phase::Ending { .. } | Phase::Releasing | Phase::Over => None,
        }
    }

    /// Takes in what happened. `now` is of a clock that goes on while the machine sleeps; `draw` is a random number.
    pub fn handle(&mut self, now: Duration, draw: u64, input: Input) -> Vec<Output> {
        match input {
            Input::Tick => self.tick(now),
            Input::Read(lease) => self.read(now, draw, lease),
            Input::Written(revision) => self.written(now, draw, revision),
            Input::Conflict | Input::Missing | Input::Failed => self.failed(now, draw, &input),
            Input::Ended => {
                if let Phase::Ending { ended } = &mut self.phase {
                    *ended = true;
                }
                self.after_end(now)
            }
            Input::Resign => {
                self.resigned = true;
                match self.phase {
                    Phase::Leading { .. } => self.stop(),
                    Phase::Following if self.sent.is_none() => self.over(),
                    _ => Vec::new(),
                }
            }
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Output> {
        if let Phase::Leading { renewed } = self.phase
            && now >= renewed + self.timing.deadline
        {
            return self.stop();
        }
        if self.sent.is_some() || now < self.next {
            return Vec::new();
        }
        match (self.phase, &self.known) {
            (Phase::Leading { .. }, Some((lease, _))) if !self.is_unsure => {
                let at = lease.revision;
                self.write(now, Write::Renew { at })
            }
            (Phase::Leading { .. } | Phase::Following, _) => self.ask(now),
            _ => Vec::new(),
        }
    }

    fn read(&mut self, now: Duration, draw: u64, lease: Option<Lease>) -> Vec<Output> {
        self.sent = None;
        self.is_unsure = false;
        let since = match (&self.known, &lease) {
            (Some((old, since)), Some(lease)) if old.revision == lease.revision => *since,
            _ => now,
        };
        self.known = lease.map(|lease| (lease, since));
        let lease = self.known.as_ref().map(|(lease, _)| lease.clone());
        match (self.phase, lease) {
            (Phase::Following, _) if self.resigned => self.over(),
            (Phase::Following, None) => self.write(now, Write::Create),
            (Phase::Following, Some(lease)) => {
                // One that is ours comes from a write whose answer was lost, or came too late. It is taken anew, so that it
                // is known at which revision.
                let is_free = lease.holder.is_empty() || lease.holder == self.me || now >= since + lease.duration;
                if is_free { self.write(now, Write::Take { over: lease }) } else { self.rest(now, draw) }
            }
            (Phase::Leading { .. }, Some(lease)) if lease.holder == self.me => {
                self.write(now, Write::Renew { at: lease.revision })
            }
            (Phase::Leading { .. }, _) => self.stop(),
            (Phase::Ending { .. }, _) => self.after_end(now),
            (Phase::Releasing | Phase::Over, _) => Vec::new(),
        }
    }

    fn written(&mut self, now: Duration, draw: u64, revision: Revision) -> Vec<Output> {
        let Some(sent) = self.sent.take() else { return Vec::new() };
        self.is_unsure = false;
        let before = self.known.as_ref().map(|(lease, _)| lease);
        let transitions = match (self.phase, before) {
            (_, None) => 0,
            (Phase::Following, Some(lease)) if lease.holder != self.me => lease.transitions + 1,
            (_, Some(lease)) => lease.transitions,
        };
        let lease = Lease { revision, holder: self.me.clone(), duration: self.timing.lease, transitions };
        self.known = Some((lease, now));
        // Followers count from when the write was done, which is no earlier than when it was sent.
        let in_time = now < sent + self.timing.deadline;
        match self.phase {
            Phase::Following if self.resigned => self.release(now, revision),
            Phase::Following if in_time => {
                self.phase = Phase::Leading { renewed: sent };
                self.next = sent + self.timing.retry;
                vec![Output::Lead(Term { revision, transitions })]
            }
            Phase::Following => self.rest(now, draw),
            Phase::Leading { .. } if in_time => {
                self.phase = Phase::Leading { renewed: sent };
                self.next = sent + self.timing.retry;
                Vec::new()
            }
            Phase::Leading { .. } => self.stop(),
            Phase::Ending { .. } => self.after_end(now),
            Phase::Releasing => self.over(),
            Phase::Over => Vec::new(),
        }
    }

    /// A read or write that came to nothing.
    fn failed(&mut self, now: Duration, draw: u64, why: &Input) -> Vec<Output> {
        self.sent = None;
        match self.phase {
            Phase::Following if self.resigned => self.over(),
            Phase::Following => self.rest(now, draw),
            // A label was changed, or the Lease was taken: that is seen by reading it.
            Phase::Leading { .. } if *why == Input::Conflict => self.ask(now),
            Phase::Leading { .. } if *why == Input::Missing => self.stop(),
            Phase::Leading { .. } => {
                self.is_unsure = true;
                self.next = now + self.timing.retry;
                Vec::new()
            }
            Phase::Ending { .. } => self.after_end(now),
            Phase::Releasing => self.over(),
            Phase::Over => Vec::new(),
        }
    }

    fn ask(&mut self, now: Duration) -> Vec<Output> {
        self.sent = Some(now);
        vec![Output::Read]
    }

    fn write(&mut self, now: Duration, write: Write) -> Vec<Output> {
        self.sent = Some(now);
        vec![Output::Write(write)]
    }

    fn rest(&mut self, now: Duration, draw: u64) -> Vec<Output> {
        let retry = u64::try_from(self.timing.retry.as_millis()).unwrap_or(u64::MAX);
        let jitter = retry.saturating_mul(draw % JITTER) / 1000;
        self.next = now + self.timing.retry + Duration::from_millis(jitter);
        Vec::new()
    }

    fn stop(&mut self) -> Vec<Output> {
        self.phase = Phase::Ending { ended: false };
        vec![Output::Stop]
    }

    /// Goes on once the work has ended and nothing is under way.
    fn after_end(&mut self, now: Duration) -> Vec<Output> {
        if self.phase != (Phase::Ending { ended: true }) || self.sent.is_some() {
            return Vec::new();
        }
        if !self.resigned {
            self.phase = Phase::Following;
            self.next = now + self.timing.retry;
            return Vec::new();
        }
        match &self.known {
            Some((lease, _)) if lease.holder == self.me => {
                let at = lease.revision;
                self.release(now, at)
            }
            _ => self.over(),
        }
    }

    fn release(&mut self, now: Duration, at: Revision) -> Vec<Output> {
        self.phase = Phase::Releasing;
        self.write(now, Write::Release { at })
    }

    fn over(&mut self) -> Vec<Output> {
        self.phase = Phase::Over;
        vec![Output::Over]
    }
}
