//! Quotas and protected claims over the real registry: what admission charges, the controller gives back.

use super::*;

async fn demo(hub: &Hub) {
    hub.create("namespaces", "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})).await;
    hub.wait("the account", "serviceaccounts", "demo", |all| all.len() == 1).await;
}

async fn used(hub: &Hub, what: &str, expected: Json) {
    hub.wait(what, "resourcequotas", "demo", |all| all.len() == 1 && all[0]["status"]["used"] == expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_holds_a_deployment_and_gives_back_what_goes() {
    let hub = hub().await;
    demo(&hub).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "2", "count/deployments.apps": "1"}}});
    hub.create("resourcequotas", "demo", quota).await;
    used(&hub, "counted once", json!({"pods": "0", "count/deployments.apps": "0"})).await;
    hub.create("apps/deployments", "demo", deployment()).await;
    used(&hub, "full", json!({"pods": "2", "count/deployments.apps": "1"})).await;
    hub.wait("why there are no more", "events", "demo", |all| {
        let text = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
        all.iter().any(|event| event["message"].as_str().is_some_and(|message| message.ends_with(text)))
    })
    .await;
    assert_eq!(hub.all("pods", "demo").await.len(), 2);
    let at = Target::object(gvr("apps/deployments"), "demo", "web");
    hub.patch(at.clone(), json!({"spec": {"replicas": 1}})).await;
    used(&hub, "one less", json!({"pods": "1", "count/deployments.apps": "1"})).await;
    hub.admin.delete(&at, &DeleteOptions::default()).await.unwrap();
    used(&hub, "empty", json!({"pods": "0", "count/deployments.apps": "0"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_use_stays_until_its_pod_is_gone() {
    let hub = hub().await;
    demo(&hub).await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    hub.create("persistentvolumeclaims", "demo", claim).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "app:1"}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}});
    hub.create("pods", "demo", pod).await;
    let at = Target::object(gvr("persistentvolumeclaims"), "demo", "data");
    hub.admin.delete(&at, &DeleteOptions::default()).await.unwrap();
    hub.wait("it is held", "persistentvolumeclaims", "demo", |all| {
        all.len() == 1 && all[0]["metadata"]["finalizers"][0] == "kubernetes.io/pvc-protection"
    })
    .await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    hub.admin.delete(&Target::object(gvr("pods"), "demo", "a"), &now).await.unwrap();
    hub.wait("it goes", "persistentvolumeclaims", "demo", <[Json]>::is_empty).await;
}

/// The life of each kind that a quota counts: charged when it comes, given back when it goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_follows_the_life_of_each_kind() {
    let hub = hub().await;
    demo(&hub).await;
    // What a namespace has from its beginning is counted too: the map with the cluster's authorities, once it is there.
    let maps = hub.wait("the authorities", "configmaps", "demo", |all| !all.is_empty()).await.len();
    let secrets = hub.all("secrets", "demo").await.len();
    let meta = |name: &str| json!({ "name": name });
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "app:1"}]}});
    let kinds = [
        ("configmaps", "v1", "ConfigMap", json!({"data": {"a": "b"}}), "configmaps", maps),
        ("secrets", "v1", "Secret", json!({"stringData": {"a": "b"}}), "secrets", secrets),
        ("services", "v1", "Service", json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}}), "services", 0),
        (
            "replicationcontrollers",
            "v1",
            "ReplicationController",
            json!({"spec": {"replicas": 0, "selector": {"a": "b"}, "template": template}}),
            "replicationcontrollers",
            0,
        ),
        (
            "apps/replicasets",
            "apps/v1",
            "ReplicaSet",
            json!({"spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template}}),
            "count/replicasets.apps",
            0,
        ),
    ];
    let hard: serde_json::Map<String, Json> =
        kinds.iter().map(|(_, _, _, _, name, there)| ((*name).to_owned(), json!((there + 1).to_string()))).collect();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta("q"), "spec": {"hard": hard}});
    hub.create("resourcequotas", "demo", quota).await;
    let expect = |name: &'static str, count: usize| {
        let (hub, count) = (&hub, json!(count.to_string()));
        async move {
            hub.wait("the count", "resourcequotas", "demo", |all| {
                all.len() == 1 && all[0]["status"]["used"][name] == count
            })
            .await;
        }
    };
    for (resource, version, kind, rest, name, there) in kinds {
        expect(name, there).await;
        let mut doc = rest;
        doc["apiVersion"] = json!(version);
        doc["kind"] = json!(kind);
        doc["metadata"] = meta("one");
        hub.create(resource, "demo", doc.clone()).await;
        expect(name, there + 1).await;
        doc["metadata"] = meta("two");
        let refused = hub.admin.create(&Target::collection(gvr(resource), "demo"), doc).await.unwrap_err();
        assert!(refused.message().contains("exceeded quota: q"), "{refused}");
        hub.admin.delete(&Target::object(gvr(resource), "demo", "one"), &DeleteOptions::default()).await.unwrap();
        expect(name, there).await;
    }
}

/// Pods by their scopes: those that ask for nothing and those that do, those with a deadline and those without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_with_scopes_count_their_pods_alone() {
    let hub = hub().await;
    demo(&hub).await;
    for (name, scope) in
        [("best", "BestEffort"), ("not-best", "NotBestEffort"), ("ends", "Terminating"), ("stays", "NotTerminating")]
    {
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name},
            "spec": {"hard": {"pods": "5"}, "scopes": [scope]}});
        hub.create("resourcequotas", "demo", quota).await;
    }
    let expect = |what: &'static str, counts: [(&'static str, &'static str); 4]| {
        let hub = &hub;
        async move {
            hub.wait(what, "resourcequotas", "demo", |all| {
                all.len() == 4
                    && all.iter().all(|quota| {
                        let name = quota["metadata"]["name"].as_str().unwrap();
                        let count = counts.iter().find(|(of, _)| *of == name).unwrap().1;
                        quota["status"]["used"] == json!({"pods": count})
                            && quota["status"]["hard"] == json!({"pods": "5"})
                    })
            })
            .await;
        }
    };
    let none = [("best", "0"), ("not-best", "0"), ("ends", "0"), ("stays", "0")];
    expect("counted at once", none).await;
    let pod = |name: &str, spec: Json| {
        let mut doc = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "app:1"}]}});
        doc["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        doc
    };
    let sized = json!({"containers": [{"name": "c", "image": "app:1", "resources": {"requests": {"cpu": "1"}}}]});
    hub.create("pods", "demo", pod("idle", json!({}))).await;
    expect("one that asks for nothing", [("best", "1"), ("not-best", "0"), ("ends", "0"), ("stays", "1")]).await;
    hub.create("pods", "demo", pod("sized", sized)).await;
    expect("and one that asks", [("best", "1"), ("not-best", "1"), ("ends", "0"), ("stays", "2")]).await;
    hub.create("pods", "demo", pod("short", json!({"activeDeadlineSeconds": 3600}))).await;
    expect("and one with a deadline", [("best", "2"), ("not-best", "1"), ("ends", "1"), ("stays", "2")]).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    for name in ["idle", "sized", "short"] {
        hub.admin.delete(&Target::object(gvr("pods"), "demo", name), &now).await.unwrap();
    }
    expect("all are given back", none).await;
}

/// A pod takes what it asks for, extended resources too, and gives it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_follows_the_life_of_a_pod() {
    let hub = hub().await;
    demo(&hub).await;
    let hard = json!({"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "requests.example.com/gpu": "3"});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    hub.create("resourcequotas", "demo", quota).await;
    let none = json!({"pods": "0", "requests.cpu": "0", "requests.memory": "0", "requests.example.com/gpu": "0"});
    used(&hub, "counted at once", none.clone()).await;
    let pod = |name: &str, cpu: &str, gpus: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [{
            "name": "c", "image": "app:1", "resources": {
                "requests": {"cpu": cpu, "memory": "252Mi", "example.com/gpu": gpus}, "limits": {"example.com/gpu": gpus}}}]}})
    };
    hub.create("pods", "demo", pod("one", "500m", "2")).await;
    let one = json!({"pods": "1", "requests.cpu": "500m", "requests.memory": "252Mi", "requests.example.com/gpu": "2"});
    used(&hub, "one", one.clone()).await;
    let pods = Target::collection(gvr("pods"), "demo");
    for (more, why) in
        [(pod("cpu", "600m", "0"), "requests.cpu=600m"), (pod("gpu", "100m", "2"), "requests.example.com/gpu=2")]
    {
        let refused = hub.admin.create(&pods, more).await.unwrap_err();
        assert!(refused.code() == 403 && refused.message().contains(why), "{refused}");
    }
    // What a change does not touch stays charged once.
    hub.patch(Target::object(gvr("pods"), "demo", "one"), json!({"metadata": {"labels": {"a": "b"}}})).await;
    used(&hub, "still one", one).await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    hub.admin.delete(&Target::object(gvr("pods"), "demo", "one"), &now).await.unwrap();
    used(&hub, "none", none).await;
}
