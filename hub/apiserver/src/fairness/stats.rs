//! What is counted of the requests of a flow schema within a level, and how it is written for `/metrics`: upstream's names
//! (`apiserver_flowcontrol_…`), of those that a dashboard looks for.

use super::engine::Engine;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds of the histograms, in seconds: upstream's.
const BUCKETS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

/// Why a request was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refused {
    /// The level has no queues, and no seat is free.
    NoSeat,
    /// Its queue is full.
    QueueFull,
    /// It waited as long as it may, or its client left.
    TimedOut,
}

impl Refused {
    fn reason(self) -> &'static str {
        match self {
            Refused::NoSeat => "concurrency-limit",
            Refused::QueueFull => "queue-full",
            Refused::TimedOut => "time-out",
        }
    }
}

/// Durations by size.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Histogram {
    count: u64,
    sum: Duration,
    buckets: [u64; BUCKETS.len()],
}

impl Histogram {
    /// One more.
    pub(super) fn observe(&mut self, time: Duration) {
        self.count += 1;
        self.sum += time;
        let seconds = time.as_secs_f64();
        BUCKETS.iter().zip(&mut self.buckets).filter(|(bound, _)| seconds <= **bound).for_each(|(_, n)| *n += 1);
    }

    fn write(&self, name: &str, labels: &str, out: &mut String) {
        if self.count == 0 {
            return;
        }
        for (bound, count) in BUCKETS.iter().zip(self.buckets) {
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum.as_secs_f64());
        let _ = writeln!(out, "{name}_count{{{labels}}} {}", self.count);
    }
}

/// What was counted of a schema's requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    /// Let in.
    pub(super) dispatched: u64,
    /// Not let in, by why.
    pub(super) refused: BTreeMap<Refused, u64>,
    /// How long those waited that were let in, and those that were not.
    pub(super) waited: [Histogram; 2],
    /// How long they were served.
    pub(super) served: Histogram,
}

/// What is there now of a schema's requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Now {
    /// Requests that wait, and their seats.
    pub(super) waiting: (u64, u64),
    /// Requests that are served, and their seats.
    pub(super) served: (u64, u64),
}

fn family(out: &mut String, name: &str, sort: &str, mut write: impl FnMut(&str, &mut String)) {
    let name = format!("apiserver_flowcontrol_{name}");
    let _ = writeln!(out, "# TYPE {name} {sort}");
    write(&name, out);
}

/// Writes all of it.
pub(super) fn write(engine: &Engine, out: &mut String) {
    let flows: Vec<(String, &Flow, Now)> = engine
        .levels()
        .flat_map(|(name, level)| {
            let mut now = level.queues.now();
            level.queues.flows().iter().map(move |(schema, flow): (&Arc<str>, &Flow)| {
                let labels = format!("priority_level=\"{name}\",flow_schema=\"{schema}\"");
                (labels, flow, now.remove(schema).unwrap_or_default())
            })
        })
        .collect();
    family(out, "rejected_requests_total", "counter", |name, out| {
        for (labels, flow, _) in &flows {
            for (why, count) in &flow.refused {
                let _ = writeln!(out, "{name}{{{labels},reason=\"{}\"}} {count}", why.reason());
            }
        }
    });
    type Figure = fn(&Flow, &Now) -> u64;
    let figures: [(&str, &str, Figure); 5] = [
        ("dispatched_requests_total", "counter", |flow, _| flow.dispatched),
        ("current_inqueue_requests", "gauge", |_, now| now.waiting.0),
        ("current_inqueue_seats", "gauge", |_, now| now.waiting.1),
        ("current_executing_requests", "gauge", |_, now| now.served.0),
        ("current_executing_seats", "gauge", |_, now| now.served.1),
    ];
    for (name, sort, figure) in figures {
        family(out, name, sort, |name, out| {
            for (labels, flow, now) in &flows {
                let _ = writeln!(out, "{name}{{{labels}}} {}", figure(flow, now));
            }
        });
    }
    family(out, "request_wait_duration_seconds", "histogram", |name, out| {
        for (labels, flow, _) in &flows {
            for (waited, executed) in flow.waited.iter().zip(["true", "false"]) {
                waited.write(name, &format!("{labels},execute=\"{executed}\""), out);
            }
        }
    });
    family(out, "request_execution_seconds", "histogram", |name, out| {
        flows.iter().for_each(|(labels, flow, _)| flow.served.write(name, labels, out));
    });
    levels(engine, out);
}

fn levels(engine: &Engine, out: &mut String) {
    use super::engine::Level;
    type Figure = fn(&Level) -> f64;
    let figures: [(&str, Figure); 9] = [
        ("nominal_limit_seats", |level| level.limits.nominal as f64),
        ("lower_limit_seats", |level| level.limits.lower as f64),
        ("upper_limit_seats", |level| level.limits.upper as f64),
        ("current_limit_seats", |level| level.queues.limit() as f64),
        ("demand_seats_high_watermark", |level| level.seen.most as f64),
        ("demand_seats_average", |level| level.seen.mean),
        ("demand_seats_stdev", |level| level.seen.deviation),
        ("demand_seats_smoothed", |level| level.seen.smoothed),
        ("target_seats", |level| level.target),
    ];
    for (name, figure) in figures {
        family(out, name, "gauge", |name, out| {
            for (level, state) in engine.levels() {
                let _ = writeln!(out, "{name}{{priority_level=\"{level}\"}} {}", figure(state));
            }
        });
    }
    family(out, "seat_fair_frac", "gauge", |name, out| {
        let _ = writeln!(out, "{name} {}", engine.fair());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_below_them() {
        let mut histogram = Histogram::default();
        for millis in [0, 4, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut out = String::new();
        histogram.write("x", "a=\"b\"", &mut out);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], "x_bucket{a=\"b\",le=\"0\"} 1");
        assert_eq!(lines[1], "x_bucket{a=\"b\",le=\"0.005\"} 2");
        assert_eq!(lines[13..], ["x_bucket{a=\"b\",le=\"+Inf\"} 3", "x_sum{a=\"b\"} 60.004", "x_count{a=\"b\"} 3"]);
    }
}
