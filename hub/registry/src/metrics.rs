//! What the registry counts, and how many objects there are, in upstream's names.

use crate::engine::Engine;
use crate::keys;
use futures_util::FutureExt;
use holdfast_store::RangeRequest;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Appends all lines.
pub(crate) fn write(engine: &Engine, out: &mut String) {
    engine.timing.write(out);
    let counts = objects(engine);
    let (by_name, by_parts) = ("apiserver_storage_objects", "apiserver_resource_objects");
    let _ = writeln!(out, "# TYPE {by_name} gauge");
    for ((group, resource), count) in &counts {
        let dot = if group.is_empty() { "" } else { "." };
        let _ = writeln!(out, "{by_name}{{resource=\"{resource}{dot}{group}\"}} {count}");
    }
    let _ = writeln!(out, "# TYPE {by_parts} gauge");
    for ((group, resource), count) in &counts {
        let _ = writeln!(out, "{by_parts}{{group=\"{group}\",resource=\"{resource}\"}} {count}");
    }
}

/// Objects by group and resource. They are counted when somebody looks: the store has them in memory.
fn objects(engine: &Engine) -> BTreeMap<(&'static str, &'static str), u64> {
    let served = engine.customs.live().now();
    let mut counts = BTreeMap::new();
    for kind in served.kinds.iter().filter(|kind| kind.verbs.contains(&"watch")) {
        let stored = holdfast_kinds::storage_version(kind);
        let name = (stored.group, stored.plural);
        if counts.contains_key(&name) {
            continue;
        }
        let request = RangeRequest { prefix: keys::prefix(kind), limit: 1, ..RangeRequest::default() };
        // What answers later is not in memory, and not asked for.
        if let Some(Ok(range)) = engine.store.range(request).now_or_never() {
            counts.insert(name, range.records.len() as u64 + range.remaining);
        }
    }
    counts
}
