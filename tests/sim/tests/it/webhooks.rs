//! Webhooks that judge what nodes report.

use crate::stage::{Stage, is_ready};
use holdfast_controller::Client;
use holdfast_core::{Gvr, Json, Target};
use holdfast_sim::checks::text;
use holdfast_sim::webhook::Manner;
use holdfast_sim::world::Cluster;
use serde_json::json;
use std::time::Duration;

/// Prefix of nodes' sessions in the hub's log.
const LINKS: &str = "/links/";

/// A webhook that is asked about all that nodes report.
pub(crate) fn judge(stage: &Stage) {
    let resources = ["pods", "pods/status", "nodes", "nodes/status", "leases", "events"];
    let rule = json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources});
    let hook = json!({
        "name": "judge.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://judge.example.com/"}, "rules": [rule], "failurePolicy": "Fail",
        "timeoutSeconds": 30,
        // Only what nodes write: the test itself makes pods.
        "matchConditions": [{"name": "nodes", "expression": "request.userInfo.username.startsWith('system:node:')"}],
    });
    let body = json!({"metadata": {"name": "judge"}, "webhooks": [hook]});
    let gvr = Gvr::new("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");
    let at = Target::collection(gvr, "");
    stage.ask(|client| async move { client.create(&at, body).await.map(drop) }).unwrap();
}

/// The containers of a pod that the hub knows by its name run.
pub(crate) fn started(cluster: &Cluster, name: &str) -> bool {
    let end = cluster.end();
    let uid = end.pods.iter().find(|(_, pod)| text(pod, &["metadata", "name"]) == name).map(|(uid, _)| uid.clone());
    uid.is_some_and(|uid| end.machines.iter().any(|machine| machine.running.contains_key(&uid)))
}

pub(crate) fn phase(cluster: &Cluster, name: &str) -> String {
    let pods = cluster.end().pods;
    let pod = pods.values().find(|pod| text(pod, &["metadata", "name"]) == name).cloned().unwrap_or_default();
    text(&pod, &["status", "phase"]).to_string()
}

/// The nodes' sessions: each connection has another.
fn sessions(stage: &Stage) -> Vec<Json> {
    let records = stage.cluster.hub.log.under(LINKS);
    records.iter().map(|(_, record)| serde_json::from_slice(record).unwrap()).collect()
}

/// While a webhook keeps the facts of a node waiting, everything else goes on: the node is heard and gets its pods, over
/// the one connection that it has.
fn facts_wait_and_the_link_goes_on(seed: u64, manner: Manner) {
    let stage = Stage::open(seed, 1);
    judge(&stage);
    let before = sessions(&stage);
    stage.cluster.hub.webhooks.set(manner);
    for number in 0..5 {
        let name = format!("late-{number}");
        stage.pod(&name, 1, json!({}));
        stage.until("the pod is there", 10, |cluster| started(cluster, &name));
        assert_ne!(phase(&stage.cluster, &name), "Running", "its word waits");
        // Longer than the grace, all in all.
        for _ in 0..20 {
            stage.pass(1);
            assert!(is_ready(&stage.cluster, 1) && stage.cluster.nodes[0].is_connected());
        }
    }
    stage.delete("pods", "late-0");
    stage.until("a deletion arrives as well", 10, |cluster| !started(cluster, "late-0"));
    assert_eq!(sessions(&stage), before, "the node had to connect again");
    stage.cluster.hub.webhooks.set(Manner::Quick);
    // What is being asked may time out once more, and then waits.
    let told = |cluster: &Cluster| (1..5).all(|number| phase(cluster, &format!("late-{number}")) == "Running");
    stage.until("the hub hears of all", 180, told);
    stage.pass(60);
    assert_eq!(sessions(&stage), before, "the node had to connect again");
    stage.agree();
}

#[test]
fn a_slow_webhook_delays_facts_and_nothing_else() {
    facts_wait_and_the_link_goes_on(1, Manner::Slow(Duration::from_secs(25)));
}

#[test]
fn a_webhook_that_cannot_be_asked_delays_facts_and_nothing_else() {
    facts_wait_and_the_link_goes_on(2, Manner::Gone);
}

#[test]
fn a_webhook_that_is_slower_than_it_may_be_delays_facts_and_nothing_else() {
    facts_wait_and_the_link_goes_on(3, Manner::Slow(Duration::from_secs(40)));
}

#[test]
fn facts_of_a_session_that_ended_while_a_webhook_was_asked_come_once() {
    let stage = Stage::open(4, 1);
    judge(&stage);
    stage.cluster.hub.webhooks.set(Manner::Slow(Duration::from_secs(20)));
    stage.pod("first", 1, json!({}));
    stage.until("the pod is there", 10, |cluster| started(cluster, "first"));
    // The webhook is being asked. The agent dies, and its successor has other words.
    stage.pass(5);
    stage.cluster.nodes[0].kill_agent();
    stage.pod("second", 1, json!({}));
    stage.until("the node is back", 30, |cluster| cluster.nodes[0].is_connected());
    stage.pass(60);
    stage.cluster.hub.webhooks.set(Manner::Quick);
    stage.pass(30);
    stage.runs("first");
    stage.runs("second");
    // The checkers have seen each mark and each Event once, and in order.
    stage.agree();
}
