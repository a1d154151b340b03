//! Deletion: grace, finalizers, namespaces.

use super::*;
use crate::generic::delete::{Plan, plan};
use crate::kinds::pod::Pod;
use crate::node_records;
use holdfast_core::verbs::{Preconditions, Propagation};
use holdfast_core::{DeleteOptions, Timestamp};
use holdfast_store::{Op, Txn};

async fn bound_pod(cluster: &Cluster, name: &str) {
    cluster.create("pods", "default", pod(name)).await.unwrap();
    let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": "edge-1" } });
    let at = target("pods", "default", name).with_subresource("binding");
    cluster.registry.create(&cluster.cx, &at, binding, &strict()).await.unwrap();
}

#[tokio::test]
async fn pods_get_grace_once_they_are_bound() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("free")).await.unwrap();
    assert!(matches!(cluster.delete("pods", "default", "free").await.unwrap(), Deleted::Gone(_)));

    bound_pod(&cluster, "a").await;
    let Deleted::Marked(marked) = cluster.delete("pods", "default", "a").await.unwrap() else { panic!("gone") };
    assert_eq!(marked.meta.deletion_grace_period_seconds, Some(30));
    let again = cluster.delete("pods", "default", "a").await.unwrap();
    assert!(matches!(again, Deleted::Marked(same) if same.revision == marked.revision));
    let zero = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let gone = cluster.registry.delete(&cluster.cx, &target("pods", "default", "a"), &zero).await.unwrap();
    assert!(matches!(gone, Deleted::Gone(_)));
    let status = cluster.delete("pods", "default", "a").await.unwrap_err();
    assert_eq!((status.code(), status.message()), (404, "pods \"a\" not found"));
}

/// `rest.BeforeDelete` and `updateForGracefulDeletionAndFinalizers` of upstream.
#[test]
fn plans_follow_upstreams_rules() {
    let now = Timestamp::parse("2026-01-01T00:01:00Z").unwrap();
    let pod =
        |meta: Json| json!({ "metadata": meta, "spec": { "nodeName": "n", "terminationGracePeriodSeconds": 20 } });
    let ask = |old: &Json, options: DeleteOptions| plan(&Pod, false, old, &options, now);
    let grace = |seconds| DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() };

    let Plan::Mark(doc) = ask(&pod(json!({ "generation": 1 })), DeleteOptions::default()) else { panic!() };
    assert_eq!(
        doc["metadata"],
        json!({ "generation": 2, "deletionTimestamp": "2026-01-01T00:01:20Z", "deletionGracePeriodSeconds": 20 })
    );
    assert_eq!(ask(&doc, grace(60)), Plan::Pending);
    let Plan::Mark(shorter) = ask(&doc, grace(5)) else { panic!() };
    assert_eq!(shorter["metadata"]["deletionTimestamp"], "2026-01-01T00:01:05Z");
    assert_eq!(ask(&doc, grace(0)), Plan::Remove);

    let held = pod(json!({ "finalizers": ["a/b"] }));
    let Plan::Mark(doc) = ask(&held, grace(0)) else { panic!() };
    assert_eq!(doc["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(ask(&doc, grace(0)), Plan::Pending);

    let orphan = DeleteOptions { propagation_policy: Some(Propagation::Orphan), ..grace(0) };
    let Plan::Mark(doc) = ask(&pod(json!({})), orphan) else { panic!() };
    assert_eq!(doc["metadata"]["finalizers"], json!(["orphan"]));
}

#[tokio::test]
async fn finalizers_hold_an_object_until_the_last_goes() {
    let cluster = cluster().await;
    let mut doc = config_map("a", json!({}));
    doc["metadata"]["finalizers"] = json!(["example.com/hold"]);
    cluster.create("configmaps", "default", doc).await.unwrap();
    let Deleted::Marked(marked) = cluster.delete("configmaps", "default", "a").await.unwrap() else { panic!() };
    let mut more = marked.to_json();
    more["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
    let status = cluster.update("configmaps", more).await.unwrap_err();
    assert!(status.message().contains("no new finalizers can be added if the object is being deleted"), "{status}");
    cluster.merge("configmaps", "a", json!({ "metadata": { "finalizers": null } })).await.unwrap();
    assert_eq!(cluster.get("configmaps", "default", "a").await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn what_is_kept_of_a_node_goes_with_it() {
    for finalizers in [json!(null), json!(["example.com/hold"])] {
        let cluster = cluster().await;
        let node = json!({ "metadata": { "name": "edge", "finalizers": finalizers } });
        let uid = cluster.create("nodes", "", node).await.unwrap().meta.uid.clone();
        let (of_it, of_another) = (node_records::all(&uid), node_records::all("another"));
        let put = |key: &String| Op::Put { key: key.clone(), value: "{}".into() };
        let ops = of_it.iter().chain(&of_another).map(put).collect();
        cluster.store.txn(Txn { checks: vec![], ops }).await.unwrap();
        if let Deleted::Marked(_) = cluster.delete("nodes", "", "edge").await.unwrap() {
            assert!(cluster.store.get(&of_it[0]).await.unwrap().is_some(), "it is still there");
            let body = json!({ "metadata": { "finalizers": null } });
            let patch = Patch { patch_type: PatchType::Merge, body };
            let at = target("nodes", "", "edge");
            cluster.registry.patch(&cluster.cx, &at, patch, &WriteOptions::default()).await.unwrap();
        }
        assert_eq!(cluster.get("nodes", "", "edge").await.unwrap_err().code(), 404);
        for (keys, stays) in [(of_it, false), (of_another, true)] {
            for key in keys {
                assert_eq!(cluster.store.get(&key).await.unwrap().is_some(), stays, "{key}");
            }
        }
    }
}

#[tokio::test]
async fn preconditions_are_kept() {
    let cluster = cluster().await;
    let object = cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    let ask = |preconditions: Preconditions| {
        let options = DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() };
        let cluster = &cluster;
        async move { cluster.registry.delete(&cluster.cx, &target("configmaps", "default", "a"), &options).await }
    };
    let wrong = Preconditions { uid: Some("x".into()), resource_version: None };
    assert_eq!(ask(wrong).await.unwrap_err().code(), 409);
    let wrong = Preconditions { uid: None, resource_version: Some("1".into()) };
    assert_eq!(ask(wrong).await.unwrap_err().code(), 409);
    let right =
        Preconditions { uid: Some(object.meta.uid.clone()), resource_version: Some(object.revision.to_string()) };
    assert!(matches!(ask(right).await.unwrap(), Deleted::Gone(_)));
}

#[tokio::test]
async fn a_namespace_ends_in_steps() {
    let cluster = cluster().await;
    let status = cluster.delete("namespaces", "", "kube-system").await.unwrap_err();
    assert_eq!(status.message(), "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
    let made = cluster.create("namespaces", "", json!({ "metadata": { "name": "demo" } })).await.unwrap().to_json();
    assert_eq!(
        (&made["status"]["phase"], &made["spec"]["finalizers"], &made["metadata"]["labels"]),
        (&json!("Active"), &json!(["kubernetes"]), &json!({ "kubernetes.io/metadata.name": "demo" }))
    );
    let Deleted::Marked(marked) = cluster.delete("namespaces", "", "demo").await.unwrap() else { panic!() };
    let mut doc = marked.to_json();
    assert_eq!(doc["status"]["phase"], "Terminating");
    let status = cluster.create("configmaps", "demo", config_map("late", json!({}))).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            403,
            "configmaps \"late\" is forbidden: unable to create new content in namespace demo because it is being \
             terminated"
        )
    );
    assert!(matches!(cluster.delete("namespaces", "", "demo").await.unwrap(), Deleted::Marked(_)));
    doc["spec"] = json!({});
    cluster.update_part("namespaces", "finalize", doc).await.unwrap();
    assert_eq!(cluster.get("namespaces", "", "demo").await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn a_collection_goes_by_selector() {
    let cluster = cluster().await;
    for (name, app) in [("a", "x"), ("b", "x"), ("c", "y")] {
        cluster.create("configmaps", "default", config_map(name, json!({ "app": app }))).await.unwrap();
    }
    let labels = holdfast_core::LabelSelector::parse("app=x").unwrap();
    let selection = ListOptions { labels, ..ListOptions::default() };
    let at = target("configmaps", "default", "");
    let gone = cluster.registry.delete_collection(&cluster.cx, &at, &Default::default(), &selection).await.unwrap();
    assert_eq!(gone.items.len(), 2);
    let left = cluster.registry.list(&cluster.cx, &at, &ListOptions::default()).await.unwrap();
    assert_eq!(left.items.iter().map(|object| object.meta.name.as_str()).collect::<Vec<_>>(), ["c"]);
}

/// Jobs and ReplicationControllers come from times without a garbage collector.
#[tokio::test]
async fn what_jobs_made_stays_unless_the_deletion_says_otherwise() {
    let cluster = cluster().await;
    let template = json!({ "metadata": { "labels": { "a": "b" } },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } });
    let told = || cluster.cx.warnings.lock().unwrap().iter().filter(|text| text.starts_with("child pods")).count();
    for name in ["a", "b", "c"] {
        let job = json!({ "metadata": { "name": name }, "spec": { "template": template } });
        cluster.create("batch/jobs", "default", job).await.unwrap();
    }
    let Deleted::Marked(held) = cluster.delete("batch/jobs", "default", "a").await.unwrap() else { panic!("gone") };
    assert_eq!((&held.meta.finalizers[..], told()), (&["orphan".to_string()][..], 1));
    let background = DeleteOptions { propagation_policy: Some(Propagation::Background), ..DeleteOptions::default() };
    let at = target("batch/jobs", "default", "b");
    let gone = cluster.registry.delete(&cluster.cx, &at, &background).await.unwrap();
    assert!(matches!(gone, Deleted::Gone(_)) && told() == 1);
    let all = target("batch/jobs", "default", "");
    let listed = cluster
        .registry
        .delete_collection(&cluster.cx, &all, &DeleteOptions::default(), &ListOptions::default())
        .await
        .unwrap();
    assert_eq!((listed.items.len(), told()), (2, 2), "one warning for all of them");
    let mut always = template.clone();
    always["spec"]["restartPolicy"] = json!("Always");
    let controller = json!({ "metadata": { "name": "r" }, "spec": { "selector": { "a": "b" }, "template": always } });
    cluster.create("replicationcontrollers", "default", controller).await.unwrap();
    let left = cluster.delete("replicationcontrollers", "default", "r").await.unwrap();
    assert!(matches!(left, Deleted::Marked(held) if held.meta.finalizers == ["orphan"]) && told() == 2);
    // Others have their dependents collected.
    cluster.create("apps/deployments", "default", deployment("d")).await.unwrap();
    assert!(matches!(cluster.delete("apps/deployments", "default", "d").await.unwrap(), Deleted::Gone(_)));
}

/// Controllers give up by the cause.
#[tokio::test]
async fn nothing_new_comes_into_a_namespace_that_goes() {
    let cluster = cluster().await;
    cluster.create("namespaces", "", json!({ "metadata": { "name": "going" } })).await.unwrap();
    assert!(matches!(cluster.delete("namespaces", "", "going").await.unwrap(), Deleted::Marked(_)));
    let refused = cluster.create("configmaps", "going", config_map("a", json!({}))).await.unwrap_err();
    let text =
        "configmaps \"a\" is forbidden: unable to create new content in namespace going because it is being terminated";
    assert_eq!((refused.code(), refused.message()), (403, text));
    let cause = &refused.details().unwrap().causes[0];
    let told = (cause.reason.as_str(), cause.field.as_str(), cause.message.as_str());
    assert_eq!(told, ("NamespaceTerminating", "metadata.namespace", "namespace going is being terminated"));
}
