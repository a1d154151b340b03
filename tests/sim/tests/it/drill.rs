//! Drills, and what a node says of its readiness to be without the hub.

use crate::stage::{Stage, is_ready};
use holdfast_core::Status;
use holdfast_node::drill::DrillReport;
use holdfast_sim::checks::text;
use holdfast_sim_world::Universe;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

type Answer = Arc<Mutex<Option<Result<DrillReport, Status>>>>;

/// Starts a drill on the first node; the answer comes into the slot.
fn drill(stage: &Stage, seconds: u64, stop: Arc<Notify>) -> Answer {
    let commands = stage.cluster.nodes[0].commands().expect("the agent runs");
    let answer = Answer::default();
    let slot = answer.clone();
    let run = async move {
        let report = commands.drill(Duration::from_secs(seconds), stop.notified()).await;
        *slot.lock().unwrap() = Some(report);
    };
    stage.cluster.universe.spawn(Universe::NOBODY, "drill", Box::pin(run));
    answer
}

fn taken(stage: &Stage, answer: &Answer, seconds: u64) -> Result<DrillReport, Status> {
    stage.until("the drill ends", seconds, |_| answer.lock().unwrap().is_some());
    answer.lock().unwrap().take().unwrap()
}

/// Status and message of the condition, as the hub has it.
fn offline_ready(conditions: &Value) -> Option<(String, String)> {
    let condition = conditions.as_array()?.iter().find(|c| c["type"] == "edge.holdfast.io/OfflineReady")?;
    Some((text(condition, &["status"]).to_string(), text(condition, &["message"]).to_string()))
}

#[test]
fn a_drill_keeps_the_link_cut_for_its_time_and_gives_it_back() {
    let stage = Stage::open(11, 1);
    stage.pod("web", 1, json!({}));
    stage.runs("web");
    // What it waits for may be older than the pod.
    stage.pass(2);
    let connected = |stage: &Stage| stage.cluster.nodes[0].is_connected();
    let answer = drill(&stage, 100, Arc::default());
    stage.until("the link is cut", 2, |c| !c.nodes[0].is_connected());
    for _ in 0..19 {
        stage.pass(5);
        assert!(!connected(&stage), "the agent dialled during the drill");
    }
    let second = drill(&stage, 10, Arc::default());
    assert_eq!(taken(&stage, &second, 2).unwrap_err().code(), 409, "one drill at a time");
    let report = taken(&stage, &answer, 10).unwrap();
    assert_eq!((report.asked_seconds, report.offline_seconds, report.was_connected), (100, 100, true));
    assert_eq!((report.pods, report.passed), (1, true), "{report:?}");
    stage.until("the link is back at once", 2, |c| c.nodes[0].is_connected());
    stage.until("the node is Ready again", 30, |c| is_ready(c, 1));
    stage.pass(5);
    stage.agree();
}

#[test]
fn a_drill_that_is_stopped_tells_what_it_saw() {
    let stage = Stage::open(12, 1);
    stage.pod("web", 1, json!({}));
    stage.runs("web");
    stage.pod(
        "lost",
        1,
        json!({"containers": [{"name": "main", "image": "docker.io/library/missing:1", "args": ["run"]}]}),
    );
    stage.pass(10);
    let stop = Arc::new(Notify::new());
    let answer = drill(&stage, 3600, stop.clone());
    stage.pass(30);
    stop.notify_one();
    let report = taken(&stage, &answer, 2).unwrap();
    // The node's clock drifts from ours.
    assert!((29..=31).contains(&report.offline_seconds) && !report.passed, "{report:?}");
    let would_not = "pod default/lost: image \"docker.io/library/missing:1\" of container \"main\" is not on this node";
    assert_eq!(report.would_not_come_back, [would_not]);
    assert_eq!(report.troubles, [], "the pod was not well before, so the cut is not to blame");
    stage.until("the link is back", 2, |c| c.nodes[0].is_connected());
}

#[test]
fn pods_and_node_say_at_the_hub_what_they_lack() {
    let stage = Stage::open(13, 1);
    stage.pod("web", 1, json!({}));
    stage.runs("web");
    let of_pod = |name: &str| {
        let end = stage.cluster.end();
        let pod = end.pods.values().find(|pod| text(pod, &["metadata", "name"]) == name).cloned();
        pod.and_then(|pod| offline_ready(&pod["status"]["conditions"]))
    };
    let of_node = || offline_ready(&stage.cluster.end().nodes["edge-1"]["status"]["conditions"]);
    stage.until("web is offline-ready", 30, |_| of_pod("web").is_some_and(|(status, _)| status == "True"));
    stage.until("the node is offline-ready", 30, |_| of_node().is_some_and(|(status, _)| status == "True"));
    let volume = json!({"volumes": [{"name": "share", "nfs": {"server": "s", "path": "/"}}]});
    stage.pod("away", 1, volume);
    stage.until("away is not", 30, |_| {
        of_pod("away") == Some(("False".into(), "volume \"share\" is not on this node".into()))
    });
    stage.until("nor is the node", 30, |_| of_node() == Some(("False".into(), "pod default/away is not ready".into())));
    stage.delete("pods", "away");
    stage.until("the node is again", 60, |_| of_node().is_some_and(|(status, _)| status == "True"));
}
