//! Field selectors that every kind has.

use super::*;
use holdfast_core::{FieldSelector, Revision};
use holdfast_kinds::Kind;

/// As little as each stored kind takes.
fn body(kind: &Kind, name: &str) -> Json {
    let mut doc = match (kind.group, kind.kind) {
        ("", "ConfigMap" | "Namespace" | "Node" | "Secret" | "ServiceAccount")
        | ("coordination.k8s.io", "Lease")
        | ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => json!({}),
        ("", "Event") => json!({ "involvedObject": { "kind": "Pod", "name": "a", "namespace": "default" } }),
        ("", "Pod") => pod(name),
        ("", "Service") => json!({ "spec": { "ports": [{ "port": 80 }] } }),
        ("apps", "Deployment" | "ReplicaSet") => deployment(name),
        ("discovery.k8s.io", "EndpointSlice") => json!({ "addressType": "IPv4", "endpoints": [] }),
        ("events.k8s.io", "Event") => json!({
            "eventTime": "2026-11-24T10:00:00.000000Z", "action": "Test", "reason": "Tested", "type": "Normal",
            "reportingController": "example.com/test", "reportingInstance": "test-1",
            "regarding": { "kind": "Pod", "name": "a", "namespace": "default" },
        }),
        ("edge.holdfast.io", "OfflinePolicy") => json!({ "spec": { "podSelector": {}, "mode": "RunForever" } }),
        ("node.k8s.io", "RuntimeClass") => json!({ "handler": "runc" }),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        }),
        ("scheduling.k8s.io", "PriorityClass") => json!({ "value": 1 }),
        other => panic!("this test knows no body for {other:?}"),
    };
    (doc["apiVersion"], doc["kind"]) = (kind.gvk().api_version().into(), kind.kind.into());
    doc["metadata"]["name"] = name.into();
    doc
}

#[tokio::test]
async fn every_stored_kind_is_selected_by_name() {
    let stored = holdfast_kinds::all().iter().filter(|kind| kind.is_stored());
    let mut count = 0;
    for kind in stored {
        count += 1;
        // v1 and events.k8s.io are two views of the same Events, so each kind has a cluster of its own.
        let cluster = cluster().await;
        let at = Target::collection(kind.gvr(), if kind.namespaced { "default" } else { "" });
        for name in ["one", "two"] {
            let made = cluster.registry.create(&cluster.cx, &at, body(kind, name), &strict()).await;
            made.unwrap_or_else(|status| panic!("{kind:?}: {status}"));
        }
        let select = |name: &str, equal: bool| {
            let fields = FieldSelector { terms: vec![("metadata.name".into(), name.into(), equal)] };
            ListOptions { fields, ..ListOptions::default() }
        };
        let names = async |options: ListOptions| {
            let list = cluster.registry.list(&cluster.cx, &at, &options).await;
            let list = list.unwrap_or_else(|status| panic!("{kind:?}: {status}"));
            list.items.iter().map(|object| object.meta.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(select("one", true)).await, ["one"], "{kind:?}");
        assert!(names(select("nobody", true)).await.is_empty(), "{kind:?}");
        let others = names(select("one", false)).await;
        assert!(
            others.iter().any(|name| name == "two") && !others.iter().any(|name| name == "one"),
            "{kind:?}: {others:?}"
        );

        let from_now = ListOptions { resource_version: Some(Revision(0)), ..select("two", true) };
        let mut watch = cluster.registry.watch(&cluster.cx, &at, &from_now).await.unwrap();
        assert_eq!(cluster.next(&mut watch).await.0, "ADDED two", "{kind:?}");
    }
    assert!(count >= 18, "only {count} kinds are stored");
}
