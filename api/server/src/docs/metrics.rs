//! `/metrics`: what the server counts of itself, in upstream's names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0];

#[derive(Default)]
struct Series {
    count: u64,
    sum_seconds: f64,
    buckets: [u64; BUCKETS.len()],
    codes: BTreeMap<u16, u64>,
}

/// Counters of a server.
#[derive(Default)]
pub struct Metrics {
    /// By verb: a closed set.
    requests: Mutex<BTreeMap<&'static str, Series>>,
    inflight: AtomicI64,
    watches: AtomicI64,
    sessions: AtomicI64,
    connections: AtomicI64,
    refused_handshakes: AtomicU64,
    further: Mutex<Vec<Further>>,
}

/// Writes further series, whole lines.
type Further = Box<dyn Fn(&mut String) + Send>;

/// What is counted while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Requests that are being answered.
    Inflight,
    /// Running watches.
    Watches,
    /// Running logs, exec and attach sessions.
    Sessions,
    /// Open connections.
    Connections,
}

/// Counts one while it lives.
pub struct Counted {
    metrics: Arc<Metrics>,
    gauge: Gauge,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.gauge(self.gauge).fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    fn gauge(&self, gauge: Gauge) -> &AtomicI64 {
        match gauge {
            Gauge::Inflight => &self.inflight,
            Gauge::Watches => &self.watches,
            Gauge::Sessions => &self.sessions,
            Gauge::Connections => &self.connections,
        }
    }

    /// Counts one until the guard is dropped.
    pub fn count(self: &Arc<Self>, gauge: Gauge) -> Counted {
        self.gauge(gauge).fetch_add(1, Ordering::Relaxed);
        Counted { metrics: self.clone(), gauge }
    }

    /// How many there are now.
    pub fn current(&self, gauge: Gauge) -> i64 {
        self.gauge(gauge).load(Ordering::Relaxed)
    }

    /// A TLS handshake failed.
    pub fn handshake_refused(&self) {
        self.refused_handshakes.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered.
    pub fn answered(&self, verb: &'static str, code: u16, took: Duration) {
        let Ok(mut requests) = self.requests.lock() else { return };
        let series = requests.entry(verb).or_default();
        series.count += 1;
        series.sum_seconds += took.as_secs_f64();
        for (bound, bucket) in BUCKETS.iter().zip(&mut series.buckets) {
            *bucket += u64::from(took.as_secs_f64() <= *bound);
        }
        *series.codes.entry(code).or_default() += 1;
    }

    /// From now on, has this write what it counts below the server's own.
    pub fn append(&self, further: impl Fn(&mut String) + Send + 'static) {
        if let Ok(mut all) = self.further.lock() {
            all.push(Box::new(further));
        }
    }

    /// The text of `/metrics` (Prometheus text format 0.0.4).
    pub fn text(&self) -> String {
        let mut out = String::new();
        out.push_str("# TYPE apiserver_request_total counter\n");
        if let Ok(requests) = self.requests.lock() {
            for (verb, series) in requests.iter() {
                let verb = verb.to_ascii_uppercase();
                for (code, count) in &series.codes {
                    let _ = writeln!(out, "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}");
                }
            }
            out.push_str("# TYPE apiserver_request_duration_seconds histogram\n");
            for (verb, series) in requests.iter() {
                let name = "apiserver_request_duration_seconds";
                let verb = verb.to_ascii_uppercase();
                for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                    let _ = writeln!(out, "{name}_bucket{{verb=\"{verb}\",le=\"{bound}\"}} {count}");
                }
                let _ = writeln!(out, "{name}_bucket{{verb=\"{verb}\",le=\"+Inf\"}} {}", series.count);
                let _ = writeln!(out, "{name}_sum{{verb=\"{verb}\"}} {}", series.sum_seconds);
                let _ = writeln!(out, "{name}_count{{verb=\"{verb}\"}} {}", series.count);
            }
        }
        let gauges = [
            ("apiserver_current_inflight_requests", Gauge::Inflight),
            ("apiserver_registered_watchers", Gauge::Watches),
            ("holdfast_hub_sessions", Gauge::Sessions),
            ("holdfast_hub_connections", Gauge::Connections),
        ];
        for (name, gauge) in gauges {
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {}", self.current(gauge));
        }
        let refused = self.refused_handshakes.load(Ordering::Relaxed);
        let name = "holdfast_hub_tls_handshakes_refused_total";
        let _ = writeln!(out, "# TYPE {name} counter\n{name} {refused}");
        if let Ok(further) = self.further.lock() {
            further.iter().for_each(|write| write(&mut out));
        }
        out
    }
}
