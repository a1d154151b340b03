//! Table tests of the pure cycle: nodes and pods in, placement or message out.

use holdfast_core::{Json, Object};
use holdfast_scheduler::{Framework, NodeInfo, PodInfo, Snapshot, schedule};
use serde_json::{Value, json};
use std::sync::Arc;

fn node(name: &str, extra: Json) -> Json {
    let mut doc = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": {}, "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "10"}},
    });
    overlay(&mut doc, &extra);
    doc
}

fn pod(name: &str, extra: Json) -> Json {
    let mut doc = json!({
        "metadata": {"name": name, "namespace": "a", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c"}]},
    });
    overlay(&mut doc, &extra);
    doc
}

fn overlay(doc: &mut Json, extra: &Json) {
    match (doc, extra) {
        (Value::Object(doc), Value::Object(extra)) => {
            for (key, value) in extra {
                overlay(doc.entry(key.clone()).or_insert(Json::Null), value);
            }
        }
        (doc, extra) => *doc = extra.clone(),
    }
}

fn cpu(amount: &str) -> Json {
    json!({"spec": {"containers": [{"resources": {"requests": {"cpu": amount}}}]}})
}

fn snapshot(nodes: &[Json], bound: &[(&str, Json)]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for node in nodes {
        snapshot.put_node(NodeInfo::of(&Object::from_json(node.clone()).unwrap()));
    }
    for (node, pod) in bound {
        snapshot.put_pod(Arc::new(PodInfo::of(&Object::from_json(pod.clone()).unwrap())), node);
    }
    snapshot
}

/// Where `wanted` goes, or why it goes nowhere.
fn check(nodes: &[Json], bound: &[(&str, Json)], wanted: Json, expected: &str) {
    let snapshot = snapshot(nodes, bound);
    let pod = PodInfo::of(&Object::from_json(wanted).unwrap());
    let framework = Framework::default();
    let got = match schedule(&framework, &snapshot, &pod, 0) {
        Ok(node) => node.to_string(),
        Err(rejection) => rejection.message,
    };
    assert_eq!(got, expected);
}

#[test]
fn nothing_to_go_to() {
    check(&[], &[], pod("p", json!({})), "no nodes available to schedule pods");
}

#[test]
fn resources_and_taints_say_why() {
    let tainted =
        node("n2", json!({"spec": {"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}}));
    check(
        &[node("n1", json!({})), tainted.clone()],
        &[("n1", pod("big", cpu("800m")))],
        pod("p", cpu("300m")),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: gpu}.",
    );
    let mut tolerant = pod("p", cpu("300m"));
    tolerant["spec"]["tolerations"] = json!([{"key": "dedicated", "operator": "Exists"}]);
    check(&[node("n1", json!({})), tainted], &[("n1", pod("big", cpu("800m")))], tolerant, "n2");
    let small = node("n1", json!({"status": {"allocatable": {"pods": "1", "memory": "1Mi"}}}));
    let mut greedy = pod("p", cpu("2"));
    greedy["spec"]["containers"][0]["resources"]["requests"]["memory"] = json!("2Mi");
    check(
        &[small],
        &[("n1", pod("other", json!({})))],
        greedy,
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Too many pods.",
    );
    let extended = pod("p", json!({"spec": {"containers": [{"resources": {"requests": {"x.io/fpga": "1"}}}]}}));
    check(&[node("n1", json!({}))], &[], extended, "0/1 nodes are available: 1 Insufficient x.io/fpga.");
}

#[test]
fn cordoned_nodes_and_selectors() {
    let cordoned = node("n1", json!({"spec": {"unschedulable": true}}));
    let here = json!({"spec": {"nodeSelector": {"kubernetes.io/hostname": "n1"}}});
    check(
        &[cordoned.clone(), node("n2", json!({}))],
        &[],
        pod("p", here),
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) were unschedulable.",
    );
    let daemon = json!({"spec": {"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}});
    check(&[cordoned], &[], pod("p", daemon), "n1");
}

#[test]
fn node_affinity_filters_and_scores() {
    let term = |operator: &str, values: Json| json!([{"matchExpressions": [{"key": "size", "operator": operator, "values": values}]}]);
    let required = |terms: Json| {
        json!({"spec": {"affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}})
    };
    let nodes = [
        node("n1", json!({"metadata": {"labels": {"size": "4"}}})),
        node("n2", json!({"metadata": {"labels": {"size": "8"}}})),
    ];
    check(&nodes, &[], pod("p", required(term("Gt", json!(["4"])))), "n2");
    check(&nodes, &[], pod("p", required(term("NotIn", json!(["8"])))), "n1");
    let field = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]);
    check(&nodes, &[], pod("p", required(field)), "n2");
    let none = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.";
    check(&nodes, &[], pod("p", required(json!([{}]))), none);
    let preferred = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 50, "preference": term("In", json!(["8"]))[0]}]}}}});
    check(&nodes, &[], pod("p", preferred), "n2");
}

#[test]
fn the_least_allocated_node_and_soft_taints() {
    let nodes = [node("n1", json!({})), node("n2", json!({}))];
    check(&nodes, &[("n1", pod("x", cpu("500m")))], pod("p", cpu("100m")), "n2");
    let soft = node("n1", json!({"spec": {"taints": [{"key": "old", "effect": "PreferNoSchedule"}]}}));
    check(&[soft, node("n2", json!({}))], &[("n2", pod("x", cpu("500m")))], pod("p", json!({})), "n2");
}

#[test]
fn host_ports_conflict() {
    let web =
        |ip: &str| json!({"spec": {"containers": [{"ports": [{"hostPort": 80, "containerPort": 80, "hostIP": ip}]}]}});
    let none = "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.";
    let nodes = [node("n1", json!({}))];
    check(&nodes, &[("n1", pod("x", web("10.0.0.1")))], pod("p", web("")), none);
    check(&nodes, &[("n1", pod("x", web("10.0.0.1")))], pod("p", web("10.0.0.2")), "n1");
}

#[test]
fn topology_spread() {
    let zone = |name: &str, zone: &str| node(name, json!({"metadata": {"labels": {"zone": zone}}}));
    let spread = |when: &str| {
        json!({"spec": {"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "web"}}}]}})
    };
    let nodes = [zone("n1", "z1"), zone("n2", "z2"), node("n3", json!({}))];
    check(&nodes, &[("n1", pod("x", json!({})))], pod("p", spread("DoNotSchedule")), "n2");
    let full = [
        zone("n1", "z1"),
        node("n2", json!({"spec": {"unschedulable": true}, "metadata": {"labels": {"zone": "z2"}}})),
        node("n3", json!({})),
    ];
    check(
        &full,
        &[("n1", pod("x", json!({})))],
        pod("p", spread("DoNotSchedule")),
        "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
         1 node(s) didn't match pod topology spread constraints (missing required label), \
         1 node(s) were unschedulable.",
    );
    check(&nodes, &[("n1", pod("x", json!({})))], pod("p", spread("ScheduleAnyway")), "n2");
}

#[test]
fn pods_of_one_controller_spread_over_hosts_by_themselves() {
    let owned = |name: &str| pod(name, json!({"metadata": {"ownerReferences": [{"uid": "rs", "controller": true}]}}));
    let nodes = [node("n1", json!({})), node("n2", json!({}))];
    // n2 is fuller, yet n1 already has one of them.
    check(&nodes, &[("n1", owned("x")), ("n2", pod("y", cpu("300m")))], owned("p"), "n2");
}

#[test]
fn what_is_not_built_is_said() {
    let anti =
        json!({"spec": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}});
    let none = "0/1 nodes are available: required pod anti-affinity: not implemented.";
    check(&[node("n1", json!({}))], &[], pod("p", anti), none);
    let claim = json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}});
    let none = "0/1 nodes are available: persistent volume claims: not implemented.";
    check(&[node("n1", json!({}))], &[], pod("p", claim), none);
}

#[test]
fn pods_may_come_before_their_node() {
    let mut snapshot = snapshot(&[], &[("late", pod("x", cpu("700m")))]);
    snapshot.put_node(NodeInfo::of(&Object::from_json(node("late", json!({}))).unwrap()));
    let state = snapshot.node("late").unwrap();
    assert_eq!((state.pods.len(), state.requested.get("cpu")), (1, 700));
    snapshot.remove_pod(&holdfast_controller::Key::new("a", "x"));
    assert_eq!(snapshot.node("late").unwrap().requested.get("cpu"), 0);
}
