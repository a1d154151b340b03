//! When a container starts again after it ended: its own `restartPolicy` and the rules before that
//! (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-restart-rules>).

use crate::kinds::rules::text;
use holdfast_core::json::items_at;
use holdfast_core::{FieldErrors, FieldPath, Json};

const POLICIES: &[&str] = &["Always", "Never", "OnFailure"];
const ACTIONS: &[&str] = &["Restart"];
const OPERATORS: &[&str] = &["In", "NotIn"];
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

/// Problems of a container that is no ephemeral one; `init` says of which list.
pub(super) fn validate(container: &Json, init: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let policy = container.get("restartPolicy").and_then(Json::as_str);
    let all = items_at(container, &["restartPolicyRules"]);
    let at = path.child("restartPolicyRules");
    match policy {
        None if all.is_empty() => return,
        None => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.required(&path.child("restartPolicy"), detail);
            if init {
                return;
            }
        }
        Some("Always") if init => {
            if !all.is_empty() {
                let detail = "restartPolicyRules are not allowed for init containers with restart policy Always";
                errors.forbidden(&at, detail);
            }
            return;
        }
        Some(policy) if !POLICIES.contains(&policy) => {
            errors.not_supported(&path.child("restartPolicy"), policy, POLICIES);
        }
        Some(_) => {}
    }
    if all.len() > MOST_RULES {
        errors.too_many(&at, all.len(), MOST_RULES);
    }
    for (index, rule) in all.iter().enumerate() {
        one(rule, &at.index(index), errors);
    }
}

fn one(rule: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let action = text(rule, "action");
    if !ACTIONS.contains(&action) {
        errors.not_supported(&path.child("action"), action, ACTIONS);
    }
    let at = path.child("exitCodes");
    let Some(codes) = rule.get("exitCodes").filter(|codes| !codes.is_null()) else {
        return errors.required(&at, "must be specified");
    };
    let operator = text(codes, "operator");
    if !OPERATORS.contains(&operator) {
        errors.not_supported(&at.child("operator"), operator, OPERATORS);
    }
    let values = items_at(codes, &["values"]).len();
    if values > MOST_CODES {
        errors.too_many(&at.child("values"), values, MOST_CODES);
    }
}
