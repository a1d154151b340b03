//! What each controller's client must be allowed, for the default roles of the registry.

use holdfast_controller::Client;
use holdfast_core::{Gvr, Json, Reason, Status, Target};
use serde_json::json;

const RBAC: &str = "rbac.authorization.k8s.io";

/// A rule, as `rbac.authorization.k8s.io/v1 PolicyRule` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API groups; empty string for core.
    pub groups: &'static [&'static str],
    /// Resources, with subresources as `pods/status`.
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

const fn rule(
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { groups, resources, verbs }
}

const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const READ: &[&str] = &["get", "list", "watch"];
const EVENTS: Rule = rule(&[""], &["events"], &["create", "patch", "update"]);

/// The client of the informers that all controllers share.
pub const SHARED_INFORMERS: &str = "shared-informers";

/// By controller: its rules. The names are those that [`crate::start_all`] asks for.
pub const PERMISSIONS: &[(&str, &[Rule])] = &[
    (
        SHARED_INFORMERS,
        &[
            rule(&[""], &["pods", "nodes", "namespaces", "services", "serviceaccounts", "configmaps"], READ),
            rule(&[""], &["persistentvolumeclaims", "persistentvolumes"], READ),
            rule(&["apps"], &["deployments", "replicasets"], READ),
            rule(&["discovery.k8s.io"], &["endpointslices"], READ),
            rule(&[""], &["endpoints"], READ),
        ],
    ),
    (
        "deployment-controller",
        &[
            rule(&["apps"], &["deployments"], &["get", "update"]),
            rule(&["apps"], &["deployments/status"], &["update"]),
            rule(&["apps"], &["deployments/finalizers"], &["update"]),
            rule(&["apps"], &["replicasets"], &["get", "create", "update", "patch", "delete"]),
            EVENTS,
        ],
    ),
    (
        "replicaset-controller",
        &[
            rule(&["apps"], &["replicasets"], &["get"]),
            rule(&["apps"], &["replicasets/status"], &["update"]),
            rule(&["apps"], &["replicasets/finalizers"], &["update"]),
            rule(&[""], &["pods"], &["create", "delete", "patch"]),
            EVENTS,
        ],
    ),
    (
        "endpointslice-controller",
        &[
            rule(&["discovery.k8s.io"], &["endpointslices"], &["create", "update", "delete"]),
            rule(&[""], &["services/finalizers"], &["update"]),
            EVENTS,
        ],
    ),
    ("endpoint-controller", &[rule(&[""], &["endpoints"], &["create", "update", "delete"])]),
    (
        "endpointslicemirroring-controller",
        &[
            rule(&["discovery.k8s.io"], &["endpointslices"], &["create", "update", "delete"]),
            rule(&[""], &["endpoints/finalizers"], &["update"]),
        ],
    ),
    (
        "service-cidrs-controller",
        &[
            rule(&["networking.k8s.io"], &["servicecidrs"], &["get", "list", "watch", "update"]),
            rule(&["networking.k8s.io"], &["servicecidrs/status"], &["update"]),
            rule(&["networking.k8s.io"], &["ipaddresses"], &["get", "list", "watch", "create", "delete"]),
            rule(&[""], &["services"], &["get"]),
        ],
    ),
    (
        "namespace-controller",
        &[
            rule(&[""], &["namespaces"], &["get"]),
            rule(&[""], &["namespaces/status", "namespaces/finalize"], &["update"]),
            rule(&["*"], &["*"], &["list", "delete"]),
        ],
    ),
    (
        "node-controller",
        &[
            rule(&[""], &["nodes"], &["patch"]),
            rule(&[""], &["pods"], &["get"]),
            rule(&[""], &["pods/status"], &["patch"]),
            EVENTS,
        ],
    ),
    (
        "taint-eviction-controller",
        &[rule(&[""], &["pods"], &["get", "delete"]), rule(&[""], &["pods/status"], &["patch"]), EVENTS],
    ),
    ("node-ipam-controller", &[rule(&[""], &["nodes"], &["get", "patch"]), EVENTS]),
    ("service-account-controller", &[rule(&[""], &["serviceaccounts"], &["create"])]),
    ("root-ca-cert-publisher", &[rule(&[""], &["configmaps"], &["create", "update"])]),
    (
        "pod-garbage-collector",
        &[
            rule(&[""], &["nodes"], &["get"]),
            rule(&[""], &["pods"], &["get", "delete"]),
            rule(&[""], &["pods/status"], &["patch"]),
        ],
    ),
    (
        "disruption-controller",
        &[
            rule(&["policy"], &["poddisruptionbudgets"], READ),
            rule(&["policy"], &["poddisruptionbudgets/status"], &["update"]),
            rule(&["*"], &["*/scale"], &["get"]),
            EVENTS,
        ],
    ),
    (
        // And it approves and signs for the cluster's signers, by name: the default objects say so.
        "certificate-controller",
        &[
            rule(CERTIFICATES, &["certificatesigningrequests"], &["get", "list", "watch", "delete"]),
            rule(
                CERTIFICATES,
                &["certificatesigningrequests/approval", "certificatesigningrequests/status"],
                &["update"],
            ),
            rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
        ],
    ),
    (
        "pvc-protection-controller",
        &[rule(&[""], &["persistentvolumeclaims"], &["patch"]), rule(&[""], &["pods"], &["list"])],
    ),
    ("pv-protection-controller", &[rule(&[""], &["persistentvolumes"], &["patch"])]),
    (
        "resourcequota-controller",
        &[
            rule(&["*"], &["*"], &["list", "watch"]),
            rule(&[""], &["resourcequotas"], &["get"]),
            rule(&[""], &["resourcequotas/status"], &["update"]),
        ],
    ),
    (
        "clusterrole-aggregation-controller",
        &[rule(&[RBAC], &["clusterroles"], &["escalate", "get", "list", "update", "watch"])],
    ),
    ("generic-garbage-collector", &[rule(&["*"], &["*"], &["get", "list", "watch", "patch", "delete"])]),
];

/// Makes the roles and bindings of [`PERMISSIONS`] that are missing.
///
/// # Errors
/// The API's.
pub async fn ensure_roles(client: &dyn Client) -> Result<(), Status> {
    for (name, rules) in PERMISSIONS {
        ensure_role(client, name, rules).await?;
    }
    Ok(())
}

/// A role and its binding for a controller that the default objects do not know.
async fn ensure_role(client: &dyn Client, controller: &str, rules: &[Rule]) -> Result<(), Status> {
    let name = format!("system:controller:{controller}");
    let metadata = json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
    let rules: Json = rules
        .iter()
        .map(|rule| json!({"apiGroups": rule.groups, "resources": rule.resources, "verbs": rule.verbs}))
        .collect();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata,
        "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": controller, "namespace": "kube-system"}]});
    for (resource, body) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let gvr = Gvr::new(RBAC, "v1", resource);
        match client.get(&Target::object(gvr.clone(), "", &name)).await {
            Ok(_) => continue,
            Err(status) if status.is(Reason::NotFound) => {}
            Err(status) => return Err(status),
        }
        match client.create(&Target::collection(gvr, ""), body).await {
            // Another hub that starts as well was faster.
            Err(status) if status.is(Reason::AlreadyExists) => {}
            made => drop(made?),
        }
    }
    Ok(())
}
