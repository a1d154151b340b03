//! What a stolen node certificate is worth: for each kind and verb, an object that is not the node's.

use super::*;
use holdfast_server::{Attributes, Authorizer, Decision};
use std::collections::BTreeSet;

const VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
/// What every node may read: none of it is a secret, and each needs it for Services and runtimes.
const SHARED: &[&str] = &["services", "endpointslices", "runtimeclasses"];
/// Questions about oneself, and about whoever calls the node.
const REVIEWS: &[&str] = &[
    "tokenreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
];

/// What the authorizer lets a node ask for beyond its own objects. Creations carry no name yet: admission judges them.
fn expected(resource: &str, verb: &str) -> bool {
    match (resource, verb) {
        ("events", "create" | "update" | "patch") => true,
        ("pods" | "nodes" | "leases", "create") => true,
        (resource, "get" | "list" | "watch") => SHARED.contains(&resource),
        (resource, "create") => REVIEWS.contains(&resource),
        _ => false,
    }
}

#[tokio::test]
async fn it_reads_and_writes_nothing_of_others_of_any_kind() {
    let cluster = cluster().await;
    for (resource, namespace, doc) in [
        ("secrets", "default", json!({ "metadata": { "name": "foreign" }, "stringData": { "a": "1" } })),
        ("configmaps", "default", config_map("foreign", json!({}))),
        ("serviceaccounts", "default", json!({ "metadata": { "name": "foreign" } })),
        ("nodes", "", json!({ "metadata": { "name": "foreign" } })),
    ] {
        cluster.create(resource, namespace, doc).await.unwrap();
    }
    // All of them are another node's, by a pod that is bound there.
    let mut other = pod("foreign");
    other["spec"]["nodeName"] = json!("edge-2");
    other["spec"]["serviceAccountName"] = json!("foreign");
    other["spec"]["volumes"] = json!([
        { "name": "s", "secret": { "secretName": "foreign" } },
        { "name": "c", "configMap": { "name": "foreign" } },
    ]);
    cluster.create("pods", "default", other).await.unwrap();
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let user = UserInfo::node("edge-1");
    let mut seen = BTreeSet::new();
    for kind in holdfast_kinds::all() {
        let gvr = kind.gvr();
        let namespace = if kind.namespaced { "default" } else { "" };
        for verb in VERBS {
            let mut at = Target::collection(gvr.clone(), namespace);
            if !matches!(*verb, "list" | "watch" | "create" | "deletecollection") {
                at.name = Some("foreign".into());
            }
            // Leases of nodes stand in a namespace of their own.
            if gvr.resource == "leases" {
                at.namespace = Some("kube-node-lease".into());
            }
            let attributes = Attributes { user: &user, verb, target: Some(&at), path: "" };
            let allowed = authorizer.authorize(&attributes).await == Decision::Allow;
            // What nodes and pods use has their names, and is nothing that a node reads.
            let of_nodes = gvr.group != holdfast_kinds::metrics::GROUP;
            assert_eq!(allowed, of_nodes && expected(&gvr.resource, verb), "{verb} {}", gvr.resource);
        }
        for subresource in kind.subresources {
            for verb in VERBS {
                let at = Target::object(gvr.clone(), namespace, "foreign").with_subresource(subresource.name);
                let attributes = Attributes { user: &user, verb, target: Some(&at), path: "" };
                let allowed = authorizer.authorize(&attributes).await == Decision::Allow;
                assert!(!allowed, "{verb} {}/{}", gvr.resource, subresource.name);
            }
        }
        seen.insert(gvr.resource);
    }
    assert!(seen.contains("secrets") && seen.len() > 15, "{seen:?}");
}

#[tokio::test]
async fn what_the_authorizer_leaves_open_admission_closes() {
    let cluster = cluster().await;
    let cx = RequestContext::new(UserInfo::node("edge-1"), "test");
    let create = async |resource: &str, namespace: &str, doc: Json| {
        let at = target(resource, namespace, "");
        cluster.registry.create(&cx, &at, doc, &strict()).await.unwrap_err()
    };
    let status = create("pods", "default", pod("a")).await;
    assert_eq!(status.code(), 403, "{status}");
    let status = create("nodes", "", json!({ "metadata": { "name": "edge-2" } })).await;
    assert_eq!(status.code(), 403, "{status}");
    let lease = json!({ "metadata": { "name": "edge-2" }, "spec": {} });
    let status = create("coordination.k8s.io/leases", "kube-node-lease", lease).await;
    assert_eq!(status.code(), 403, "{status}");

    // A token of an account that its pods use, bound to a pod that is another's.
    for (name, node) in [("mine", "edge-1"), ("other", "edge-2")] {
        let mut doc = pod(name);
        doc["spec"]["nodeName"] = json!(node);
        cluster.create("pods", "default", doc).await.unwrap();
    }
    let at = target("serviceaccounts", "default", "default").with_subresource("token");
    let uid = |doc: Json| doc["metadata"]["uid"].clone();
    for (name, allowed) in [(Some("mine"), true), (Some("other"), false), (None, false)] {
        let mut spec = json!({ "audiences": [], "expirationSeconds": 600 });
        if let Some(name) = name {
            let uid = uid(cluster.get("pods", "default", name).await.unwrap());
            spec["boundObjectRef"] = json!({ "apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid });
        }
        let made = cluster.registry.create(&cx, &at, json!({ "spec": spec }), &strict()).await;
        match made {
            Ok(_) => assert!(allowed, "a token bound to {name:?}"),
            Err(status) => assert!(!allowed && status.code() == 403, "a token bound to {name:?}: {status}"),
        }
    }
}
