//! What becomes of pods whose node is cut.

use crate::stage::Stage;
use holdfast_kinds::fencing::ANNOTATION;
use holdfast_sim::checks::text;
use holdfast_sim::world::Cluster;
use serde_json::json;

fn is_there(cluster: &Cluster, name: &str) -> bool {
    cluster.end().pods.values().any(|pod| text(pod, &["metadata", "name"]) == name)
}

fn runs_anywhere(cluster: &Cluster) -> bool {
    cluster.end().machines.iter().any(|machine| !machine.running.is_empty())
}

fn failing_over(stage: &Stage) {
    let metadata = json!({"name": "till", "annotations": {ANNOTATION: "FailOverAfter=60s"}});
    stage.pod_with(metadata, 1, json!({}));
    stage.runs("till");
    stage.cut(1, true);
}

#[test]
fn a_pod_that_fails_over_stops_before_it_is_replaced_and_stays_so() {
    let stage = Stage::open(1, 2);
    failing_over(&stage);
    stage.pass(45);
    assert!(runs_anywhere(&stage.cluster), "its lease is not over");
    // The checker of one identity sees to the order.
    stage.until("the hub has replaced it", 150, |cluster| !is_there(cluster, "till"));
    assert!(!runs_anywhere(&stage.cluster));
    stage.cut(1, false);
    stage.until("the node is linked", 60, |cluster| cluster.nodes[0].is_connected());
    stage.pass(30);
    stage.agree();
}

#[test]
fn a_pod_that_fails_over_goes_on_where_it_is_when_the_cut_was_short() {
    let stage = Stage::open(2, 1);
    failing_over(&stage);
    stage.until("its lease is over", 90, |cluster| !runs_anywhere(cluster));
    stage.cut(1, false);
    stage.runs("till");
    stage.agree();
}

#[test]
fn a_lease_outlives_the_agent_and_not_the_boot() {
    let stage = Stage::open(3, 1);
    failing_over(&stage);
    stage.cluster.nodes[0].kill_agent();
    stage.pass(10);
    assert!(runs_anywhere(&stage.cluster), "the agent came back and let it run");
    stage.cluster.nodes[0].power_off();
    stage.cluster.nodes[0].power_on();
    stage.pass(60);
    assert!(!runs_anywhere(&stage.cluster), "how long the node was off, it cannot know");
    stage.cut(1, false);
    stage.runs("till");
}

#[test]
fn a_pod_that_is_bound_to_its_box_runs_for_ever() {
    let stage = Stage::open(4, 1);
    stage.pod("bound", 1, json!({"nodeSelector": {"kubernetes.io/hostname": "edge-1"}}));
    stage.pod("free", 1, json!({}));
    stage.runs("bound");
    stage.runs("free");
    stage.cut(1, true);
    let deleting = |cluster: &Cluster, name: &str| {
        let pods = cluster.end().pods;
        let pod = pods.values().find(|pod| text(pod, &["metadata", "name"]) == name).cloned().unwrap_or_default();
        !text(&pod, &["metadata", "deletionTimestamp"]).is_empty()
    };
    // 40 s of grace, and 300 s of tolerations.
    stage.until("the free pod is evicted", 420, |cluster| deleting(cluster, "free"));
    stage.pass(120);
    assert!(!deleting(&stage.cluster, "bound"));
    stage.cut(1, false);
    stage.until("the evicted pod is gone", 90, |cluster| !is_there(cluster, "free"));
    stage.pass(30);
    stage.agree();
}

#[test]
fn a_pod_deleted_during_a_cut_is_gone_after_it() {
    let stage = Stage::open(5, 1);
    stage.pod("old", 1, json!({}));
    stage.runs("old");
    stage.cut(1, true);
    stage.pass(20);
    stage.delete("pods", "old");
    stage.pass(200);
    assert!(runs_anywhere(&stage.cluster), "nobody has told the node");
    stage.cut(1, false);
    stage.until("it is gone", 90, |cluster| !is_there(cluster, "old") && !runs_anywhere(cluster));
    stage.pass(10);
    stage.agree();
}
