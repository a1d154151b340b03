//! DefaultTolerationSeconds: a pod stays 300 s on a node that is not ready or unreachable.

use holdfast_core::Json;
use holdfast_core::json::{items_at, set, str_at};
use serde_json::json;

const SECONDS: i64 = 300;

pub(crate) fn mutate(doc: &mut Json) {
    let mut tolerations = items_at(doc, &["spec", "tolerations"]).to_vec();
    let before = tolerations.len();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|toleration| {
            let text = |field: &str| str_at(toleration, &[field]).unwrap_or_default();
            (text("key") == key || text("key").is_empty()) && matches!(text("effect"), "NoExecute" | "")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    if tolerations.len() != before {
        set(doc, &["spec", "tolerations"], tolerations);
    }
}
