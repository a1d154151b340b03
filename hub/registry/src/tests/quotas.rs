//! ResourceQuotas (documentation page "Resource Quotas"): what is refused, what is charged, and that nothing is lost when many
//! write at a time.

use super::*;
use futures_util::future::join_all;
use holdfast_core::{Reason, Timestamp};
use holdfast_kinds::quota::{self, Amounts, Quota};
use proptest::prelude::*;

const QUOTAS: &str = "resourcequotas";

impl Cluster {
    /// Makes a quota and plays its controller.
    async fn quota(&self, name: &str, spec: Json) {
        self.create(QUOTAS, "default", json!({ "metadata": { "name": name }, "spec": spec })).await.unwrap();
        self.count(name).await;
    }

    /// What there is, under the names that a quota bounds.
    async fn there_is(&self, quota: &Json) -> Amounts {
        let selects = Quota::of(quota);
        let mut sum = Amounts::new();
        for name in quota::amounts(Some(&quota["spec"]["hard"])).keys() {
            let (group, plural) = quota::counted_by(name).unwrap();
            let at = Target::collection(Gvr::new(group, "v1", plural), "default");
            sum.insert(name.clone(), holdfast_core::Quantity::ZERO);
            for object in self.registry.list(&self.cx, &at, &ListOptions::default()).await.unwrap().items {
                let object = object.to_json();
                if selects.selects(group, plural, &object) {
                    let mut used = quota::usage(group, plural, &object, Timestamp::default());
                    used.retain(|used, _| used == name);
                    quota::add(&mut sum, &used);
                }
            }
        }
        sum
    }

    /// Counts until what was written stands, as the controller does.
    async fn count(&self, name: &str) {
        loop {
            let mut doc = self.get(QUOTAS, "default", name).await.unwrap();
            let used = quota::to_json(&self.there_is(&doc).await);
            let status = json!({ "hard": doc["spec"]["hard"], "used": used });
            if doc["status"] == status {
                return;
            }
            doc["status"] = status;
            match self.update_part(QUOTAS, "status", doc).await {
                Err(status) if status.is(Reason::Conflict) => {}
                other => drop(other.unwrap()),
            }
        }
    }

    async fn used(&self, name: &str) -> Json {
        self.get(QUOTAS, "default", name).await.unwrap()["status"]["used"].clone()
    }

    async fn refused(&self, resource: &str, doc: Json, expected: &str) {
        let refused = self.create(resource, "default", doc).await.unwrap_err();
        assert!(refused.code() == 403 && refused.message().ends_with(expected), "{refused}\n{expected}");
    }
}

fn sized(name: &str, requests: Json, limits: Json) -> Json {
    let mut doc = pod(name);
    doc["spec"]["containers"][0]["resources"] = json!({ "requests": requests, "limits": limits });
    doc
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_what_is_taken_is_charged() {
    let cluster = cluster().await;
    cluster
        .quota(
            "small",
            json!({ "hard": { "pods": "2", "requests.cpu": "1", "limits.memory": "1Gi", "configmaps": "1" } }),
        )
        .await;
    cluster.refused("pods", pod("a"), "pods \"a\" is forbidden: failed quota: small: must specify limits.memory for: main; requests.cpu for: main").await;
    let some = |name: &str| sized(name, json!({ "cpu": "400m" }), json!({ "memory": "512Mi" }));
    cluster.create("pods", "default", some("a")).await.unwrap();
    let used = json!({ "pods": "1", "requests.cpu": "400m", "limits.memory": "512Mi", "configmaps": "0" });
    assert_eq!(cluster.used("small").await, used);
    let much = sized("b", json!({ "cpu": "700m" }), json!({ "memory": "1Gi" }));
    cluster
        .refused(
            "pods",
            much,
            "pods \"b\" is forbidden: exceeded quota: small, requested: limits.memory=1Gi,requests.cpu=700m, \
             used: limits.memory=512Mi,requests.cpu=400m, limited: limits.memory=1Gi,requests.cpu=1",
        )
        .await;
    let dry = WriteOptions { dry_run: true, ..strict() };
    let at = target("pods", "default", "");
    cluster.registry.create(&cluster.cx, &at, some("b"), &dry).await.unwrap();
    assert_eq!(cluster.used("small").await, used, "a dry run charges nothing");
    cluster.create("pods", "default", some("b")).await.unwrap();
    cluster
        .refused(
            "pods",
            some("c"),
            "exceeded quota: small, requested: limits.memory=512Mi,pods=1,requests.cpu=400m, \
             used: limits.memory=1Gi,pods=2,requests.cpu=800m, limited: limits.memory=1Gi,pods=2,requests.cpu=1",
        )
        .await;
    assert_eq!(cluster.registry.create(&cluster.cx, &at, some("c"), &dry).await.unwrap_err().code(), 403);
    cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    cluster
        .refused(
            "configmaps",
            config_map("b", json!({})),
            "exceeded quota: small, requested: configmaps=1, used: configmaps=1, limited: configmaps=1",
        )
        .await;

    // A pod that has ended uses nothing, once it is counted.
    let mut doc = cluster.get("pods", "default", "a").await.unwrap();
    doc["status"]["phase"] = json!("Succeeded");
    cluster.update_part("pods", "status", doc).await.unwrap();
    cluster.count("small").await;
    cluster.create("pods", "default", some("c")).await.unwrap();
    // A status says what is so, whatever is bounded.
    let mut doc = cluster.get("pods", "default", "a").await.unwrap();
    doc["status"]["phase"] = json!("Running");
    cluster.update_part("pods", "status", doc).await.unwrap();
    assert_eq!(cluster.used("small").await["pods"], "3");
}

#[tokio::test]
async fn every_kind_can_be_counted() {
    let cluster = cluster().await;
    let _task = cluster.registry.start_custom_kinds().await.unwrap();
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": "tills.shop.example.com" },
        "spec": { "group": "shop.example.com", "scope": "Namespaced", "names": { "plural": "tills", "kind": "Till" },
            "versions": [{ "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] },
    });
    cluster.create("apiextensions.k8s.io/customresourcedefinitions", "", definition).await.unwrap();
    let hard = json!({ "count/tills.shop.example.com": "1", "count/deployments.apps": "1", "secrets": "1", "count/secrets": "5",
        "resourcequotas": "2", "services": "1" });
    cluster.quota("counts", json!({ "hard": hard })).await;
    let till =
        |name: &str| json!({ "apiVersion": "shop.example.com/v1", "kind": "Till", "metadata": { "name": name } });
    let secret = |name: &str| json!({ "metadata": { "name": name }, "stringData": { "a": "1" } });
    for (resource, one, two, expected) in [
        ("shop.example.com/tills", till("a"), till("b"), "count/tills.shop.example.com=1"),
        ("apps/deployments", deployment("a"), deployment("b"), "count/deployments.apps=1"),
        ("secrets", secret("a"), secret("b"), "secrets=1"),
    ] {
        cluster.create(resource, "default", one).await.unwrap();
        cluster.refused(resource, two, &format!("requested: {expected}, used: {expected}, limited: {expected}")).await;
    }
    cluster.quota("other", json!({ "hard": { "pods": "1" } })).await;
    let third = json!({ "metadata": { "name": "third" }, "spec": { "hard": { "pods": "1" } } });
    cluster
        .refused(QUOTAS, third, "requested: resourcequotas=1, used: resourcequotas=2, limited: resourcequotas=2")
        .await;
    cluster.create("events", "default", event("e")).await.unwrap();
    assert_eq!(cluster.used("counts").await["services"], "1", "the Service kubernetes");
}

fn event(name: &str) -> Json {
    json!({ "metadata": { "name": name, "namespace": "default" },
        "involvedObject": { "kind": "Pod", "name": "a", "namespace": "default" }, "reason": "Tested", "type": "Normal" })
}

#[tokio::test]
async fn changes_are_charged_by_what_they_add() {
    let cluster = cluster().await;
    let gold = "gold.storageclass.storage.k8s.io/requests.storage";
    cluster.quota("q", json!({ "hard": { "services.nodeports": "2", "services.loadbalancers": "0", "requests.storage": "3Gi", gold: "2Gi" } })).await;
    cluster.quota("ends", json!({ "hard": { "pods": "1" }, "scopes": ["Terminating"] })).await;
    let service = |kind: &str| json!({ "metadata": { "name": "web" }, "spec": { "type": kind, "ports": [{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }] } });
    cluster.create("services", "default", service("ClusterIP")).await.unwrap();
    assert_eq!(cluster.used("q").await["services.nodeports"], "0");
    cluster.merge("services", "web", json!({ "spec": { "type": "NodePort" } })).await.unwrap();
    assert_eq!(cluster.used("q").await["services.nodeports"], "2");
    let refused = cluster.merge("services", "web", json!({ "spec": { "type": "LoadBalancer" } })).await.unwrap_err();
    assert!(
        refused.message().ends_with(
            "requested: services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0"
        ),
        "{refused}"
    );
    cluster.merge("services", "web", json!({ "spec": { "type": "ClusterIP" } })).await.unwrap();
    assert_eq!(cluster.used("q").await["services.nodeports"], "2", "only the controller gives back");
    cluster.count("q").await;
    assert_eq!(cluster.used("q").await["services.nodeports"], "0");

    cluster
        .create(
            "storage.k8s.io/storageclasses",
            "",
            json!({ "metadata": { "name": "gold" }, "provisioner": "x.io/y", "allowVolumeExpansion": true }),
        )
        .await
        .unwrap();
    let claim = |name: &str, size: &str| {
        json!({ "metadata": { "name": name }, "spec": { "storageClassName": "gold", "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": size } } } })
    };
    cluster.create("persistentvolumeclaims", "default", claim("data", "1Gi")).await.unwrap();
    let mut bound = cluster.get("persistentvolumeclaims", "default", "data").await.unwrap();
    bound["status"] = json!({ "phase": "Bound" });
    cluster.update_part("persistentvolumeclaims", "status", bound).await.unwrap();
    let grow = |size: &str| json!({ "spec": { "resources": { "requests": { "storage": size } } } });
    cluster.merge("persistentvolumeclaims", "data", grow("2Gi")).await.unwrap();
    let used = cluster.used("q").await;
    assert_eq!((&used["requests.storage"], &used[gold]), (&json!("2Gi"), &json!("2Gi")));
    let refused = cluster.merge("persistentvolumeclaims", "data", grow("3Gi")).await.unwrap_err();
    assert!(
        refused.message().ends_with(&format!("requested: {gold}=1Gi, used: {gold}=2Gi, limited: {gold}=2Gi")),
        "{refused}"
    );

    // A pod that comes to have a deadline comes into the scope of those that have one.
    for name in ["a", "b"] {
        cluster.create("pods", "default", pod(name)).await.unwrap();
    }
    let deadline = json!({ "spec": { "activeDeadlineSeconds": 60 } });
    cluster.merge("pods", "a", deadline.clone()).await.unwrap();
    assert_eq!(cluster.used("ends").await["pods"], "1");
    let refused = cluster.merge("pods", "b", deadline).await.unwrap_err();
    assert!(
        refused.message().ends_with("exceeded quota: ends, requested: pods=1, used: pods=1, limited: pods=1"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_quota_that_was_not_counted_yet() {
    let cluster = cluster().await;
    let spec = json!({ "hard": { "pods": "1", "cpu": "1" } });
    cluster.create(QUOTAS, "default", json!({ "metadata": { "name": "q" }, "spec": spec })).await.unwrap();
    cluster.create("pods", "default", pod("before")).await.unwrap();
    let mut doc = cluster.get(QUOTAS, "default", "q").await.unwrap();
    doc["status"] = json!({ "hard": { "pods": "1", "cpu": "1" }, "used": { "pods": "1" } });
    cluster.update_part(QUOTAS, "status", doc).await.unwrap();
    let asks = sized("a", json!({ "cpu": "1" }), json!({}));
    cluster.refused("pods", asks, "status unknown for quota: q, resources: cpu,pods").await;
    cluster.create("configmaps", "default", config_map("other", json!({}))).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_its_node_kept_is_counted_and_not_refused() {
    let cluster = cluster().await;
    cluster.quota("none", json!({ "hard": { "pods": "0" } })).await;
    let mut kept = pod("kept");
    kept["spec"]["nodeName"] = json!("edge-1");
    kept["metadata"]["uid"] = json!("2c7d0c5e-0000-4000-8000-000000000001");
    kept["status"] = json!({ "phase": "Running" });
    let cx = with_extension(&cluster.cx, CommitWith { adopts: true, ..CommitWith::default() });
    cluster.registry.create(&cx, &target("pods", "default", ""), kept, &WriteOptions::default()).await.unwrap();
    assert_eq!(cluster.used("none").await["pods"], "1");
}

/// What a racer does to a pod of its own.
#[derive(Clone, Debug)]
enum Step {
    Create(u8),
    End,
    Delete,
    Deadline,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..4).prop_map(Step::Create),
        1 => Just(Step::End),
        2 => Just(Step::Delete),
        1 => Just(Step::Deadline),
    ];
    prop::collection::vec(step, 1..8)
}

async fn race(cluster: &Cluster, racer: usize, steps: &[Step]) {
    let mut names: Vec<String> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let last = names.last().cloned().unwrap_or_default();
        match step {
            Step::Create(cpu) => {
                let name = format!("p{racer}-{number}");
                match cluster
                    .create("pods", "default", sized(&name, json!({ "cpu": cpu.to_string() }), json!({})))
                    .await
                {
                    Ok(_) => names.push(name),
                    Err(status) => assert!(status.message().contains("exceeded quota"), "{status}"),
                }
            }
            _ if last.is_empty() => {}
            Step::End => {
                let at = target("pods", "default", &last).with_subresource("status");
                let patch = Patch { patch_type: PatchType::Merge, body: json!({ "status": { "phase": "Failed" } }) };
                cluster.registry.patch(&cluster.cx, &at, patch, &WriteOptions::default()).await.unwrap();
            }
            Step::Delete => {
                cluster.delete("pods", "default", &last).await.unwrap();
                names.pop();
            }
            Step::Deadline => {
                let result = cluster.merge("pods", &last, json!({ "spec": { "activeDeadlineSeconds": 50 } })).await;
                assert!(result.is_ok() || result.unwrap_err().message().contains("exceeded quota"));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// While many write, and quotas come and are counted, there is never more than is allowed, no quota says less than there
    /// is, and once all is quiet they say exactly what there is.
    #[test]
    fn quotas_hold_while_many_write(racers in prop::collection::vec(steps(), 2..6)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = cluster().await;
            let all = json!({ "hard": { "pods": "4", "requests.cpu": "8", "count/pods": "6" } });
            let scoped = json!({ "hard": { "pods": "2" }, "scopes": ["Terminating"] });
            cluster.quota("all", all.clone()).await;
            let mut watch = cluster.watch(QUOTAS, ListOptions::default()).await;
            let late = async {
                cluster.quota("ends", scoped).await;
                for round in ["1", "2", "3", "4"] {
                    cluster.quota(&format!("late-{round}"), json!({ "hard": { "pods": "99", "count/pods": "99" } })).await;
                    // What else is written to a quota meanwhile stays.
                    let note = json!({ "metadata": { "annotations": { "round": round } } });
                    cluster.merge(QUOTAS, "all", note).await.unwrap();
                    cluster.count("all").await;
                    cluster.count("ends").await;
                    let doc = cluster.get(QUOTAS, "default", "all").await.unwrap();
                    assert_eq!(doc["metadata"]["annotations"]["round"], round);
                }
            };
            let work = join_all(racers.iter().enumerate().map(|(racer, steps)| race(&cluster, racer, steps)));
            futures_util::join!(work, late);
            for name in ["all", "ends", "late-1", "late-2", "late-3", "late-4"] {
                let doc = cluster.get(QUOTAS, "default", name).await.unwrap();
                let (there, used) = (cluster.there_is(&doc).await, quota::amounts(Some(&doc["status"]["used"])));
                for (resource, amount) in &there {
                    assert!(amount.milli() <= used[resource].milli(), "{name} says less of {resource} than there is: {doc}");
                }
                cluster.count(name).await;
                let doc = cluster.get(QUOTAS, "default", name).await.unwrap();
                assert!(quota::same(&quota::amounts(Some(&doc["status"]["used"])), &there));
            }
            // Each version of the quota that was there from the start kept to its bounds.
            cluster.create(QUOTAS, "default", json!({ "metadata": { "name": "last" }, "spec": { "hard": {} } })).await.unwrap();
            loop {
                let event = watch.next().await.unwrap().unwrap();
                if event.object.meta.name == "last" {
                    break;
                }
                let doc = event.object.to_json();
                for (resource, used) in quota::amounts(Some(&doc["status"]["used"])) {
                    let bound = quota::amounts(Some(&doc["status"]["hard"]))[&resource];
                    let late = event.object.meta.name != "all";
                    assert!(late || used.milli() <= bound.milli(), "{doc}");
                }
            }
        });
    }
}
