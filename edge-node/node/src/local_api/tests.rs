use super::*;
use crate::parts::EventIndex;
use crate::store::SharedStore;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::calls::{ExecCall, ForwardCall, LogCall};
use holdfast_core::verbs::VersionMatch;
use holdfast_core::{
    DeleteOptions, FieldSelector, Gvr, LabelSelector, Lineage, ListOptions, Reason, Revision, Seq, Status, Target,
    UserInfo, Watch, WatchEvent, WatchEventType, WriteOptions, content_hash,
};
use holdfast_edge_store::{EdgeStore, Item, Record};
use holdfast_env::host::HostEnv;
use holdfast_env::session::ExecSession;
use holdfast_env::{BiStream, World};
use holdfast_server::{Connected, NodeCalls, Registry, RequestContext};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Default)]
struct Index(Mutex<Vec<Value>>);

#[async_trait]
impl EventIndex for Index {
    fn record(&self, events: Vec<(Seq, Bytes)>) {
        self.0.lock().unwrap().extend(events.iter().map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()));
    }
    async fn find(&self, _: Option<String>, _: Option<String>) -> Result<Vec<Value>, String> {
        Ok(self.0.lock().unwrap().clone())
    }
}

/// Answers a log with what was asked for.
struct Calls;

#[async_trait]
impl NodeCalls for Calls {
    async fn logs(&self, node: &str, call: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let text = format!("{node} {}/{} {:?}", call.container.pod, call.container.container, call.tail_lines);
        sender.try_send(Ok(Bytes::from(text))).unwrap();
        Ok(receiver)
    }
    async fn exec(&self, _: &str, call: ExecCall) -> Result<ExecSession, Status> {
        Err(Status::not_implemented(call.command.join(" ")))
    }
    async fn forward(&self, _: &str, call: ForwardCall) -> Result<BiStream, Status> {
        Err(Status::not_implemented(format!("{} of {}", call.port, call.pod)))
    }
}

struct Node {
    _dir: tempfile::TempDir,
    env: World,
    store: Arc<SharedStore>,
    index: Arc<Index>,
    registry: Arc<LocalRegistry>,
    cx: RequestContext,
}

fn gvr(plural: &str) -> Gvr {
    HELD.iter()
        .find(|(.., known)| *known == plural)
        .map(|(group, version, _)| Gvr::new(group, version, plural))
        .unwrap()
}

fn put(key: &str, body: &Value) -> Record {
    let body = Bytes::from(serde_json::to_vec(body).unwrap());
    let item = Item { hash: content_hash(&body), lineage: Lineage(1), revision: Revision(1), body };
    Record::PutItem { key: key.into(), item }
}

fn pod(name: &str, app: &str) -> Record {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}"), "labels": {"app": app}},
        "spec": {"nodeName": "edge-1", "containers": [{"name": "c", "image": "i"}]},
    });
    put(&format!("/v1/pods/demo/{name}"), &body)
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        let store = SharedStore::new(env.clone(), EdgeStore::open(env.disk()).unwrap().0);
        let index = Arc::new(Index::default());
        let registry = LocalRegistry::new(env.clone(), store.clone(), index.clone(), Arc::new(Calls), "edge-1");
        let cx = RequestContext::new(UserInfo::new(LOCAL_ADMIN, &[]), "test");
        Node { _dir: dir, env, store, index, registry, cx }
    }

    async fn says(&self, name: &str, uid: &str, phase: &str) {
        let body = serde_json::to_vec(&json!({"uid": uid, "status": {"phase": phase}})).unwrap();
        self.store.state_fact(format!("/v1/pods/demo/{name}"), body.into(), false).await.unwrap();
    }

    async fn list(&self, plural: &str, options: ListOptions) -> Vec<String> {
        let list = self.registry.list(&self.cx, &Target::collection(gvr(plural), ""), &options).await.unwrap();
        list.items.iter().map(|object| object.key()).collect()
    }

    async fn watch(&self, options: ListOptions) -> Watch {
        self.registry.watch(&self.cx, &Target::collection(gvr("pods"), "demo"), &options).await.unwrap()
    }

    async fn next(&self, watch: &mut Watch) -> Result<WatchEvent, Status> {
        self.env.timeout(Duration::from_secs(10), watch.next()).await.unwrap().unwrap()
    }
}

fn told(event: &WatchEvent) -> (WatchEventType, String, String) {
    let phase = event.object.to_json()["status"]["phase"].as_str().unwrap_or_default().to_string();
    (event.event_type, event.object.meta.name.clone(), phase)
}

#[tokio::test]
async fn pods_are_shown_with_the_nodes_own_word_on_them() {
    let node = Node::new();
    let own = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "edge-1", "uid": "n"}});
    node.store.commit(vec![pod("a", "x"), pod("b", "y"), put("/v1/nodes//edge-1", &own)]).await.unwrap();
    node.says("a", "uid-a", "Running").await;
    node.says("b", "of-an-earlier-pod", "Failed").await;
    let report = json!({"uid": "n", "metadata": {"labels": {"kubernetes.io/os": "linux"}}, "status": {"images": []}});
    node.store.state_fact("/v1/nodes//edge-1".into(), report.to_string().into(), false).await.unwrap();
    let get = async |plural, namespace, name| {
        node.registry.get(&node.cx, &Target::object(gvr(plural), namespace, name)).await.map(|object| object.to_json())
    };
    let shown = get("pods", "demo", "a").await.unwrap();
    assert_eq!((&shown["status"]["phase"], &shown["spec"]["nodeName"]), (&json!("Running"), &json!("edge-1")));
    assert!(shown["metadata"]["resourceVersion"].is_string());
    assert_eq!(get("pods", "demo", "b").await.unwrap()["status"], Value::Null, "another pod's word");
    let shown = get("nodes", "", "edge-1").await.unwrap();
    assert_eq!(shown["metadata"]["labels"]["kubernetes.io/os"], "linux");
    assert_eq!(shown["status"]["images"], json!([]));
    assert_eq!(get("pods", "demo", "none").await.unwrap_err().message(), "pods \"none\" not found");
}

#[tokio::test]
async fn selectors_select() {
    let node = Node::new();
    node.store.commit(vec![pod("a", "x"), pod("b", "y")]).await.unwrap();
    node.says("a", "uid-a", "Running").await;
    let labels = LabelSelector::parse("app=y").unwrap();
    assert_eq!(node.list("pods", ListOptions { labels, ..ListOptions::default() }).await, ["demo/b"]);
    for (fields, expected) in
        [("status.phase=Running", vec!["demo/a"]), ("spec.nodeName=edge-1", vec!["demo/a", "demo/b"])]
    {
        let fields = FieldSelector::parse(fields).unwrap();
        assert_eq!(node.list("pods", ListOptions { fields, ..ListOptions::default() }).await, expected);
    }
    let fields = FieldSelector::parse("spec.color=red").unwrap();
    let options = ListOptions { fields, ..ListOptions::default() };
    let refused = node.registry.list(&node.cx, &Target::collection(gvr("pods"), ""), &options).await.unwrap_err();
    assert_eq!(refused.message(), "field label not supported: spec.color");
}

#[tokio::test]
async fn a_watch_goes_on_from_a_list_and_follows_the_journal() {
    let node = Node::new();
    node.store.commit(vec![pod("a", "x")]).await.unwrap();
    let at = Target::collection(gvr("pods"), "demo");
    let list = node.registry.list(&node.cx, &at, &ListOptions::default()).await.unwrap();
    // Between list and watch.
    node.says("a", "uid-a", "Pending").await;
    let from = ListOptions { resource_version: Some(list.revision), ..ListOptions::default() };
    let mut watch = node.watch(from.clone()).await;
    let first = node.next(&mut watch).await.unwrap();
    assert_eq!(told(&first), (WatchEventType::Modified, "a".into(), "Pending".into()));
    assert!(first.object.revision > list.revision);
    node.says("a", "uid-a", "Running").await;
    assert_eq!(told(&node.next(&mut watch).await.unwrap()), (WatchEventType::Modified, "a".into(), "Running".into()));
    node.store.commit(vec![pod("b", "y")]).await.unwrap();
    assert_eq!(told(&node.next(&mut watch).await.unwrap()).0, WatchEventType::Added);
    node.store.commit(vec![Record::DropItem { key: "/v1/pods/demo/b".into() }]).await.unwrap();
    let gone = node.next(&mut watch).await.unwrap();
    assert_eq!(told(&gone).0, WatchEventType::Deleted);
    // A second watch from the same version is told the same.
    let mut again = node.watch(from.clone()).await;
    let events = [node.next(&mut again).await.unwrap(), node.next(&mut again).await.unwrap()];
    assert_eq!(events.map(|event| event.object.revision)[0], first.object.revision);
    // A label takes the object out of the selection, and that is a deletion.
    let labels = LabelSelector::parse("app=x").unwrap();
    let mut selected = node.watch(ListOptions { labels, ..ListOptions::default() }).await;
    assert_eq!(told(&node.next(&mut selected).await.unwrap()).0, WatchEventType::Added);
    node.store.commit(vec![pod("a", "z")]).await.unwrap();
    assert_eq!(told(&node.next(&mut selected).await.unwrap()).0, WatchEventType::Deleted);
    // What nobody remembers is not gone on from.
    node.registry.forget();
    assert!(node.next(&mut node.watch(from).await).await.unwrap_err().is(Reason::Expired));
}

#[tokio::test]
async fn a_streaming_list_ends_with_its_bookmark() {
    let node = Node::new();
    node.store.commit(vec![pod("a", "x")]).await.unwrap();
    let options = ListOptions {
        send_initial_events: Some(true),
        version_match: Some(VersionMatch::NotOlderThan),
        allow_bookmarks: true,
        ..ListOptions::default()
    };
    let mut watch = node.watch(options).await;
    assert_eq!(told(&node.next(&mut watch).await.unwrap()).0, WatchEventType::Added);
    let bookmark = node.next(&mut watch).await.unwrap();
    assert_eq!(bookmark.event_type, WatchEventType::Bookmark);
    assert_eq!(bookmark.object.to_json()["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn events_come_in_both_versions() {
    let node = Node::new();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a.1", "namespace": "demo"}, "reason": "Started",
        "involvedObject": {"kind": "Pod", "name": "a", "uid": "uid-a"}, "firstTimestamp": "2026-01-01T00:00:00Z",
    });
    node.index.record(vec![(Seq(1), event.to_string().into())]);
    let fields = FieldSelector::parse("involvedObject.name=a,involvedObject.uid=uid-a").unwrap();
    assert_eq!(node.list("events", ListOptions { fields, ..ListOptions::default() }).await, ["demo/a.1"]);
    let at = Target::object(Gvr::new("events.k8s.io", "v1", "events"), "demo", "a.1");
    let new = node.registry.get(&node.cx, &at).await.unwrap().to_json();
    assert_eq!((&new["regarding"]["name"], &new["apiVersion"]), (&json!("a"), &json!("events.k8s.io/v1")));
    assert_eq!(new["metadata"]["creationTimestamp"], "2026-01-01T00:00:00Z");
}

#[tokio::test]
async fn versions_never_fall_over_lives_of_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let env: World = HostEnv::new(dir.path());
    let mut last = Revision(0);
    for life in 0..3 {
        let store = SharedStore::new(env.clone(), EdgeStore::open(env.disk()).unwrap().0);
        // As `node_main` does: the first thing that a life does is an Event.
        store.log_fact(Bytes::from(format!("{{\"life\":{life}}}"))).await.unwrap();
        store.commit(vec![pod(&format!("p{life}"), "x")]).await.unwrap();
        let index = Arc::new(Index::default());
        let registry = LocalRegistry::new(env.clone(), store, index, Arc::new(Calls), "edge-1");
        let cx = RequestContext::default();
        let at = Target::collection(gvr("pods"), "");
        let list = registry.list(&cx, &at, &ListOptions::default()).await.unwrap();
        assert!(list.revision > last, "{} after {last}", list.revision);
        let from = ListOptions { resource_version: Some(last), ..ListOptions::default() };
        if life > 0 {
            let mut watch = registry.watch(&cx, &at, &from).await.unwrap();
            assert!(watch.next().await.unwrap().unwrap_err().is(Reason::Expired));
        }
        last = list.revision;
    }
}

#[tokio::test]
async fn every_write_is_refused_with_the_reason() {
    let node = Node::new();
    node.store.commit(vec![pod("a", "x")]).await.unwrap();
    let at = Target::object(gvr("pods"), "demo", "a");
    let write = WriteOptions::default();
    let refusals = [
        node.registry.create(&node.cx, &at, json!({}), &write).await.unwrap_err(),
        node.registry.update(&node.cx, &at, json!({}), &write).await.unwrap_err(),
        node.registry.delete(&node.cx, &at, &DeleteOptions::default()).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!((refusal.code(), refusal.reason()), (405, &Reason::MethodNotAllowed));
        assert!(refusal.message().ends_with(READ_ONLY), "{}", refusal.message());
    }
    for kind in kinds().iter() {
        assert_eq!(kind.verbs, READ, "discovery names no verb that is refused: {kind:?}");
        assert!(kind.subresources.iter().all(|sub| STREAMS.contains(&sub.name)));
    }
    assert_eq!(kinds().iter().count(), HELD.len(), "every kind of the list is known");
}

#[tokio::test]
async fn logs_come_from_the_nodes_own_pods() {
    let node = Node::new();
    node.store.commit(vec![pod("a", "x")]).await.unwrap();
    let query: Vec<(String, String)> = vec![("tailLines".into(), "3".into())];
    let connect = async |sub: &str, query: &[(String, String)]| {
        let at = Target::object(gvr("pods"), "demo", "a").with_subresource(sub);
        node.registry.connect(&node.cx, &at, query).await
    };
    let Ok(Connected::Bytes(mut bytes)) = connect("log", &query).await else { panic!("no log") };
    assert_eq!(bytes.recv().await.unwrap().unwrap(), "edge-1 a/c Some(3)");
    let command = vec![("command".to_string(), "ls".to_string()), ("stdout".into(), "1".into())];
    let Err(refused) = connect("exec", &command).await else { panic!("it ran") };
    assert_eq!((refused.code(), refused.message().contains("ls")), (501, true));
}
