//! TaintNodesByCondition: a new node takes no pods until it was heard that it is ready. The node controller takes the taint away.

use holdfast_core::Json;
use holdfast_core::json::{items_at, set, str_at};
use serde_json::json;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const NO_SCHEDULE: &str = "NoSchedule";

/// Adds the taint to a new Node.
pub(crate) fn mutate(doc: &mut Json) {
    let taints = items_at(doc, &["spec", "taints"]);
    let is_it =
        |taint: &Json| str_at(taint, &["key"]) == Some(NOT_READY) && str_at(taint, &["effect"]) == Some(NO_SCHEDULE);
    if !taints.iter().any(is_it) {
        let all = [taints, &[json!({ "key": NOT_READY, "effect": NO_SCHEDULE })]].concat();
        set(doc, &["spec", "taints"], all);
    }
}
