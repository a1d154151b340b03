//! Ephemeral containers (<https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/>).

use super::*;

const PART: &str = "ephemeralcontainers";

fn debugger(name: &str) -> Json {
    json!({ "name": name, "image": "busybox:1", "stdin": true, "tty": true })
}

impl Cluster {
    async fn debug(&self, pod: &str, containers: Json) -> Result<Json, Status> {
        let at = target("pods", "default", pod).with_subresource(PART);
        let body = json!({ "spec": { "ephemeralContainers": containers } });
        let patch = Patch { patch_type: PatchType::Strategic, body };
        let patched = self.registry.patch(&self.cx, &at, patch, &strict()).await;
        patched.map(|(object, _)| object.to_json())
    }
}

#[tokio::test]
async fn they_are_added_and_nothing_else_changes() {
    let cluster = cluster().await;
    let made = cluster.create("pods", "default", pod("a")).await.unwrap().to_json();
    let with = cluster.debug("a", json!([debugger("one")])).await.unwrap();
    assert_eq!(with["metadata"]["generation"], 2);
    assert_eq!(with["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"], "File", "defaults are set");
    let mut targeted = debugger("two");
    targeted["targetContainerName"] = json!("main");
    let with = cluster.debug("a", json!([targeted])).await.unwrap();
    let names = |doc: &Json| -> Vec<String> {
        let all = doc["spec"]["ephemeralContainers"].as_array().unwrap().iter();
        let mut names: Vec<String> = all.map(|one| one["name"].as_str().unwrap().to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&with), ["one", "two"]);
    let at = target("pods", "default", "a").with_subresource(PART);
    assert_eq!(cluster.registry.get(&cluster.cx, &at).await.unwrap().to_json(), with);

    // An update may say what it likes of the rest: it stays.
    let mut sent = with.clone();
    sent["spec"]["containers"][0]["image"] = json!("other:1");
    sent["metadata"]["labels"] = json!({ "a": "b" });
    sent["status"]["phase"] = json!("Running");
    sent["spec"]["ephemeralContainers"].as_array_mut().unwrap().push(debugger("three"));
    let now = cluster.update_part("pods", PART, sent).await.unwrap().to_json();
    assert_eq!(names(&now), ["one", "three", "two"]);
    assert_eq!(now["spec"]["containers"], made["spec"]["containers"]);
    assert_eq!((now["metadata"].get("labels"), &now["status"]["phase"]), (None, &json!("Pending")));
    let managers = now["metadata"]["managedFields"].clone();
    assert_eq!(managers, json!(null), "reads through the registry show none");

    // The pod itself never lets them be changed.
    let mut sent = now.clone();
    sent["spec"]["ephemeralContainers"].as_array_mut().unwrap().pop();
    let refused = cluster.update("pods", sent).await.unwrap_err();
    assert!(refused.message().contains("spec: Forbidden: pod updates may not change fields other than"), "{refused}");
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_by_name() {
    let cluster = cluster().await;
    let mut first = pod("a");
    first["spec"]["initContainers"] = json!([{ "name": "init", "image": "app:1" }]);
    cluster.create("pods", "default", first).await.unwrap();
    cluster.debug("a", json!([debugger("one")])).await.unwrap();
    let of = |field: &str, value: Json| {
        let mut container = debugger("two");
        container[field] = value;
        json!([container])
    };
    // What a strategic merge adds comes first.
    let path = "spec.ephemeralContainers[0]";
    let not = "Forbidden: cannot be set for an Ephemeral Container";
    for (containers, expected) in [
        (of("ports", json!([{ "containerPort": 80 }])), format!("{path}.ports: {not}")),
        (of("resources", json!({ "limits": { "cpu": "1" } })), format!("{path}.resources: {not}")),
        (of("lifecycle", json!({ "preStop": { "exec": { "command": ["x"] } } })), format!("{path}.lifecycle: {not}")),
        (of("livenessProbe", json!({ "exec": { "command": ["x"] } })), format!("{path}.livenessProbe: {not}")),
        (of("restartPolicy", json!("Always")), format!("{path}.restartPolicy: {not}")),
        (of("targetContainerName", json!("gone")), format!("{path}.targetContainerName: Not found: \"gone\"")),
        (of("name", json!("init")), format!("{path}.name: Duplicate value: \"init\"")),
        (of("image", json!("")), format!("{path}.image: Required value")),
    ] {
        let refused = cluster.debug("a", containers).await.unwrap_err();
        assert_eq!(refused.message(), format!("Pod \"a\" is invalid: {expected}"));
    }
    let refused = cluster.debug("a", json!([{ "name": "one", "image": "other:1" }])).await.unwrap_err();
    let why = "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"one\" may not be changed\n";
    assert_eq!(refused.message(), format!("Pod \"a\" is invalid: {why}"));
    let mut sent = cluster.get("pods", "default", "a").await.unwrap();
    sent["spec"].as_object_mut().unwrap().remove("ephemeralContainers");
    let refused = cluster.update_part("pods", PART, sent).await.unwrap_err();
    assert!(refused.message().contains("existing ephemeral containers \"one\" may not be removed"), "{refused}");

    let mut early = pod("early");
    early["spec"]["ephemeralContainers"] = json!([debugger("one")]);
    let refused = cluster.create("pods", "default", early).await.unwrap_err();
    assert!(refused.message().contains("spec.ephemeralContainers: Forbidden: cannot be set on create"), "{refused}");
    let mut fixed = pod("static");
    fixed["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    fixed["spec"]["nodeName"] = json!("n1");
    cluster.create("pods", "default", fixed).await.unwrap();
    let refused = cluster.debug("static", json!([debugger("one")])).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Pod \"static\" is invalid: Forbidden: static pods do not support ephemeral containers"
    );
}

#[tokio::test]
async fn the_namespaces_standard_holds_for_them_too() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("a")).await.unwrap();
    let labels = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "baseline" } } });
    let patch = Patch { patch_type: PatchType::Merge, body: labels };
    cluster.registry.patch(&cluster.cx, &target("namespaces", "", "default"), patch, &strict()).await.unwrap();
    let mut privileged = debugger("one");
    privileged["securityContext"] = json!({ "privileged": true });
    let refused = cluster.debug("a", json!([privileged])).await.unwrap_err();
    assert!(refused.message().contains("violates PodSecurity \"baseline:latest\""), "{refused}");
    cluster.debug("a", json!([debugger("one")])).await.unwrap();
}
