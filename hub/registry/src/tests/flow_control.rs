//! The flow-control objects that every cluster has
//! (<https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>).

use super::*;

const SCHEMAS: &str = "flowcontrol.apiserver.k8s.io/flowschemas";
const LEVELS: &str = "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations";

async fn names(cluster: &Cluster, resource: &str) -> Vec<String> {
    let all = cluster.registry.list(&cluster.cx, &target(resource, "", ""), &ListOptions::default()).await.unwrap();
    all.items.iter().map(|object| object.meta.name.clone()).collect()
}

#[tokio::test]
async fn they_are_there_and_kept() {
    let cluster = cluster().await;
    assert_eq!(
        names(&cluster, LEVELS).await,
        [
            "catch-all",
            "exempt",
            "global-default",
            "leader-election",
            "node-high",
            "system",
            "workload-high",
            "workload-low"
        ]
    );
    let schemas = names(&cluster, SCHEMAS).await;
    assert_eq!(schemas.len(), 11);
    for name in &schemas {
        let level = cluster.get(SCHEMAS, "", name).await.unwrap()["spec"]["priorityLevelConfiguration"]["name"].clone();
        cluster.get(LEVELS, "", level.as_str().unwrap()).await.unwrap_or_else(|err| panic!("{name}: {err}"));
    }
    let refused = cluster.update(SCHEMAS, {
        let mut doc = cluster.get(SCHEMAS, "", "exempt").await.unwrap();
        doc["spec"]["rules"][0]["subjects"][0]["group"]["name"] = json!("others");
        doc
    });
    assert!(refused.await.unwrap_err().message().contains("spec of 'exempt' must equal the fixed value"));

    // What was changed is put back, but not where the operator said that it is his; what was deleted comes again.
    for (name, keep) in [("system-nodes", true), ("probes", false)] {
        let mut doc = cluster.get(SCHEMAS, "", name).await.unwrap();
        doc["spec"]["matchingPrecedence"] = json!(700);
        doc["metadata"]["annotations"]["apf.kubernetes.io/autoupdate-spec"] = json!(keep.to_string());
        cluster.update(SCHEMAS, doc).await.unwrap();
    }
    cluster.delete(SCHEMAS, "", "catch-all").await.unwrap();
    let before = cluster.get(LEVELS, "", "system").await.unwrap();
    cluster.registry.ensure_defaults(6443).await.unwrap();
    let precedence =
        async |name: &str| cluster.get(SCHEMAS, "", name).await.unwrap()["spec"]["matchingPrecedence"].clone();
    assert_eq!(precedence("system-nodes").await, 500);
    assert_eq!(precedence("probes").await, 700);
    assert_eq!(precedence("catch-all").await, 10_000);
    assert_eq!(cluster.get(LEVELS, "", "system").await.unwrap(), before, "what is as it should be is not written");
}

/// Upstream's rules of the annotation.
#[tokio::test]
async fn the_annotation_says_whose_they_are() {
    const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
    let cluster = cluster().await;
    let annotate = async |resource: &str, name: &str, value: Json, precedence: Option<i64>| {
        let mut doc = cluster.get(resource, "", name).await.unwrap();
        doc["metadata"]["annotations"][AUTO_UPDATE] = value;
        if let Some(precedence) = precedence {
            doc["spec"]["matchingPrecedence"] = json!(precedence);
        }
        cluster.update(resource, doc).await.unwrap();
    };
    // A mandatory one is never the operator's. One without a word is the server's until its spec was changed.
    annotate(SCHEMAS, "catch-all", json!("false"), None).await;
    annotate(SCHEMAS, "system-nodes", json!("maybe"), None).await;
    annotate(SCHEMAS, "probes", json!("maybe"), Some(3)).await;
    // The shares of the exempt level are the operator's.
    let mut exempt = cluster.get(LEVELS, "", "exempt").await.unwrap();
    exempt["spec"]["exempt"]["nominalConcurrencyShares"] = json!(7);
    cluster.update(LEVELS, exempt).await.unwrap();
    // What another version made goes; what an operator made stays.
    let own = json!({ "spec": { "type": "Limited", "limited": { "limitResponse": { "type": "Reject" } } } });
    let named = |name: &str, annotations: Json| {
        let mut doc = own.clone();
        doc["metadata"] = json!({ "name": name, "annotations": annotations });
        doc
    };
    cluster.create(LEVELS, "", named("former", json!({ AUTO_UPDATE: "true" }))).await.unwrap();
    cluster.create(LEVELS, "", named("kept", json!({ AUTO_UPDATE: "false" }))).await.unwrap();
    cluster.create(LEVELS, "", named("own", json!({}))).await.unwrap();
    cluster.registry.ensure_defaults(6443).await.unwrap();
    let said = async |name: &str| {
        let doc = cluster.get(SCHEMAS, "", name).await.unwrap();
        (doc["metadata"]["annotations"][AUTO_UPDATE].clone(), doc["spec"]["matchingPrecedence"].clone())
    };
    assert_eq!(said("catch-all").await, (json!("true"), json!(10_000)));
    assert_eq!(said("system-nodes").await, (json!("true"), json!(500)));
    assert_eq!(said("probes").await, (json!("false"), json!(3)));
    let exempt = cluster.get(LEVELS, "", "exempt").await.unwrap();
    assert_eq!(exempt["spec"]["exempt"]["nominalConcurrencyShares"], 7);
    let left = names(&cluster, LEVELS).await;
    assert!(!left.contains(&"former".to_string()), "{left:?}");
    assert!(left.contains(&"kept".to_string()) && left.contains(&"own".to_string()), "{left:?}");
}
