//! Roles and bindings: upstream's for users, and one for each controller's own account.

use super::controllers::{controllers, scheduler};
use super::namespaced;
use holdfast_core::Json;
use holdfast_core::user::{AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED};
use serde_json::json;

const VERSION: &str = "rbac.authorization.k8s.io/v1";
pub(super) const READ: &[&str] = &["get", "list", "watch"];
pub(super) const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
pub(super) const USER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub(super) const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub(super) const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const WRITE: &[&str] = &["create", "update", "patch", "delete", "deletecollection"];

pub(super) fn rule(groups: &[&str], resources: &[&str], verbs: &[&str]) -> Json {
    json!({ "apiGroups": groups, "resources": resources, "verbs": verbs })
}

/// A rule about objects of these names alone.
pub(super) fn named(groups: &[&str], resource: &str, names: &[&str], verbs: &[&str]) -> Json {
    json!({ "apiGroups": groups, "resources": [resource], "resourceNames": names, "verbs": verbs })
}

/// Every controller may tell what it did, in either form of Event.
pub(super) fn events() -> Json {
    rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"])
}

fn cluster_role(name: &str, labels: &Json, rules: Vec<Json>) -> Json {
    json!({ "apiVersion": VERSION, "kind": "ClusterRole", "metadata": meta(name, labels), "rules": rules })
}

pub(super) fn meta(name: &str, more: &Json) -> Json {
    let mut labels = json!({ "kubernetes.io/bootstrapping": "rbac-defaults" });
    for (key, value) in more.as_object().into_iter().flatten() {
        labels[key] = value.clone();
    }
    json!({ "name": name, "labels": labels, "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "true" } })
}

fn bind(name: &str, role: &str, subjects: Vec<Json>) -> Json {
    json!({
        "apiVersion": VERSION, "kind": "ClusterRoleBinding", "metadata": meta(name, &json!({})),
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": subjects,
    })
}

fn group(name: &str) -> Json {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": name })
}

pub(super) fn user(name: &str) -> Json {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name })
}

pub(super) fn account(name: &str) -> Json {
    json!({ "kind": "ServiceAccount", "name": name, "namespace": "kube-system" })
}

/// All roles and bindings.
pub(crate) fn all() -> Vec<Json> {
    let mut all = users();
    all.extend(user_facing());
    all.extend(certificates());
    all.extend(parts());
    for (name, rules) in controllers() {
        let role = format!("system:controller:{name}");
        all.push(cluster_role(&role, &json!({}), rules));
        all.push(bind(&role, &role, vec![account(name)]));
    }
    all.push(cluster_role("system:kube-scheduler", &json!({}), scheduler()));
    let subjects = vec![user("system:kube-scheduler"), account("kube-scheduler")];
    all.push(bind("system:kube-scheduler", "system:kube-scheduler", subjects));
    all.extend(namespaced::all());
    all
}

fn users() -> Vec<Json> {
    let everything = vec![rule(&["*"], &["*"], &["*"]), json!({ "nonResourceURLs": ["*"], "verbs": ["*"] })];
    let discovery = [
        "/api",
        "/api/*",
        "/apis",
        "/apis/*",
        "/healthz",
        "/livez",
        "/openapi",
        "/openapi/*",
        "/readyz",
        "/version",
        "/version/",
    ];
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let paths = |paths: &[&str]| vec![json!({ "nonResourceURLs": paths, "verbs": ["get"] })];
    let reviews = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];
    vec![
        cluster_role("cluster-admin", &json!({}), everything),
        bind("cluster-admin", "cluster-admin", vec![group(MASTERS)]),
        cluster_role("system:discovery", &json!({}), paths(&discovery)),
        bind("system:discovery", "system:discovery", vec![group(AUTHENTICATED)]),
        cluster_role("system:public-info-viewer", &json!({}), paths(&public)),
        bind(
            "system:public-info-viewer",
            "system:public-info-viewer",
            vec![group(AUTHENTICATED), group(UNAUTHENTICATED)],
        ),
        cluster_role(
            "system:basic-user",
            &json!({}),
            vec![
                rule(&["authorization.k8s.io"], &reviews, &["create"]),
                rule(&["authentication.k8s.io"], &["selfsubjectreviews"], &["create"]),
            ],
        ),
        bind("system:basic-user", "system:basic-user", vec![group(AUTHENTICATED)]),
        // What nodes may is judged by the Node authorizer; the role only exists, as upstream, without a subject.
        cluster_role("system:node", &json!({}), vec![rule(&[""], &["nodes"], READ)]),
        bind("system:node", "system:node", Vec::new()),
        cluster_role(
            "system:service-account-issuer-discovery",
            &json!({}),
            paths(&[
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration/",
                "/openid/v1/jwks",
                "/openid/v1/jwks/",
            ]),
        ),
        bind(
            "system:service-account-issuer-discovery",
            "system:service-account-issuer-discovery",
            vec![group("system:serviceaccounts")],
        ),
        bind("holdfast:node-discovery", "system:discovery", vec![group(NODES)]),
    ]
}

/// Roles about certificate requests, bound to nobody: who may ask for a node's certificate, and who may approve for a signer.
fn certificates() -> Vec<Json> {
    let asker = |right: &str| {
        let resource = format!("certificatesigningrequests/{right}");
        let name = format!("system:certificates.k8s.io:certificatesigningrequests:{right}");
        cluster_role(&name, &json!({}), vec![rule(CERTIFICATES, &[&resource], &["create"])])
    };
    let approver = |signer: &str| {
        let name = format!("system:certificates.k8s.io:{}-approver", signer.trim_start_matches("kubernetes.io/"));
        cluster_role(&name, &json!({}), vec![named(CERTIFICATES, "signers", &[signer], &["approve"])])
    };
    let mut all = vec![asker("nodeclient"), asker("selfnodeclient")];
    all.extend([USER_CLIENT, KUBELET_CLIENT, KUBELET_SERVING, "kubernetes.io/legacy-unknown"].map(approver));
    all
}

/// Upstream's roles for what runs beside a cluster and brings no role of its own.
fn parts() -> Vec<Json> {
    let role = |name: &str, rules: Vec<Json>| cluster_role(name, &json!({}), rules);
    let endpoints = ["services", "endpoints"];
    let slices = rule(&["discovery.k8s.io"], &["endpointslices"], &["list", "watch"]);
    let classes = rule(&["storage.k8s.io"], &["storageclasses"], READ);
    let health = ["/metrics", "/metrics/slis", "/livez", "/readyz", "/healthz", "/livez/*", "/readyz/*", "/healthz/*"];
    let volumes = ["get", "list", "patch", "update", "watch"];
    let kubelets =
        ["nodes/proxy", "nodes/metrics", "nodes/stats", "nodes/log", "nodes/configz", "nodes/healthz", "nodes/pods"];
    vec![
        role(
            "system:auth-delegator",
            vec![
                rule(&["authentication.k8s.io"], &["tokenreviews"], &["create"]),
                rule(&["authorization.k8s.io"], &["subjectaccessreviews"], &["create"]),
            ],
        ),
        role("system:monitoring", vec![json!({ "nonResourceURLs": health, "verbs": ["get"] })]),
        bind("system:monitoring", "system:monitoring", vec![group("system:monitoring")]),
        role(
            "system:node-proxier",
            vec![
                rule(&[""], &endpoints, &["list", "watch"]),
                rule(&[""], &["nodes"], READ),
                events(),
                slices.clone(),
                rule(&["networking.k8s.io"], &["servicecidrs"], &["list", "watch"]),
            ],
        ),
        bind("system:node-proxier", "system:node-proxier", vec![user("system:kube-proxy")]),
        role(
            "system:node-bootstrapper",
            vec![rule(CERTIFICATES, &["certificatesigningrequests"], &["create", "get", "list", "watch"])],
        ),
        role(
            "system:node-problem-detector",
            vec![rule(&[""], &["nodes"], &["get"]), rule(&[""], &["nodes/status"], &["patch"]), events()],
        ),
        role(
            "system:kubelet-api-admin",
            vec![rule(&[""], &["nodes"], READ), rule(&[""], &["nodes"], &["proxy"]), rule(&[""], &kubelets, &["*"])],
        ),
        role("system:kube-dns", vec![rule(&[""], &endpoints, &["list", "watch"]), slices]),
        role("system:kube-aggregator", vec![rule(&[""], &endpoints, READ)]),
        role(
            "system:persistent-volume-provisioner",
            vec![
                rule(&[""], &["persistentvolumes"], &["create", "delete", "get", "list", "watch"]),
                rule(&[""], &["persistentvolumeclaims"], &["get", "list", "update", "watch"]),
                classes.clone(),
                rule(&[""], &["events"], &["watch"]),
                events(),
            ],
        ),
        role(
            "system:volume-scheduler",
            vec![
                rule(&[""], &["persistentvolumes"], &volumes),
                classes,
                rule(&[""], &["persistentvolumeclaims"], &volumes),
            ],
        ),
        bind("system:volume-scheduler", "system:volume-scheduler", vec![user("system:kube-scheduler")]),
    ]
}

/// `view`, `edit` and `admin`, to be bound within namespaces. They join the `aggregate-to-*` roles, and each other.
fn user_facing() -> Vec<Json> {
    let joins = |name: &str, to: &str, label: &str| {
        let labels = if to.is_empty() { json!({}) } else { json!({ to: "true" }) };
        let selector = json!({ "matchLabels": { label: "true" } });
        json!({
            "apiVersion": VERSION, "kind": "ClusterRole", "metadata": meta(name, &labels),
            "aggregationRule": { "clusterRoleSelectors": [selector] }, "rules": [],
        })
    };
    let (view, edit, admin) = (
        "rbac.authorization.k8s.io/aggregate-to-view",
        "rbac.authorization.k8s.io/aggregate-to-edit",
        "rbac.authorization.k8s.io/aggregate-to-admin",
    );
    let core = [
        "configmaps",
        "pods",
        "services",
        "serviceaccounts",
        "replicationcontrollers",
        "replicationcontrollers/scale",
        "persistentvolumeclaims",
    ];
    let mut readers: Vec<&str> = core.to_vec();
    readers.extend([
        "endpoints",
        "persistentvolumeclaims/status",
        "pods/log",
        "pods/status",
        "services/status",
        "namespaces",
        "namespaces/status",
        "bindings",
        "limitranges",
        "replicationcontrollers/status",
        "resourcequotas",
        "resourcequotas/status",
    ]);
    let app_writers = [
        "daemonsets",
        "deployments",
        "deployments/scale",
        "deployments/rollback",
        "replicasets",
        "replicasets/scale",
        "statefulsets",
        "statefulsets/scale",
    ];
    let app_readers = [
        "controllerrevisions",
        "daemonsets",
        "daemonsets/status",
        "deployments",
        "deployments/scale",
        "deployments/status",
        "replicasets",
        "replicasets/scale",
        "replicasets/status",
        "statefulsets",
        "statefulsets/scale",
        "statefulsets/status",
    ];
    let roles = ["roles", "rolebindings"];
    // `edit` joins all of `view`, and `admin` all of `edit`, with what others gave them.
    vec![
        joins("view", edit, view),
        joins("edit", admin, edit),
        joins("admin", "", admin),
        cluster_role(
            "system:aggregate-to-view",
            &json!({ view: "true" }),
            vec![
                rule(&[""], &readers, READ),
                rule(&["apps"], &app_readers, READ),
                rule(&["discovery.k8s.io"], &["endpointslices"], READ),
                rule(&["autoscaling"], &["horizontalpodautoscalers", "horizontalpodautoscalers/status"], READ),
                rule(&["batch"], &["jobs", "jobs/status", "cronjobs", "cronjobs/status"], READ),
                rule(&["networking.k8s.io"], &["ingresses", "ingresses/status", "networkpolicies"], READ),
                rule(&["policy"], &["poddisruptionbudgets", "poddisruptionbudgets/status"], READ),
                rule(
                    &["resource.k8s.io"],
                    &["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"],
                    READ,
                ),
                rule(&["", "events.k8s.io"], &["events"], READ),
            ],
        ),
        cluster_role(
            "system:aggregate-to-edit",
            &json!({ edit: "true" }),
            vec![
                rule(&[""], &core, WRITE),
                rule(&[""], &["secrets"], &[READ, WRITE].concat()),
                rule(
                    &[""],
                    &["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"],
                    &[READ, WRITE].concat(),
                ),
                rule(&[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
                rule(&[""], &["serviceaccounts"], &["impersonate"]),
                rule(&["", "events.k8s.io"], &["events"], &["create", "patch", "update"]),
                rule(&["apps"], &app_writers, WRITE),
                rule(&["autoscaling"], &["horizontalpodautoscalers"], WRITE),
                rule(&["batch"], &["jobs", "cronjobs"], WRITE),
                rule(&["networking.k8s.io"], &["ingresses", "networkpolicies"], WRITE),
                rule(&["policy"], &["poddisruptionbudgets"], WRITE),
                rule(&["resource.k8s.io"], &["resourceclaims", "resourceclaimtemplates"], WRITE),
                rule(&["coordination.k8s.io"], &["leases"], &[READ, WRITE].concat()),
            ],
        ),
        // metrics-server's, under its name.
        cluster_role(
            "system:aggregated-metrics-reader",
            &json!({ view: "true", edit: "true", admin: "true" }),
            vec![rule(&["metrics.k8s.io"], &["pods", "nodes"], READ)],
        ),
        cluster_role(
            "holdfast:aggregate-to-view",
            &json!({ view: "true" }),
            vec![rule(&["edge.holdfast.io"], &["offlinepolicies"], READ)],
        ),
        cluster_role(
            "holdfast:aggregate-to-edit",
            &json!({ edit: "true" }),
            vec![rule(&["edge.holdfast.io"], &["offlinepolicies"], WRITE)],
        ),
        cluster_role(
            "system:aggregate-to-admin",
            &json!({ admin: "true" }),
            vec![
                rule(&["rbac.authorization.k8s.io"], &roles, &[READ, WRITE].concat()),
                rule(&["authorization.k8s.io"], &["localsubjectaccessreviews"], &["create"]),
            ],
        ),
    ]
}
