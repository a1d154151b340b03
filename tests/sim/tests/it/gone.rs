//! Nodes that are deleted, and what comes after them.

use crate::stage::{Stage, is_ready};
use crate::webhooks::{judge, phase, started};
use holdfast_controller::Client;
use holdfast_core::{DeleteOptions, Gvr, Target};
use holdfast_sim::webhook::Manner;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

fn nodes() -> Gvr {
    Gvr::new("", "v1", "nodes")
}

fn delete_node(stage: &Stage, name: &str) {
    let at = Target::object(nodes(), "", name);
    let options = DeleteOptions::default();
    stage.ask(|client| async move { client.delete(&at, &options).await }).unwrap();
}

/// Keys of what the hub keeps of nodes beside their objects.
fn records(stage: &Stage) -> BTreeSet<String> {
    let under = |prefix: &str| stage.cluster.hub.log.under(prefix);
    let all = ["/links/", "/marks/", "/certs/"].map(under).concat();
    all.iter().map(|(key, _)| key.to_string()).collect()
}

#[test]
fn a_node_that_is_deleted_and_joins_again_under_its_name_begins_anew() {
    let stage = Stage::open(1, 2);
    stage.pod("first", 1, json!({}));
    stage.runs("first");
    let before = records(&stage);
    assert_eq!(before.len(), 6, "{before:?}");
    delete_node(&stage, "edge-1");
    let left = records(&stage);
    assert!(left.len() == 3 && left.is_subset(&before), "{left:?}");
    let node = &stage.cluster.nodes[0];
    stage.until("its machine is told", 60, |_| !node.is_connected());
    // It dials again and again.
    stage.pass(120);
    assert!(!node.is_connected());
    assert_eq!(records(&stage), left);
    node.power_off();
    node.replace_disk();
    node.power_on();
    stage.until("the new one is Ready", 60, |cluster| is_ready(cluster, 1));
    let after = records(&stage);
    assert_eq!(after.intersection(&before).cloned().collect::<BTreeSet<_>>(), left);
    assert!(after.len() > left.len());
    stage.pod("second", 1, json!({}));
    stage.runs("second");
    stage.pass(30);
    stage.agree();
}

#[test]
fn a_node_that_is_deleted_while_it_is_cut_says_nothing_any_more() {
    let stage = Stage::open(2, 1);
    stage.pod("first", 1, json!({}));
    stage.runs("first");
    stage.cut(1, true);
    // Its outbox fills: the container comes back after the power was away.
    stage.cluster.nodes[0].power_off();
    stage.cluster.nodes[0].power_on();
    stage.pass(30);
    delete_node(&stage, "edge-1");
    let another = json!({"metadata": {"name": "edge-1", "labels": {"kubernetes.io/hostname": "edge-1"}}});
    let at = Target::collection(nodes(), "");
    stage.ask(|client| async move { client.create(&at, another).await.map(drop) }).unwrap();
    let told = |stage: &Stage| {
        let events = stage.cluster.hub.log.under("/registry/core/events/");
        let of_it = |event: &[u8]| String::from_utf8_lossy(event).contains(r#""host":"edge-1""#);
        events.iter().filter(|(_, event)| of_it(event)).count()
    };
    let before = told(&stage);
    stage.cut(1, false);
    stage.pass(120);
    // Neither a session nor a mark, and nothing of what it had to tell.
    assert!(records(&stage).is_empty(), "{:?}", records(&stage));
    assert!(!is_ready(&stage.cluster, 1));
    assert_eq!(told(&stage), before);
}

#[test]
fn a_word_that_is_being_judged_when_its_node_is_deleted_takes_no_effect() {
    let stage = Stage::open(3, 1);
    judge(&stage);
    stage.cluster.hub.webhooks.set(Manner::Slow(Duration::from_secs(20)));
    stage.pod("first", 1, json!({}));
    stage.until("the pod is there", 10, |cluster| started(cluster, "first"));
    // The webhook is being asked about it.
    stage.pass(5);
    delete_node(&stage, "edge-1");
    let another = json!({"metadata": {"name": "edge-1", "labels": {"kubernetes.io/hostname": "edge-1"}}});
    let at = Target::collection(nodes(), "");
    stage.ask(|client| async move { client.create(&at, another).await.map(drop) }).unwrap();
    stage.pass(120);
    assert_ne!(phase(&stage.cluster, "first"), "Running");
    assert!(records(&stage).is_empty(), "{:?}", records(&stage));
}
