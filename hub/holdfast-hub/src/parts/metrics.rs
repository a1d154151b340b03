//! What `/metrics` says of the links, beside what the server counts of itself.

use holdfast_link::Traffic;
use std::fmt::Write;

/// Bytes of all links by purpose. Which node they are for is no label: a fleet would make too many series.
pub(crate) fn link(traffic: &Traffic, out: &mut String) {
    let name = "holdfast_link_bytes_total";
    out.push_str("# TYPE holdfast_link_bytes_total counter\n");
    for (purpose, bytes) in traffic.totals() {
        for (direction, count) in [("sent", bytes.sent), ("received", bytes.received)] {
            let _ = writeln!(out, "{name}{{direction=\"{direction}\",purpose=\"{purpose}\"}} {count}");
        }
    }
}
