//! How many seats a level could use: the mean over time, how far it strays, the most at once, and a smoothed figure that falls
//! slowly.

use super::limits::DEMAND_KEPT;
use std::time::Duration;

/// The demand of a period as it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    seconds: f64,
    /// Integral of the demand, and of its square.
    sums: (f64, f64),
    most: u64,
}

impl Demand {
    /// It was `seats` for so long.
    pub(super) fn lasted(&mut self, seats: u64, time: Duration) {
        let (seats, seconds) = (seats as f64, time.as_secs_f64());
        self.seconds += seconds;
        self.sums.0 += seats * seconds;
        self.sums.1 += seats * seats * seconds;
    }

    /// It is `seats` now.
    pub(super) fn is(&mut self, seats: u64) {
        self.most = self.most.max(seats);
    }

    /// Begins another period, in which it is `seats` at first.
    fn restart(&mut self, seats: u64) -> Demand {
        std::mem::replace(self, Demand { most: seats, ..Demand::default() })
    }
}

/// What was seen of the demand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Over the last period.
    pub(super) mean: f64,
    /// Standard deviation over the last period.
    pub(super) deviation: f64,
    /// Most at once in the last period.
    pub(super) most: u64,
    /// Mean and deviation; where these fall, it follows slowly.
    pub(super) smoothed: f64,
}

impl Seen {
    /// Takes over a period that ended, with `seats` wanted at its end.
    pub(super) fn period(&mut self, demand: &mut Demand, seats: u64) {
        let Demand { seconds, sums, most } = demand.restart(seats);
        self.most = most;
        if seconds <= 0.0 {
            return;
        }
        self.mean = sums.0 / seconds;
        self.deviation = (sums.1 / seconds - self.mean * self.mean).max(0.0).sqrt();
        let envelope = self.mean + self.deviation;
        self.smoothed = envelope.max(DEMAND_KEPT * self.smoothed + (1.0 - DEMAND_KEPT) * envelope);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_at_once_and_falls_slowly() {
        let (mut seen, mut demand) = (Seen::default(), Demand::default());
        let second = Duration::from_secs(1);
        for seats in [2, 4] {
            demand.is(seats);
            demand.lasted(seats, second);
        }
        seen.period(&mut demand, 4);
        assert_eq!(seen, Seen { mean: 3.0, deviation: 1.0, most: 4, smoothed: 4.0 });
        demand.lasted(0, second);
        seen.period(&mut demand, 0);
        assert_eq!((seen.mean, seen.most), (0.0, 4), "what was wanted at the start counts for the most");
        assert!((seen.smoothed - 4.0 * DEMAND_KEPT).abs() < 1e-9);
        seen.period(&mut demand, 0);
        assert_eq!(seen.most, 0);
        let half = (0..30).fold(1.0, |left, _| left * DEMAND_KEPT);
        assert!((half - 0.5_f64).abs() < 0.01, "half is gone after five minutes");
    }
}
