//! What the API makes of pods before any node has seen them.

use crate::hub::Hub;
use holdfast_core::Json;
use serde_json::json;

const PODS: &str = "/api/v1/namespaces/one/pods";

fn pod(name: &str, more: &Json) -> Json {
    let mut spec = json!({"containers": [{"name": "main", "image": "app"}]});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inline_volumes_are_taken() {
    let hub = Hub::start().await;
    let volumes = json!([{"name": "vol1", "csi": {"driver": "inline.example.com"}},
        {"name": "vol2", "csi": {"driver": "inline.example.com", "fsType": "ext3", "readOnly": true}}]);
    let mounts = json!([{"name": "vol1", "mountPath": "/mnt/vol1"}, {"name": "vol2", "mountPath": "/mnt/vol2"}]);
    let containers = json!([{"name": "main", "image": "app", "volumeMounts": mounts}]);
    let body = pod("inline", &json!({"volumes": volumes, "containers": containers}));
    let made = hub.create(PODS, body.clone()).await;
    assert_eq!(made["spec"]["volumes"][1], volumes[1]);
    hub.post(PODS, &body).await.refused(409);
    assert_eq!(hub.get(&format!("{PODS}/inline")).await.ok(), made);
    assert_eq!(hub.names(PODS).await, ["inline"]);
    let patch = json!({"metadata": {"annotations": {"patched": "true"}}});
    let patched = hub.patch(&format!("{PODS}/inline"), "merge-patch", &patch).await.ok();
    assert_eq!(patched["metadata"]["annotations"]["patched"], "true");
    hub.delete(&format!("{PODS}/inline")).await.ok();
    hub.get(&format!("{PODS}/inline")).await.refused(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_sysctls_are_judged() {
    let hub = Hub::start().await;
    let sysctl = |name: &str| json!({"name": name, "value": "bar"});
    let sysctls = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar.."].map(sysctl);
    let refused = hub.post(PODS, &pod("sysctls", &json!({"securityContext": {"sysctls": sysctls}}))).await.refused(422);
    for name in ["foo-", "bar.."] {
        assert!(refused.contains(&format!("Invalid value: \"{name}\"")), "{refused}");
    }
    for name in ["safe-and-unsafe", "kernel.shmmax"] {
        assert!(!refused.contains(name), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_whose_requests_are_its_limits_is_guaranteed() {
    let hub = Hub::start().await;
    let amounts = json!({"cpu": "100m", "memory": "100Mi"});
    let resources = json!({"requests": amounts, "limits": amounts});
    let containers = json!([{"name": "main", "image": "app", "resources": resources}]);
    hub.create(PODS, pod("guaranteed", &json!({"containers": containers}))).await;
    assert_eq!(hub.get(&format!("{PODS}/guaranteed")).await.ok()["status"]["qosClass"], "Guaranteed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_class_that_is_not_there_or_no_longer_is_refused() {
    let hub = Hub::start().await;
    let classes = "/apis/node.k8s.io/v1/runtimeclasses";
    let refused = hub.post(PODS, &pod("none", &json!({"runtimeClassName": "none"}))).await.refused(403);
    assert!(refused.contains("RuntimeClass \"none\" not found"), "{refused}");
    hub.create(classes, json!({"metadata": {"name": "brief"}, "handler": "runc"})).await;
    hub.create(PODS, pod("before", &json!({"runtimeClassName": "brief"}))).await;
    hub.delete(&format!("{classes}/brief")).await.ok();
    let refused = hub.post(PODS, &pod("after", &json!({"runtimeClassName": "brief"}))).await.refused(403);
    assert!(refused.contains("RuntimeClass \"brief\" not found"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_of_a_limit_range_reach_pods_and_follow_its_changes() {
    let hub = Hub::start().await;
    let ranges = "/api/v1/namespaces/one/limitranges";
    let amounts =
        |cpu: &str, memory: &str, storage: &str| json!({"cpu": cpu, "memory": memory, "ephemeral-storage": storage});
    let limit = json!({"type": "Container", "min": amounts("50m", "100Mi", "100Gi"), "max": amounts("500m", "500Mi", "500Gi"),
        "default": amounts("500m", "500Mi", "500Gi"), "defaultRequest": amounts("100m", "200Mi", "200Gi")});
    let made = hub.create(ranges, json!({"metadata": {"name": "limits"}, "spec": {"limits": [limit]}})).await;
    assert_eq!(made["spec"]["limits"][0]["defaultRequest"], limit["defaultRequest"]);
    let resources = async |name: &str, own: Json| {
        let containers = json!([{"name": "main", "image": "app", "resources": own}]);
        hub.create(PODS, pod(name, &json!({"containers": containers}))).await["spec"]["containers"][0]["resources"]
            .clone()
    };
    let bare = resources("no-resources", json!({})).await;
    assert_eq!(bare, json!({"requests": limit["defaultRequest"], "limits": limit["default"]}));
    // What a pod says stays, and what it leaves out is filled: a request by the limit where there is one.
    let some =
        resources("partial", json!({"requests": {"cpu": "300m", "memory": "150Mi"}, "limits": {"cpu": "300m"}})).await;
    assert_eq!(some["requests"], json!({"cpu": "300m", "memory": "150Mi", "ephemeral-storage": "200Gi"}));
    assert_eq!(some["limits"], json!({"cpu": "300m", "memory": "500Mi", "ephemeral-storage": "500Gi"}));
    for (name, own, words) in [
        ("small", json!({"requests": {"cpu": "10m"}}), "minimum cpu usage per Container is 50m"),
        ("large", json!({"limits": {"cpu": "600m"}}), "maximum cpu usage per Container is 500m"),
    ] {
        let containers = json!([{"name": "main", "image": "app", "resources": own}]);
        let refused = hub.post(PODS, &pod(name, &json!({"containers": containers}))).await.refused(403);
        assert!(refused.contains(words), "{refused}");
    }
    // A range with a lower bound lets the small pod in.
    let mut lower = made;
    lower["spec"]["limits"][0]["min"] = json!({"cpu": "9m", "memory": "100Mi", "ephemeral-storage": "100Gi"});
    hub.put(&format!("{ranges}/limits"), &lower).await.ok();
    let small = resources("small", json!({"requests": {"cpu": "10m"}})).await;
    assert_eq!(small["requests"]["cpu"], "10m");
    hub.delete(&format!("{ranges}/limits")).await.ok();
    let free = resources("free", json!({"limits": {"cpu": "600m"}})).await;
    assert_eq!(free["limits"], json!({"cpu": "600m"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generation_is_the_hubs_and_counts_changes_of_the_spec() {
    let hub = Hub::start().await;
    let mut body = pod("counted", &json!({}));
    body["metadata"]["generation"] = json!(100);
    let made = hub.create(PODS, body).await;
    assert_eq!(made["metadata"]["generation"], 1);
    let path = format!("{PODS}/counted");
    let bind = json!({"metadata": {"name": "counted"}, "target": {"kind": "Node", "name": "n"}});
    hub.create(&format!("{path}/binding"), bind).await;
    let before = hub.get(&path).await.ok()["metadata"]["generation"].as_i64().unwrap();
    for (patch, more) in [
        (json!({"metadata": {"labels": {"a": "b"}, "generation": 50}}), 0),
        (json!({"spec": {"containers": [{"name": "main", "image": "app:2"}]}}), 1),
        (json!({"spec": {"activeDeadlineSeconds": 3000}}), 2),
        (json!({"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}}), 3),
    ] {
        let patched = hub.patch(&path, "strategic-merge-patch", &patch).await.ok();
        assert_eq!(patched["metadata"]["generation"], before + more, "{patch}");
    }
    // A deletion that waits for the node is a change as well.
    let deleted = hub.delete(&path).await.ok();
    assert!(deleted["metadata"]["deletionTimestamp"].is_string(), "{deleted:#}");
    assert_eq!(hub.get(&path).await.ok()["metadata"]["generation"], before + 4);
}
