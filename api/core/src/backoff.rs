//! Exponential back-off.

use std::time::Duration;

/// Doubles from `initial` to `cap`; counts failures. Jitter is the caller's: it has the randomness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// A back-off without a failure yet.
    pub const fn new(initial: Duration, cap: Duration) -> Backoff {
        Backoff { initial, cap, failures: 0 }
    }

    /// Notes one more failure and returns how long to wait after it.
    pub fn fail(&mut self) -> Duration {
        let wait = self.initial.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.cap);
        self.failures = (self.failures + 1).min(31);
        wait
    }

    /// The failures since the last reset.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_resets() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        let waits: Vec<u64> = (0..7).map(|_| backoff.fail().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.fail(), Duration::from_secs(10));
    }
}
