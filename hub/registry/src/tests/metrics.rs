//! What nodes say of themselves: their pages behind the proxy, and metrics.k8s.io made of them.

use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::LabelSelector;
use holdfast_core::calls::{ExecCall, ForwardCall, LogCall, Page, PageCall};
use holdfast_server::{Connected, NODE_QUERY, NodeCalls};
use std::sync::Mutex;

const TIME: &str = "2026-01-01T00:00:00Z";

/// `n1` answers with what its pods use, `n2` is away.
#[derive(Default)]
struct Nodes {
    asked: Mutex<Vec<(String, PageCall)>>,
    pods: Mutex<Json>,
}

#[async_trait]
impl NodeCalls for Nodes {
    async fn logs(&self, _: &str, _: LogCall) -> Result<tokio::sync::mpsc::Receiver<Result<Bytes, Status>>, Status> {
        Err(Status::unavailable("no logs", 1))
    }

    async fn exec(&self, _: &str, _: ExecCall) -> Result<holdfast_env::session::ExecSession, Status> {
        Err(Status::unavailable("no sessions", 1))
    }

    async fn forward(&self, _: &str, _: ForwardCall) -> Result<holdfast_env::BiStream, Status> {
        Err(Status::unavailable("no ports", 1))
    }

    async fn page(&self, node: &str, call: PageCall) -> Result<Page, Status> {
        self.asked.lock().unwrap().push((node.into(), call));
        if node != "n1" {
            return Err(Status::unavailable(format!("node {node:?} is not connected to the hub"), 5));
        }
        let of_node = json!({ "nodeName": "n1", "cpu": { "time": TIME, "usageNanoCores": 250_000_000 },
            "memory": { "time": TIME, "workingSetBytes": 4096 } });
        let summary = json!({ "window": "1.500s", "node": of_node, "pods": *self.pods.lock().unwrap() });
        Ok(Page { content_type: "application/json".into(), body: Bytes::from(summary.to_string()) })
    }
}

fn at(plural: &str, namespace: &str, name: &str) -> Target {
    let gvr = Gvr::new("metrics.k8s.io", "v1beta1", plural);
    if name.is_empty() { Target::collection(gvr, namespace) } else { Target::object(gvr, namespace, name) }
}

fn container(name: &str, nano_cores: Option<u64>) -> Json {
    let mut cpu = json!({ "time": TIME, "usageCoreNanoSeconds": 5 });
    if let Some(nano_cores) = nano_cores {
        cpu["usageNanoCores"] = nano_cores.into();
    }
    json!({ "name": name, "cpu": cpu, "memory": { "time": TIME, "workingSetBytes": 2048 } })
}

/// `web` and `new` on `n1`, `far` on `n2`, `nowhere` on none.
async fn measured() -> (Cluster, Arc<Nodes>) {
    let cluster = cluster().await;
    let nodes = Arc::new(Nodes::default());
    cluster.registry.set_node_calls(nodes.clone());
    for node in ["n1", "n2"] {
        let labels = json!({ "zone": node });
        cluster.create("nodes", "", json!({ "metadata": { "name": node, "labels": labels } })).await.unwrap();
    }
    let mut told = Vec::new();
    for (name, node) in [("web", "n1"), ("new", "n1"), ("far", "n2"), ("nowhere", "")] {
        let mut spec = json!({ "containers": [{ "name": "main", "image": "x" }] });
        if !node.is_empty() {
            spec["nodeName"] = node.into();
        }
        let doc = json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec });
        let pod = cluster.create("pods", "default", doc).await.unwrap();
        let speed = (name == "web").then_some(7);
        told.push(json!({ "podRef": { "name": name, "namespace": "default", "uid": &*pod.meta.uid },
            "containers": [container("main", speed)] }));
    }
    *nodes.pods.lock().unwrap() = told.into();
    (cluster, nodes)
}

async fn names(cluster: &Cluster, plural: &str, options: &ListOptions) -> Vec<String> {
    let list = cluster.registry.list(&cluster.cx, &at(plural, "", ""), options).await.unwrap();
    list.items.iter().map(|object| object.meta.name.to_string()).collect()
}

#[tokio::test]
async fn nodes_are_asked_what_they_and_their_pods_use() {
    let (cluster, nodes) = measured().await;
    let everything = ListOptions::default();
    assert_eq!(names(&cluster, "nodes", &everything).await, ["n1"]);
    // A pod whose container has no speed yet is left out, as is one whose node is away.
    assert_eq!(names(&cluster, "pods", &everything).await, ["web"]);
    let get = async |plural: &str, namespace: &str, name: &str| {
        cluster.registry.get(&cluster.cx, &at(plural, namespace, name)).await.map(|object| object.to_json())
    };
    let node = get("nodes", "", "n1").await.unwrap();
    assert_eq!(node["usage"], json!({ "cpu": "250000000n", "memory": "4Ki" }));
    assert_eq!((&node["timestamp"], &node["window"]), (&json!(TIME), &json!("1.500s")));
    assert_eq!(node["metadata"]["labels"]["zone"], "n1");
    let pod = get("pods", "default", "web").await.unwrap();
    let usage = json!({ "cpu": "7n", "memory": "2Ki" });
    assert_eq!(pod["containers"], json!([{ "name": "main", "usage": usage }]));
    assert_eq!((&pod["kind"], &pod["metadata"]["namespace"]), (&json!("PodMetrics"), &json!("default")));
    for (plural, namespace, name) in [("nodes", "", "n2"), ("nodes", "", "x"), ("pods", "default", "new")] {
        let err = get(plural, namespace, name).await.unwrap_err();
        assert_eq!(err.message(), format!("{plural}.metrics.k8s.io {name:?} not found"));
    }
    // Only nodes of pods that are wanted are asked.
    nodes.asked.lock().unwrap().clear();
    let web = ListOptions { labels: LabelSelector::parse("app=web").unwrap(), ..ListOptions::default() };
    assert_eq!(names(&cluster, "pods", &web).await, ["web"]);
    let asked: Vec<String> = nodes.asked.lock().unwrap().iter().map(|(node, _)| node.clone()).collect();
    assert_eq!(asked, ["n1"]);
}

#[tokio::test]
async fn pages_of_nodes_are_behind_their_proxy() {
    let (cluster, nodes) = measured().await;
    let connect = async |name: &str| {
        let at = Target::object(gvr("nodes"), "", name).with_subresource("proxy");
        let asked = [("path".to_string(), "/stats/summary".to_string()), (NODE_QUERY.to_string(), "a=b".to_string())];
        cluster.registry.connect(&cluster.cx, &at, &asked).await
    };
    for name in ["n1", "https:n1:10250"] {
        let Ok(Connected::Page(page)) = connect(name).await else { panic!("no page of {name}") };
        assert_eq!(page.content_type, "application/json");
    }
    let call = PageCall { path: "/stats/summary".into(), query: "a=b".into() };
    assert_eq!(nodes.asked.lock().unwrap()[0], ("n1".to_string(), call));
    let refused = async |name: &str| connect(name).await.err().map(|err| err.code());
    assert_eq!((refused("n2").await, refused("x").await, refused("a:b:c:d").await), (Some(503), Some(404), Some(400)));
}
