//! Two hubs over one store: who judges a node, and how each reaches the other's.

use super::*;
use crate::lifecycle::Lost;
use crate::{hubs, sessions};
use holdfast_core::calls::{ContainerRef, LogCall};
use holdfast_env::{Dialer, Transport};
use holdfast_link::framed::{FrameRecv, send};
use holdfast_link::mux::{self, Peer};
use holdfast_link::relay::SIGN;
use holdfast_link_engine::Stream;
use holdfast_link_engine::mux::Side;
use holdfast_link_engine::wire::{CallOutput, CallStart, Open};
use holdfast_store::{Range, RangeRequest, Record, StoreError, Watcher};
use std::sync::atomic::AtomicBool;

/// The leader's record, as whoever takes the lead writes it.
const LEADER: &str = "/holdfast/leader";

/// A hub's way to the store, which may be cut.
struct Cut {
    inner: Arc<dyn Store>,
    is_cut: AtomicBool,
}

impl Cut {
    fn pass(&self) -> Result<(), StoreError> {
        if self.is_cut.load(Ordering::SeqCst) { Err(StoreError::Unavailable("cut".into())) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Cut {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }
    async fn sync(&self) -> Result<Revision, StoreError> {
        self.pass()?;
        self.inner.sync().await
    }
    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError> {
        self.inner.get(key).await
    }
    async fn range(&self, request: RangeRequest) -> Result<Range, StoreError> {
        self.inner.range(request).await
    }
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.pass()?;
        self.inner.txn(txn).await
    }
    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.inner.watch(prefix, after)
    }
    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.inner.compact(revision).await
    }
    fn close(&self) {}
}

fn certificate(hub: &str) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::default();
    let uri = format!("holdfast://hub/{hub}");
    params.subject_alt_names.push(rcgen::SanType::URI(uri.as_str().try_into().unwrap()));
    params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn pipe(env: &World, near: Vec<Vec<u8>>, far: Vec<Vec<u8>>) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let peer = |certificates| Peer { certificates, address: "pipe".into(), local: None, transport: Transport::Memory };
    let (here, there) = tokio::io::duplex(4096);
    let dialled = mux::connection(env, here, Side::Dialer, SIGN * 4, peer(far));
    (dialled, mux::connection(env, there, Side::Listener, SIGN * 4, peer(near)))
}

/// Reaches whoever has this name as address.
#[derive(Clone, Default)]
struct Street(Arc<Mutex<BTreeMap<String, Arc<HubLinks>>>>, Arc<Mutex<Vec<Task>>>);

/// One that dials from `from`.
struct FromThere(Street, &'static str);

#[async_trait]
impl Dialer for FromThere {
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, NetError> {
        let there = lock(&self.0.0).get(address).cloned().ok_or_else(|| NetError::Unreachable(address.into()))?;
        let env = there.shared.env.clone();
        let name = there.shared.hubs.as_ref().unwrap().name().to_string();
        let (near, far) = pipe(&env, vec![certificate(self.1)], vec![certificate(&name)]);
        lock(&self.0.1).push(env.spawn("relay", Box::pin(async move { there.relay(far).await })));
        Ok(near)
    }
}

struct Two {
    a: Cluster,
    b: Cluster,
    b_store: Arc<Cut>,
    street: Street,
}

async fn two() -> Two {
    let env = Arc::new(Shifted(HostEnv::new("/nonexistent"), Arc::default()));
    let store: Arc<dyn Store> = holdfast_store::testing::memory_store().unwrap();
    let b_store = Arc::new(Cut { inner: store.clone(), is_cut: AtomicBool::new(false) });
    let street = Street::default();
    let among = |name: &'static str| {
        let dialer = Arc::new(FromThere(street.clone(), name));
        Some(HubsConfig { name: name.into(), address: format!("{name}:6443"), api: None, dialer })
    };
    let a = hub_on(env.clone(), store, Arc::new(TestIssuer), among("a")).await;
    a.create("serviceaccounts", "default", json!({"metadata": {"name": "default"}})).await;
    let b = hub_on(env, b_store.clone(), Arc::new(TestIssuer), among("b")).await;
    for (hub, name) in [(&a, "a:6443"), (&b, "b:6443")] {
        hub.links.entered().await;
        lock(&street.0).insert(name.into(), hub.links.clone());
    }
    Two { a, b, b_store, street }
}

impl Cluster {
    fn pass(&self, seconds: u64) {
        self.env.1.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn readiness(&self) -> Json {
        let node = self.get("nodes", "", "edge").await.unwrap();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().find(|condition| condition["type"] == "Ready").unwrap()["status"].clone()
    }

    /// What holds as long as nobody else takes the lead.
    async fn takes_the_lead(&self) -> Check {
        let put = Op::Put { key: LEADER.into(), value: Bytes::from_static(b"a") };
        let done = self.store.txn(Txn { checks: Vec::new(), ops: vec![put] }).await.unwrap();
        let TxnOutcome::Committed { revision, .. } = done else { panic!("{done:?}") };
        Check { key: LEADER.into(), condition: Condition::ModifiedAt(revision) }
    }

    async fn answers(&self) {
        let begun = std::time::Instant::now();
        while !self.links.shared.answers() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the hub does not renew its record");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn report_ready(writer: &FactWriter) {
    let status = json!({"conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let word = json!({"uid": writer.node_uid.0, "status": status});
    writer.all(vec![fact(1, FactSort::State, "/v1/nodes//edge", &word)]).await.unwrap();
}

#[tokio::test]
async fn a_leader_judges_only_nodes_that_no_hub_speaks_for() {
    let Two { a, b, street, .. } = two().await;
    let (b_host, session, writer) = b.node("edge").await;
    report_ready(&writer).await;
    let (old, leads) = (a.takes_the_lead().await, a.takes_the_lead().await);
    let shared = a.links.shared.clone();
    let (mut lost, mut deposed) = (Lost::new(&shared, leads), Lost::new(&shared, old));
    // Minutes in which the leader hears nothing of the node, and the other hub does.
    for _ in 0..6 {
        a.pass(25);
        b.links.shared.alive("edge", session, Duration::from_secs(10));
        b.answers().await;
        lost.look(&shared).await.unwrap();
        deposed.look(&shared).await.unwrap();
        assert_eq!(a.readiness().await, "True");
    }
    let uid = NodeUid(b_host.node_uid().into());
    let (record, before) = sessions::of(&*a.store, &uid).await.unwrap();
    assert_eq!((record.hub.as_deref(), record.ready), (Some("b"), session));

    // The other hub dies. It may have answered the node until its record was old.
    lock(&street.0).clear();
    drop((b, b_host));
    lost.look(&shared).await.unwrap();
    deposed.look(&shared).await.unwrap();
    a.pass(hubs::SPEAKS_FOR.as_secs() + 1);
    lost.look(&shared).await.unwrap();
    deposed.look(&shared).await.unwrap();
    a.pass(GRACE.as_secs() - 5);
    lost.look(&shared).await.unwrap();
    assert_eq!(a.readiness().await, "True", "the grace is not over");
    a.pass(10);
    deposed.look(&shared).await.unwrap();
    assert_eq!(a.readiness().await, "True", "a leader that was replaced writes nothing");
    lost.look(&shared).await.unwrap();
    assert_eq!(a.readiness().await, "Unknown");

    // The node comes to this hub: what was judged of its last session is void.
    a.answers().await;
    let host = NodeSession::new(shared.clone(), "edge", &uid.0);
    let session = host.grant(&hello("edge", &uid.0, session.0)).await.unwrap().session;
    host.online(session, Arc::new(Wire)).await.unwrap();
    let (record, _) = sessions::of(&*a.store, &uid).await.unwrap();
    assert_eq!(record.hub.as_deref(), Some("a"));
    let patch = Patch { patch_type: PatchType::Merge, body: json!({"metadata": {"labels": {"of": "past"}}}) };
    let operation = Operation::Patch { patch, options: WriteOptions::default() };
    let late = shared.call_if(target("nodes", "", "edge"), operation, &[before]).await.map(drop).unwrap_err();
    assert!(holdfast_registry::is_stale_session(&late), "{late}");
}

#[tokio::test]
async fn a_node_that_moved_is_silent_for_its_new_hub_alone() {
    let Two { a, b, .. } = two().await;
    let (host, session, writer) = b.node("edge").await;
    report_ready(&writer).await;
    let there = NodeSession::new(a.links.shared.clone(), "edge", host.node_uid());
    let next = there.grant(&hello("edge", host.node_uid(), session.0)).await.unwrap().session;
    there.online(next, Arc::new(Wire)).await.unwrap();
    // The old connection is cut, and its writer writes nothing more.
    a.pass(3);
    let cut = tokio::time::timeout(Duration::from_secs(10), host.cut()).await.unwrap();
    assert_eq!(cut.code, "Replaced");
    let late = vec![fact(2, FactSort::State, "/v1/nodes//edge", &json!({"uid": writer.node_uid.0, "status": {}}))];
    assert_eq!(writer.all(late).await.unwrap_err(), "the session was replaced");
    // The hub that had the node does not hear it, and says nothing of it.
    for _ in 0..4 {
        a.pass(25);
        a.links.shared.alive("edge", next, Duration::from_secs(10));
        // Several rounds of the watch over nodes.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(a.readiness().await, "True");
    }
    a.pass(GRACE.as_secs() + 5);
    let begun = std::time::Instant::now();
    while a.readiness().await != "Unknown" {
        assert!(begun.elapsed() < Duration::from_secs(10), "its new hub does not judge it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_hub_that_lost_the_store_takes_and_answers_nobody() {
    let Two { b, b_store, .. } = two().await;
    let (host, session, _) = b.node("edge").await;
    let again = hello("edge", host.node_uid(), session.0);
    assert!(host.answers());
    b_store.is_cut.store(true, Ordering::SeqCst);
    let refused = host.grant(&again).await.unwrap_err();
    assert!(refused.reason.starts_with("the hub cannot find out whether it has all of"), "{refused:?}");
    b.pass(hubs::ANSWERS_FOR.as_secs() + 1);
    assert!(!host.answers());
    assert!(host.grant(&again).await.unwrap_err().reason.contains("has lost the cluster's store"));
    b_store.is_cut.store(false, Ordering::SeqCst);
    b.answers().await;
    host.grant(&again).await.unwrap();
    b.links.leave().await;
    assert!(!host.answers());
}

fn log_call() -> LogCall {
    let container =
        ContainerRef { namespace: "ns".into(), pod: "p".into(), pod_uid: "u".into(), container: "c".into() };
    LogCall {
        container,
        follow: false,
        previous: false,
        timestamps: false,
        tail_lines: None,
        since_micros: None,
        limit_bytes: None,
    }
}

#[tokio::test]
async fn a_call_goes_through_the_hub_that_has_the_node() {
    let Two { a, b, street, .. } = two().await;
    let JoinReply::Joined { node_uid, .. } = b.join("good", "edge").await else { panic!("refused") };
    let calls = a.links.node_calls();
    let refused = async || {
        let status = calls.logs("edge", log_call()).await.map(drop).unwrap_err();
        let come_again = status.details().and_then(|details| details.retry_after_seconds);
        assert!(status.code() == 503 && come_again.is_some(), "{status}");
        status.message().to_string()
    };
    assert_eq!(refused().await, "node \"edge\" is not connected to any hub");

    let host = NodeSession::new(b.links.shared.clone(), "edge", &node_uid);
    let session = host.grant(&hello("edge", &node_uid, 0)).await.unwrap().session;
    let env: World = b.env.clone();
    let (at_node, at_hub) = pipe(&env, Vec::new(), Vec::new());
    host.online(session, at_hub.clone()).await.unwrap();
    let node = async move {
        let (mut sender, receiver) = at_node.accept_bi().await.unwrap();
        let mut frames = FrameRecv::new(receiver);
        assert_eq!(frames.expect::<Open>().await.unwrap().stream, Stream::Call);
        let start: CallStart = frames.expect().await.unwrap();
        assert!(matches!(start.call, holdfast_core::calls::Call::Logs(call) if call == log_call()));
        for word in ["said ", "there"] {
            send(&mut sender, &CallOutput::Stdout(Bytes::from(word))).await.unwrap();
        }
        send(&mut sender, &CallOutput::End).await.unwrap();
        sender.finish().await.unwrap();
        at_node.closed().await;
    };
    let _node = env.spawn("node", Box::pin(node));
    let mut log = calls.logs("edge", log_call()).await.unwrap();
    let mut said = Vec::new();
    while let Some(piece) = log.recv().await {
        said.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(said, b"said there");

    b.links.shared.disconnect("edge", &at_hub);
    let told = refused().await;
    assert!(told.ends_with("node \"edge\" is not connected to the hub that it was linked to"), "{told}");
    lock(&street.0).insert("b:6443".into(), a.links.clone());
    let told = refused().await;
    assert!(told.ends_with("cannot be reached: another one answers at b:6443"), "{told}");
    lock(&street.0).clear();
    let told = refused().await;
    assert!(told.ends_with("cannot be reached: b:6443 is unreachable"), "{told}");
    b.links.leave().await;
    assert!(refused().await.ends_with("was linked to a hub that has gone"));
}

#[tokio::test]
async fn who_shows_no_hubs_certificate_reaches_no_node() {
    let Two { b, .. } = two().await;
    let env: World = b.env.clone();
    let (near, far) = pipe(&env, Vec::new(), Vec::new());
    b.links.relay(far).await;
    assert!(near.closed().await.to_string().contains("only hubs come here"));
}
