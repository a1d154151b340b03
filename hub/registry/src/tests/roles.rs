//! Default roles and bindings at a start, and roles that join others.

use super::*;
use holdfast_server::{Attributes, Authorizer, Decision};

const ROLES: &str = "rbac.authorization.k8s.io/clusterroles";
const BINDINGS: &str = "rbac.authorization.k8s.io/clusterrolebindings";
const IN_NAMESPACE: &str = "rbac.authorization.k8s.io/roles";
const BOUND_IN_NAMESPACE: &str = "rbac.authorization.k8s.io/rolebindings";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

async fn restarted(cluster: &Cluster) {
    cluster.registry.ensure_defaults(6443).await.unwrap();
}

/// Charts and manifests bind to these, and bring none of their own.
#[tokio::test]
async fn roles_of_what_runs_beside_a_cluster_are_there() {
    let cluster = cluster().await;
    for name in [
        "auth-delegator",
        "basic-user",
        "discovery",
        "kube-aggregator",
        "kube-dns",
        "kubelet-api-admin",
        "monitoring",
        "node-bootstrapper",
        "node-problem-detector",
        "node-proxier",
        "persistent-volume-provisioner",
        "public-info-viewer",
        "volume-scheduler",
    ] {
        cluster.get(ROLES, "", &format!("system:{name}")).await.unwrap();
    }
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let user = UserInfo::new("scraper", &["system:monitoring"]);
    for (path, allowed) in [("/metrics", true), ("/livez/ping", true), ("/openid/v1/jwks", false)] {
        let attributes = Attributes { user: &user, verb: "get", target: None, path };
        assert_eq!(authorizer.authorize(&attributes).await == Decision::Allow, allowed, "{path}");
    }
}

#[tokio::test]
async fn a_start_gives_default_roles_back_what_they_lack() {
    let cluster = cluster().await;
    let name = "system:controller:deployment-controller";
    let own = json!({ "verbs": ["get"], "apiGroups": ["x.io"], "resources": ["things"] });
    for kept in [true, false] {
        let mut role = cluster.get(ROLES, "", name).await.unwrap();
        role["rules"] = json!([own]);
        role["metadata"]["annotations"][AUTO_UPDATE] = json!((!kept).to_string());
        role["metadata"]["labels"] = json!({ "mine": "1" });
        cluster.update(ROLES, role).await.unwrap();
        restarted(&cluster).await;
        let role = cluster.get(ROLES, "", name).await.unwrap();
        let rules = role["rules"].as_array().unwrap();
        assert_eq!((&rules[0], rules.len() > 1), (&own, !kept), "{role:#}");
        let label = &role["metadata"]["labels"]["kubernetes.io/bootstrapping"];
        assert_eq!((label.is_null(), &role["metadata"]["labels"]["mine"]), (kept, &json!("1")));
        let again = &role["metadata"]["resourceVersion"];
        restarted(&cluster).await;
        assert_eq!(&cluster.get(ROLES, "", name).await.unwrap()["metadata"]["resourceVersion"], again);
    }

    let mut binding = cluster.get(BINDINGS, "", name).await.unwrap();
    let uid = binding["metadata"]["uid"].clone();
    let other = json!({ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane" });
    binding["subjects"] = json!([other]);
    cluster.update(BINDINGS, binding).await.unwrap();
    restarted(&cluster).await;
    let binding = cluster.get(BINDINGS, "", name).await.unwrap();
    let subjects = binding["subjects"].as_array().unwrap();
    assert_eq!((subjects.len(), &subjects[0], &subjects[1]["name"]), (2, &other, &json!("deployment-controller")));
    assert_eq!(binding["metadata"]["uid"], uid);

    // What leads elsewhere is made anew.
    cluster.delete(BINDINGS, "", name).await.unwrap();
    let mut elsewhere = json!({ "metadata": { "name": name }, "subjects": [other] });
    elsewhere["roleRef"] =
        json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" });
    cluster.create(BINDINGS, "", elsewhere).await.unwrap();
    restarted(&cluster).await;
    let binding = cluster.get(BINDINGS, "", name).await.unwrap();
    assert_eq!((&binding["roleRef"]["name"], binding["subjects"].as_array().unwrap().len()), (&json!(name), 1));
}

#[tokio::test]
async fn a_role_that_joins_view_reaches_edit_and_admin() {
    let cluster = cluster().await;
    let custom = json!({
        "metadata": { "name": "x-view", "labels": { "rbac.authorization.k8s.io/aggregate-to-view": "true" } },
        "rules": [{ "verbs": ["get"], "apiGroups": ["x.io"], "resources": ["things"] }],
    });
    cluster.create(ROLES, "", custom).await.unwrap();
    for role in ["view", "edit", "admin"] {
        let role_ref = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role });
        let subject = json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": role });
        let doc = json!({ "metadata": { "name": role }, "roleRef": role_ref, "subjects": [subject] });
        cluster.create("rbac.authorization.k8s.io/rolebindings", "default", doc).await.unwrap();
    }
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let may = async |user: &str, verb: &str, group: &str, resource: &str| {
        let user = UserInfo::new(user, &[]);
        let at = Target::object(Gvr::new(group, "v1", resource), "default", "a");
        let attributes = Attributes { user: &user, verb, target: Some(&at), path: "" };
        authorizer.authorize(&attributes).await == Decision::Allow
    };
    for user in ["view", "edit", "admin"] {
        assert!(may(user, "get", "x.io", "things").await, "{user}");
        assert!(may(user, "get", "", "pods").await, "{user}");
        assert_eq!(may(user, "get", "", "secrets").await, user != "view", "{user}");
        assert_eq!(may(user, "create", "rbac.authorization.k8s.io", "roles").await, user == "admin", "{user}");
    }
}

/// The names, rules and subjects are those of upstream's `bootstrappolicy/testdata/namespace-roles.yaml` and
/// `namespace-role-bindings.yaml`.
#[tokio::test]
async fn roles_within_the_systems_namespaces_are_there_and_come_back() {
    let cluster = cluster().await;
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    const SIGNER: &str = "system:controller:bootstrap-signer";
    for (namespace, role, binding) in [
        ("kube-public", SIGNER, SIGNER),
        ("kube-system", SIGNER, SIGNER),
        ("kube-system", "system:controller:cloud-provider", "system:controller:cloud-provider"),
        ("kube-system", "system:controller:token-cleaner", "system:controller:token-cleaner"),
        ("kube-system", "system::leader-locking-kube-scheduler", "system::leader-locking-kube-scheduler"),
        (
            "kube-system",
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
        ),
        (
            "kube-system",
            "extension-apiserver-authentication-reader",
            "system::extension-apiserver-authentication-reader",
        ),
    ] {
        let stands = cluster.get(IN_NAMESPACE, namespace, role).await.unwrap();
        assert_eq!(stands["metadata"]["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
        let bound = cluster.get(BOUND_IN_NAMESPACE, namespace, binding).await.unwrap();
        assert_eq!((&bound["roleRef"]["kind"], &bound["roleRef"]["name"]), (&json!("Role"), &json!(role)));
    }
    let may = async |user: UserInfo, verb: &str, at: Target| {
        let attributes = Attributes { user: &user, verb, target: Some(&at), path: "" };
        authorizer.authorize(&attributes).await == Decision::Allow
    };
    let own = |name: &str| UserInfo::service_account("kube-system", name);
    let info = || target("configmaps", "kube-public", "cluster-info");
    assert!(may(own("bootstrap-signer"), "update", info()).await);
    assert!(!may(own("bootstrap-signer"), "update", target("configmaps", "kube-public", "other")).await);
    assert!(may(own("token-cleaner"), "delete", target("secrets", "kube-system", "bootstrap-token-a")).await);
    assert!(!may(own("token-cleaner"), "delete", target("secrets", "default", "mine")).await);
    let manager = || UserInfo::new("system:kube-controller-manager", &[]);
    assert!(may(manager(), "create", target("coordination.k8s.io/leases", "kube-system", "")).await);
    let known = "extension-apiserver-authentication";
    assert!(may(manager(), "get", target("configmaps", "kube-system", known)).await);
    assert!(!may(manager(), "get", target("configmaps", "kube-system", "other")).await);

    let reader = "extension-apiserver-authentication-reader";
    let mut emptied = cluster.get(IN_NAMESPACE, "kube-system", reader).await.unwrap();
    emptied["rules"] = json!([]);
    cluster.update(IN_NAMESPACE, emptied).await.unwrap();
    cluster.delete(BOUND_IN_NAMESPACE, "kube-public", SIGNER).await.unwrap();
    restarted(&cluster).await;
    let mended = cluster.get(IN_NAMESPACE, "kube-system", reader).await.unwrap();
    assert_eq!(mended["rules"][0]["resourceNames"], json!([known]));
    cluster.get(BOUND_IN_NAMESPACE, "kube-public", SIGNER).await.unwrap();
}
