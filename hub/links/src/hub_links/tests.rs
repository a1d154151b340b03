//! Sessions, views, facts, joins and the life cycle over the real registry and a store in memory.

mod adoption;
mod crowd;
mod fleet;
mod gone;
mod hubs;
mod identity;
mod mirrors;

use super::*;
use crate::facts::FactWriter;
use crate::join;
use crate::sessions::{Issued, Mark, issue, ready};
use crate::view::{NodeView, build};
use bytes::Bytes;
use holdfast_core::{Gvr, Json, NodeUid, OutboxGen, Patch, PatchType, Seq, SetDigest, WriteOptions};
use holdfast_env::host::HostEnv;
use holdfast_env::{BiStream, BoxFuture, Disk, Env, NetError, Wall};
use holdfast_link::HubHost;
use holdfast_link_engine::HubView;
use holdfast_link_engine::wire::{FactSort, Hello, JoinReply, JoinRequest, WireFact};
use holdfast_registry::{HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_server::{Attributes, Authorizer, Decision};
use holdfast_store::{Op, Txn, TxnOutcome};
use serde_json::json;
use std::sync::atomic::{AtomicU64, Ordering};

const GRACE: Duration = Duration::from_secs(40);
const CERTIFICATE_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);
const OUTBOX: OutboxGen = OutboxGen(5);

/// The host's world with a monotonic clock that can be put forward.
struct Shifted(Arc<HostEnv>, Arc<AtomicU64>);

impl Env for Shifted {
    fn monotonic(&self) -> Mono {
        self.0.monotonic().after(Duration::from_secs(self.1.load(Ordering::SeqCst)))
    }
    fn boottime(&self) -> Duration {
        self.0.boottime() + Duration::from_secs(self.1.load(Ordering::SeqCst))
    }
    fn wall(&self) -> Wall {
        self.0.wall()
    }
    fn fill_random(&self, buf: &mut [u8]) {
        self.0.fill_random(buf);
    }
    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        let (host, shift) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            loop {
                let now = host.monotonic().after(Duration::from_secs(shift.load(Ordering::SeqCst)));
                if now >= deadline {
                    return;
                }
                // Short naps, so that a clock that is put forward is noticed.
                let nap = deadline.since(now).min(Duration::from_millis(20));
                host.sleep_until(host.monotonic().after(nap)).await;
            }
        })
    }
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Task {
        self.0.spawn(name, future)
    }
    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        self.0.run_blocking(call)
    }
    fn disk(&self) -> Arc<dyn Disk> {
        self.0.disk()
    }
}

struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(&self, _attributes: &Attributes<'_>) -> Decision {
        Decision::Allow
    }
}

struct TestIssuer;

#[async_trait]
impl NodeIssuer for TestIssuer {
    async fn check_token(&self, id: &str, secret: &str) -> Result<(), String> {
        if (id, secret) == ("good", "secret") { Ok(()) } else { Err("the token is unknown or has expired".into()) }
    }
    fn sign(&self, _csr: &[u8], node_name: &str, node_uid: &str) -> Result<Vec<Vec<u8>>, String> {
        Ok(vec![format!("{node_name}/{node_uid}").into_bytes()])
    }
    fn roots(&self) -> Vec<Vec<u8>> {
        vec![b"root".to_vec()]
    }
    fn sign_time(&self, _message: &[u8]) -> Result<Vec<u8>, String> {
        Err("this CA has no key".into())
    }
}

/// A connection that carries nothing.
struct Wire;

#[async_trait]
impl Connection for Wire {
    async fn open_bi(&self) -> Result<BiStream, NetError> {
        Err(NetError::Closed("no wire".into()))
    }
    async fn accept_bi(&self) -> Result<BiStream, NetError> {
        std::future::pending().await
    }
    fn send_datagram(&self, _data: Bytes) -> Result<(), NetError> {
        Ok(())
    }
    async fn recv_datagram(&self) -> Result<Bytes, NetError> {
        std::future::pending().await
    }
    fn close(&self, _reason: &str) {}
    async fn closed(&self) -> NetError {
        std::future::pending().await
    }
    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn peer_address(&self) -> String {
        "test".into()
    }
    fn local_address(&self) -> Option<String> {
        None
    }
}

struct Cluster {
    env: Arc<Shifted>,
    store: Arc<dyn Store>,
    links: Arc<HubLinks>,
}

async fn cluster() -> Cluster {
    cluster_on(HostEnv::new("/nonexistent"), Arc::new(TestIssuer)).await
}

async fn cluster_on(machine: Arc<HostEnv>, issuer: Arc<dyn NodeIssuer>) -> Cluster {
    let store: Arc<dyn Store> = holdfast_store::testing::memory_store().unwrap();
    let cluster = hub_on(Arc::new(Shifted(machine, Arc::default())), store, issuer, None).await;
    cluster.create("serviceaccounts", "default", json!({"metadata": {"name": "default"}})).await;
    cluster
}

/// A hub of the cluster that a store holds.
async fn hub_on(
    env: Arc<Shifted>,
    store: Arc<dyn Store>,
    issuer: Arc<dyn NodeIssuer>,
    hubs: Option<HubsConfig>,
) -> Cluster {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let registry = HubRegistry::new(HubRegistryConfig {
        store: store.clone(),
        env: env.clone(),
        service_cidr: "10.96.0.0/24".parse().unwrap(),
        token_issuer: Arc::new(JwtIssuer::from_pem(key.as_bytes(), "https://hub", "https://hub").unwrap()),
        lineage: Lineage(1),
        eviction_after: holdfast_registry::EVICTION_AFTER,
    });
    registry.ensure_defaults(6443).await.unwrap();
    let api = Arc::new(Api::new(Arc::new(registry), Arc::new(AllowAll)));
    let links = HubLinks::start(HubLinksConfig {
        env: env.clone(),
        store: store.clone(),
        api,
        issuer,
        lineage: Lineage(1),
        heartbeat: Duration::from_secs(10),
        longest_heartbeat: Duration::from_secs(10),
        grace: GRACE,
        certificate_grace: CERTIFICATE_GRACE,
        renewal_interval: Duration::from_secs(60),
        hubs,
    });
    Cluster { env, store, links }
}

fn target(resource: &str, namespace: &str, name: &str) -> Target {
    Target::object(Gvr::new("", "v1", resource), namespace, name)
}

fn fact(seq: u64, sort: FactSort, key: &str, body: &Json) -> WireFact {
    WireFact { seq: Seq(seq), sort, key: key.into(), body: serde_json::to_vec(body).unwrap().into() }
}

impl FactWriter {
    async fn all(&self, facts: Vec<WireFact>) -> Result<(), String> {
        for fact in &facts {
            self.apply(OUTBOX, fact).await?;
        }
        Ok(())
    }
}

impl Cluster {
    async fn create(&self, resource: &str, namespace: &str, body: Json) -> Arc<Object> {
        let operation = Operation::Create { body, options: WriteOptions::default() };
        let target = Target::collection(Gvr::new("", "v1", resource), namespace);
        match self.links.shared.call(target, operation).await.unwrap() {
            Reply::Object { object, .. } => object,
            _ => panic!("no object"),
        }
    }

    async fn pod(&self, name: &str, node: &str, extra: Json) -> Arc<Object> {
        let mut spec = json!({"nodeName": node, "containers": [{"name": "main", "image": "app:1"}]});
        for (field, value) in extra.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        self.create("pods", "default", json!({"metadata": {"name": name}, "spec": spec})).await
    }

    async fn patch(&self, at: Target, body: Json) {
        let patch = Patch { patch_type: PatchType::Merge, body };
        let operation = Operation::Patch { patch, options: WriteOptions::default() };
        self.links.shared.call(at, operation).await.unwrap();
    }

    /// A view of `edge` built over an older one. It is what one built from nothing is.
    async fn view_over(&self, older: &NodeView) -> NodeView {
        let (store, views) = (&*self.store, &self.links.shared.views);
        let mut over = build(store, views, "edge", older).await.unwrap();
        let mut anew = build(store, views, "edge", &NodeView::default()).await.unwrap();
        over.finish(older);
        anew.finish(&NodeView::default());
        let all = |view: &NodeView| {
            let item = |key: &str| view.get(key).map(|item| (item.revision, item.body)).unwrap();
            view.entries().map(|(key, hash)| (key.to_string(), hash, item(key))).collect::<Vec<_>>()
        };
        assert_eq!(all(&over), all(&anew));
        assert_eq!((over.digest(), &over.references), (anew.digest(), &anew.references));
        assert_eq!(over.tokens(), anew.tokens());
        over
    }

    async fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Json, Status> {
        self.links.shared.get(target(resource, namespace, name)).await.map(|object| object.to_json())
    }

    async fn join(&self, token: &str, name: &str) -> JoinReply {
        let request = JoinRequest {
            token_id: token.into(),
            token_secret: "secret".into(),
            node_name: name.into(),
            csr: Bytes::new(),
        };
        join::decide(&self.links.shared, &TestIssuer, request).await
    }

    /// A node that joined, with its session ready.
    async fn node(&self, name: &str) -> (Arc<NodeSession>, Session, FactWriter) {
        let JoinReply::Joined { node_uid, .. } = self.join("good", name).await else { panic!("refused") };
        let host = NodeSession::new(self.links.shared.clone(), name, &node_uid);
        let session = host.grant(&hello(name, &node_uid, 0)).await.unwrap().session;
        host.online(session, Arc::new(Wire)).await.unwrap();
        let writer = FactWriter {
            env: self.env.clone(),
            api: self.links.shared.api.clone(),
            store: self.store.clone(),
            node_name: name.into(),
            node_uid: NodeUid(node_uid),
            session_at: self.links.shared.session_at(name, session).unwrap(),
            verdicts: Mutex::default(),
        };
        (host, session, writer)
    }

    async fn mark(&self, uid: &NodeUid) -> Seq {
        let record = self.store.get(&format!("/marks/{uid}")).await.unwrap();
        record.map_or(Seq(0), |record| serde_json::from_slice::<Mark>(&record.value).unwrap().seq)
    }
}

fn hello(name: &str, uid: &str, session: u64) -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        node_uid: uid.into(),
        node_name: name.into(),
        boot: 0,
        lineage: Lineage(1),
        session: Session(session),
        root: SetDigest::default().root(),
        outbox: OUTBOX,
        clock_micros: 0,
    }
}

#[tokio::test]
async fn sessions_rise_and_a_clone_is_told() {
    let store: Arc<dyn Store> = holdfast_store::testing::memory_store().unwrap();
    let uid = NodeUid("u".into());
    let node = Op::Put { key: "/registry/core/nodes/n".into(), value: Bytes::from_static(b"{}") };
    let made = store.txn(Txn { checks: Vec::new(), ops: vec![node] }).await.unwrap();
    let TxnOutcome::Committed { revision, .. } = made else { panic!("{made:?}") };
    let alive = Check { key: "/registry/core/nodes/n".into(), condition: Condition::ModifiedAt(revision) };
    let next = async |session| issue(&*store, Lineage(1), &uid, &alive, &hello("n", "u", session)).await.unwrap();
    assert_eq!(next(0).await, Issued::Session(Session(1), Seq(0)));
    assert!(ready(&*store, &uid, Session(1), None).await.unwrap().is_some());
    assert_eq!(next(1).await, Issued::Session(Session(2), Seq(0)));
    assert_eq!(next(1).await, Issued::Session(Session(3), Seq(0)), "a welcome may be lost");
    assert_eq!(ready(&*store, &uid, Session(2), None).await.unwrap(), None, "replaced");
    assert!(ready(&*store, &uid, Session(3), None).await.unwrap().is_some());
    assert_eq!(next(1).await, Issued::Duplicate);
    let gone = Op::Delete { key: alive.key.clone() };
    store.txn(Txn { checks: Vec::new(), ops: vec![gone] }).await.unwrap();
    assert_eq!(next(3).await, Issued::NodeChanged);
}

#[tokio::test]
async fn a_hello_that_does_not_fit_is_refused_and_a_clone_leaves_an_event() {
    let cluster = cluster().await;
    let (host, session, _) = cluster.node("edge").await;
    let uid = host.node_uid().to_string();
    let code = async |hello: &Hello| host.grant(hello).await.unwrap_err().code;
    assert_eq!(code(&hello("other", &uid, session.0)).await, "WrongIdentity");
    assert_eq!(code(&hello("edge", &uid, 0)).await, "DuplicateIdentity");
    let request = cluster.links.shared.call(
        Target::collection(Gvr::new("", "v1", "events"), "default"),
        Operation::List(holdfast_core::ListOptions::default()),
    );
    let Reply::List(events) = request.await.unwrap() else { panic!("no list") };
    let reasons: Vec<Json> = events.items.iter().map(|event| event.to_json()["reason"].clone()).collect();
    assert!(reasons.contains(&json!("DuplicateIdentity")), "{reasons:?}");
    let stranger = NodeSession::new(cluster.links.shared.clone(), "edge", "another-uid");
    assert_eq!(stranger.grant(&hello("edge", "another-uid", 0)).await.unwrap_err().code, "UnknownNode");
}

#[tokio::test]
async fn joins_are_refused_with_a_reason() {
    let cluster = cluster().await;
    let refusal = async |token, name| match cluster.join(token, name).await {
        JoinReply::Refused { reason } => reason,
        JoinReply::Joined { .. } => panic!("{name} was taken"),
    };
    assert_eq!(refusal("bad", "edge").await, "the token is unknown or has expired");
    assert!(refusal("good", "Not A Name").await.contains("is invalid"));
    cluster.node("edge").await;
    assert!(refusal("good", "edge").await.contains("already exists"));
    // A join whose answer was lost may be tried again.
    assert!(matches!(cluster.join("good", "fresh").await, JoinReply::Joined { .. }));
    assert!(matches!(cluster.join("good", "fresh").await, JoinReply::Joined { .. }));
}

#[tokio::test]
async fn a_view_holds_a_nodes_pods_with_what_they_need() {
    let cluster = cluster().await;
    cluster.node("edge").await;
    let secret = |name: &str| json!({"metadata": {"name": name}, "stringData": {"k": "v"}});
    cluster.create("secrets", "default", secret("used")).await;
    cluster.create("secrets", "default", secret("unused")).await;
    let volumes = json!({"volumes": [
        {"name": "s", "secret": {"secretName": "used"}},
        {"name": "later", "configMap": {"name": "missing"}},
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}},
    ]});
    cluster.pod("mine", "edge", volumes).await;
    cluster.pod("other", "elsewhere", json!({})).await;
    let mut view = build(&*cluster.store, &cluster.links.shared.views, "edge", &NodeView::default()).await.unwrap();
    view.finish(&Default::default());
    let keys: Vec<&str> = view.entries().map(|(key, _)| key).collect();
    assert!(keys.contains(&"/v1/pods/default/mine") && !keys.contains(&"/v1/pods/default/other"), "{keys:?}");
    assert!(keys.contains(&"/v1/secrets/default/used") && !keys.contains(&"/v1/secrets/default/unused"), "{keys:?}");
    assert!(keys.contains(&"/v1/services/default/kubernetes"), "{keys:?}");
    assert!(view.references.iter().any(|key| key.ends_with("default/missing")), "{:?}", view.references);
    assert!(!view.tokens().is_empty());
    let body = view.get("/v1/pods/default/mine").unwrap().body;
    let pod: Json = serde_json::from_slice(&body).unwrap();
    assert!(pod.get("status").is_none() && pod["metadata"].get("resourceVersion").is_none(), "{pod}");
    assert!(pod["metadata"]["uid"].is_string());
}

#[tokio::test]
async fn a_view_built_anew_shares_what_did_not_change() {
    let cluster = cluster().await;
    let (host, ..) = cluster.node("edge").await;
    let volumes = json!({"volumes": [{"name": "c", "configMap": {"name": "config"}}]});
    cluster.create("configmaps", "default", json!({"metadata": {"name": "config"}, "data": {"k": "v"}})).await;
    cluster.pod("mine", "edge", volumes).await;
    let bodies = async || {
        host.grant(&hello("edge", host.node_uid(), 1)).await.unwrap();
        let mut bodies = Vec::new();
        host.with_view(&mut |view| {
            assert!(view.needs("/v1/pods/default/mine").contains(&"/v1/configmaps/default/config".to_string()));
            assert!(view.needs("/v1/pods/default/none").is_empty());
            bodies = view.entries().map(|(key, _)| (key.to_string(), view.get(key).unwrap().body)).collect();
        });
        bodies
    };
    let before = bodies().await;
    cluster.create("services", "default", json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})).await;
    let after = bodies().await;
    assert_eq!(after.len(), before.len() + 1);
    for (key, body) in before {
        let (_, again) = after.iter().find(|(other, _)| *other == key).unwrap();
        assert_eq!(again.as_ptr(), body.as_ptr(), "{key}");
    }
}

#[tokio::test]
async fn a_view_built_over_an_older_one_is_what_one_built_from_nothing_is() {
    let cluster = cluster().await;
    cluster.node("edge").await;
    let config = |value: &str| json!({"metadata": {"name": "config"}, "data": {"k": value}});
    let volumes = json!({"volumes": [
        {"name": "c", "configMap": {"name": "config"}},
        {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}},
    ]});
    cluster.pod("a", "edge", volumes.clone()).await;
    cluster.pod("b", "edge", volumes).await;
    let mut view = cluster.view_over(&NodeView::default()).await;
    let key = "/v1/configmaps/default/config";
    assert!(view.get(key).is_none());
    cluster.create("configmaps", "default", config("one")).await;
    view = cluster.view_over(&view).await;
    let one = view.get(key).unwrap().body;
    cluster
        .patch(target("pods", "default", "a").with_subresource("status"), json!({"status": {"phase": "Running"}}))
        .await;
    view = cluster.view_over(&view).await;
    cluster.patch(target("configmaps", "default", "config"), config("two")).await;
    view = cluster.view_over(&view).await;
    assert_ne!(view.get(key).unwrap().body, one);
    cluster
        .patch(target("pods", "default", "a").with_subresource("status"), json!({"status": {"phase": "Failed"}}))
        .await;
    view = cluster.view_over(&view).await;
    assert_eq!(view.tokens().len(), 2, "its own and the API's; what has ended needs none");
    // Another key of the seals: what was sealed with the old one is sealed again.
    let sealed = view.get("/v1/pods/default/b").unwrap().body;
    let another = Op::Put { key: crate::adoption::KEY.into(), value: Bytes::from_static(b"another") };
    cluster.store.txn(Txn { checks: Vec::new(), ops: vec![another] }).await.unwrap();
    view = cluster.view_over(&view).await;
    assert_ne!(view.get("/v1/pods/default/b").unwrap().body, sealed);
    cluster.patch(target("nodes", "", "edge"), json!({"metadata": {"labels": {"of": "itself"}}})).await;
    view = cluster.view_over(&view).await;
    let at = target("pods", "default", "a");
    cluster.links.shared.call(at, Operation::Delete(Default::default())).await.unwrap();
    view = cluster.view_over(&view).await;
    assert!(view.get("/v1/pods/default/b").is_some());
}

#[tokio::test]
async fn facts_are_applied_once_with_their_mark() {
    let cluster = cluster().await;
    let (_, _, writer) = cluster.node("edge").await;
    let pod = cluster.pod("a", "edge", json!({})).await;
    let key = "/v1/pods/default/a";
    let running = json!({"uid": pod.meta.uid, "status": {"phase": "Running", "podIP": "10.0.0.1"}});
    let first = fact(1, FactSort::State, key, &running);
    writer.all(vec![first.clone()]).await.unwrap();
    let shown = cluster.get("pods", "default", "a").await.unwrap();
    assert_eq!(shown["status"]["phase"], "Running");
    assert_eq!(cluster.mark(&writer.node_uid).await, Seq(1));
    // The acknowledgement was lost: the same word again changes nothing.
    writer.all(vec![first]).await.unwrap();
    let again = cluster.get("pods", "default", "a").await.unwrap();
    assert_eq!(again["metadata"]["resourceVersion"], shown["metadata"]["resourceVersion"]);

    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a.1", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"},
        "reason": "Started", "message": "Started container", "type": "Normal",
    });
    writer.all(vec![fact(2, FactSort::Log, "", &event)]).await.unwrap();
    writer.all(vec![fact(3, FactSort::Log, "", &event)]).await.unwrap();
    assert_eq!(cluster.mark(&writer.node_uid).await, Seq(3), "AlreadyExists is done with");

    // Gone, of another incarnation, malformed: nothing to write, and nothing to wait for.
    let other = json!({"uid": "other", "status": {"phase": "Failed"}});
    let facts = vec![
        fact(4, FactSort::State, "/v1/pods/default/none", &running),
        fact(5, FactSort::State, key, &other),
        fact(6, FactSort::State, "nonsense", &running),
        fact(7, FactSort::State, key, &json!("text")),
        fact(8, FactSort::Log, "", &json!({"metadata": {}})),
    ];
    writer.all(facts).await.unwrap();
    assert_eq!(cluster.mark(&writer.node_uid).await, Seq(8));
    assert_eq!(cluster.get("pods", "default", "a").await.unwrap()["status"]["phase"], "Running");

    let gone = json!({"uid": pod.meta.uid, "gone": true});
    writer.all(vec![fact(9, FactSort::State, key, &gone)]).await.unwrap();
    assert_eq!(cluster.get("pods", "default", "a").await.unwrap_err().code(), 404);
    assert_eq!(cluster.mark(&writer.node_uid).await, Seq(9));
}

#[tokio::test]
async fn a_replaced_session_writes_nothing() {
    let cluster = cluster().await;
    let (host, session, old) = cluster.node("edge").await;
    let pod = cluster.pod("a", "edge", json!({})).await;
    let newer = host.grant(&hello("edge", host.node_uid(), session.0)).await.unwrap().session;
    assert_eq!(newer, Session(session.0 + 1));
    let status = json!({"uid": pod.meta.uid, "status": {"phase": "Failed"}});
    let facts = vec![fact(1, FactSort::State, "/v1/pods/default/a", &status)];
    assert_eq!(old.all(facts).await.unwrap_err(), "the session was replaced");
    let none = vec![fact(1, FactSort::State, "/v1/pods/default/none", &status)];
    assert_eq!(old.all(none).await.unwrap_err(), "the session was replaced");
    let label = json!({"uid": old.node_uid.0, "metadata": {"labels": {"of": "the past"}}, "status": {}});
    let of_itself = vec![fact(1, FactSort::State, "/v1/nodes//edge", &label)];
    assert_eq!(old.all(of_itself).await.unwrap_err(), "the session was replaced");
    assert_eq!(cluster.mark(&old.node_uid).await, Seq(0));
    assert_ne!(cluster.get("pods", "default", "a").await.unwrap()["status"]["phase"], "Failed");
    assert_eq!(cluster.get("nodes", "", "edge").await.unwrap()["metadata"]["labels"].get("of"), None);
}

#[tokio::test]
async fn a_silent_node_becomes_unknown_after_the_grace() {
    let cluster = cluster().await;
    let (_, session, writer) = cluster.node("edge").await;
    let ready = async || {
        let node = cluster.get("nodes", "", "edge").await.unwrap();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().find(|condition| condition["type"] == "Ready").map(|ready| ready["status"].clone())
    };
    let status = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let word = json!({"uid": writer.node_uid.0, "status": status});
    writer.all(vec![fact(1, FactSort::State, "/v1/nodes//edge", &word)]).await.unwrap();
    cluster.env.1.fetch_add(GRACE.as_secs() - 5, Ordering::SeqCst);
    cluster.links.shared.alive("edge", session, Duration::from_secs(10));
    cluster.env.1.fetch_add(GRACE.as_secs() - 5, Ordering::SeqCst);
    // Several rounds of the watch over nodes.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ready().await, Some(json!("True")), "heard within the grace");
    cluster.env.1.fetch_add(10, Ordering::SeqCst);
    let begun = std::time::Instant::now();
    while ready().await != Some(json!("Unknown")) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", ready().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A node that was allowed a longer interval, and has promised it.
    writer.all(vec![fact(2, FactSort::State, "/v1/nodes//edge", &word)]).await.unwrap();
    cluster.links.shared.alive("edge", session, GRACE * 3);
    cluster.env.1.fetch_add(GRACE.as_secs() * 2, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ready().await, Some(json!("True")), "its interval is not over");
}
