//! A hub that is restored from a backup, and the pods that it has forgotten.

use crate::stage::Stage;
use holdfast_controller::Client;
use holdfast_core::{DeleteOptions, Gvr, Json, Target};
use holdfast_sim::checks::{is_deleting, text};
use holdfast_sim::log::Backup;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn restore(stage: &Stage, backup: &Backup) {
    stage.cluster.hub.kill();
    stage.cluster.hub.restore(backup, 2);
    stage.cluster.hub.start();
    stage.until("the hub is ready", 60, |c| c.hub.is_ready());
}

/// The hub's pods by name.
fn pods(stage: &Stage) -> BTreeMap<String, Value> {
    let pods = stage.cluster.end().pods.into_values();
    pods.map(|pod| (text(&pod, &["metadata", "name"]).to_string(), pod)).collect()
}

fn uid(stage: &Stage, name: &str) -> String {
    text(&pods(stage)[name], &["metadata", "uid"]).to_string()
}

fn runs_on(stage: &Stage, no: usize, uid: &str) -> bool {
    stage.cluster.nodes[no - 1].oci.running().contains_key(uid)
}

/// Deletes without waiting for the node.
fn forced(stage: &Stage, name: &str) {
    let at = Target::object(Gvr::new("", "v1", "pods"), "default", name);
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    stage.ask(|client| async move { client.delete(&at, &options).await.map(drop) }).unwrap();
}

fn deployment(stage: &Stage, name: &'static str, replicas: u32) {
    let labels = json!({"app": name});
    let container = json!({"name": "main", "image": "registry.local/app:1", "args": ["run"]});
    let spec =
        json!({"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 1, "containers": [container]});
    let body = json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec}},
    });
    let at = Target::collection(Gvr::new("apps", "v1", "deployments"), "default");
    stage.ask(|client| async move { client.create(&at, body).await.map(drop) }).unwrap();
}

fn of<'a>(pods: &'a BTreeMap<String, Value>, app: &'a str) -> impl Iterator<Item = &'a Value> {
    pods.values().filter(move |pod| text(pod, &["metadata", "labels", "app"]) == app && !is_deleting(pod))
}

fn all_run(stage: &Stage, app: &str, count: usize) -> bool {
    let pods = pods(stage);
    of(&pods, app).count() == count && of(&pods, app).all(|pod| text(pod, &["status", "phase"]) == "Running")
}

#[test]
fn a_forgotten_pod_is_known_again_under_its_uid_and_was_never_stopped() {
    let stage = Stage::open(1, 1);
    let backup = stage.cluster.hub.log.backup();
    stage.create("configmaps", json!({"metadata": {"name": "settings"}, "data": {"a": "1"}}));
    let volumes = json!([{"name": "c", "configMap": {"name": "settings"}}]);
    stage.pod("first", 1, json!({"volumes": volumes}));
    stage.runs("first");
    let (before, running) = (pods(&stage)["first"].clone(), stage.cluster.nodes[0].oci.running());
    restore(&stage, &backup);
    assert!(pods(&stage).is_empty());
    stage.runs("first");
    let after = pods(&stage)["first"].clone();
    for field in ["uid", "creationTimestamp"] {
        assert_eq!(after["metadata"][field], before["metadata"][field]);
    }
    assert_eq!(after["spec"], before["spec"]);
    assert_eq!(stage.cluster.nodes[0].oci.running(), running);
    stage.pass(30);
    stage.agree();
    // What it names cannot be fetched again: it has it still, also after a reboot.
    stage.cluster.nodes[0].power_off();
    stage.pass(5);
    stage.cluster.nodes[0].power_on();
    stage.runs("first");
    // And from now on it is a pod as any other.
    stage.delete("pods", "first");
    stage.until("it is gone", 60, |c| c.end().pods.is_empty() && c.nodes[0].oci.running().is_empty());
    stage.pass(30);
    stage.agree();
}

#[test]
fn what_was_deleted_while_its_node_was_away_stays_deleted() {
    for before_the_backup in [true, false] {
        let stage = Stage::open(2, 1);
        stage.pod("first", 1, json!({}));
        stage.runs("first");
        let uid = uid(&stage, "first");
        // Until the node has heard that its word has arrived.
        stage.pass(10);
        stage.cut(1, true);
        let mut backup = stage.cluster.hub.log.backup();
        if before_the_backup {
            forced(&stage, "first");
            backup = stage.cluster.hub.log.backup();
        }
        restore(&stage, &backup);
        if !before_the_backup {
            forced(&stage, "first");
        }
        stage.pass(120);
        assert!(runs_on(&stage, 1, &uid), "the node has not heard of it");
        stage.cut(1, false);
        stage.until("it stops", 120, |c| c.nodes[0].oci.running().is_empty());
        assert!(pods(&stage).is_empty());
        stage.pass(30);
        stage.agree();
    }
}

#[test]
fn a_name_that_another_pod_has_now_is_given_up() {
    let stage = Stage::open(3, 2);
    let backup = stage.cluster.hub.log.backup();
    stage.pod("first", 1, json!({}));
    stage.runs("first");
    let old = uid(&stage, "first");
    stage.cut(1, true);
    restore(&stage, &backup);
    stage.pod("first", 2, json!({}));
    stage.runs("first");
    stage.cut(1, false);
    stage.until("the old one stops", 120, |c| c.nodes[0].oci.running().is_empty());
    let new = uid(&stage, "first");
    assert!(new != old && runs_on(&stage, 2, &new));
    stage.pass(30);
    stage.agree();
}

#[test]
fn owners_count_what_comes_back_and_lost_owners_are_let_go() {
    let stage = Stage::open(4, 2);
    deployment(&stage, "scaled", 1);
    stage.until("one runs", 60, |_| all_run(&stage, "scaled", 1));
    let backup = stage.cluster.hub.log.backup();
    let at = Target::object(Gvr::new("apps", "v1", "deployments"), "default", "scaled");
    let patch = holdfast_core::Patch {
        patch_type: holdfast_core::PatchType::Merge,
        body: json!({"spec": {"replicas": 3}}) as Json,
    };
    stage.ask(|client| async move { client.patch(&at, patch).await.map(drop) }).unwrap();
    deployment(&stage, "younger", 2);
    stage.until("all run", 120, |_| all_run(&stage, "scaled", 3) && all_run(&stage, "younger", 2));
    let younger: Vec<String> =
        of(&pods(&stage), "younger").map(|pod| text(pod, &["metadata", "uid"]).to_string()).collect();
    restore(&stage, &backup);
    // The Deployment wants one again; those that come back are too many.
    stage.until("what came back is counted", 240, |_| {
        let pods = pods(&stage);
        of(&pods, "scaled").count() == 1 && of(&pods, "younger").count() == 2
    });
    stage.pass(60);
    let pods = pods(&stage);
    assert!(of(&pods, "younger").all(|pod| younger.contains(&text(pod, &["metadata", "uid"]).to_string())));
    assert!(of(&pods, "younger").all(|pod| pod["metadata"].get("ownerReferences").is_none()));
    assert!(all_run(&stage, "younger", 2) && all_run(&stage, "scaled", 1));
    stage.agree();
    // The Deployment comes back as well, and takes its pods.
    deployment(&stage, "younger", 2);
    stage.pass(60);
    let after: Vec<String> =
        of(&self::pods(&stage), "younger").map(|pod| text(pod, &["metadata", "uid"]).to_string()).collect();
    assert_eq!(after, younger);
    stage.agree();
}

#[test]
fn what_has_run_its_course_is_not_run_again() {
    let stage = Stage::open(5, 1);
    let container =
        |seconds: &str| json!([{"name": "main", "image": "registry.local/app:1", "args": ["exit", "0", seconds]}]);
    stage.pod("ends", 1, json!({"restartPolicy": "OnFailure", "containers": container("20")}));
    stage.pod("stopped", 1, json!({"restartPolicy": "Never", "containers": container("600")}));
    stage.runs("ends");
    stage.runs("stopped");
    let backup = stage.cluster.hub.log.backup();
    stage.until("one ends", 60, |_| text(&pods(&stage)["ends"], &["status", "phase"]) == "Succeeded");
    stage.delete("pods", "ends");
    stage.delete("pods", "stopped");
    stage.until("both are gone", 120, |c| c.end().pods.is_empty() && c.end().machines[0].pods.is_empty());
    stage.pass(60);
    // The results are on the disk, not only in memory.
    stage.cluster.nodes[0].power_off();
    stage.pass(5);
    stage.cluster.nodes[0].power_on();
    restore(&stage, &backup);
    let phase =
        |name: &str| pods(&stage).get(name).map(|pod| text(pod, &["status", "phase"]).to_string()).unwrap_or_default();
    stage.until("the node tells the result", 120, |_| phase("ends") == "Succeeded");
    // Of this one the node may still have been about to say that it is gone.
    stage.until("the node tells the other", 120, |_| ["Failed", ""].contains(&&*phase("stopped")));
    stage.pass(60);
    assert!(stage.cluster.nodes[0].oci.running().is_empty());
    stage.agree();
}

#[test]
fn what_the_power_took_in_the_middle_of_its_end_runs_again() {
    let stage = Stage::open(6, 1);
    let node = &stage.cluster.nodes[0];
    stage.pod("web", 1, json!({}));
    stage.runs("web");
    let (uid, backup) = (uid(&stage, "web"), stage.cluster.hub.log.backup());
    // The node hears that it is deleted, and cannot end it.
    node.oci.set_down(true);
    forced(&stage, "web");
    stage.until("the node has heard of it", 60, |c| c.end().machines[0].pods.is_empty());
    stage.pass(5);
    node.power_off();
    node.oci.set_down(false);
    stage.pass(5);
    node.power_on();
    restore(&stage, &backup);
    stage.until("it runs", 120, |_| runs_on(&stage, 1, &uid));
    stage.pass(60);
    assert!(runs_on(&stage, 1, &uid), "it stays");
    stage.agree();
}
