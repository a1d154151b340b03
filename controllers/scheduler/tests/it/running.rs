//! The driver over a world with virtual time and an API in memory.

use holdfast_controller::testing::{FakeWorld, MemoryApi};
use holdfast_core::{Json, Reason, Status};
use holdfast_env::{Task, World};
use holdfast_scheduler::run_scheduler;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn start() -> (Arc<FakeWorld>, Arc<MemoryApi>, Task) {
    let world = FakeWorld::new(11);
    let env: World = world.clone();
    let api = MemoryApi::new(&env);
    let task = env.spawn("scheduler", Box::pin(run_scheduler(env.clone(), api.clone())));
    (world, api, task)
}

fn node(name: &str, cpu: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "10"}}})
}

fn pod(name: &str, cpu: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn node_of(api: &MemoryApi, pod: &str) -> String {
    let doc = api.find("pods", "a", pod).unwrap();
    doc["spec"]["nodeName"].as_str().unwrap_or_default().to_string()
}

fn events(api: &MemoryApi, reason: &str) -> Vec<String> {
    let all = api.all("events");
    let ours = all.iter().filter(|event| event["reason"] == reason);
    ours.map(|event| event["message"].as_str().unwrap_or_default().to_string()).collect()
}

#[test]
fn binds_and_says_so() {
    let (world, api, _task) = start();
    api.seed(node("n1", "1"));
    api.seed(pod("p", "100m"));
    world.settle();
    assert_eq!(node_of(&api, "p"), "n1");
    assert_eq!(events(&api, "Scheduled"), ["Successfully assigned a/p to n1"]);
}

#[test]
fn assumed_pods_count_before_their_binding_is_seen() {
    let (world, api, _task) = start();
    api.seed(node("n1", "1"));
    for name in ["p1", "p2", "p3"] {
        api.seed(pod(name, "400m"));
    }
    world.settle();
    let bound = ["p1", "p2", "p3"].iter().filter(|name| node_of(&api, name) == "n1").count();
    assert_eq!(bound, 2, "a third would overcommit the node");
}

#[test]
fn an_unschedulable_pod_waits_for_what_may_help() {
    let (world, api, _task) = start();
    api.seed(node("n1", "1"));
    api.seed(pod("p", "3"));
    world.settle();
    let why = "0/1 nodes are available: 1 Insufficient cpu.";
    let doc = api.find("pods", "a", "p").unwrap();
    let condition = &doc["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("False")));
    assert_eq!((&condition["reason"], &condition["message"]), (&json!("Unschedulable"), &json!(why)));
    assert_eq!(events(&api, "FailedScheduling"), [why]);

    // Labels cannot help against lack of CPU: no new try, so the Event's count stays.
    api.edit("nodes", "", "n1", |doc| doc["metadata"]["labels"] = json!({"x": "y"}));
    world.advance(Duration::from_secs(30));
    assert_eq!(api.all("events")[0]["count"], 1);

    api.seed(node("n2", "4"));
    world.settle();
    assert_eq!(node_of(&api, "p"), "n2");
}

#[test]
fn a_freed_node_helps_after_the_back_off() {
    let (world, api, _task) = start();
    api.seed(node("n1", "1"));
    api.seed(pod("first", "800m"));
    world.settle();
    api.seed(pod("second", "800m"));
    world.settle();
    assert_eq!(node_of(&api, "second"), "");
    api.edit("pods", "a", "first", |doc| doc["status"]["phase"] = json!("Succeeded"));
    world.settle();
    assert_eq!(node_of(&api, "second"), "", "its back-off of a second is not over");
    world.advance(Duration::from_secs(2));
    assert_eq!(node_of(&api, "second"), "n1");
}

#[test]
fn a_refused_binding_is_tried_again() {
    let (world, api, _task) = start();
    api.seed(node("n1", "1"));
    api.fail("create", "pods/binding", 1, Status::failure(500, Reason::InternalError, "disk"));
    api.seed(pod("p", "800m"));
    world.settle();
    assert_eq!(node_of(&api, "p"), "");
    world.advance(Duration::from_secs(3));
    assert_eq!(node_of(&api, "p"), "n1");
}

#[test]
fn gates_other_schedulers_and_priorities() {
    let (world, api, _task) = start();
    let mut gated = pod("gated", "100m");
    gated["spec"]["schedulingGates"] = json!([{"name": "x.io/wait"}]);
    let mut other = pod("other", "100m");
    other["spec"]["schedulerName"] = json!("mine");
    let mut vip = pod("vip", "800m");
    vip["spec"]["priority"] = json!(1000);
    api.seed(gated);
    api.seed(other);
    api.seed(pod("low", "800m"));
    api.seed(vip);
    world.settle();
    api.seed(node("n1", "1"));
    world.advance(Duration::from_secs(3));
    assert_eq!((node_of(&api, "gated"), node_of(&api, "other")), (String::new(), String::new()));
    assert_eq!((node_of(&api, "vip"), node_of(&api, "low")), ("n1".into(), String::new()));
    api.edit("pods", "a", "gated", |doc| doc["spec"]["schedulingGates"] = json!([]));
    world.settle();
    assert_eq!(node_of(&api, "gated"), "n1");
}
