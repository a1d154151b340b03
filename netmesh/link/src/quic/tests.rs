//! What heartbeats cost, and the search for their interval, over `quinn-proto` itself: in virtual time, through an address
//! translation that forgets.

mod path;

use holdfast_link_engine::Keepalive;
use holdfast_link_engine::heartbeat::Pulse;
use path::{Counted, Path, Refresh, Translation};
use std::time::Duration;

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const HOUR: Duration = secs(3600);
const START: Duration = secs(25);
const GRACE: Duration = secs(40);
const LONGEST: Duration = secs(1800);
/// How late timers are served by a box that has other things to do.
const BUSY: Duration = Duration::from_millis(50);
/// A translation that keeps everything.
const NEVER: Duration = secs(1_000_000);
/// Bytes both ways, heads included, that a heartbeat may cost: at one in 20 s, a megabyte in a day.
const HEARTBEAT_BYTES: usize = 1_000_000 * 20 / 86_400;

/// A node's heartbeats over a path.
struct Run {
    path: Path,
    pulse: Pulse,
    answered: usize,
}

impl Run {
    fn new(translation: Translation, longest: Duration) -> Run {
        let mut path = Path::connected(translation, longest, BUSY);
        let mut pulse = Pulse::new(path.clock(), START, Keepalive::default());
        pulse.allow(longest, GRACE, path.seen());
        Run { path, pulse, answered: 0 }
    }

    /// Lets so much time pass; what went over the path meanwhile.
    fn pass(&mut self, time: Duration) -> Counted {
        let (before, end) = (self.path.counted, self.path.now + time);
        while self.path.now < end {
            let now = self.path.clock();
            assert!(!self.pulse.is_dead(now), "the hub was silent for too long at {now:?}");
            if let Some((count, interval)) = self.pulse.beat(now) {
                self.path.beat(count, interval);
            }
            let wait = self.pulse.next_deadline().saturating_sub(now);
            if let Some(answer) = self.path.pass(end.min(self.path.now + wait)) {
                self.pulse.answered(self.path.clock(), answer.count, Some(answer.address));
                self.answered += 1;
            }
        }
        self.path.counted.since(before)
    }

    fn interval(&self) -> Duration {
        self.pulse.pace().interval
    }
}

#[test]
fn a_heartbeat_is_three_packets_whatever_else_the_box_does() {
    let mut run = Run::new(Translation::new(NEVER, Refresh::Both), START);
    // The largest packet of the path is found in between.
    run.pass(HOUR);
    let before = run.answered;
    let counted = run.pass(HOUR);
    let heartbeats = run.answered - before;
    assert!(heartbeats > 100);
    // quinn leaves a packet number out now and then: the gap is acknowledged at once, by a packet of its own.
    assert!(counted.packets <= heartbeats * 3 + 4, "{counted:?} for {heartbeats} heartbeats");
    assert!(counted.bytes <= heartbeats * HEARTBEAT_BYTES, "{counted:?} for {heartbeats} heartbeats");
}

#[test]
fn the_search_finds_what_the_translation_keeps_without_a_storm_of_validations() {
    for refresh in [Refresh::Both, Refresh::Outgoing] {
        for seconds in [30, 60, 120, 300, 900] {
            let what = format!("{seconds} s, {refresh:?}");
            let mut run = Run::new(Translation::new(secs(seconds), refresh), LONGEST);
            run.pass(HOUR * 12);
            let found = run.interval();
            let share = found.as_secs_f64() / seconds as f64;
            assert!((0.7..=0.81).contains(&share), "{found:?} of {what}");
            let (rebindings, stats) = (run.path.translation.rebindings, run.path.hub_stats());
            assert!(rebindings <= 6, "{rebindings} rebindings: {what}");
            // A place that is lost is validated once: the new path, and the old one, which does not answer.
            let challenges = stats.frame_tx.path_challenge;
            assert!(challenges <= rebindings as u64 * 2, "{challenges} for {rebindings} rebindings: {what}");
            let hour = run.pass(HOUR);
            let heartbeats = (HOUR.as_secs_f64() / found.as_secs_f64()) as usize + 1;
            assert_eq!(run.path.translation.rebindings, rebindings, "a found interval loses its place: {what}");
            assert!(
                hour.bytes <= heartbeats * HEARTBEAT_BYTES,
                "{hour:?} in an hour of {heartbeats} heartbeats: {what}"
            );
        }
    }
}
