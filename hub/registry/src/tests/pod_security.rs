//! The Pod Security Standards (documentation page "Pod Security Standards", level by level).

use super::*;

async fn namespace(cluster: &Cluster, name: &str, labels: Json) {
    cluster.create("namespaces", "", json!({ "metadata": { "name": name, "labels": labels } })).await.unwrap();
    cluster.create("serviceaccounts", name, json!({ "metadata": { "name": "default" } })).await.unwrap();
}

fn secured(pod_context: Json, context: Json) -> Json {
    let mut doc = pod("a");
    doc["spec"]["securityContext"] = pod_context;
    doc["spec"]["containers"][0]["securityContext"] = context;
    doc
}

fn restricted() -> Json {
    secured(
        json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } }),
        json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } }),
    )
}

#[tokio::test]
async fn a_level_refuses_what_it_forbids() {
    let cluster = cluster().await;
    for level in ["privileged", "baseline", "restricted"] {
        namespace(&cluster, level, json!({ "pod-security.kubernetes.io/enforce": level })).await;
    }
    let with = |change: Json| {
        let mut doc = pod("a");
        holdfast_schema::merge_patch(&mut doc, &json!({ "spec": change })).unwrap();
        doc
    };
    let host = with(
        json!({ "hostNetwork": true, "hostPID": true, "volumes": [{ "name": "root", "hostPath": { "path": "/" } }] }),
    );
    for (level, doc, expected) in [
        ("privileged", host.clone(), ""),
        ("baseline", pod("a"), ""),
        ("restricted", restricted(), ""),
        (
            "baseline",
            host.clone(),
            "host namespaces (hostNetwork=true, hostPID=true), hostPath volumes (volume \"root\")",
        ),
        (
            "baseline",
            secured(
                json!({}),
                json!({ "privileged": true, "capabilities": { "add": ["SYS_ADMIN", "NET_RAW", "CHOWN"] } }),
            ),
            "non-default capabilities (container \"main\" must not include \"NET_RAW\", \"SYS_ADMIN\" in securityContext.capabilities.add), \
             privileged (container \"main\" must not set securityContext.privileged=true)",
        ),
        (
            "baseline",
            secured(
                json!({ "seccompProfile": { "type": "Unconfined" }, "sysctls": [{ "name": "kernel.msgmax", "value": "1" }],
                    "seLinuxOptions": { "type": "spc_t", "user": "system_u" } }),
                json!({ "appArmorProfile": { "type": "Unconfined" } }),
            ),
            "forbidden AppArmor profile (container \"main\" must not set AppArmor profile type to \"Unconfined\"), \
             seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set), \
             seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\"), \
             forbidden sysctls (kernel.msgmax)",
        ),
        (
            "restricted",
            pod("a"),
            "allowPrivilegeEscalation != false (container \"main\" must set securityContext.allowPrivilegeEscalation=false), \
             unrestricted capabilities (container \"main\" must set securityContext.capabilities.drop=[\"ALL\"]), \
             runAsNonRoot != true (pod or container \"main\" must set securityContext.runAsNonRoot=true), \
             seccompProfile (pod or container \"main\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
        ),
        (
            "restricted",
            {
                let mut doc = restricted();
                doc["spec"]["securityContext"]["runAsUser"] = json!(0);
                doc["spec"]["volumes"] = json!([{ "name": "root", "hostPath": { "path": "/" } }]);
                doc["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 80, "hostPort": 80 }]);
                doc
            },
            "hostPort (container \"main\" uses hostPort 80), \
             restricted volume types (volume \"root\" uses restricted volume type \"hostPath\"), \
             runAsUser=0 (pod must not set runAsUser=0)",
        ),
    ] {
        let made = cluster.create("pods", level, doc.clone()).await;
        match made {
            Ok(_) if expected.is_empty() => {
                cluster.delete("pods", level, "a").await.unwrap();
            }
            Err(refused) => {
                let text = format!("pods \"a\" is forbidden: violates PodSecurity \"{level}:latest\": {expected}");
                assert_eq!((refused.code(), refused.message()), (403, text.as_str()), "{doc}");
            }
            Ok(_) => panic!("{level}: taken: {doc}"),
        }
    }
}

#[tokio::test]
async fn an_older_version_forbids_what_it_forbade() {
    let cluster = cluster().await;
    let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "v1.20" });
    namespace(&cluster, "old", labels).await;
    let mut doc = restricted();
    doc["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({ "add": ["CHOWN"] });
    doc["spec"]["securityContext"]["runAsUser"] = json!(0);
    cluster.create("pods", "old", doc.clone()).await.unwrap();
    doc["spec"]["securityContext"]["sysctls"] =
        json!([{ "name": "net.ipv4.tcp_rmem", "value": "4096 87380 16777216" }]);
    doc["metadata"]["name"] = json!("b");
    let refused = cluster.create("pods", "old", doc).await.unwrap_err();
    assert!(
        refused.message().ends_with("violates PodSecurity \"restricted:v1.20\": forbidden sysctls (net.ipv4.tcp_rmem)"),
        "{refused}"
    );
}

#[tokio::test]
async fn warn_tells_of_pods_and_of_templates() {
    let cluster = cluster().await;
    namespace(&cluster, "warned", json!({ "pod-security.kubernetes.io/warn": "baseline" })).await;
    let privileged = secured(json!({}), json!({ "privileged": true }));
    let mut work = deployment("web");
    work["spec"]["template"]["spec"]["containers"][0]["name"] = json!("main");
    work["spec"]["template"]["spec"]["containers"][0]["securityContext"] = json!({ "privileged": true });
    for (resource, doc) in [("pods", privileged), ("apps/deployments", work)] {
        let cx = RequestContext::new(UserInfo::new("admin", &["system:masters"]), "test");
        cluster.registry.create(&cx, &target(resource, "warned", ""), doc, &strict()).await.unwrap();
        assert_eq!(
            *cx.warnings.lock().unwrap(),
            [
                "would violate PodSecurity \"baseline:latest\": privileged (container \"main\" must not set securityContext.privileged=true)"
            ],
            "{resource}"
        );
    }
}

#[tokio::test]
async fn labels_that_say_nothing_are_refused() {
    let cluster = cluster().await;
    let labels =
        json!({ "pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/warn-version": "1.30" });
    let refused =
        cluster.create("namespaces", "", json!({ "metadata": { "name": "x", "labels": labels } })).await.unwrap_err();
    assert_eq!(
        refused.message(),
        "Namespace \"x\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of \
         privileged, baseline, restricted, metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.30\": must be \
         \"latest\" or \"v1.x\"]"
    );
}

#[tokio::test]
async fn a_stricter_namespace_tells_of_the_pods_in_it() {
    let cluster = cluster().await;
    namespace(&cluster, "x", json!({})).await;
    for name in ["b", "a", "c"] {
        let mut doc = secured(json!({}), json!({ "privileged": true }));
        doc["metadata"]["name"] = json!(name);
        cluster.create("pods", "x", doc).await.unwrap();
    }
    let mut host = pod("net");
    host["spec"]["hostNetwork"] = json!(true);
    cluster.create("pods", "x", host).await.unwrap();
    let label = async |labels: Json, dry_run: bool| {
        let cx = RequestContext::new(UserInfo::new("admin", &["system:masters"]), "test");
        let patch = Patch { patch_type: PatchType::Merge, body: json!({ "metadata": { "labels": labels } }) };
        let options = WriteOptions { dry_run, ..WriteOptions::default() };
        cluster.registry.patch(&cx, &target("namespaces", "", "x"), patch, &options).await.unwrap();
        cx.warnings.lock().unwrap().clone()
    };
    let told = [
        "existing pods in namespace \"x\" violate the new PodSecurity enforce level \"baseline:latest\"",
        "a (and 2 other pods): privileged",
        "net: host namespaces",
    ];
    let enforce = |level: &str| json!({ "pod-security.kubernetes.io/enforce": level });
    assert_eq!(label(enforce("baseline"), true).await, told);
    assert_eq!(label(enforce("baseline"), false).await, told);
    assert_eq!(label(json!({ "other": "label" }), false).await, [""; 0]);
    assert_eq!(label(enforce("restricted"), false).await.len(), 3);
    assert_eq!(label(enforce("baseline"), false).await, [""; 0], "it was relaxed");
    assert_eq!(label(enforce("privileged"), false).await, [""; 0]);
}

#[tokio::test]
async fn a_pod_is_judged_again_when_other_images_run_in_it() {
    let cluster = cluster().await;
    namespace(&cluster, "x", json!({})).await;
    cluster.create("pods", "x", secured(json!({}), json!({ "privileged": true }))).await.unwrap();
    let level = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "baseline" } } });
    let patch = |body: Json| Patch { patch_type: PatchType::Merge, body };
    cluster
        .registry
        .patch(&cluster.cx, &target("namespaces", "", "x"), patch(level), &WriteOptions::default())
        .await
        .unwrap();
    let change = async |body: Json| {
        let at = target("pods", "x", "a");
        cluster.registry.patch(&cluster.cx, &at, patch(body), &WriteOptions::default()).await
    };
    change(json!({ "metadata": { "labels": { "a": "b" } } })).await.unwrap();
    let mut doc = cluster.get("pods", "x", "a").await.unwrap();
    doc["spec"]["containers"][0]["image"] = json!("app:2");
    let refused = change(json!({ "spec": { "containers": doc["spec"]["containers"] } })).await.unwrap_err();
    assert!(
        refused.message().starts_with("pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\""),
        "{refused}"
    );
}
