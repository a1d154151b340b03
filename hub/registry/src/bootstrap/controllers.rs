//! What each controller of the hub may. Each runs as its own account of `kube-system`.

use super::roles::{CERTIFICATES, KUBELET_CLIENT, KUBELET_SERVING, READ, USER_CLIENT, events, named, rule};
use holdfast_core::Json;

const ALL: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

fn leases() -> Json {
    rule(&["coordination.k8s.io"], &["leases"], ALL)
}

/// The scheduler's rules.
pub(super) fn scheduler() -> Vec<Json> {
    vec![
        events(),
        leases(),
        rule(&[""], &["nodes", "namespaces", "services"], READ),
        rule(&[""], &["pods"], &["get", "list", "watch", "delete"]),
        rule(&[""], &["bindings", "pods/binding"], &["create"]),
        rule(&[""], &["pods/status"], &["patch", "update"]),
        rule(&["apps"], &["replicasets", "statefulsets"], READ),
        rule(&["scheduling.k8s.io"], &["priorityclasses"], READ),
        rule(&["node.k8s.io"], &["runtimeclasses"], READ),
        rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
        rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
    ]
}

/// Each controller's account in `kube-system` and what it may, under upstream's names where there is one.
pub(super) fn controllers() -> Vec<(&'static str, Vec<Json>)> {
    let node_work = || {
        vec![
            events(),
            leases(),
            rule(&[""], &["nodes"], ALL),
            rule(&[""], &["nodes/status"], &["get", "patch", "update"]),
            rule(&[""], &["pods"], &["get", "list", "watch", "delete"]),
            rule(&[""], &["pods/status"], &["patch", "update"]),
        ]
    };
    let accounts = || {
        vec![
            events(),
            rule(&[""], &["namespaces"], READ),
            rule(&[""], &["serviceaccounts", "secrets", "configmaps"], ALL),
            rule(&[""], &["serviceaccounts/token"], &["create"]),
        ]
    };
    vec![
        (
            "deployment-controller",
            vec![
                events(),
                rule(&["apps"], &["deployments"], &["get", "list", "watch", "update", "patch"]),
                rule(&["apps"], &["deployments/status"], &["get", "update", "patch"]),
                rule(&["apps"], &["deployments/finalizers"], &["update"]),
                rule(&["apps"], &["replicasets"], ALL),
                rule(&[""], &["pods"], &["get", "list", "watch", "update"]),
            ],
        ),
        (
            "replicaset-controller",
            vec![
                events(),
                rule(&["apps"], &["replicasets"], &["get", "list", "watch", "update", "patch"]),
                rule(&["apps"], &["replicasets/status"], &["get", "update", "patch"]),
                rule(&["apps"], &["replicasets/finalizers"], &["update"]),
                rule(&[""], &["pods"], ALL),
            ],
        ),
        (
            "endpointslice-controller",
            vec![
                events(),
                rule(&[""], &["nodes", "pods", "services"], READ),
                rule(&[""], &["services/finalizers"], &["update"]),
                rule(&["discovery.k8s.io"], &["endpointslices"], ALL),
            ],
        ),
        (
            "endpoint-controller",
            vec![
                events(),
                rule(&[""], &["pods", "services"], READ),
                rule(&[""], &["endpoints"], &["get", "list", "watch", "create", "delete", "update"]),
                rule(&[""], &["endpoints/restricted"], &["create"]),
            ],
        ),
        (
            "endpointslicemirroring-controller",
            vec![
                events(),
                rule(&[""], &["endpoints", "services"], READ),
                rule(&[""], &["endpoints/finalizers", "services/finalizers"], &["update"]),
                rule(&["discovery.k8s.io"], &["endpointslices"], ALL),
                rule(&["discovery.k8s.io"], &["endpointslices/restricted"], &["create"]),
            ],
        ),
        (
            // It makes and removes IPAddresses too, which upstream's API server does itself.
            "service-cidrs-controller",
            vec![
                events(),
                rule(&["networking.k8s.io"], &["servicecidrs"], &["get", "list", "watch", "patch", "update"]),
                rule(&["networking.k8s.io"], &["servicecidrs/finalizers"], &["patch", "update"]),
                rule(&["networking.k8s.io"], &["servicecidrs/status"], &["patch", "update"]),
                rule(&["networking.k8s.io"], &["ipaddresses"], &["get", "list", "watch", "create", "delete"]),
                rule(&[""], &["services"], &["get"]),
            ],
        ),
        (
            "namespace-controller",
            vec![
                rule(&[""], &["namespaces"], &["get", "list", "watch", "delete"]),
                rule(&[""], &["namespaces/finalize", "namespaces/status"], &["get", "update", "patch"]),
                rule(&["*"], &["*"], &["get", "list", "watch", "delete", "deletecollection"]),
            ],
        ),
        (
            "generic-garbage-collector",
            vec![events(), rule(&["*"], &["*"], &["get", "list", "watch", "patch", "update", "delete"])],
        ),
        (
            // The watches that all controllers of the hub share.
            "shared-informers",
            vec![
                rule(&[""], &["pods", "nodes", "namespaces", "services", "serviceaccounts", "configmaps"], READ),
                rule(&[""], &["persistentvolumeclaims", "persistentvolumes"], READ),
                rule(&["apps"], &["deployments", "replicasets"], READ),
                rule(&["discovery.k8s.io"], &["endpointslices"], READ),
                rule(&[""], &["endpoints"], READ),
                rule(&["coordination.k8s.io"], &["leases"], READ),
            ],
        ),
        (
            "disruption-controller",
            vec![
                events(),
                rule(&["policy"], &["poddisruptionbudgets"], READ),
                rule(&["policy"], &["poddisruptionbudgets/status"], &["get", "update", "patch"]),
                rule(&["*"], &["*/scale"], &["get"]),
            ],
        ),
        (
            "certificate-controller",
            vec![
                rule(CERTIFICATES, &["certificatesigningrequests"], &["get", "list", "watch", "delete"]),
                rule(
                    CERTIFICATES,
                    &["certificatesigningrequests/approval", "certificatesigningrequests/status"],
                    &["update"],
                ),
                named(CERTIFICATES, "signers", &[KUBELET_CLIENT], &["approve"]),
                named(CERTIFICATES, "signers", &[USER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING], &["sign"]),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            ],
        ),
        (
            "pvc-protection-controller",
            vec![
                events(),
                rule(&[""], &["persistentvolumeclaims"], &["get", "list", "watch", "update", "patch"]),
                rule(&[""], &["pods"], READ),
            ],
        ),
        (
            "pv-protection-controller",
            vec![events(), rule(&[""], &["persistentvolumes"], &["get", "list", "watch", "update", "patch"])],
        ),
        (
            "resourcequota-controller",
            vec![
                events(),
                rule(&["*"], &["*"], &["list", "watch"]),
                rule(&[""], &["resourcequotas"], &["get"]),
                rule(&[""], &["resourcequotas/status"], &["update"]),
            ],
        ),
        ("node-controller", node_work()),
        ("node-lifecycle-controller", node_work()),
        ("node-ipam-controller", node_work()),
        ("taint-eviction-controller", node_work()),
        ("pod-garbage-collector", node_work()),
        ("service-account-controller", accounts()),
        ("serviceaccount-controller", accounts()),
        ("root-ca-cert-publisher", accounts()),
        (
            "service-controller",
            vec![
                events(),
                rule(&[""], &["services"], &["get", "list", "watch"]),
                rule(&[""], &["services/status"], &["patch", "update"]),
                rule(&[""], &["nodes"], READ),
            ],
        ),
        (
            "clusterrole-aggregation-controller",
            vec![rule(
                &["rbac.authorization.k8s.io"],
                &["clusterroles"],
                &["escalate", "get", "list", "patch", "update", "watch"],
            )],
        ),
    ]
}
