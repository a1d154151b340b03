//! Admission, binding, tokens, and who may do what.

use super::*;
use holdfast_core::json::items_at;
use holdfast_server::{Attributes, Authenticator, Authorizer, Credentials, Decision};

#[tokio::test]
async fn a_pod_gets_account_token_priority_and_tolerations() {
    let cluster = cluster().await;
    let doc = cluster.create("pods", "default", pod("a")).await.unwrap().to_json();
    let spec = &doc["spec"];
    assert_eq!((&spec["serviceAccountName"], &spec["serviceAccount"]), (&json!("default"), &json!("default")));
    assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(0), &json!("PreemptLowerPriority")));
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(
        volume["projected"],
        json!({ "defaultMode": 420, "sources": [
            { "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [{ "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
        ] })
    );
    assert_eq!(
        spec["containers"][0]["volumeMounts"],
        json!([{ "name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount" }])
    );
    assert_eq!(
        spec["tolerations"],
        json!([
            { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
            { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
        ])
    );
    assert_eq!(doc["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));

    let mut other = pod("b");
    other["spec"]["serviceAccountName"] = json!("nobody");
    let status = cluster.create("pods", "default", other).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            403,
            "pods \"b\" is forbidden: error looking up service account default/nobody: serviceaccount \"nobody\" not found"
        )
    );
    let mut without = pod("c");
    without["spec"]["automountServiceAccountToken"] = json!(false);
    without["spec"]["priorityClassName"] = json!("system-node-critical");
    let doc = cluster.create("pods", "default", without).await.unwrap().to_json();
    assert!(items_at(&doc, &["spec", "volumes"]).is_empty() && doc["spec"]["priority"] == 2_000_001_000, "{doc}");
    for (field, value, text) in [
        ("priorityClassName", "gone", "no PriorityClass with name gone was found"),
        ("runtimeClassName", "gone", "pod rejected: RuntimeClass \"gone\" not found"),
    ] {
        let mut doc = pod("d");
        doc["spec"][field] = json!(value);
        let status = cluster.create("pods", "default", doc).await.unwrap_err();
        assert!(status.code() == 403 && status.message().ends_with(text), "{status}");
    }
}

#[tokio::test]
async fn a_runtime_class_brings_overhead_and_place() {
    let cluster = cluster().await;
    let class = json!({
        "metadata": { "name": "small" }, "handler": "wasmtime",
        "overhead": { "podFixed": { "memory": "8Mi" } },
        "scheduling": { "nodeSelector": { "wasm": "yes" }, "tolerations": [{ "key": "edge", "operator": "Exists" }] },
    });
    cluster.create("node.k8s.io/runtimeclasses", "", class).await.unwrap();
    let mut doc = pod("a");
    doc["spec"]["runtimeClassName"] = json!("small");
    let doc = cluster.create("pods", "default", doc).await.unwrap().to_json();
    assert_eq!(
        (&doc["spec"]["overhead"], &doc["spec"]["nodeSelector"]),
        (&json!({ "memory": "8Mi" }), &json!({ "wasm": "yes" }))
    );
    assert_eq!(doc["spec"]["tolerations"][0]["key"], "edge");
}

async fn bind(cluster: &Cluster, name: &str, node: &str) -> Result<Arc<Object>, Status> {
    let at = target("pods", "default", name).with_subresource("binding");
    let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": node } });
    cluster.registry.create(&cluster.cx, &at, binding, &strict()).await
}

#[tokio::test]
async fn a_pod_is_bound_once() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("a")).await.unwrap();
    assert_eq!(bind(&cluster, "a", "edge-1").await.unwrap().to_json()["status"], "Success");
    let doc = cluster.get("pods", "default", "a").await.unwrap();
    assert_eq!(
        (&doc["spec"]["nodeName"], &doc["status"]["conditions"][0]["type"]),
        (&json!("edge-1"), &json!("PodScheduled"))
    );
    let status = bind(&cluster, "a", "edge-2").await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (409, "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"edge-1\"")
    );
}

#[tokio::test]
async fn a_node_writes_only_its_own() {
    let cluster = cluster().await;
    for (name, node) in [("mine", "edge-1"), ("other", "edge-2")] {
        cluster.create("pods", "default", pod(name)).await.unwrap();
        bind(&cluster, name, node).await.unwrap();
    }
    let cx = RequestContext::new(UserInfo::node("edge-1"), "test");
    let report = |name: &'static str| {
        let (cluster, cx) = (&cluster, &cx);
        async move {
            let at = target("pods", "default", name).with_subresource("status");
            let patch = Patch { patch_type: PatchType::Merge, body: json!({ "status": { "phase": "Running" } }) };
            cluster.registry.patch(cx, &at, patch, &strict()).await
        }
    };
    report("mine").await.unwrap();
    let status = report("other").await.unwrap_err();
    assert!(
        status.code() == 403
            && status
                .message()
                .ends_with("node \"edge-1\" can only update pod status for pods with spec.nodeName set to itself"),
        "{status}"
    );
    let node = |name: &str, labels: Json| json!({ "metadata": { "name": name, "labels": labels } });
    let create = |doc: Json| {
        let (cluster, cx) = (&cluster, &cx);
        async move { cluster.registry.create(cx, &target("nodes", "", ""), doc, &strict()).await }
    };
    assert_eq!(create(node("edge-2", json!({}))).await.unwrap_err().code(), 403);
    let restricted = json!({ "node-restriction.kubernetes.io/site": "a" });
    assert_eq!(create(node("edge-1", restricted)).await.unwrap_err().code(), 403);
    create(node("edge-1", json!({ "kubernetes.io/hostname": "edge-1" }))).await.unwrap();
    let revoked = |cx: RequestContext, value: Json| {
        let cluster = &cluster;
        async move {
            let body = json!({ "metadata": { "annotations": { holdfast_core::meta::REVOKED: value } } });
            let patch = Patch { patch_type: PatchType::Merge, body };
            cluster.registry.patch(&cx, &target("nodes", "", "edge-1"), patch, &strict()).await
        }
    };
    let admin = RequestContext::new(UserInfo::new("admin", &[holdfast_core::user::MASTERS]), "test");
    revoked(admin, json!("true")).await.unwrap();
    let status = revoked(cx.clone(), json!(null)).await.unwrap_err();
    assert!(status.code() == 403 && status.message().contains("annotation \"edge.holdfast.io/revoked\""), "{status}");

    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let user = UserInfo::node("edge-1");
    let ask = |verb: &'static str, at: Target| {
        let (authorizer, user) = (&authorizer, &user);
        async move {
            let attributes = Attributes { user, verb, target: Some(&at), path: "" };
            authorizer.authorize(&attributes).await == Decision::Allow
        }
    };
    assert!(ask("update", target("nodes", "", "edge-1").with_subresource("status")).await);
    assert!(!ask("update", target("nodes", "", "edge-2").with_subresource("status")).await);
    assert!(ask("get", target("configmaps", "default", "kube-root-ca.crt")).await);
    assert!(!ask("get", target("secrets", "default", "some")).await);
    assert!(
        ask("get", target("pods", "default", "mine")).await && !ask("get", target("pods", "default", "other")).await
    );
}

#[tokio::test]
async fn tokens_die_with_their_pod() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("a")).await.unwrap();
    let at = target("serviceaccounts", "default", "default").with_subresource("token");
    let request = |seconds: i64, pod: &str| {
        json!({ "spec": {
            "audiences": [], "expirationSeconds": seconds,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod },
        } })
    };
    let ask = |body: Json| {
        let (cluster, at) = (&cluster, &at);
        async move { cluster.registry.create(&cluster.cx, at, body, &strict()).await }
    };
    let status = ask(request(10, "a")).await.unwrap_err();
    assert!(
        status
            .message()
            .contains("spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes"),
        "{status}"
    );
    assert_eq!(ask(request(600, "gone")).await.unwrap_err().code(), 404);
    let token = ask(request(600, "a")).await.unwrap().to_json()["status"]["token"].as_str().unwrap().to_string();

    let authenticator = cluster.registry.token_authenticator();
    let credentials = Credentials { bearer: Some(token), ..Credentials::default() };
    let user = authenticator.authenticate(&credentials).await.unwrap().unwrap();
    assert_eq!(user.name, "system:serviceaccount:default:default");
    assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["a"]);
    cluster.delete("pods", "default", "a").await.unwrap();
    assert_eq!(authenticator.authenticate(&credentials).await.unwrap_err().code(), 401);
    let foreign = Credentials { bearer: Some("abc".into()), ..Credentials::default() };
    assert_eq!(authenticator.authenticate(&foreign).await.unwrap(), None);
}

#[tokio::test]
async fn roles_are_followed_and_asked_for() {
    let cluster = cluster().await;
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let jane = UserInfo::new("jane", &[]);
    let at = target("pods", "default", "a").with_subresource("log");
    let attributes = Attributes { user: &jane, verb: "get", target: Some(&at), path: "" };
    assert_eq!(authorizer.authorize(&attributes).await, Decision::NoOpinion(String::new()));
    let binding = json!({
        "metadata": { "name": "jane" }, "roleRef": { "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "kind": "User", "name": "jane" }],
    });
    cluster.create("rbac.authorization.k8s.io/rolebindings", "default", binding).await.unwrap();
    let allowed = async {
        while authorizer.authorize(&attributes).await != Decision::Allow {
            tokio::task::yield_now().await;
        }
    };
    cluster.env.timeout(Duration::from_secs(5), allowed).await.expect("the binding was not seen");
    let elsewhere = target("pods", "kube-system", "a");
    let attributes = Attributes { user: &jane, verb: "get", target: Some(&elsewhere), path: "" };
    assert_ne!(authorizer.authorize(&attributes).await, Decision::Allow);
    let controller = UserInfo::service_account("kube-system", "replicaset-controller");
    let at = target("pods", "default", "");
    let attributes = Attributes { user: &controller, verb: "create", target: Some(&at), path: "" };
    assert_eq!(authorizer.authorize(&attributes).await, Decision::Allow);

    let cx = RequestContext::new(jane, "test");
    let ask = |verb: &str| json!({ "spec": { "resourceAttributes": { "verb": verb, "resource": "pods", "namespace": "default" } } });
    let at = target("authorization.k8s.io/selfsubjectaccessreviews", "", "");
    let yes = cluster.registry.create(&cx, &at, ask("list"), &strict()).await.unwrap().to_json();
    let no = cluster.registry.create(&cx, &at, ask("delete"), &strict()).await.unwrap().to_json();
    assert_eq!((&yes["status"]["allowed"], &no["status"]["allowed"]), (&json!(true), &json!(false)));
    let reason = "RBAC: allowed by RoleBinding \"jane/default\" of ClusterRole \"view\" to User \"jane\"";
    assert_eq!((&yes["status"]["reason"], no["status"].get("reason")), (&json!(reason), None));
}

#[tokio::test]
async fn nobody_grants_what_he_may_not_do() {
    let cluster = cluster().await;
    let authorizer = cluster.registry.start_authorizer().await.unwrap();
    let rbac = |resource: &str| format!("rbac.authorization.k8s.io/{resource}");
    let binding = json!({
        "metadata": { "name": "jane" }, "roleRef": { "kind": "ClusterRole", "name": "admin" },
        "subjects": [{ "kind": "User", "name": "jane" }],
    });
    cluster.create(&rbac("rolebindings"), "default", binding).await.unwrap();
    let jane = UserInfo::new("jane", &[]);
    let at = target(&rbac("roles"), "default", "");
    let attributes = Attributes { user: &jane, verb: "create", target: Some(&at), path: "" };
    let allowed = async {
        while authorizer.authorize(&attributes).await != Decision::Allow {
            tokio::task::yield_now().await;
        }
    };
    cluster.env.timeout(Duration::from_secs(5), allowed).await.expect("the binding was not seen");
    let cx = RequestContext::new(jane.clone(), "test");
    let role = |name: &str, resource: &str| json!({ "metadata": { "name": name }, "rules": [{ "apiGroups": [""], "resources": [resource], "verbs": ["get"] }] });
    cluster.registry.create(&cx, &at, role("fine", "pods"), &strict()).await.unwrap();
    let status = cluster.registry.create(&cx, &at, role("more", "nodes"), &strict()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            403,
            "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"jane\" (groups=[\"system:authenticated\"]) is \
             attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"nodes\"], \
             Verbs:[\"get\"]}"
        )
    );
    let bind = json!({
        "metadata": { "name": "root" }, "roleRef": { "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "User", "name": "jane" }],
    });
    let at = target(&rbac("rolebindings"), "default", "");
    let mut view = bind.clone();
    assert_eq!(cluster.registry.create(&cx, &at, bind, &strict()).await.unwrap_err().code(), 403);
    view["roleRef"]["name"] = json!("view");
    cluster.registry.create(&cx, &at, view, &strict()).await.unwrap();
}

/// The Node authorizer shows a node what its pods name: it must not name things itself.
#[tokio::test]
async fn a_mirror_pod_is_its_nodes_own_and_names_nothing() {
    let cluster = cluster().await;
    let node = cluster.create("nodes", "", json!({ "metadata": { "name": "edge-1" } })).await.unwrap();
    let cx = RequestContext::new(UserInfo::node("edge-1"), "test");
    let owner =
        json!({ "apiVersion": "v1", "kind": "Node", "name": "edge-1", "uid": node.meta.uid, "controller": true });
    let mirror = |owners: Json, spec: Json| {
        let mut doc = pod("static");
        doc["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
        doc["metadata"]["ownerReferences"] = owners;
        doc["spec"]["nodeName"] = json!("edge-1");
        holdfast_schema::merge_patch(&mut doc["spec"], &spec).unwrap();
        let (cluster, cx) = (&cluster, &cx);
        async move { cluster.registry.create(cx, &target("pods", "default", ""), doc, &strict()).await }
    };
    let with = |field: &str, value: Json| {
        let mut owner = owner.clone();
        owner[field] = value;
        json!([owner])
    };
    let secret = json!({ "containers": [{ "name": "c", "image": "i",
        "env": [{ "name": "A", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }] });
    let map = json!({ "volumes": [{ "name": "v", "configMap": { "name": "m" } }] });
    let token = json!({ "volumes": [{ "name": "v", "projected": { "sources": [
        { "serviceAccountToken": { "path": "t" } }] } }] });
    let claim = json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "c" } }] });
    for (owners, spec, text) in [
        (json!([]), json!({}), "can only create pods with an owner reference set to itself"),
        (with("name", json!("edge-2")), json!({}), "can only create pods with an owner reference set to itself"),
        (
            with("controller", json!(false)),
            json!({}),
            "can only create pods with a controller owner reference set to itself",
        ),
        (with("blockOwnerDeletion", json!(true)), json!({}), "must not set blockOwnerDeletion on an owner reference"),
        (with("uid", json!("other")), json!({}), "UID mismatch: expected"),
        (json!([owner]), secret, "a mirror pod may not reference secrets"),
        (json!([owner]), token, "a mirror pod may not use ServiceAccountToken volume projections"),
        (json!([owner]), map, "can not create pods that reference configmaps"),
        (json!([owner]), claim, "can not create pods that reference persistentvolumeclaims"),
    ] {
        let refused = mirror(owners, spec).await.unwrap_err();
        assert!(refused.code() == 403 && refused.message().contains(text), "{text}: {refused}");
    }
    mirror(json!([owner]), json!({})).await.unwrap();
    let body = json!({ "metadata": { "ownerReferences": [owner] } });
    let patch = Patch { patch_type: PatchType::Merge, body };
    let refused = cluster.registry.patch(&cx, &target("nodes", "", "edge-1"), patch, &strict()).await.unwrap_err();
    assert!(refused.message().ends_with("is not allowed to modify ownerReferences"), "{refused}");
}

#[tokio::test]
async fn one_priority_class_is_the_default() {
    let cluster = cluster().await;
    let class =
        |name: &str, default: bool| json!({ "metadata": { "name": name }, "value": 5, "globalDefault": default });
    const CLASSES: &str = "scheduling.k8s.io/priorityclasses";
    cluster.create(CLASSES, "", class("one", true)).await.unwrap();
    let text = "priorityclasses.scheduling.k8s.io \"two\" is forbidden: PriorityClass one is already marked as default. Only \
                one default can exist";
    let refused = cluster.create(CLASSES, "", class("two", true)).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (403, text));
    let mut two = cluster.create(CLASSES, "", class("two", false)).await.unwrap().to_json();
    two["globalDefault"] = json!(true);
    assert_eq!(cluster.update(CLASSES, two).await.unwrap_err().message(), text);
    let mut one = cluster.get(CLASSES, "", "one").await.unwrap();
    one["description"] = json!("of all");
    cluster.update(CLASSES, one).await.unwrap();
}

#[tokio::test]
async fn questions_about_access_that_make_no_sense_are_refused() {
    let cluster = cluster().await;
    cluster.registry.start_authorizer().await.unwrap();
    let resource = json!({ "verb": "get", "resource": "pods", "namespace": "default" });
    let path = json!({ "verb": "get", "path": "/x" });
    let own = ("selfsubjectaccessreviews", "", "SelfSubjectAccessReview");
    let any = ("subjectaccessreviews", "", "SubjectAccessReview");
    let local = ("localsubjectaccessreviews", "default", "LocalSubjectAccessReview");
    for ((plural, namespace, kind), body, text) in [
        (
            own,
            json!({ "spec": { "resourceAttributes": resource, "nonResourceAttributes": path } }),
            "spec.nonResourceAttributes: Invalid value: {\"verb\":\"get\",\"path\":\"/x\"}: cannot be specified in \
             combination with resourceAttributes",
        ),
        (own, json!({ "spec": {} }), "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        (
            any,
            json!({ "spec": { "resourceAttributes": resource } }),
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ),
        (
            any,
            json!({ "metadata": { "name": "x" }, "spec": { "user": "u", "resourceAttributes": resource } }),
            "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
        ),
        (
            local,
            json!({ "metadata": { "namespace": "default", "labels": { "a": "b" } },
            "spec": { "user": "u", "resourceAttributes": resource } }),
            "must be empty except for namespace",
        ),
    ] {
        let at = target(&format!("authorization.k8s.io/{plural}"), namespace, "");
        let refused = cluster.registry.create(&cluster.cx, &at, body, &strict()).await.unwrap_err();
        let start = format!("{kind}.authorization.k8s.io \"\" is invalid: ");
        assert!(refused.code() == 422 && refused.message().starts_with(&start), "{refused}");
        assert!(refused.message().contains(text), "{refused}");
    }
}
