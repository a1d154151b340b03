//! `/metrics`: what the server counts of itself, in upstream's names
//! (<https://kubernetes.io/docs/reference/instrumentation/metrics/>).

use crate::codec::body::Body;
use holdfast_core::Target;
use holdfast_kinds::Kind;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Upper bounds of the duration histogram, in seconds: upstream's.
const BUCKETS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The same of the sizes of answers, in bytes.
const SIZES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Kinds that somebody should leave, by group, version and plural.
const DEPRECATED: &[[&str; 3]] = &[["", "v1", "componentstatuses"], ["", "v1", "endpoints"]];

#[derive(Default)]
struct Sizes {
    count: u64,
    sum_bytes: u64,
    buckets: [u64; SIZES.len()],
}

#[derive(Default)]
struct Series {
    count: u64,
    sum_seconds: f64,
    buckets: [u64; BUCKETS.len()],
    codes: BTreeMap<u16, u64>,
}

/// What a request was about: labels from closed sets, so that no client can make series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    dry_run: &'static str,
}

impl About {
    /// The same by this verb, as the chain names it.
    pub fn by(self, verb: &str) -> About {
        let verb = match verb {
            "create" => "POST",
            "update" => "PUT",
            "get" => "GET",
            "list" => "LIST",
            "watch" => "WATCH",
            "patch" => "PATCH",
            "apply" => "APPLY",
            "delete" => "DELETE",
            "deletecollection" => "DELETECOLLECTION",
            "connect" => "CONNECT",
            _ => "other",
        };
        About { verb, ..self }
    }

    /// A request for an object of a kind, or for a collection.
    pub fn of(target: &Target, kind: &'static Kind, dry_run: bool) -> About {
        About {
            verb: "",
            group: kind.group,
            version: kind.version,
            resource: kind.plural,
            subresource: kind.subresource(target.subresource()).map_or("", |sub| sub.name),
            scope: match (&target.name, &target.namespace) {
                (Some(_), _) => "resource",
                (None, Some(_)) => "namespace",
                (None, None) => "cluster",
            },
            dry_run: if dry_run { "All" } else { "" },
        }
    }

    fn labels(&self) -> String {
        let dry_run = self.dry_run;
        format!("component=\"apiserver\",dry_run=\"{dry_run}\",{}", self.labels_of_size())
    }

    fn labels_of_size(&self) -> String {
        let About { verb, group, version, resource, subresource, scope, dry_run: _ } = self;
        format!(
            "group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\",subresource=\"{subresource}\",verb=\"{verb}\",\
             version=\"{version}\""
        )
    }

    /// Whether upstream measures its answer: reads of objects.
    fn is_measured(&self) -> bool {
        !self.resource.is_empty() && matches!(self.verb, "GET" | "LIST")
    }
}

/// Counters of a server.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<About, Series>>,
    sizes: Mutex<BTreeMap<About, Sizes>>,
    reads: AtomicI64,
    writes: AtomicI64,
    watches: AtomicI64,
    sessions: AtomicI64,
    connections: AtomicI64,
    refused_handshakes: AtomicU64,
    events: Mutex<BTreeMap<[&'static str; 3], Arc<AtomicU64>>>,
    further: Mutex<Vec<Further>>,
}

/// Writes further series, whole lines.
type Further = Box<dyn Fn(&mut String) + Send>;

/// What is counted while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gauge {
    /// Requests that change nothing and are being answered.
    Reads,
    /// Requests that change something and are being answered.
    Writes,
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
            Gauge::Reads => &self.reads,
            Gauge::Writes => &self.writes,
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

    /// What counts the events that watches of a kind send.
    pub fn watch_events(&self, kind: &'static Kind) -> Arc<AtomicU64> {
        let Ok(mut events) = self.events.lock() else { return Arc::default() };
        events.entry([kind.group, kind.version, kind.plural]).or_default().clone()
    }

    /// A request was answered.
    pub fn answered(&self, about: About, code: u16, took: Duration) {
        let Ok(mut requests) = self.requests.lock() else { return };
        let series = requests.entry(about).or_default();
        series.count += 1;
        series.sum_seconds += took.as_secs_f64();
        for (bound, bucket) in BUCKETS.iter().zip(&mut series.buckets) {
            *bucket += u64::from(took.as_secs_f64() <= *bound);
        }
        *series.codes.entry(code).or_default() += 1;
    }

    /// Measures the body of an answer to a read, once its length is known.
    pub fn measure(self: &Arc<Self>, about: About, body: &mut Body) {
        if !about.is_measured() {
            return;
        }
        match (body.exact_size(), body) {
            (Some(bytes), _) => self.sized(about, bytes),
            (None, Body::List(list)) => {
                let metrics = self.clone();
                list.measure(move |bytes| metrics.sized(about, bytes));
            }
            (None, _) => {}
        }
    }

    fn sized(&self, about: About, bytes: u64) {
        let Ok(mut sizes) = self.sizes.lock() else { return };
        let sizes = sizes.entry(about).or_default();
        sizes.count += 1;
        sizes.sum_bytes += bytes;
        for (bound, bucket) in SIZES.iter().zip(&mut sizes.buckets) {
            *bucket += u64::from(bytes as f64 <= *bound);
        }
    }

    /// From now on, has this write what it counts below the server's own.
    pub fn append(&self, further: impl Fn(&mut String) + Send + 'static) {
        if let Ok(mut all) = self.further.lock() {
            all.push(Box::new(further));
        }
    }

    fn write_sizes(&self, out: &mut String) {
        let Ok(sizes) = self.sizes.lock() else { return };
        let name = "apiserver_response_sizes";
        let _ = writeln!(out, "# TYPE {name} histogram");
        for (about, sizes) in sizes.iter() {
            let labels = format!("component=\"apiserver\",{}", about.labels_of_size());
            for (bound, count) in SIZES.iter().zip(sizes.buckets) {
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", sizes.count);
            let _ = writeln!(out, "{name}_sum{{{labels}}} {}", sizes.sum_bytes);
            let _ = writeln!(out, "{name}_count{{{labels}}} {}", sizes.count);
        }
    }

    /// Which old kinds were asked for since the start.
    fn write_deprecated(&self, out: &mut String) {
        let Ok(requests) = self.requests.lock() else { return };
        let name = "apiserver_requested_deprecated_apis";
        let _ = writeln!(out, "# TYPE {name} gauge");
        let asked = requests.keys().filter(|about| DEPRECATED.contains(&[about.group, about.version, about.resource]));
        let asked: BTreeSet<_> =
            asked.map(|about| (about.group, about.resource, about.subresource, about.version)).collect();
        for (group, resource, subresource, version) in asked {
            let _ = writeln!(
                out,
                "{name}{{group=\"{group}\",removed_release=\"\",resource=\"{resource}\",subresource=\"{subresource}\",\
                 version=\"{version}\"}} 1"
            );
        }
    }

    /// The text of `/metrics` (Prometheus text format 0.0.4).
    pub fn text(&self) -> String {
        let mut out = String::new();
        if let Ok(requests) = self.requests.lock() {
            out.push_str("# TYPE apiserver_request_total counter\n");
            for (about, series) in requests.iter() {
                let labels = about.labels();
                for (code, count) in &series.codes {
                    let _ = writeln!(out, "apiserver_request_total{{code=\"{code}\",{labels}}} {count}");
                }
            }
            out.push_str("# TYPE apiserver_request_duration_seconds histogram\n");
            for (about, series) in requests.iter() {
                let (name, labels) = ("apiserver_request_duration_seconds", about.labels());
                for (bound, count) in BUCKETS.iter().zip(series.buckets) {
                    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
                }
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
                let _ = writeln!(out, "{name}_sum{{{labels}}} {}", series.sum_seconds);
                let _ = writeln!(out, "{name}_count{{{labels}}} {}", series.count);
            }
        }
        self.write_sizes(&mut out);
        self.write_deprecated(&mut out);
        let gauges: [(&str, &[(&str, Gauge)]); 3] = [
            (
                "apiserver_current_inflight_requests",
                &[("{request_kind=\"readOnly\"}", Gauge::Reads), ("{request_kind=\"mutating\"}", Gauge::Writes)],
            ),
            (
                "apiserver_longrunning_requests",
                &[
                    ("{component=\"apiserver\",verb=\"WATCH\"}", Gauge::Watches),
                    ("{component=\"apiserver\",verb=\"CONNECT\"}", Gauge::Sessions),
                ],
            ),
            ("holdfast_hub_connections", &[("", Gauge::Connections)]),
        ];
        for (name, series) in gauges {
            let _ = writeln!(out, "# TYPE {name} gauge");
            for (labels, gauge) in series {
                let _ = writeln!(out, "{name}{labels} {}", self.current(*gauge));
            }
        }
        if let Ok(events) = self.events.lock() {
            let name = "apiserver_watch_events_total";
            let _ = writeln!(out, "# TYPE {name} counter");
            for ([group, version, resource], count) in events.iter() {
                let count = count.load(Ordering::Relaxed);
                let labels = format!("group=\"{group}\",resource=\"{resource}\",version=\"{version}\"");
                let _ = writeln!(out, "{name}{{{labels}}} {count}");
            }
        }
        let refused = self.refused_handshakes.load(Ordering::Relaxed);
        let name = "apiserver_tls_handshake_errors_total";
        let _ = writeln!(out, "# TYPE {name} counter\n{name} {refused}");
        if let Ok(further) = self.further.lock() {
            further.iter().for_each(|write| write(&mut out));
        }
        out
    }
}
