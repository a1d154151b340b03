//! DefaultTolerationSeconds: a pod stays for a while (the hub's `eviction-after`) on a node that is not ready or
//! unreachable. One that is bound to its box, or whose fencing mode says so, stays for ever, or until its run lease is
//! over: as with a DaemonSet's pods.

use super::Admission;
use holdfast_core::Json;
use holdfast_core::json::{items_at, set, str_at};
use holdfast_kinds::fencing::{self, Fencing};
use serde_json::json;

pub(crate) fn mutate(cx: &Admission<'_>, doc: &mut Json) {
    let mut tolerations = items_at(doc, &["spec", "tolerations"]).to_vec();
    let before = tolerations.len();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|toleration| {
            let text = |field: &str| str_at(toleration, &[field]).unwrap_or_default();
            (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
        });
        if !tolerated {
            let mut toleration = json!({"key": key, "operator": "Exists", "effect": "NoExecute"});
            if fencing::of(doc) == Fencing::Kubernetes {
                toleration["tolerationSeconds"] = json!(cx.engine.eviction_after.as_secs());
            }
            tolerations.push(toleration);
        }
    }
    if tolerations.len() != before {
        set(doc, &["spec", "tolerations"], tolerations);
    }
}
