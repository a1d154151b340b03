//! Default roles and bindings at a start, and roles that join others.

use super::*;
use holdfast_server::{Attributes, Authorizer, Decision};

const ROLES: &str = "rbac.authorization.k8s.io/clusterroles";
const BINDINGS: &str = "rbac.authorization.k8s.io/clusterrolebindings";
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
