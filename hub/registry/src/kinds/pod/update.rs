//! What may change of a pod that exists.

use super::affinity;
use crate::kinds::rules::text;
use holdfast_core::json::{at, at_mut, copy, i64_at, items_at, items_at_mut, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

const FORBIDDEN: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Problems of a changed spec.
pub(crate) fn validate(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    for list in ["containers", "initContainers"] {
        if items_at(doc, &["spec", list]).len() != items_at(old, &["spec", list]).len() {
            errors.forbidden(&path.child(list), "pod updates may not add or remove containers");
            return;
        }
    }
    active_deadline(doc, old, &path, errors);
    tolerations(doc, old, &path, errors);
    let gated = !items_at(old, &["spec", "schedulingGates"]).is_empty();
    for (index, gate) in items_at(doc, &["spec", "schedulingGates"]).iter().enumerate() {
        if !items_at(old, &["spec", "schedulingGates"]).contains(gate) {
            let path = path.child("schedulingGates").index(index).child("name");
            let name = text(gate, "name");
            errors.forbidden(&path, format!("only deletion is allowed, but found new scheduling gate '{name}'"));
        }
    }

    // What is left, with the changes that are allowed taken back, must be what it was.
    let mut left = doc.clone();
    for list in ["containers", "initContainers"] {
        for (index, container) in items_at_mut(&mut left, &["spec", list]).iter_mut().enumerate() {
            if let Some(before) = items_at(old, &["spec", list]).get(index) {
                copy(before, container, &["image"]);
            }
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy(old, &mut left, &["spec", field]);
    }
    if gated {
        let selector = |doc| at(doc, &["spec", "nodeSelector"]).cloned().unwrap_or_default();
        let (now, before) = (selector(doc), selector(old));
        if before.as_object().into_iter().flatten().any(|(key, value)| now.get(key) != Some(value)) {
            let text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
            errors.invalid(&path.child("nodeSelector"), now, text);
        }
        copy(old, &mut left, &["spec", "nodeSelector"]);
        // A pod that may not be scheduled yet may become pickier; about other pods it may not.
        const OF_NODES: &[&str] = &["spec", "affinity", "nodeAffinity"];
        let (now, before) = (at(doc, OF_NODES), at(old, OF_NODES));
        if now != before {
            affinity::validate_change(now, before, &path.child("affinity").child("nodeAffinity"), errors);
            copy(old, &mut left, OF_NODES);
            let is_empty = |affinity: &Json| affinity.as_object().is_some_and(serde_json::Map::is_empty);
            if at(old, &["spec", "affinity"]).is_none() && at(&left, &["spec", "affinity"]).is_some_and(is_empty) {
                remove(&mut left, &["spec", "affinity"]);
            }
        }
    }
    if i64_at(old, &["spec", "terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0)
        && i64_at(doc, &["spec", "terminationGracePeriodSeconds"]) == Some(1)
    {
        copy(old, &mut left, &["spec", "terminationGracePeriodSeconds"]);
    }
    if at(&left, &["spec"]) != at(old, &["spec"]) {
        errors.forbidden(&path, FORBIDDEN);
    }
}

fn active_deadline(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("activeDeadlineSeconds");
    match (i64_at(old, &["spec", "activeDeadlineSeconds"]), i64_at(doc, &["spec", "activeDeadlineSeconds"])) {
        (Some(before), Some(now)) if now > before => {
            errors.invalid(&path, now, "must be less than or equal to previous value");
        }
        (Some(_), None) => {
            errors.invalid(&path, Json::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

fn tolerations(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let new = items_at(doc, &["spec", "tolerations"]);
    let without_seconds = |toleration: &Json| {
        let mut toleration = toleration.clone();
        if let Some(map) = toleration.as_object_mut() {
            map.shift_remove("tolerationSeconds");
        }
        toleration
    };
    let kept = items_at(old, &["spec", "tolerations"])
        .iter()
        .all(|before| new.iter().any(|now| without_seconds(now) == without_seconds(before)));
    if !kept {
        errors.forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

/// Tells of containers of a new status that have come back to life although nothing restarts them.
pub(crate) fn transitions(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("status");
    let of_pod = str_at(old, &["spec", "restartPolicy"]);
    for (specs, list) in [
        ("containers", "containerStatuses"),
        ("initContainers", "initContainerStatuses"),
        ("", "ephemeralContainerStatuses"),
    ] {
        for (index, before) in items_at(old, &["status", list]).iter().enumerate() {
            let Some(code) = i64_at(before, &["state", "terminated", "exitCode"]) else { continue };
            let name = str_at(before, &["name"]);
            let spec = items_at(old, &["spec", specs]).iter().find(|spec| str_at(spec, &["name"]) == name);
            // Ephemeral ones run once, whatever the pod says.
            if !specs.is_empty() && may_return(spec, of_pod, code) {
                continue;
            }
            let now = items_at(doc, &["status", list]).iter().find(|status| str_at(status, &["name"]) == name);
            if now.is_some_and(|now| at(now, &["state", "terminated"]).is_none()) {
                let path = path.child(list).index(index).child("state");
                errors.forbidden(&path, "may not be transitioned to non-terminated state");
            }
        }
    }
}

/// Whether a container that ended with `code` may run again: by its rules, else by its own policy, else by the pod's.
/// One that the pod does not have may not.
fn may_return(spec: Option<&Json>, of_pod: Option<&str>, code: i64) -> bool {
    let Some(spec) = spec else { return false };
    let ruled = items_at(spec, &["restartPolicyRules"]).iter().any(|rule| {
        let listed = items_at(rule, &["exitCodes", "values"]).iter().any(|value| value.as_i64() == Some(code));
        str_at(rule, &["action"]) == Some("Restart")
            && listed == (str_at(rule, &["exitCodes", "operator"]) == Some("In"))
    });
    let policy = str_at(spec, &["restartPolicy"]).or(of_pod);
    ruled || policy == Some("Always") || (policy == Some("OnFailure") && code != 0)
}

/// Writes the binding of a pod: its node, and the condition that says so. Used by the `binding` subresource.
pub(crate) fn bind(doc: &mut Json, node: &str, now: &str) {
    set(doc, &["spec", "nodeName"], node);
    let condition = serde_json::json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": now });
    let mut conditions: Vec<Json> = items_at(doc, &["status", "conditions"])
        .iter()
        .filter(|condition| str_at(condition, &["type"]) != Some("PodScheduled"))
        .cloned()
        .collect();
    conditions.push(condition);
    set(doc, &["status", "conditions"], conditions);
    if let Some(status) = at_mut(doc, &["status"]).and_then(Json::as_object_mut) {
        status.shift_remove("nominatedNodeName");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn comes_back(of_pod: &str, own: Json, init: bool, code: i64) -> bool {
        let (specs, list) =
            if init { ("initContainers", "initContainerStatuses") } else { ("containers", "containerStatuses") };
        let mut container = own;
        container["name"] = json!("a");
        let doc = |state: Json| {
            json!({
                "spec": {"restartPolicy": of_pod, specs: [container.clone()]},
                "status": {list: [{"name": "a", "state": state}]},
            })
        };
        let mut errors = FieldErrors::default();
        transitions(&doc(json!({"running": {}})), &doc(json!({"terminated": {"exitCode": code}})), &mut errors);
        errors.is_empty()
    }

    #[test]
    fn containers_come_back_as_their_rules_and_policies_say() {
        let rules = json!({"restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
        assert!(comes_back("Never", rules.clone(), false, 42));
        assert!(!comes_back("Always", rules, false, 1));
        assert!(comes_back("Never", json!({"restartPolicy": "Always"}), true, 0), "a sidecar");
        assert!(comes_back("OnFailure", json!({}), false, 1) && !comes_back("OnFailure", json!({}), false, 0));
        assert!(!comes_back("Never", json!({}), true, 1) && comes_back("Always", json!({}), false, 0));
    }
}
