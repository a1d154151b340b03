//! The agent is killed after every durable write in turn, before it hears that the write is durable: no container is
//! touched by that, none runs twice, and node and hub come to the same.

use crate::stage::Stage;
use holdfast_controller::Client;
use holdfast_core::{Gvr, Patch, PatchType, Target};
use holdfast_sim::checks::text;
use serde_json::json;

/// What a pod's main container says of itself at the hub.
fn container(stage: &Stage, name: &str) -> Option<serde_json::Value> {
    let end = stage.cluster.end();
    let pod = end.pods.values().find(|pod| text(pod, &["metadata", "name"]) == name)?;
    Some(pod["status"]["containerStatuses"][0].clone())
}

/// One day of a node, whose agent is killed after so many syncs; the syncs that there were.
fn day(kill_after: u64) -> u64 {
    let stage = Stage::open(7, 1);
    let node = stage.cluster.nodes[0].clone();
    stage.create("configmaps", json!({"metadata": {"name": "settings"}, "data": {"a": "1"}}));
    stage.pod("steady", 1, json!({}));
    stage.runs("steady");
    stage.pass(5);
    let steady = container(&stage, "steady").unwrap();
    let disk = node.machine.disk();
    let (_, before) = disk.written();
    disk.kill_after_syncs(kill_after);
    stage.pod("web", 1, json!({"volumes": [{"name": "c", "configMap": {"name": "settings"}}]}));
    let once = json!([{"name": "main", "image": "registry.local/app:1", "args": ["exit", "3", "4"]}]);
    stage.pod("once", 1, json!({"restartPolicy": "Never", "containers": once}));
    stage.runs("web");
    let patch = Patch { patch_type: PatchType::Merge, body: json!({"data": {"a": "2"}}) };
    let settings = Target::object(Gvr::new("", "v1", "configmaps"), "default", "settings");
    stage.ask(|client| async move { client.patch(&settings, patch).await.map(drop) }).unwrap();
    stage.until("the pod that runs once has ended", 120, |_| {
        container(&stage, "once").is_some_and(|status| status["state"]["terminated"].is_object())
    });
    stage.delete("pods", "web");
    stage.until("the deleted pod has gone", 120, |_| container(&stage, "web").is_none());
    stage.until("the node is linked", 120, |c| c.nodes[0].is_connected());
    stage.pass(60);
    stage.agree();
    let ended = &container(&stage, "once").unwrap()["state"]["terminated"];
    assert_eq!(ended["exitCode"], 3, "killed after {kill_after} syncs: {ended}");
    let now = container(&stage, "steady").unwrap();
    for field in ["containerID", "restartCount", "state"] {
        assert_eq!(now[field], steady[field], "killed after {kill_after} syncs: {field}");
    }
    disk.written().1 - before
}

#[test]
fn the_agent_is_killed_after_every_durable_write_in_turn() {
    let quiet = day(u64::MAX);
    assert!(quiet > 10, "only {quiet} syncs");
    for sync in 1..=quiet {
        day(sync);
    }
}
