//! coordination.k8s.io/v1 Lease. Source: `pkg/apis/coordination/validation` of Kubernetes 1.36.

use super::*;

#[test]
fn leases() {
    let resource = "coordination.k8s.io/leases";
    create(
        resource,
        json!({ "spec": { "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0 } }),
        &[],
    );
    create(
        resource,
        json!({ "spec": { "leaseDurationSeconds": -1, "leaseTransitions": -1 } }),
        &[
            "spec.leaseDurationSeconds: Invalid value: -1: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    create(resource, json!({ "spec": { "strategy": "OldestEmulationVersion", "preferredHolder": "a" } }), &[]);
    create(resource, json!({ "spec": { "strategy": "example.com/mine" } }), &[]);
    create(
        resource,
        json!({ "spec": { "strategy": "Newest" } }),
        &["spec.strategy.strategy: Unsupported value: \"Newest\": supported values: \"OldestEmulationVersion\""],
    );
    create(
        resource,
        json!({ "spec": { "preferredHolder": "a" } }),
        &["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"],
    );
}

/// What client-go writes when its program ends (`ReleaseOnCancel`): nobody holds the lease, for a second.
#[test]
fn a_lease_is_given_up_with_an_empty_holder() {
    let held = json!({ "spec": { "holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 3 } });
    let released = json!({ "holderIdentity": "", "leaseDurationSeconds": 1, "leaseTransitions": 3 });
    update("coordination.k8s.io/leases", held, "spec", released, &[]);
}
