//! Accounts that say which Secrets their pods may use. Texts: `plugin/pkg/admission/serviceaccount` of Kubernetes.

use super::*;

async fn limited(cluster: &Cluster, name: &str, word: &str) {
    let account = json!({
        "metadata": { "name": name, "annotations": { "kubernetes.io/enforce-mountable-secrets": word } },
        "secrets": [{ "name": "mine" }], "imagePullSecrets": [{ "name": "pull" }],
    });
    cluster.create("serviceaccounts", "default", account).await.unwrap();
}

fn of(account: &str, spec: Json) -> Json {
    let mut doc = pod("a");
    doc["spec"]["serviceAccountName"] = json!(account);
    holdfast_schema::merge_patch(&mut doc["spec"], &spec).unwrap();
    doc
}

fn container(name: &str, secret: &str, from: bool) -> Json {
    match from {
        true => json!([{ "name": name, "image": "i", "envFrom": [{ "secretRef": { "name": secret } }] }]),
        false => json!([{ "name": name, "image": "i", "env": [
            { "name": "A", "valueFrom": { "secretKeyRef": { "name": secret, "key": "k" } } }] }]),
    }
}

#[tokio::test]
async fn a_pod_uses_the_secrets_that_its_account_lists() {
    let cluster = cluster().await;
    for word in ["true", "false"] {
        limited(&cluster, word, word).await;
    }
    let volume = |secret: &str| json!({ "volumes": [{ "name": "v", "secret": { "secretName": secret } }] });
    for (spec, text) in [
        (volume("other"), "volume with secret.secretName=\"other\""),
        (
            json!({ "containers": container("c", "other", false) }),
            "container c with envVar A referencing secret.secretName=\"other\"",
        ),
        (
            json!({ "containers": container("c", "other", true) }),
            "container c with envFrom referencing secret.secretName=\"other\"",
        ),
        (
            json!({ "initContainers": container("i", "other", false) }),
            "init container i with envVar A referencing secret.secretName=\"other\"",
        ),
        (
            json!({ "initContainers": container("i", "other", true) }),
            "init container i with envFrom referencing secret.secretName=\"other\"",
        ),
    ] {
        let refused = cluster.create("pods", "default", of("true", spec.clone())).await.unwrap_err();
        let why = format!(
            "pods \"a\" is forbidden: {text} is not allowed because service account true does not reference that secret"
        );
        assert_eq!((refused.code(), refused.message()), (403, why.as_str()));
        cluster.create("pods", "default", of("false", spec)).await.unwrap();
        cluster.delete("pods", "default", "a").await.unwrap();
    }
    let pulls = json!({ "imagePullSecrets": [{ "name": "pull" }, { "name": "mine" }] });
    let refused = cluster.create("pods", "default", of("true", pulls)).await.unwrap_err();
    let why = "pods \"a\" is forbidden: imagePullSecrets[1].name=\"mine\" is not allowed because service account true does not \
               reference that imagePullSecret";
    assert_eq!((refused.code(), refused.message()), (403, why));
    let mut fine = volume("mine");
    fine["containers"] = container("c", "mine", true);
    let made = cluster.create("pods", "default", of("true", fine)).await.unwrap().to_json();
    // The account's own are added, and allowed.
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{ "name": "pull" }]));
}

#[tokio::test]
async fn so_do_ephemeral_containers() {
    let cluster = cluster().await;
    limited(&cluster, "short", "T").await;
    cluster.create("pods", "default", of("short", json!({}))).await.unwrap();
    let debug = async |containers: Json| {
        let at = target("pods", "default", "a").with_subresource("ephemeralcontainers");
        let patch =
            Patch { patch_type: PatchType::Strategic, body: json!({ "spec": { "ephemeralContainers": containers } }) };
        cluster.registry.patch(&cluster.cx, &at, patch, &strict()).await
    };
    for (from, text) in [(false, "envVar A"), (true, "envFrom")] {
        let refused = debug(container("e", "other", from)).await.unwrap_err();
        let why = format!(
            "pods \"a\" is forbidden: ephemeral container e with {text} referencing secret.secretName=\"other\" is not allowed \
             because service account short does not reference that secret"
        );
        assert_eq!((refused.code(), refused.message()), (403, why.as_str()));
    }
    debug(container("e", "mine", true)).await.unwrap();
}
