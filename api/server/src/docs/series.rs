//! Series of metrics whose labels are known beforehand, counted without locks. One in which nothing was counted is not told.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations between bounds.
pub struct Histogram {
    bounds: &'static [f64],
    /// Of each bound those that are not below the one before; the last one is for what is beyond all.
    buckets: Vec<AtomicU64>,
    nanos: AtomicU64,
}

impl Histogram {
    /// An empty one with these upper bounds, in seconds and in order.
    pub fn new(bounds: &'static [f64]) -> Histogram {
        let buckets = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Histogram { bounds, buckets, nanos: AtomicU64::default() }
    }

    /// Counts one.
    pub fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = self.bounds.partition_point(|bound| *bound < seconds);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Appends its lines; `labels` are those of the series, without braces.
    pub fn write(&self, name: &str, labels: &str, out: &mut String) {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        if all == 0 {
            return;
        }
        let mut up_to = 0;
        for (bound, count) in self.bounds.iter().zip(&counts) {
            up_to += count;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {up_to}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(out, "{name}_count{{{labels}}} {all}");
    }
}

/// A histogram for each of some sets of labels.
pub struct Times {
    name: &'static str,
    series: Vec<(String, Histogram)>,
}

impl Times {
    /// Empty ones.
    pub fn new(name: &'static str, bounds: &'static [f64], labels: impl IntoIterator<Item = String>) -> Times {
        Times { name, series: labels.into_iter().map(|labels| (labels, Histogram::new(bounds))).collect() }
    }

    /// Counts one in the series of this number.
    pub fn observe(&self, number: usize, took: Duration) {
        if let Some((_, series)) = self.series.get(number) {
            series.observe(took);
        }
    }

    /// Appends all lines.
    pub fn write(&self, out: &mut String) {
        let _ = writeln!(out, "# TYPE {} histogram", self.name);
        for (labels, series) in &self.series {
            series.write(self.name, labels, out);
        }
    }
}

/// A counter for each of some sets of labels.
pub struct Counts {
    name: &'static str,
    series: Vec<(String, AtomicU64)>,
}

impl Counts {
    /// Empty ones.
    pub fn new(name: &'static str, labels: impl IntoIterator<Item = String>) -> Counts {
        Counts { name, series: labels.into_iter().map(|labels| (labels, AtomicU64::default())).collect() }
    }

    /// Counts one in the series of this number.
    pub fn add(&self, number: usize) {
        if let Some((_, series)) = self.series.get(number) {
            series.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Appends all lines.
    pub fn write(&self, out: &mut String) {
        let _ = writeln!(out, "# TYPE {} counter", self.name);
        for (labels, series) in &self.series {
            let count = series.load(Ordering::Relaxed);
            if count > 0 {
                let _ = writeln!(out, "{}{{{labels}}} {count}", self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_that_are_no_longer() {
        let times = Times::new("took", &[0.5, 1.0], ["a=\"1\"", "a=\"2\""].map(String::from));
        for millis in [500, 501, 2000] {
            times.observe(0, Duration::from_millis(millis));
        }
        times.observe(7, Duration::ZERO);
        let mut out = String::new();
        times.write(&mut out);
        let expected = "# TYPE took histogram\ntook_bucket{a=\"1\",le=\"0.5\"} 1\ntook_bucket{a=\"1\",le=\"1\"} 2\n\
                        took_bucket{a=\"1\",le=\"+Inf\"} 3\ntook_sum{a=\"1\"} 3.001\ntook_count{a=\"1\"} 3\n";
        assert_eq!(out, expected);
    }
}
