//! The search against a model of a path: an address translation that forgets, and packets that are lost.

use super::*;
use crate::limits::LONGEST_HEARTBEAT;
use proptest::prelude::*;

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How long a packet takes either way.
const ONE_WAY: Duration = Duration::from_millis(40);

struct Path {
    forgets_after: Duration,
    /// Thousandths of packets that are lost, each way.
    loss: u64,
    rng: u64,
    last_packet: Duration,
    port: u32,
    rebindings: usize,
}

impl Path {
    fn random(&mut self, below: u64) -> u64 {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        self.rng % below
    }

    /// A packet of the node: where the hub sees it from, if it gets so far.
    fn up(&mut self, now: Duration) -> Option<u32> {
        let lost = self.random(1000) < self.loss;
        // Half of the losses are before the translation: it never sees those.
        if lost && self.random(2) == 0 {
            return None;
        }
        if now - self.last_packet > self.forgets_after {
            self.port += 1;
            self.rebindings += 1;
        }
        self.last_packet = now;
        (!lost).then_some(self.port)
    }

    /// A packet of the hub to where it saw the node: whether it arrives.
    fn down(&mut self, now: Duration) -> bool {
        let arrives = self.random(1000) >= self.loss && now - self.last_packet <= self.forgets_after;
        if arrives {
            self.last_packet = now;
        }
        arrives
    }
}

/// A node on a path for so long.
struct Run {
    path: Path,
    pulse: Pulse,
    now: Duration,
    heartbeats: usize,
    start: Duration,
    longest: Duration,
    grace: Duration,
    /// The hub's: when it last heard the node, and what the node has promised.
    heard: (Duration, Duration),
    /// How often the interval alone was too long, and no heartbeat was lost before.
    too_long: usize,
    /// How often the hub would have counted the node out, connections that ended aside.
    missed: usize,
}

impl Run {
    fn new(path: Path, start: Duration, longest: Duration) -> Run {
        let now = secs(1000);
        let mut run = Run {
            pulse: Pulse::new(now, start, Keepalive::default()),
            path: Path { last_packet: now, ..path },
            now,
            heartbeats: 0,
            start,
            longest,
            grace: secs(40),
            heard: (now, start),
            too_long: 0,
            missed: 0,
        };
        run.pulse.allow(longest, run.grace, run.path.port);
        run
    }

    fn for_so_long(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut is_first = true;
        while self.pulse.next_deadline() < end {
            self.now = self.now.max(self.pulse.next_deadline());
            if self.pulse.is_dead(self.now) {
                self.reconnect();
                is_first = true;
                continue;
            }
            let Some((count, promised)) = self.pulse.beat(self.now) else { continue };
            self.heartbeats += 1;
            let before = self.path.rebindings;
            let arrived = self.path.up(self.now);
            self.too_long += usize::from(is_first && self.path.rebindings > before);
            is_first = false;
            let Some(port) = arrived else { continue };
            let received = self.now + ONE_WAY;
            if received - self.heard.0 > tolerated(self.grace, self.heard.1) {
                self.missed += 1;
            }
            self.heard = (received, promised);
            if self.path.down(received) {
                // Nothing is due meanwhile: the shortest wait for an answer is longer than the way.
                self.now = received + ONE_WAY;
                self.pulse.answered(self.now, count, Some(port));
                is_first = true;
            }
        }
        self.now = end;
    }

    /// A handshake gets through at last.
    fn reconnect(&mut self) {
        let known = self.pulse.known();
        let port = loop {
            self.now += secs(1);
            if let Some(port) = self.path.up(self.now) {
                break port;
            }
        };
        self.heard = (self.now, self.start);
        self.pulse = Pulse::new(self.now, self.start, known);
        self.pulse.allow(self.longest, self.grace, port);
    }

    fn interval(&self) -> Duration {
        self.pulse.pace().interval
    }
}

fn path(forgets_after: Duration, loss: u64, seed: u64) -> Path {
    Path { forgets_after, loss, rng: seed | 1, last_packet: Duration::ZERO, port: 7, rebindings: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_interval_comes_to_rest_below_the_time_out(
        log in 15f64.ln()..7200f64.ln(), loss in 0u64..=300, seed in any::<u64>(),
        start in prop_oneof![Just(10u64), Just(25)], longest in prop_oneof![Just(30u64), Just(300), Just(3600)],
    ) {
        let time_out = Duration::from_secs_f64(log.exp());
        let mut run = Run::new(path(time_out, loss, seed), secs(start), secs(longest));
        run.for_so_long(secs(3 * 24 * 3600));
        let interval = run.interval();
        let capped = interval == secs(longest) && interval < time_out;
        let share = interval.as_secs_f64() / time_out.as_secs_f64();
        prop_assert!(capped || (0.5..=0.85).contains(&share), "{interval:?} of {time_out:?}: {:?}", run.pulse.known());
        // Three days: the search itself, and the daily look whether it is longer now.
        prop_assert!(run.too_long <= 15, "{} rebindings of {}", run.too_long, run.path.rebindings);
        // Others come from heartbeats that were lost on the way to the translation.
        prop_assert!(run.path.rebindings <= 15 + run.heartbeats / 25, "{} rebindings", run.path.rebindings);
    }
}

#[test]
fn without_loss_a_search_costs_few_rebindings_and_no_word_of_the_hub() {
    for time_out in [15, 30, 61, 125, 305, 1800, 7200] {
        let mut run = Run::new(path(secs(time_out), 0, 1), secs(10), LONGEST_HEARTBEAT);
        run.for_so_long(secs(24 * 3600));
        assert!(run.path.rebindings <= 5, "{time_out}: {} rebindings", run.path.rebindings);
        assert_eq!(run.missed, 0, "{time_out}");
        let first = run.path.rebindings;
        run.for_so_long(secs(5 * 24 * 3600));
        assert!(
            run.path.rebindings - first <= 6,
            "{time_out}: {} rebindings in five days",
            run.path.rebindings - first
        );
    }
}

#[test]
fn a_path_that_changes_is_followed() {
    let mut run = Run::new(path(secs(300), 0, 1), secs(10), LONGEST_HEARTBEAT);
    run.for_so_long(secs(24 * 3600));
    let before = run.interval();
    assert!(before > secs(150) && before < secs(260), "{before:?}");
    run.path.forgets_after = secs(60);
    run.for_so_long(secs(3 * 3600));
    assert!(run.interval() >= secs(30) && run.interval() <= secs(51), "{:?}", run.interval());
    run.path.forgets_after = secs(300);
    run.for_so_long(secs(2 * 24 * 3600));
    assert!(run.interval() >= secs(150) && run.interval() <= secs(255), "{:?}", run.interval());
}

#[test]
fn one_restart_of_the_router_changes_nothing() {
    let mut run = Run::new(path(secs(300), 0, 1), secs(10), LONGEST_HEARTBEAT);
    run.for_so_long(secs(20 * 3600));
    let before = run.interval();
    run.path.port += 1;
    run.for_so_long(secs(2 * 3600));
    assert_eq!(run.interval(), before);
}

#[test]
fn lost_heartbeats_are_sent_again_before_the_hub_counts_the_node_out() {
    let (heartbeat, grace) = (secs(10), secs(40));
    let mut pulse = Pulse::new(secs(0), heartbeat, Keepalive::default());
    pulse.allow(longest_for(grace, heartbeat), grace, 1);
    let mut now = secs(0);
    for _ in 0..20 {
        now = pulse.next_deadline();
        let (count, _) = pulse.beat(now).unwrap();
        pulse.answered(now, count, Some(1));
    }
    assert_eq!(pulse.pace(), Pace { interval: secs(30), tolerated: Some(grace) });
    let mut sent = Vec::new();
    while !pulse.is_dead(pulse.next_deadline()) {
        let at = pulse.next_deadline();
        pulse.beat(at).unwrap();
        sent.push((at - now).as_secs());
    }
    assert_eq!(sent, [30, 32, 34, 38, 46, 54]);
    assert_eq!(pulse.next_deadline() - now, secs(60));
}

#[test]
fn a_connection_that_does_not_outlive_a_silence_lowers_the_interval() {
    let mut known = Keepalive::default();
    // As over TCP: what the router has forgotten is not answered any more.
    for _ in 0..200 {
        let mut pulse = Pulse::new(secs(0), secs(10), known);
        pulse.allow(LONGEST_HEARTBEAT, secs(40), 1);
        let mut now = secs(0);
        for _ in 0..10 {
            let before = now;
            now = pulse.next_deadline();
            let (count, _) = pulse.beat(now).unwrap();
            if now - before > secs(305) {
                pulse.ended(now + secs(1));
                break;
            }
            pulse.answered(now, count, Some(1));
        }
        known = pulse.known();
    }
    let interval = known.interval(secs(10), LONGEST_HEARTBEAT);
    assert!(interval >= secs(150) && interval <= secs(260), "{interval:?}");
}

#[test]
fn pods_that_fail_over_soon_and_an_older_hub_keep_the_interval_short() {
    let mut pulse = Pulse::new(secs(0), secs(25), Keepalive::default());
    for round in 0..40 {
        if round == 20 {
            pulse.allow(LONGEST_HEARTBEAT, secs(40), 1);
            pulse.limit(secs(20));
        }
        let now = pulse.next_deadline();
        let (count, _) = pulse.beat(now).unwrap();
        let expected = if round < 20 { secs(25) } else { secs(20) };
        assert_eq!(pulse.pace().interval, expected);
        pulse.answered(now, count, (round >= 20).then_some(1));
    }
}

#[test]
fn the_hub_lets_a_node_be_silent_for_its_interval_and_the_time_to_try_again() {
    assert_eq!(longest_for(secs(40), secs(10)), secs(30));
    assert_eq!(longest_for(secs(40), secs(35)), secs(35));
    assert_eq!(tolerated(secs(40), secs(10)), secs(40));
    assert_eq!(tolerated(secs(40), longest_for(secs(40), secs(10))), secs(40));
    assert_eq!(tolerated(secs(40), secs(600)), secs(610));
}
