//! Resizing pods (<https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>).

use super::*;

fn sized(name: &str) -> Json {
    json!({ "metadata": { "name": name }, "spec": {
        "initContainers": [
            { "name": "init", "image": "app:1", "resources": { "requests": { "cpu": "1" } } },
            { "name": "side", "image": "app:1", "restartPolicy": "Always", "resources": { "requests": { "cpu": "1" } } }],
        "containers": [{ "name": "main", "image": "app:1", "resources": {
            "requests": { "cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi" }, "limits": { "memory": "2Gi" } } }] } })
}

impl Cluster {
    async fn resize(&self, pod: &str, spec: Json) -> Result<Json, Status> {
        let at = target("pods", "default", pod).with_subresource("resize");
        let patch = Patch { patch_type: PatchType::Strategic, body: json!({ "spec": spec }) };
        self.registry.patch(&self.cx, &at, patch, &strict()).await.map(|(object, _)| object.to_json())
    }
}

fn main(resources: Json) -> Json {
    json!({ "containers": [{ "name": "main", "resources": resources }] })
}

#[tokio::test]
async fn cpu_and_memory_change_and_nothing_else() {
    let cluster = cluster().await;
    let made = cluster.create("pods", "default", sized("a")).await.unwrap().to_json();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["spec"]["containers"][0].get("resizePolicy"), None, "which means that no restart is needed");
    let now = cluster
        .resize("a", main(json!({ "requests": { "cpu": "2", "memory": "512Mi" }, "limits": { "memory": "1Gi" } })))
        .await
        .unwrap();
    assert_eq!(now["metadata"]["generation"], 2);
    let expected = json!({ "requests": { "cpu": "2", "memory": "512Mi", "ephemeral-storage": "1Gi" },
        "limits": { "memory": "1Gi" } });
    assert_eq!(now["spec"]["containers"][0]["resources"], expected);
    let side = json!({ "initContainers": [{ "name": "side", "resources": { "requests": { "cpu": "3" } } }] });
    let now = cluster.resize("a", side).await.unwrap();
    assert_eq!(now["spec"]["initContainers"][1]["resources"]["requests"]["cpu"], "3");

    // Whatever else an update says of the pod stays as it was; an equal amount is no change.
    let mut sent = now.clone();
    sent["spec"]["containers"][0]["image"] = json!("other:1");
    sent["spec"]["containers"][0]["resources"]["requests"]["ephemeral-storage"] = json!("1024Mi");
    sent["metadata"]["labels"] = json!({ "a": "b" });
    let same = cluster.update_part("pods", "resize", sent).await.unwrap().to_json();
    assert_eq!(same["spec"]["containers"][0]["image"], "app:1");
    assert_eq!(same["metadata"].get("labels"), None);

    // The pod itself is not where this is done.
    let mut sent = cluster.get("pods", "default", "a").await.unwrap();
    sent["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("4");
    let refused = cluster.update("pods", sent).await.unwrap_err();
    assert!(refused.message().contains("spec: Forbidden: pod updates may not change fields other than"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_resized_is_refused_by_name() {
    let cluster = cluster().await;
    cluster.create("pods", "default", sized("a")).await.unwrap();
    let path = "spec.containers[0].resources";
    for (spec, expected) in [
        (
            main(json!({ "requests": { "cpu": null } })),
            format!("{path}.requests: Forbidden: resource requests cannot be removed"),
        ),
        (main(json!({ "limits": null })), format!("{path}.limits: Forbidden: resource limits cannot be removed")),
        (
            main(json!({ "requests": { "ephemeral-storage": "2Gi" } })),
            "spec: Forbidden: only cpu and memory resources are mutable".into(),
        ),
        (
            json!({ "containers": [{ "name": "main", "resizePolicy": [{ "resourceName": "cpu", "restartPolicy": "NotRequired" }] }] }),
            "spec: Forbidden: only cpu and memory resources are mutable".into(),
        ),
        (
            json!({ "initContainers": [{ "name": "init", "resources": { "requests": { "cpu": "2" } } }] }),
            "spec: Forbidden: resources for non-sidecar init containers are immutable".into(),
        ),
        (
            json!({ "containers": [{ "name": "more", "image": "app:1" }] }),
            "spec.containers: Forbidden: containers may not be added or removed on resize".into(),
        ),
        (
            main(json!({ "limits": { "memory": "512Mi" } })),
            format!("{path}.requests: Invalid value: \"1Gi\": must be less than or equal to memory limit of 512Mi"),
        ),
    ] {
        let refused = cluster.resize("a", spec.clone()).await.unwrap_err();
        assert_eq!(refused.message(), format!("Pod \"a\" is invalid: {expected}"), "{spec}");
    }
    let mut renamed = cluster.get("pods", "default", "a").await.unwrap();
    renamed["spec"]["containers"][0]["name"] = json!("other");
    let refused = cluster.update_part("pods", "resize", renamed).await.unwrap_err();
    let why = "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize";
    assert_eq!(refused.message(), format!("Pod \"a\" is invalid: {why}"));
}

#[tokio::test]
async fn the_class_of_a_pod_stays_and_some_pods_have_no_size() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("best")).await.unwrap();
    let refused = cluster.resize("best", main(json!({ "requests": { "cpu": "1" } }))).await.unwrap_err();
    let why = "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing";
    assert_eq!(refused.message(), format!("Pod \"best\" is invalid: {why}"));
    let mut fixed = sized("static");
    fixed["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    fixed["spec"]["nodeName"] = json!("n1");
    cluster.create("pods", "default", fixed).await.unwrap();
    let refused = cluster.resize("static", main(json!({ "requests": { "cpu": "2" } }))).await.unwrap_err();
    assert_eq!(refused.message(), "Pod \"static\" is invalid: Forbidden: static pods cannot be resized");
    let range = json!({ "metadata": { "name": "r" }, "spec": { "limits": [{ "type": "Container", "max": { "memory": "2Gi" } }] } });
    cluster.create("pods", "default", sized("bound")).await.unwrap();
    cluster.create("limitranges", "default", range).await.unwrap();
    let refused = cluster.resize("bound", main(json!({ "limits": { "memory": "3Gi" } }))).await.unwrap_err();
    assert!(refused.message().contains("maximum memory usage per Container is 2Gi, but limit is 3Gi"), "{refused}");
}

#[tokio::test]
async fn the_size_of_the_pod_itself_changes_too() {
    let cluster = cluster().await;
    let mut whole = pod("whole");
    whole["spec"]["resources"] = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "2" } });
    cluster.create("pods", "default", whole).await.unwrap();
    let more = json!({ "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "3", "memory": "2Gi" } } });
    let now = cluster.resize("whole", more).await.unwrap();
    let expected = json!({ "requests": { "cpu": "2", "memory": "1Gi" }, "limits": { "cpu": "3", "memory": "2Gi" } });
    assert_eq!(now["spec"]["resources"], expected);
    let refused = cluster.resize("whole", json!({ "resources": { "limits": { "memory": null } } })).await.unwrap_err();
    let why = "spec.resources.limits: Forbidden: resource limits cannot be removed";
    assert!(refused.message().contains(why), "{refused}");
}

#[tokio::test]
async fn whose_users_a_pod_has_decides_what_goes_with_them() {
    let cluster = cluster().await;
    let with = |spec: Json, container: Json| {
        let mut doc = pod("p");
        doc["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        doc["spec"]["containers"][0].as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        doc
    };
    let unmasked = json!({ "securityContext": { "procMount": "Unmasked" } });
    for (doc, expected) in [
        (
            with(json!({ "hostUsers": false, "hostNetwork": true }), json!({})),
            "spec.hostNetwork: Forbidden: when `hostUsers` is false",
        ),
        (
            with(json!({ "hostUsers": false, "hostPID": true }), json!({})),
            "spec.HostPID: Forbidden: when `hostUsers` is false",
        ),
        (
            with(json!({ "hostUsers": false, "hostIPC": true }), json!({})),
            "spec.HostIPC: Forbidden: when `hostUsers` is false",
        ),
        (
            with(json!({}), unmasked.clone()),
            "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
        ),
    ] {
        let refused = cluster.create("pods", "default", doc).await.unwrap_err();
        assert_eq!(refused.message(), format!("Pod \"p\" is invalid: {expected}"));
    }
    cluster.create("pods", "default", with(json!({ "hostUsers": false }), unmasked)).await.unwrap();
}

#[tokio::test]
async fn policies_are_judged() {
    let cluster = cluster().await;
    let with = |policy: Json, restart: &str| {
        let mut doc = pod("p");
        doc["spec"]["restartPolicy"] = json!(restart);
        doc["spec"]["containers"][0]["resizePolicy"] = policy;
        doc
    };
    let one = |resource: &str, action: &str| json!([{ "resourceName": resource, "restartPolicy": action }]);
    let path = "spec.containers[0].resizePolicy";
    for (doc, expected) in [
        (
            with(one("disk", "NotRequired"), "Always"),
            format!("{path}: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\""),
        ),
        (
            with(one("cpu", "Perhaps"), "Always"),
            format!("{path}: Unsupported value: \"Perhaps\": supported values: \"NotRequired\", \"RestartContainer\""),
        ),
        (
            with(one("cpu", "RestartContainer"), "Never"),
            format!(
                "{path}: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'"
            ),
        ),
        (
            with(
                json!([{ "resourceName": "cpu", "restartPolicy": "NotRequired" }, { "resourceName": "cpu", "restartPolicy": "NotRequired" }]),
                "Never",
            ),
            format!("{path}[1]: Duplicate value: \"cpu\""),
        ),
    ] {
        let refused = cluster.create("pods", "default", doc).await.unwrap_err();
        assert_eq!(refused.message(), format!("Pod \"p\" is invalid: {expected}"));
    }
    cluster.create("pods", "default", with(one("memory", "RestartContainer"), "Always")).await.unwrap();
}
