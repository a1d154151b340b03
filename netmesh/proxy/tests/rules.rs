//! The rules that Services become, and that the kernel takes them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use holdfast_proxy::{render, table};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

fn services() -> Vec<Service> {
    let service = |value| serde_json::from_value(value).unwrap();
    vec![
        service(json!({"metadata": {"name": "web", "namespace": "demo"}, "spec": {
            "type": "NodePort", "clusterIP": "10.43.0.5",
            "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]}})),
        service(json!({"metadata": {"name": "one", "namespace": "demo"}, "spec": {
            "clusterIP": "10.43.0.6", "sessionAffinity": "ClientIP", "ports": [{"port": 53, "protocol": "UDP"}]}})),
        service(json!({"metadata": {"name": "empty", "namespace": "demo"}, "spec": {
            "clusterIP": "10.43.0.7", "ports": [{"port": 80}]}})),
        service(json!({"metadata": {"name": "headless", "namespace": "demo"}, "spec": {
            "clusterIP": "None", "ports": [{"port": 80}]}})),
    ]
}

fn slice(service: &str, port: serde_json::Value, endpoints: serde_json::Value) -> EndpointSlice {
    serde_json::from_value(json!({
        "metadata": {"name": format!("{service}-1"), "namespace": "demo", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "ports": [port], "endpoints": endpoints,
    }))
    .unwrap()
}

fn slices() -> Vec<EndpointSlice> {
    vec![
        slice(
            "web",
            json!({"name": "http", "port": 8080}),
            json!([
                {"addresses": ["10.42.0.2"], "conditions": {"ready": true}, "nodeName": "edge-1"},
                {"addresses": ["10.42.1.2"], "conditions": {"ready": true}, "nodeName": "edge-2"},
                {"addresses": ["10.42.1.3"], "conditions": {"ready": false, "serving": true}, "nodeName": "edge-2"},
            ]),
        ),
        slice("one", json!({"port": 5353}), json!([{"addresses": ["10.42.0.9"], "conditions": {"ready": false}}])),
    ]
}

fn script(local: &[(&str, bool)]) -> String {
    let local: BTreeMap<String, bool> = local.iter().map(|(ip, ready)| (ip.to_string(), *ready)).collect();
    render(&table(&services(), &slices(), "edge-1", &local), "10.42.0.0/16")
}

#[test]
fn rules_say_where_packets_go() {
    let script = script(&[("10.42.0.9", true)]);
    for line in [
        "elements = { 10.43.0.5 . tcp . 80 : goto svc-10-43-0-5-tcp-80, 10.43.0.6 . udp . 53 : goto svc-10-43-0-6-udp-53 }",
        "elements = { tcp . 30080 : goto svc-node-tcp-30080 }",
        "elements = { 10.43.0.7 . tcp . 80 }",
        "dnat ip to numgen random mod 2 map { 0 : 10.42.0.2 . 8080, 1 : 10.42.1.2 . 8080 }",
        "dnat ip to 10.42.0.9:5353",
    ] {
        assert!(script.contains(line), "{line} is not in\n{script}");
    }
    assert!(!script.contains("10.42.1.3"), "an endpoint that is not ready gets no traffic");
}

#[test]
fn local_evidence_stands_over_the_hubs_word() {
    let script = script(&[("10.42.0.2", false)]);
    assert!(script.contains("dnat ip to 10.42.1.2:8080"), "{script}");
    assert!(!script.contains("10.42.0.2"), "{script}");
}

#[test]
fn the_kernel_takes_the_rules() {
    for script in
        [script(&[]), script(&[("10.42.0.9", true)]), render(&table(&[], &[], "n", &BTreeMap::new()), "10.42.0.0/16")]
    {
        let mut child = Command::new("unshare")
            .args(["-n", "nft", "-f", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare and nft are needed: cargo xtask deps");
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
    }
}
