//! Evictions (<https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>).

use super::*;
use holdfast_core::{DeleteOptions, Reason};

const PDBS: &str = "policy/poddisruptionbudgets";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

fn eviction(name: &str, options: Json) -> Json {
    let mut doc = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    if !options.is_null() {
        doc["deleteOptions"] = options;
    }
    doc
}

impl Cluster {
    async fn evict(&self, name: &str, options: Json) -> Result<Arc<Object>, Status> {
        self.evict_with(name, eviction(name, options), &strict()).await
    }

    async fn evict_with(&self, name: &str, doc: Json, options: &WriteOptions) -> Result<Arc<Object>, Status> {
        let at = target("pods", "default", name).with_subresource("eviction");
        self.registry.create(&self.cx, &at, doc, options).await
    }

    /// A pod on a node, in a phase, ready or not.
    async fn running(&self, name: &str, phase: &str, ready: bool) {
        let mut doc = pod(name);
        doc["metadata"]["labels"] = json!({ "app": "web" });
        doc["spec"]["nodeName"] = json!("n1");
        let mut made = self.create("pods", "default", doc).await.unwrap().to_json();
        made["status"] = json!({ "phase": phase, "conditions": [
            { "type": "Ready", "status": if ready { "True" } else { "False" } }] });
        self.update_part("pods", "status", made).await.unwrap();
    }

    async fn budget(&self, name: &str, spec: Json, status: Json) {
        let mut spec = spec;
        if spec["selector"].is_null() {
            spec["selector"] = json!({ "matchLabels": { "app": "web" } });
        }
        let doc = json!({ "metadata": { "name": name }, "spec": spec });
        let mut made = self.create(PDBS, "default", doc).await.unwrap().to_json();
        made["status"] =
            json!({ "disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0 });
        for (field, value) in status.as_object().unwrap() {
            made["status"][field] = value.clone();
        }
        self.update_part(PDBS, "status", made).await.unwrap();
    }
}

fn cause(status: &Status) -> (String, String) {
    let cause = &status.details().unwrap().causes[0];
    (cause.reason.clone(), cause.message.clone())
}

#[tokio::test]
async fn a_budget_is_taken_from_and_then_refuses() {
    let cluster = cluster().await;
    for name in ["a", "b"] {
        cluster.running(name, "Running", true).await;
    }
    cluster
        .budget(
            "web",
            json!({ "minAvailable": 1 }),
            json!({ "observedGeneration": 1, "disruptionsAllowed": 1,
            "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2 }),
        )
        .await;
    let before = cluster.get(PDBS, "default", "web").await.unwrap();
    let dry = WriteOptions { dry_run: true, ..strict() };
    cluster.evict_with("a", eviction("a", Json::Null), &dry).await.unwrap();
    cluster.evict("a", json!({ "dryRun": ["All"] })).await.unwrap();
    assert_eq!(cluster.get(PDBS, "default", "web").await.unwrap(), before);

    let answer = cluster.evict("a", json!({ "gracePeriodSeconds": 7 })).await.unwrap().to_json();
    assert_eq!((&answer["kind"], &answer["status"]), (&json!("Status"), &json!("Success")));
    let gone = cluster.get("pods", "default", "a").await.unwrap();
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 7);
    let condition = gone["status"]["conditions"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&condition["type"], &condition["status"], &condition["reason"], &condition["message"]),
        (&json!("DisruptionTarget"), &json!("True"), &json!("EvictionByEvictionAPI"), &json!("Eviction API: evicting"))
    );
    let budget = cluster.get(PDBS, "default", "web").await.unwrap();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["a"].is_string());
    assert_eq!(budget["status"]["conditions"][0]["reason"], "InsufficientPods");
    assert_eq!(
        budget["metadata"]["resourceVersion"], gone["metadata"]["resourceVersion"],
        "both were written at once, or neither"
    );

    let refused = cluster.evict("b", Json::Null).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (429, REFUSED));
    assert_eq!(refused.details().unwrap().retry_after_seconds, None);
    let why = "The disruption budget web needs 1 healthy pods and has 2 currently";
    assert_eq!(cause(&refused), ("DisruptionBudget".into(), why.into()));
    assert_eq!(cluster.get("pods", "default", "b").await.unwrap()["metadata"].get("deletionTimestamp"), None);
    // A pod that is going already goes on, whatever the budget says.
    cluster.evict("a", Json::Null).await.unwrap();
}

#[tokio::test]
async fn who_may_not_be_counted_yet_waits() {
    let cluster = cluster().await;
    cluster.running("a", "Running", true).await;
    let status = json!({ "observedGeneration": 0, "disruptionsAllowed": 5 });
    cluster.budget("web", json!({ "minAvailable": 0 }), status).await;
    let refused = cluster.evict("a", Json::Null).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (429, REFUSED));
    assert_eq!(refused.details().unwrap().retry_after_seconds, Some(10));
    assert_eq!(cause(&refused).1, "The disruption budget web is still being processed by the server.");

    let status = json!({ "observedGeneration": 1, "conditions": [{ "type": "DisruptionAllowed", "status": "False",
        "reason": "SyncFailed", "message": "no scale", "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
    cluster.delete(PDBS, "default", "web").await.unwrap();
    cluster.budget("web", json!({ "maxUnavailable": 1 }), status).await;
    let refused = cluster.evict("a", Json::Null).await.unwrap_err();
    let why = "The disruption budget web does not allow evicting pods currently because it failed sync: no scale";
    assert_eq!(cause(&refused).1, why);

    cluster.budget("more", json!({ "selector": {} }), json!({ "observedGeneration": 1 })).await;
    let refused = cluster.evict("a", Json::Null).await.unwrap_err();
    let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
    assert_eq!((refused.code(), refused.message()), (500, why));
}

/// Phase, ready, policy, healthy and desired pods; whether a budget of nothing lets it go.
#[tokio::test]
async fn what_disturbs_nobody_goes_without_the_budget() {
    let cluster = cluster().await;
    for (number, (phase, ready, policy, healthy, desired, goes)) in [
        ("Running", true, "AlwaysAllow", 3, 1, false),
        ("Running", false, "IfHealthyBudget", 3, 3, true),
        ("Running", false, "IfHealthyBudget", 2, 3, false),
        ("Running", false, "IfHealthyBudget", 0, 0, false),
        ("Running", false, "AlwaysAllow", 2, 3, true),
        ("Pending", false, "IfHealthyBudget", 2, 3, true),
        ("Succeeded", false, "IfHealthyBudget", 2, 3, true),
        ("Failed", false, "IfHealthyBudget", 2, 3, true),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("p{number}");
        cluster.running(&name, phase, ready).await;
        let status = json!({ "observedGeneration": 1, "currentHealthy": healthy, "desiredHealthy": desired });
        cluster.budget("web", json!({ "minAvailable": 1, "unhealthyPodEvictionPolicy": policy }), status).await;
        let case = format!("{phase} {ready} {policy} {healthy} of {desired}");
        match cluster.evict(&name, Json::Null).await {
            Ok(_) => assert!(goes, "{case}"),
            Err(status) => assert!(!goes && status.is(Reason::TooManyRequests), "{case}: {status}"),
        }
        let budget = cluster.get(PDBS, "default", "web").await.unwrap();
        assert_eq!(budget["status"].get("disruptedPods"), None, "{case}");
        cluster.delete(PDBS, "default", "web").await.unwrap();
    }
}

#[tokio::test]
async fn evictions_that_make_no_sense_are_refused() {
    let cluster = cluster().await;
    cluster.running("a", "Running", true).await;
    let refused = cluster.evict("gone", Json::Null).await.unwrap_err();
    assert_eq!(refused.message(), "pods \"gone\" not found");
    let refused = cluster.evict_with("a", eviction("b", Json::Null), &strict()).await.unwrap_err();
    assert_eq!(refused.message(), "name in URL does not match name in Eviction object");
    let refused = cluster.evict("a", json!({ "preconditions": { "uid": "other" } })).await.unwrap_err();
    assert!(
        refused.is(Reason::Conflict) && refused.message().contains("the UID in the precondition (other)"),
        "{refused}"
    );
    let refused = cluster.evict("a", json!({ "preconditions": { "resourceVersion": "1" } })).await.unwrap_err();
    assert!(refused.is(Reason::Conflict), "{refused}");
    let refused = cluster.evict("a", json!({ "dryRun": ["Some"] })).await.unwrap_err();
    assert_eq!(refused.code(), 422, "{refused}");
    let node = RequestContext::new(UserInfo::node("n2"), "test");
    let at = target("pods", "default", "a").with_subresource("eviction");
    let refused = cluster.registry.create(&node, &at, eviction("a", Json::Null), &strict()).await.unwrap_err();
    assert_eq!(refused.code(), 403, "{refused}");
    cluster.evict("a", Json::Null).await.unwrap();
    // What runs nowhere is gone at once.
    cluster.create("pods", "default", pod("nowhere")).await.unwrap();
    cluster.evict("nowhere", Json::Null).await.unwrap();
    assert_eq!(cluster.get("pods", "default", "nowhere").await.unwrap_err().code(), 404);
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    cluster.registry.delete(&cluster.cx, &target("pods", "default", "a"), &now).await.unwrap();
}

/// Twelve at once, of which the budget allows five: exactly five go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evictions_at_the_same_time_share_nothing() {
    let cluster = Arc::new(cluster().await);
    for number in 0..12 {
        cluster.running(&format!("p{number}"), "Running", true).await;
    }
    let status = json!({ "observedGeneration": 1, "disruptionsAllowed": 5, "currentHealthy": 12, "desiredHealthy": 7 });
    cluster.budget("web", json!({ "minAvailable": 7 }), status).await;
    let all = (0..12).map(|number| {
        let cluster = cluster.clone();
        async move { cluster.evict(&format!("p{number}"), Json::Null).await.map(|_| ()) }
    });
    let results = futures_util::future::join_all(all).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5, "{results:?}");
    assert!(
        results.iter().filter_map(|result| result.as_ref().err()).all(|status| status.code() == 429),
        "{results:?}"
    );
    let budget = cluster.get(PDBS, "default", "web").await.unwrap();
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert_eq!(budget["status"]["disruptedPods"].as_object().unwrap().len(), 5);
    let mut going = 0;
    for number in 0..12 {
        let doc = cluster.get("pods", "default", &format!("p{number}")).await.unwrap();
        going += usize::from(doc["metadata"].get("deletionTimestamp").is_some());
    }
    assert_eq!(going, 5);
}
