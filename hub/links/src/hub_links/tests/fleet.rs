//! What nodes are told of each other.

use super::*;
use crate::sources::{SITE, Sources};
use crate::view::NodeView;
use std::collections::BTreeSet;

impl Cluster {
    /// A node that joined, with a network for its pods and an address.
    async fn box_at(&self, name: &str, number: u8, site: Option<&str>) -> (Arc<NodeSession>, FactWriter) {
        let (host, _, writer) = self.node(name).await;
        let cidr = format!("10.64.{number}.0/24");
        let body = json!({"metadata": {"labels": {SITE: site}}, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}});
        self.patch(target("nodes", "", name), body).await;
        let address = json!([{"type": "InternalIP", "address": format!("192.0.2.{number}")}]);
        let at = target("nodes", "", name).with_subresource("status");
        self.patch(at, json!({"status": {"addresses": address}})).await;
        (host, writer)
    }

    async fn view(&self, name: &str) -> NodeView {
        let mut view = build(&*self.store, &self.links.shared.views, name, &NodeView::default()).await.unwrap();
        view.finish(&Default::default());
        view
    }

    /// The nodes that a node knows of, and what.
    async fn known_to(&self, name: &str) -> BTreeMap<String, Json> {
        let view = self.view(name).await;
        let keys = view.entries().map(|(key, _)| key.to_string()).filter(|key| key.starts_with("/v1/nodes//"));
        let keys: Vec<String> = keys.collect();
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "a key is there twice");
        let doc = |key: &String| serde_json::from_slice(&view.get(key).unwrap().body).unwrap();
        keys.iter().map(|key| (key.replace("/v1/nodes//", ""), doc(key))).collect()
    }
}

fn names(told: &BTreeMap<String, Json>) -> Vec<&str> {
    told.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn nodes_are_told_of_others_what_a_route_needs() {
    let cluster = cluster().await;
    cluster.box_at("a", 1, None).await;
    cluster.box_at("b", 2, None).await;
    cluster.patch(target("nodes", "", "b"), json!({"metadata": {"labels": {"rack": "7"}}})).await;
    let told = cluster.known_to("a").await;
    assert_eq!(names(&told), ["a", "b"]);
    let (own, mut other) = (&told["a"], told["b"].clone());
    assert!(own["metadata"]["labels"].is_object() && own["status"].get("conditions").is_none(), "{own}");
    for field in ["uid", "creationTimestamp"] {
        assert!(other["metadata"].as_object_mut().unwrap().shift_remove(field).is_some(), "{other}");
    }
    assert_eq!(
        other,
        json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": "b"},
            "spec": {"podCIDR": "10.64.2.0/24", "podCIDRs": ["10.64.2.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.2"}]},
        })
    );
    assert!(cluster.known_to("b").await["b"]["metadata"]["labels"]["rack"] == "7");
}

#[tokio::test]
async fn nodes_are_told_of_those_of_their_own_site() {
    let cluster = cluster().await;
    for (number, name) in (1..).zip(["mill-1", "mill-2"]) {
        cluster.box_at(name, number, Some("mill")).await;
    }
    cluster.box_at("farm-1", 3, Some("farm")).await;
    cluster.box_at("loose-1", 4, None).await;
    cluster.box_at("loose-2", 5, None).await;
    assert_eq!(names(&cluster.known_to("mill-1").await), ["mill-1", "mill-2"]);
    assert_eq!(names(&cluster.known_to("farm-1").await), ["farm-1"]);
    assert_eq!(names(&cluster.known_to("loose-1").await), ["loose-1", "loose-2"]);
    // A box moves.
    cluster.patch(target("nodes", "", "mill-2"), json!({"metadata": {"labels": {SITE: "farm"}}})).await;
    assert_eq!(names(&cluster.known_to("mill-1").await), ["mill-1"]);
    assert_eq!(names(&cluster.known_to("mill-2").await), ["farm-1", "mill-2"]);
    let gone = Operation::Delete(holdfast_core::DeleteOptions::default());
    cluster.links.shared.call(target("nodes", "", "farm-1"), gone).await.unwrap();
    assert_eq!(names(&cluster.known_to("mill-2").await), ["mill-2"]);
}

#[tokio::test]
async fn what_a_node_says_of_itself_costs_the_others_nothing() {
    let cluster = cluster().await;
    let (host, writer) = cluster.box_at("a", 1, None).await;
    cluster.box_at("b", 2, None).await;
    let before = cluster.view("b").await;
    let at = cluster.store.revision();
    let mut events = cluster.store.watch("/", at).unwrap();
    let mut sources = Sources::read(&*cluster.store, at).await.unwrap();

    let addresses = json!([{"type": "InternalIP", "address": "192.0.2.1"}]);
    let condition = json!({"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-30T12:00:00Z"});
    let status = json!({"addresses": addresses, "conditions": [condition], "capacity": {"pods": "110"}});
    let body = json!({"uid": host.node_uid(), "metadata": {"labels": {"rack": "7"}}, "status": status});
    writer.all(vec![fact(1, FactSort::State, "/v1/nodes//a", &body)]).await.unwrap();
    let taint = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}]);
    cluster.patch(target("nodes", "", "a"), json!({"spec": {"taints": taint}})).await;

    let mut woken = BTreeSet::new();
    while sources.revision < cluster.store.revision() {
        let touched = sources.apply(&events.next().await.unwrap());
        assert!(!touched.shared);
        woken.extend(touched.nodes);
    }
    // What it is told of itself has changed: label and taint.
    assert_eq!(woken, BTreeSet::from(["a".to_string()]));
    assert_eq!(cluster.view("b").await.digest(), before.digest());
    assert_eq!(cluster.known_to("a").await["a"]["spec"]["taints"][0]["effect"], "NoSchedule");
    // Another address is everybody's business.
    let at = target("nodes", "", "a").with_subresource("status");
    cluster.patch(at, json!({"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.9"}]}})).await;
    let touched = sources.apply(&events.next().await.unwrap());
    assert_eq!(touched.nodes, BTreeSet::from(["a".to_string(), "b".to_string()]));
    assert_ne!(cluster.view("b").await.digest(), before.digest());
}
