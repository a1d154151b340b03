//! Bits of a node's store flip.

use crate::stage::{Stage, is_ready};
use holdfast_edge_store::{Gap, Record};
use holdfast_sim::checks::text;
use holdfast_sim::ledger::{Seen, json};
use holdfast_sim_world::Universe;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Messages of the node's Events at the hub, by reason.
fn events(stage: &Stage, reason: &str) -> Vec<String> {
    let all = stage.cluster.hub.log.under("/registry/core/events/");
    let all = all.into_iter().map(|(_, value)| json(&value)).filter(|event| text(event, &["reason"]) == reason);
    all.map(|event: Value| text(&event, &["message"]).to_string()).collect()
}

/// Flips a bit in each of these places of a file.
fn flip(stage: &Stage, file: &str, places: &[usize]) {
    let node = &stage.cluster.nodes[0];
    places.iter().for_each(|at| assert!(node.machine.disk().flip_bit(file, *at, 1)));
    stage.cluster.ledger.see(&Seen::Flipped { node: 1 });
}

fn running(stage: &Stage) -> BTreeMap<String, Vec<String>> {
    stage.cluster.end().machines[0].running.clone()
}

#[test]
fn a_damaged_journal_leaves_running_pods_alone_until_the_hub_has_spoken() {
    let stage = Stage::open(1, 1);
    stage.pod("first", 1, json!({}));
    stage.pod("second", 1, json!({}));
    stage.pod("third", 1, json!({}));
    ["first", "second", "third"].iter().for_each(|name| stage.runs(name));
    let before = running(&stage);
    assert_eq!(before.len(), 3);
    stage.cut(1, true);
    stage.cluster.nodes[0].kill_agent();
    flip(&stage, "journal/0000000000000001.log", &[20]);
    stage.until("the agent is back", 30, |c| c.nodes[0].store().is_some());
    let store = stage.cluster.nodes[0].store().unwrap();
    assert_eq!(store.read(|state| state.items().len()), 0, "the first frame is damaged");
    drop(store);
    stage.pass(300);
    assert_eq!(running(&stage), before, "nothing is known of them, and nothing is done to them");
    stage.delete("pods", "third");
    stage.cut(1, false);
    stage.until("what was deleted meanwhile is gone", 120, |_| running(&stage).len() == 2);
    ["first", "second"].iter().for_each(|name| stage.runs(name));
    let mut after = before;
    after.retain(|uid, _| running(&stage).contains_key(uid));
    assert_eq!(running(&stage), after, "the others still run as they did");
    // It has lost its own Node too, and tells that it has a network once it knows of it again.
    stage.until("the node is Ready again", 30, |c| is_ready(c, 1));
    stage.agree();
    assert_eq!(events(&stage, "StoreRepaired").len(), 1);
    assert_eq!(events(&stage, "EventsLost").len(), 1);
    // It is not said again.
    stage.cluster.nodes[0].kill_agent();
    stage.pass(60);
    assert_eq!(events(&stage, "StoreRepaired").len(), 1);
    stage.agree();
}

#[test]
fn a_node_whose_session_is_unreadable_is_let_in_and_keeps_nothing_back() {
    let stage = Stage::open(2, 1);
    stage.pod("first", 1, json!({}));
    stage.runs("first");
    // Some sessions, so that an older one would pass for a cloned card.
    for _ in 0..3 {
        stage.cluster.nodes[0].kill_agent();
        stage.pass(1);
        stage.until("the node is back", 60, |c| c.nodes[0].is_connected());
    }
    let starts = events(&stage, "Starting").len();
    stage.cluster.nodes[0].kill_agent();
    flip(&stage, "vitals", &[20, 276, 532, 788]);
    stage.pass(5);
    stage.until("the node is back", 60, |c| c.nodes[0].is_connected());
    stage.pod("second", 1, json!({}));
    stage.runs("second");
    stage.until("the last start is told", 60, |_| events(&stage, "Starting").len() > starts);
    stage.agree();
}

#[test]
fn events_that_gave_way_are_told_once_with_their_number() {
    let stage = Stage::open(3, 1);
    stage.cut(1, true);
    stage.pass(60);
    let store = stage.cluster.nodes[0].store().unwrap();
    let many = {
        let store = store.clone();
        async move {
            for number in 0..80 {
                let body = json!({
                    "apiVersion": "v1", "kind": "Event", "reason": "Many", "message": "x".repeat(60_000),
                    "metadata": {"name": format!("many.{number}"), "namespace": "default"},
                    "involvedObject": {"kind": "Node", "name": "edge-1"}, "source": {"host": "edge-1"},
                });
                store.log_fact(body.to_string().into()).await.unwrap();
            }
            // Facts are lazy: what syncs next takes them along.
            store.commit(vec![Record::PutNote { key: "test".into(), value: vec![1] }]).await.unwrap();
        }
    };
    let gap = |stage: &Stage| -> Option<Gap> { stage.cluster.nodes[0].store()?.read(|state| state.outbox().gap()) };
    stage.cluster.universe.spawn(Universe::NOBODY, "many", Box::pin(many));
    stage.pass(60);
    let count = gap(&stage).unwrap().count;
    assert!(count > 5, "{count}");
    drop(store);
    // Nobody listens yet, so it may still grow; a restart changes nothing about it.
    stage.cluster.nodes[0].kill_agent();
    stage.pass(60);
    stage.cut(1, false);
    stage.until("the gap is told", 120, |_| !events(&stage, "EventsLost").is_empty());
    stage.pass(60);
    stage.cluster.nodes[0].kill_agent();
    stage.pass(60);
    let told = events(&stage, "EventsLost");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(gap(&stage), None);
    assert!(told[0].contains("events of this node were lost") && told[0].contains("2026-"), "{told:?}");
    stage.agree();
}

#[test]
fn a_restored_hub_hears_again_what_it_had_acknowledged() {
    let stage = Stage::open(4, 1);
    let backup = stage.cluster.hub.log.backup();
    let before = events(&stage, "Started").len();
    stage.pod("first", 1, json!({"restartPolicy": "Always"}));
    stage.runs("first");
    stage.until("its start is told", 60, |_| events(&stage, "Started").len() > before);
    stage.cluster.hub.kill();
    stage.cluster.hub.restore(&backup, 2);
    assert_eq!(events(&stage, "Started").len(), before);
    stage.cluster.hub.start();
    stage.until("it is told again", 120, |_| events(&stage, "Started").len() > before);
    stage.pass(60);
    assert_eq!(events(&stage, "Started").len(), before + 1);
}
