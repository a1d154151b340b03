//! ServiceAccounts: their tokens, and reviews of what they may do.

use crate::hub::Hub;
use serde_json::json;

const ACCOUNTS: &str = "/api/v1/namespaces/one/serviceaccounts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_reviewed_as_its_accounts() {
    let hub = Hub::start().await;
    let account = hub.create(ACCOUNTS, json!({"metadata": {"name": "e2e"}})).await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 600}});
    let issued = hub.create(&format!("{ACCOUNTS}/e2e/token"), request).await;
    let token = issued["status"]["token"].as_str().unwrap();
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let reviewed = hub.create("/apis/authentication.k8s.io/v1/tokenreviews", review).await;
    let status = &reviewed["status"];
    assert_eq!((&status["authenticated"], &status["error"]), (&json!(true), &json!(null)), "{reviewed:#}");
    assert_eq!(status["user"]["username"], "system:serviceaccount:one:e2e");
    assert_eq!(status["user"]["uid"], account["metadata"]["uid"]);
    let groups = &status["user"]["groups"];
    assert_eq!(*groups, json!(["system:serviceaccounts", "system:serviceaccounts:one", "system:authenticated"]));
    let wrong = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": "nonsense"}});
    let reviewed = hub.create("/apis/authentication.k8s.io/v1/tokenreviews", wrong).await;
    assert_eq!(reviewed["status"], json!({"user": {}, "error": "invalid bearer token"}), "{reviewed:#}");
}

/// A bootstrap token is for this API, and for no other audience.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bootstrap_token_is_reviewed_too() {
    let hub = Hub::start().await;
    let secret = json!({"metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:worker"}});
    hub.create("/api/v1/namespaces/kube-system/secrets", secret).await;
    let review = async |token: &str, audiences: &[&str]| {
        let spec = json!({"token": token, "audiences": audiences});
        let reviewed = hub.create("/apis/authentication.k8s.io/v1/tokenreviews", json!({"spec": spec})).await;
        reviewed["status"].clone()
    };
    const TOKEN: &str = "abcdef.0123456789abcdef";
    let user = json!({"username": "system:bootstrap:abcdef",
        "groups": ["system:bootstrappers", "system:bootstrappers:worker", "system:authenticated"]});
    let known = json!({"authenticated": true, "user": user, "audiences": ["https://hub"]});
    assert_eq!(review(TOKEN, &[]).await, known);
    assert_eq!(review(TOKEN, &["https://other", "https://hub"]).await, known);
    let unknown = json!({"user": {}, "error": "invalid bearer token"});
    assert_eq!(review(TOKEN, &["https://other"]).await, unknown);
    assert_eq!(review("abcdef.0123456789abcdeg", &[]).await, unknown);
}

/// An account's token is good for the audiences that it shares with the review, and for this API when none is named.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_reviewed_for_its_audiences() {
    let hub = Hub::start().await;
    let request = json!({"spec": {"audiences": ["vault", "https://hub"]}});
    let issued = hub.create(&format!("{ACCOUNTS}/default/token"), request).await;
    let review = async |audiences: &[&str]| {
        let spec = json!({"token": issued["status"]["token"], "audiences": audiences});
        let reviewed = hub.create("/apis/authentication.k8s.io/v1/tokenreviews", json!({"spec": spec})).await;
        (reviewed["status"]["authenticated"] == true, reviewed["status"]["audiences"].clone())
    };
    assert_eq!(review(&[]).await, (true, json!(["https://hub"])));
    assert_eq!(review(&["bank", "vault"]).await, (true, json!(["vault"])));
    assert_eq!(review(&["bank"]).await, (false, json!(null)));
}

/// What rights are asked about is what the request's selectors say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_lists_pods_by_its_name_alone() {
    let hub = Hub::start().await;
    let node = [("impersonate-user", "system:node:edge-1"), ("impersonate-group", "system:nodes")];
    let own = "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-1";
    let listed = hub.send("GET", own, &node, "").await.ok();
    assert_eq!(listed["items"], json!([]));
    let watched = hub.send("GET", &format!("{own}&watch=true&timeoutSeconds=1"), &node, "").await;
    assert_eq!(watched.code, 200, "{:#}", watched.body);
    for refused in [
        "/api/v1/pods",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dedge-2",
        "/api/v1/watch/pods?fieldSelector=spec.nodeName%3Dedge-1",
    ] {
        hub.send("GET", refused, &node, "").await.refused(403);
    }
}

/// What a review says is what a request meets.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_say_what_requests_meet() {
    const GROUP: &str = "/apis/authorization.k8s.io/v1";
    let hub = Hub::start().await;
    let account = hub.create(ACCOUNTS, json!({"metadata": {"name": "e2e"}})).await;
    let (user, uid) = ("system:serviceaccount:one:e2e", account["metadata"]["uid"].as_str().unwrap());
    let groups = ["system:authenticated", "system:serviceaccounts", "system:serviceaccounts:one"];
    let review = |namespace: &str| {
        json!({"metadata": {"namespace": namespace}, "spec": {"user": user, "groups": groups, "uid": uid,
            "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "one", "version": "v1"}}})
    };
    let acting = [
        ("impersonate-user", user),
        ("impersonate-uid", uid),
        ("impersonate-group", groups[0]),
        ("impersonate-group", groups[1]),
        ("impersonate-group", groups[2]),
    ];
    for expected in [false, true] {
        let mut allowed = Vec::new();
        let global = format!("{GROUP}/subjectaccessreviews");
        allowed.push(hub.create(&global, review("")).await["status"]["allowed"].clone());
        let local = format!("{GROUP}/namespaces/one/localsubjectaccessreviews");
        allowed.push(hub.create(&local, review("one")).await["status"]["allowed"].clone());
        let own = json!({"spec": {"resourceAttributes":
            {"verb": "list", "resource": "configmaps", "namespace": "one", "version": "v1"}}});
        let headers: Vec<(&str, &str)> = acting.into_iter().chain([("content-type", "application/json")]).collect();
        let own = hub.send("POST", &format!("{GROUP}/selfsubjectaccessreviews"), &headers, own.to_string()).await;
        allowed.push(own.ok()["status"]["allowed"].clone());
        let met = hub.send("GET", "/api/v1/namespaces/one/configmaps", &acting, "").await;
        assert_eq!(met.code, if expected { 200 } else { 403 }, "{:#}", met.body);
        assert!(allowed.iter().all(|one| *one == expected), "{allowed:?}, and the request was allowed: {expected}");
        if !expected {
            let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/one";
            hub.create(
                &format!("{roles}/rolebindings"),
                json!({"metadata": {"name": "e2e"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "ServiceAccount", "name": "e2e", "namespace": "one"}]}),
            )
            .await;
            // Rights follow their objects a moment later.
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            while hub.send("GET", "/api/v1/namespaces/one/configmaps", &acting, "").await.code != 200 {
                assert!(std::time::Instant::now() < deadline, "the binding was never seen");
                tokio::task::yield_now().await;
            }
        }
    }
}

/// A list or watch of one name is about that object: the right to it is enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_right_to_a_name_lets_list_and_watch_that_name() {
    const MAPS: &str = "/api/v1/namespaces/one/configmaps";
    let hub = Hub::start().await;
    for name in ["mine", "other"] {
        hub.create(MAPS, json!({"metadata": {"name": name}})).await;
    }
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/one";
    let rule =
        json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["list", "watch"]});
    hub.create(&format!("{roles}/roles"), json!({"metadata": {"name": "mine"}, "rules": [rule]})).await;
    hub.create(
        &format!("{roles}/rolebindings"),
        json!({"metadata": {"name": "mine"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "mine"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}]}),
    )
    .await;
    let bob = [("impersonate-user", "bob")];
    let mine = format!("{MAPS}?fieldSelector=metadata.name%3Dmine");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let listed = loop {
        let answer = hub.send("GET", &mine, &bob, "").await;
        if answer.code == 200 {
            break answer.ok();
        }
        assert!(std::time::Instant::now() < deadline, "{:#}", answer.body);
    };
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed:#}");
    let watched = hub.send("GET", &format!("{mine}&watch=true&timeoutSeconds=1"), &bob, "").await;
    assert_eq!(watched.code, 200, "{:#}", watched.body);
    let other = format!("{MAPS}?fieldSelector=metadata.name%3Dother");
    for refused in [MAPS, &other, &format!("{MAPS}/mine"), &format!("{MAPS}?fieldSelector=metadata.name%21%3Dmine")] {
        hub.send("GET", refused, &bob, "").await.refused(403);
    }
}

/// The pod's own word goes before its account's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_mounted_unless_pod_or_account_says_no() {
    let hub = Hub::start().await;
    for (account, word) in [("mount", json!(true)), ("nomount", json!(false)), ("default-mount", json!(null))] {
        let body = json!({"metadata": {"name": account}, "automountServiceAccountToken": word});
        hub.create(ACCOUNTS, body).await;
        for (pod, word) in [("yes", json!(true)), ("no", json!(false)), ("unsaid", json!(null))] {
            let name = format!("{account}-{pod}");
            let made = hub
                .create(
                    "/api/v1/namespaces/one/pods",
                    json!({"metadata": {"name": name}, "spec": {
                "serviceAccountName": account, "automountServiceAccountToken": word,
                "containers": [{"name": "token-test", "image": "pause"}]}}),
                )
                .await;
            let mounts = made["spec"]["containers"][0]["volumeMounts"].as_array().cloned().unwrap_or_default();
            let mounted = mounts.iter().any(|one| one["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount");
            let expected = pod == "yes" || (pod == "unsaid" && account != "nomount");
            assert_eq!(mounted, expected, "{name}: {mounts:?}");
        }
    }
}
