//! core/v1 Namespace. Source: `pkg/apis/core/validation` of Kubernetes 1.36.

use super::*;

#[test]
fn the_phase_follows_the_deletion() {
    let active = json!({ "phase": "Active" });
    status("namespaces", json!({}), active.clone(), active.clone(), &[]);
    for phase in ["Terminating", "Gone", ""] {
        let text =
            format!("status.Phase: Invalid value: {phase:?}: may only be 'Active' if `deletionTimestamp` is empty");
        status("namespaces", json!({}), active.clone(), json!({ "phase": phase }), &[&text]);
    }
    let going = json!({ "metadata": { "name": "a", "deletionTimestamp": "2026-11-24T10:00:00Z" } });
    status("namespaces", going.clone(), active.clone(), json!({ "phase": "Terminating" }), &[]);
    let text = "status.Phase: Invalid value: \"Active\": may only be 'Terminating' if `deletionTimestamp` is not empty";
    status("namespaces", going, active.clone(), active, &[text]);
}
