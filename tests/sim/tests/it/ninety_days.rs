//! Invariant 4 for ninety days: nodes are cut, and their power fails, their clocks are set to 1970 and 2106, their agents,
//! runtimes and disks fail, and their certificates end. Meanwhile the hub is off, and on for days on which it is restored
//! from an older backup, moves to another address, forgets one node and has another one of that name. Then the link is
//! back.

use crate::stage::{Stage, is_ready};
use holdfast_controller::Client;
use holdfast_core::{DeleteOptions, Gvr, Target};
use holdfast_kinds::fencing::ANNOTATION;
use holdfast_sim::checks::text;
use holdfast_sim::limits::{EPOCH, HUB_ADDRESS};
use holdfast_sim::node::SimNode;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Certificates end after so many days.
const CERTIFICATE_DAYS: u64 = 30;
/// Where the hub goes in the second month.
const NEW_ADDRESS: &str = "hub.example:443";
/// 2106-02-07T06:28:15Z: the last second of 32 bits.
const LAST_SECOND: Duration = Duration::from_secs(u32::MAX as u64);

/// What happens to a node, one after the other, every three days.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The power is off for a while, and the clock chip says so much afterwards.
    Power(Duration),
    Agent,
    Runtime,
    DiskFull,
    PowerInWrite,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::Power(Duration::ZERO),
    Trouble::Agent,
    Trouble::Power(LAST_SECOND),
    Trouble::Runtime,
    Trouble::DiskFull,
    Trouble::PowerInWrite,
];

/// Something happens to a node, and lasts for so many seconds.
fn strike(stage: &Stage, node: &Arc<SimNode>, trouble: Trouble, length: u64) {
    match trouble {
        Trouble::Power(clock) => {
            node.power_off();
            stage.pass(length);
            node.machine.set_wall(clock);
            node.power_on();
        }
        Trouble::Agent => node.kill_agent(),
        Trouble::Runtime => {
            node.oci.set_down(true);
            stage.pass(length);
            node.oci.set_down(false);
        }
        Trouble::DiskFull => {
            node.machine.disk().set_full(true);
            stage.pass(length);
            node.machine.disk().set_full(false);
        }
        Trouble::PowerInWrite => {
            node.machine.disk().cut_after(3);
            stage.until("the node writes something", DAY, |_| node.machine.disk().is_dead());
            node.power_off();
            node.power_on();
        }
    }
}

/// Names and UIDs of the pods that run on a node.
fn running(stage: &Stage, no: u32) -> BTreeMap<String, String> {
    let machine = stage.cluster.end().machines.into_iter().find(|machine| machine.no == no).expect("the node exists");
    let named = |uid: &String| text(&machine.pods[uid], &["metadata", "name"]).to_string();
    machine.running.keys().filter(|uid| machine.pods.contains_key(*uid)).map(|uid| (named(uid), uid.clone())).collect()
}

fn delete(stage: &Stage, target: Target) {
    let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    stage.ask(move |client| async move { client.delete(&target, &options).await }).unwrap();
}

/// The hub is on for an hour, and something is done there.
fn hub_day(stage: &Stage, work: impl FnOnce()) {
    let hub = &stage.cluster.hub;
    hub.start();
    stage.until("the hub is ready", 60, |c| c.hub.is_ready());
    work();
    stage.pass(HOUR);
    hub.kill();
}

#[test]
#[ignore = "takes ten minutes: `cargo t holdfast-sim --test it -- --ignored`"]
fn pods_live_through_ninety_days_without_the_hub() {
    ninety(DAY);
}

#[test]
fn pods_live_through_ninety_short_days_without_the_hub() {
    ninety(HOUR);
}

/// Makes a pod that is bound to its box: the hub does not give it up, however long the box is silent.
fn bound(stage: &Stage, name: &str, no: u32, more: serde_json::Value) {
    stage.pod_with(json!({"name": name, "annotations": {ANNOTATION: "RunForever"}}), no, more);
}

/// The ninety days, each of so many seconds.
fn ninety(day_seconds: u64) {
    let stage = Stage::with_certificates(90, 3, Duration::from_secs(CERTIFICATE_DAYS * day_seconds));
    let nodes = stage.cluster.nodes.clone();
    stage.create("configmaps", json!({"metadata": {"name": "settings"}, "data": {"a": "1"}}));
    stage.create("secrets", json!({"metadata": {"name": "password"}, "stringData": {"a": "1"}}));
    let container = |args: serde_json::Value| json!([{"name": "main", "image": "registry.local/app:1", "args": args}]);
    bound(
        &stage,
        "web",
        1,
        json!({
            "automountServiceAccountToken": true,
            "volumes": [
                {"name": "settings", "configMap": {"name": "settings"}},
                {"name": "password", "secret": {"secretName": "password"}},
            ],
        }),
    );
    bound(
        &stage,
        "daily",
        1,
        json!({"restartPolicy": "OnFailure", "containers": container(json!(["exit", "1", "86400"]))}),
    );
    bound(&stage, "once", 1, json!({"restartPolicy": "Never", "containers": container(json!(["exit", "0", "5"]))}));
    bound(&stage, "doomed", 1, json!({}));
    bound(&stage, "web-2", 2, json!({}));
    bound(&stage, "web-3", 3, json!({}));
    for name in ["web", "daily", "doomed", "web-2", "web-3"] {
        stage.runs(name);
    }
    stage.pass(60);
    let backup = stage.cluster.hub.log.backup();
    bound(&stage, "late", 1, json!({}));
    stage.runs("late");
    stage.pass(60);
    let before: Vec<_> = (1..=3).map(|no| running(&stage, no)).collect();
    assert_eq!(before[0].keys().map(String::as_str).collect::<Vec<_>>(), ["daily", "doomed", "late", "web"]);

    (1..=3).for_each(|no| stage.cut(no, true));
    let hub = &stage.cluster.hub;
    hub.kill();
    for (turn, day) in (3..90).step_by(3).enumerate() {
        let trouble = TROUBLES[turn % TROUBLES.len()];
        let now = stage.cluster.universe.now();
        let until = Duration::from_secs(day * day_seconds).saturating_sub(now);
        stage.pass(until.as_secs());
        nodes.iter().for_each(|node| strike(&stage, node, trouble, day_seconds / 24));
        stage.pass(HOUR / 4);
        for no in 1..=3 {
            let (wanted, now) = (&before[no as usize - 1], running(&stage, no));
            // Between two runs for at most the longest back-off.
            let missing = wanted.keys().find(|name| *name != "daily" && now.get(*name) != wanted.get(*name));
            assert_eq!(missing, None, "edge-{no} on day {day}, after {trouble:?}: of {wanted:?} run {now:?}");
            assert!(!now.contains_key("once"), "edge-{no} ran what had ended again");
        }
        stage.agree();
        match day {
            30 => {
                // The backup is older than the pod `late`.
                hub.restore(&backup, 2);
                hub.move_to(NEW_ADDRESS);
                hub_day(&stage, || {});
            }
            42 => hub_day(&stage, || {
                stage.delete("pods", "doomed");
                delete(&stage, Target::object(Gvr::new("", "v1", "nodes"), "", "edge-2"));
            }),
            45 => hub_day(&stage, || {
                let at = Target::collection(Gvr::new("", "v1", "nodes"), "");
                let node = json!({"metadata": {"name": "edge-2"}});
                stage.ask(|client| async move { client.create(&at, node).await.map(drop) }).unwrap();
            }),
            _ => {}
        }
    }
    hub.start();

    // The old address answers no more; a name server that is behind still tells it.
    for node in &nodes {
        node.set_hubs(&[HUB_ADDRESS, NEW_ADDRESS]);
        node.kill_agent();
    }
    (1..=3).for_each(|no| stage.cut(no, false));
    for no in [1, 3] {
        stage.until(&format!("edge-{no} is Ready"), HOUR / 4, |c| is_ready(c, no));
    }
    stage.until("the deleted pod has gone", HOUR / 4, |_| !running(&stage, 1).contains_key("doomed"));
    stage.pass(HOUR);
    let (one, three) = (running(&stage, 1), running(&stage, 3));
    for name in ["web", "late"] {
        assert_eq!(one.get(name), before[0].get(name), "{name} was replaced");
    }
    assert_eq!(three, before[2]);
    // The box that the hub does not know any more goes on with what it has, and takes nobody's place.
    assert_eq!(running(&stage, 2), before[1]);
    assert!(!nodes[1].is_connected() && !is_ready(&stage.cluster, 2));
    // With another card it is the new node of its name.
    nodes[1].power_off();
    nodes[1].replace_disk();
    nodes[1].machine.set_wall(EPOCH);
    nodes[1].power_on();
    stage.until("edge-2 is Ready", HOUR / 4, |c| is_ready(c, 2));
    bound(&stage, "fresh", 2, json!({}));
    stage.runs("fresh");
    stage.agree();
}
