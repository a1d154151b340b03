//! The link over real QUIC and over real TLS on loopback, with certificates made here: one suite for both, and the
//! way from one to the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod certificates;
mod peers;

use async_trait::async_trait;
use certificates::{
    a_node_without_a_clock_connects_and_one_that_knows_the_time_is_strict,
    a_session_renews_and_what_does_not_fit_is_not_taken,
    an_expired_certificate_within_the_grace_is_good_for_one_renewal_only, beyond_the_grace_the_node_reads_what_to_do,
};
use holdfast_core::calls::{Call, ContainerRef, ExecCall, ForwardCall, LogCall};
use holdfast_env::host::HostEnv;
use holdfast_env::session::{StreamInput, StreamOutput};
use holdfast_env::{Dialer, NetError, Transport};
use holdfast_link::identity::ca_hash;
use holdfast_link::join::{Doorkeeper, JoinError, JoinToken, join, serve_join};
use holdfast_link::{FallbackDialer, Listener, QuicListener, ResetKey, call, drive_hub, fallback, tls};
use holdfast_link_engine::wire::{JoinReply, JoinRequest, TimeResetReply, TimeResetRequest};
use peers::{ALWAYS, Authority, Clock, Hub, Node, within};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longer than a test may take.
const IDLE: Duration = Duration::from_secs(60);

/// Each test of the suite, over each transport.
macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Transport::Quic).await;
            })*
        }
        mod tcp {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Transport::Tcp).await;
            })*
        }
    };
}

suite! {
    a_join_needs_the_right_ca_and_tells_a_refusal,
    a_node_without_or_with_a_foreign_certificate_gets_no_link,
    link_sync_facts_and_heartbeat,
    calls_carry_logs_and_sessions,
    calls_carry_connections,
    a_process_that_echoes_a_flood_holds_up_nothing,
    a_refused_node_hears_why,
    a_peer_that_vanishes_ends_the_other_side,
    dropping_the_node_ends_the_hubs_tasks,
    an_unreadable_frame_ends_the_connection,
    calls_that_nobody_reads_hold_up_nothing_else,
    a_node_without_a_clock_connects_and_one_that_knows_the_time_is_strict,
    a_session_renews_and_what_does_not_fit_is_not_taken,
    an_expired_certificate_within_the_grace_is_good_for_one_renewal_only,
    beyond_the_grace_the_node_reads_what_to_do,
}

fn container() -> ContainerRef {
    ContainerRef { namespace: "ns".into(), pod: "p".into(), pod_uid: "u".into(), container: "c".into() }
}

fn logs() -> Call {
    Call::Logs(LogCall {
        container: container(),
        follow: false,
        previous: false,
        timestamps: false,
        tail_lines: None,
        since_micros: None,
        limit_bytes: None,
    })
}

fn exec() -> Call {
    let command = vec!["cat".into()];
    Call::Exec(ExecCall { container: container(), command, tty: false, stdin: true, stdout: true, stderr: true })
}

struct Answers(JoinReply);

#[async_trait]
impl Doorkeeper for Answers {
    async fn join(&self, request: JoinRequest) -> JoinReply {
        assert_eq!((request.token_id.as_str(), request.node_name.as_str()), ("abcdef", "edge"));
        self.0.clone()
    }
    async fn time_reset(&self, _request: TimeResetRequest) -> TimeResetReply {
        TimeResetReply::Refused { code: "NotAllowed".into(), reason: "not now".into() }
    }
}

async fn join_with(
    hub: &Hub,
    hash: &str,
    answer: JoinReply,
) -> Result<holdfast_link::identity::NodeIdentity, JoinError> {
    let listener = hub.door.listener();
    let env = hub.env.clone();
    let serving = tokio::spawn(async move {
        let (connection, joining) = listener.next().await.unwrap().accept().await?;
        assert!(joining);
        serve_join(&env, &connection, &Answers(answer)).await.map_err(|err| NetError::Closed(err.to_string()))
    });
    let dialer = hub.dialer(tls::join_config(hash).unwrap());
    let token = JoinToken { id: "abcdef".into(), secret: "0123456789abcdef".into(), ca_hash: hash.into() };
    let joined = match within(dialer.dial(&hub.address)).await {
        Ok(connection) => within(join(&hub.env, &connection, &token, "edge")).await,
        Err(err) => Err(JoinError::Tls(err.to_string())),
    };
    let _ = within(serving).await;
    joined
}

async fn a_join_needs_the_right_ca_and_tells_a_refusal(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let hash = ca_hash(&ca.der).unwrap();
    let reply = JoinReply::Joined {
        node_uid: "uid-1".into(),
        chain: vec![ca.der.clone().into()],
        roots: vec![ca.der.clone().into()],
    };
    let identity = join_with(&hub, &hash, reply.clone()).await.unwrap();
    assert_eq!((identity.node_uid.as_str(), identity.node_name.as_str()), ("uid-1", "edge"));

    let refused = join_with(&hub, &hash, JoinReply::Refused { reason: "the token is expired".into() }).await;
    assert_eq!(refused.unwrap_err().to_string(), "the hub refused the join: the token is expired");

    let other = ca_hash(&Authority::new().der).unwrap();
    let err = join_with(&hub, &other, reply).await.unwrap_err().to_string();
    assert!(err.contains("does not have the hash"), "{err}");
}

async fn a_node_without_or_with_a_foreign_certificate_gets_no_link(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    // A foreign CA signed it: the handshake fails at the hub.
    let mut identity = Authority::new().node("uid-1", "edge");
    identity.roots = vec![ca.der.clone()];
    let dialer = hub.dialer(tls::node_config(Clock::right(), &identity).unwrap());
    let (dialled, accepted) = tokio::join!(dialer.dial(&hub.address), hub.accept());
    assert!(accepted.is_err());
    if let Ok(connection) = dialled {
        // TLS 1.3: the client may be through before the server has judged.
        let ended = within(connection.closed()).await;
        assert!(matches!(ended, NetError::Refused(_)), "{ended:?}");
    }
    // The hub's own certificate is not of the node's CA.
    let stranger = Authority::new().node("uid-1", "edge");
    let dialer = hub.dialer(tls::node_config(Clock::right(), &stranger).unwrap());
    let (dialled, accepted) = tokio::join!(dialer.dial(&hub.address), hub.accept());
    assert!(matches!(dialled, Err(NetError::Refused(_))), "{:?}", dialled.err());
    assert!(accepted.is_err());
    // No certificate, on the link's ALPN: the connection shows none, and the hub's callers turn it away.
    let mut bare = tls::join_config(&ca_hash(&ca.der).unwrap()).unwrap();
    bare.alpn_protocols = vec![holdfast_link_engine::wire::ALPN.to_vec()];
    let dialer = hub.dialer(bare);
    let (_dialled, accepted) = tokio::join!(dialer.dial(&hub.address), hub.accept());
    let (connection, joining) = accepted.unwrap();
    assert!(!joining && connection.peer_certificates().is_empty());
}

async fn link_sync_facts_and_heartbeat(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    hub.host.put("/v1/pods/ns/a", b"one");
    hub.host.put("/v1/secrets/ns/big", &peers::noise(3 << 20));
    let node = Node::new(&ca, "uid-1");
    node.host.fact(1);
    let _link = node.connect(&hub).await;
    node.until("in sync", |state| state.keys() == ["/v1/pods/ns/a", "/v1/secrets/ns/big"]).await;
    hub.until("the fact", |state| state.facts == [1]).await;
    node.until("the acknowledgement", |state| state.acknowledged == 1).await;
    hub.host.put("/v1/pods/ns/b", b"two");
    node.until("the change", |state| state.keys().contains(&"/v1/pods/ns/b".to_string())).await;
    node.host.fact(2);
    hub.until("the next fact", |state| state.facts == [1, 2]).await;
    hub.until("a heartbeat", |state| state.beats > 0).await;
    node.until("its answer", |state| state.beats > 0).await;
    let counted = hub.host.traffic.totals();
    assert!(counted["sync"].sent > 3 << 20, "{counted:?}");
    for (purpose, direction) in
        [("control", 2), ("sync", 2), ("facts", 2), ("heartbeat", 2), ("overhead", 2), ("calls", 0)]
    {
        let bytes = counted[purpose];
        assert_eq!(u64::from(bytes.sent > 0) + u64::from(bytes.received > 0), direction, "{purpose}: {counted:?}");
    }
}

async fn calls_carry_logs_and_sessions(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let _link = node.connect(&hub).await;
    hub.until("online", |state| state.online.is_some()).await;
    let connection = hub.state().online.unwrap();

    let mut bytes = within(call::logs(&hub.env, &connection, &hub.host.traffic, "r1", logs())).await.unwrap();
    let mut log = Vec::new();
    while let Some(item) = within(bytes.recv()).await {
        log.extend_from_slice(&item.unwrap());
    }
    assert_eq!(log.len(), peers::LOG_BYTES);
    let counted = hub.host.traffic.totals()["calls"];
    assert!(counted.sent > 0 && counted.received > log.len() as u64, "{counted:?}");

    let mut session = within(call::exec(&hub.env, &connection, &hub.host.traffic, "r2", exec())).await.unwrap();
    session.input.send(StreamInput::Stdin("echo".into())).await.unwrap();
    assert_eq!(within(session.output.recv()).await, Some(StreamOutput::Stdout("echo".into())));
    session.input.send(StreamInput::StdinClosed).await.unwrap();
    assert_eq!(within(session.output.recv()).await, Some(StreamOutput::Exited(3)));
    assert_eq!(within(session.output.recv()).await, None);

    // The caller goes away: the process at the node ends.
    let session = within(call::exec(&hub.env, &connection, &hub.host.traffic, "r3", exec())).await.unwrap();
    node.until("a process", |state| state.processes == 1).await;
    drop(session);
    node.until("its end", |state| state.processes == 0).await;
}

fn to_port(port: u16) -> ForwardCall {
    ForwardCall { pod_uid: "u".into(), namespace: "ns".into(), pod: "p".into(), port }
}

async fn calls_carry_connections(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let _link = node.connect(&hub).await;
    hub.until("online", |state| state.online.is_some()).await;
    let connection = hub.state().online.unwrap();
    let forward =
        async |port| within(call::forward(&hub.env, &connection, &hub.host.traffic, "r", to_port(port))).await;

    let refused = forward(81).await.err().unwrap();
    assert_eq!(refused.code(), 500);
    assert!(refused.message().ends_with("connect: connection refused"), "{refused}");

    // More goes through than any window holds, one half ends before the other.
    const BYTES: usize = 3 << 20;
    let (mut sender, mut receiver) = forward(80).await.unwrap();
    let send = async {
        for _ in 0..BYTES / 1024 {
            sender.write(vec![b'x'; 1024].into()).await.unwrap();
        }
        sender.finish().await.unwrap();
    };
    let receive = async {
        let mut received = 0;
        while let Some(data) = receiver.read(64 << 10).await.unwrap() {
            received += data.len();
        }
        received
    };
    let (_, received) = within(async { tokio::join!(send, receive) }).await;
    assert_eq!(received, BYTES);
    node.until("the connection's end", |state| state.processes == 0).await;
    let counted = hub.host.traffic.totals()["calls"];
    assert!(counted.sent > BYTES as u64 && counted.received > BYTES as u64, "{counted:?}");

    // The caller goes away, or gives up: the connection at the node ends.
    let dropped = forward(80).await.unwrap();
    node.until("a connection", |state| state.processes == 1).await;
    drop(dropped);
    node.until("its end", |state| state.processes == 0).await;
    let (mut sender, mut receiver) = forward(80).await.unwrap();
    node.until("a connection", |state| state.processes == 1).await;
    sender.reset(0);
    receiver.stop(0);
    node.until("its end", |state| state.processes == 0).await;
}

/// `cat` with more input than all queues and windows hold, of which nothing is read for a while: the input must stop
/// rather than pile up, and all of it must come back once it is read.
async fn a_process_that_echoes_a_flood_holds_up_nothing(on: Transport) {
    const CHUNK: usize = 16 << 10;
    const CHUNKS: usize = 256;
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let _link = node.connect(&hub).await;
    hub.until("online", |state| state.online.is_some()).await;
    let connection = hub.state().online.unwrap();
    let session = within(call::exec(&hub.env, &connection, &hub.host.traffic, "r", exec())).await.unwrap();
    let (input, mut output) = (session.input, session.output);
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = sent.clone();
    let flood = tokio::spawn(async move {
        for _ in 0..CHUNKS {
            input.send(StreamInput::Stdin(vec![b'x'; CHUNK].into())).await.unwrap();
            counter.fetch_add(CHUNK, std::sync::atomic::Ordering::Relaxed);
        }
        input.send(StreamInput::StdinClosed).await.unwrap();
    });
    // Whatever else goes over the link goes on, while nobody reads.
    node.host.fact(1);
    hub.until("the fact", |state| state.facts == [1]).await;
    let stands = |sent: &std::sync::atomic::AtomicUsize| sent.load(std::sync::atomic::Ordering::Relaxed);
    let (mut before, mut still) = (0, 0);
    peers::poll("the flood to stand", || {
        let now = stands(&sent);
        still = if now > 0 && now == before { still + 1 } else { 0 };
        before = now;
        still == 20
    })
    .await;
    let held = stands(&sent);
    assert!(held < CHUNK * CHUNKS, "all {held} bytes were taken without being read");
    let mut received = 0;
    loop {
        match within(output.recv()).await {
            Some(StreamOutput::Stdout(data)) => received += data.len(),
            last => {
                assert_eq!(last, Some(StreamOutput::Exited(3)));
                break;
            }
        }
    }
    assert_eq!(received, CHUNK * CHUNKS);
    within(flood).await.unwrap();
}

async fn a_refused_node_hears_why(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    hub.host.refuse("UnknownNode", "join again");
    let node = Node::new(&ca, "uid-1");
    let link = node.connect(&hub).await;
    let end = within(link).await.unwrap();
    assert!(end.refused, "{end:?}");
    assert_eq!(end.reason, "UnknownNode: join again");
}

async fn a_peer_that_vanishes_ends_the_other_side(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let link = node.connect(&hub).await;
    hub.until("online", |state| state.online.is_some()).await;
    hub.door.close();
    let end = within(link).await.unwrap();
    assert!(!end.refused, "{end:?}");
    hub.until("the driver's end", |state| state.ended == 1).await;
}

async fn dropping_the_node_ends_the_hubs_tasks(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let link = node.connect(&hub).await;
    hub.until("online", |state| state.online.is_some()).await;
    let held = Arc::downgrade(&node.host);
    link.abort();
    drop(node);
    hub.until("the driver's end", |state| state.ended == 1).await;
    peers::poll("the node's tasks to end", || held.upgrade().is_none()).await;
}

async fn an_unreadable_frame_ends_the_connection(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let connection = node.dial(&hub).await;
    let (mut control, _keep) = connection.open_bi().await.unwrap();
    control.write(holdfast_link::framed::opening(holdfast_link_engine::Stream::Control)).await.unwrap();
    control.write(bytes::Bytes::from_static(&[10, 0, 255, 255, 255, 127])).await.unwrap();
    hub.until("the driver's end", |state| state.ended == 1).await;
    let reason = hub.state().reason;
    assert!(reason.contains("larger than is allowed"), "{reason}");
}

async fn calls_that_nobody_reads_hold_up_nothing_else(on: Transport) {
    let ca = Authority::new();
    let hub = Hub::new(&ca, on).await;
    let node = Node::new(&ca, "uid-1");
    let _link = node.connect(&hub).await;
    hub.until("online", |state| state.online.is_some()).await;
    let connection = hub.state().online.unwrap();
    let mut unread = Vec::new();
    for _ in 0..20 {
        unread.push(within(call::logs(&hub.env, &connection, &hub.host.traffic, "r", logs())).await.unwrap());
    }
    node.host.fact(1);
    hub.until("the fact", |state| state.facts == [1]).await;
    node.until("the acknowledgement", |state| state.acknowledged == 1).await;
    hub.host.put("/v1/pods/ns/a", b"one");
    node.until("the change", |state| state.keys() == ["/v1/pods/ns/a"]).await;
    // They go on where they stopped.
    for mut bytes in unread {
        let mut log = 0;
        while let Some(item) = within(bytes.recv()).await {
            log += item.unwrap().len();
        }
        assert_eq!(log, peers::LOG_BYTES);
    }
}

/// UDP does not get through: the node links over TCP, loses nothing, and goes back once UDP does.
#[tokio::test]
async fn a_node_links_over_tcp_and_goes_back_to_quic_by_itself() {
    let ca = Authority::new();
    let hub = Hub::new(&ca, Transport::Tcp).await;
    hub.host.put("/v1/pods/ns/a", b"one");
    let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    // A port that nobody has: what is sent to it is lost.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = format!("{udp}/{}", port(&hub.address));
    let node = Arc::new(Node::new(&ca, "uid-1"));
    node.host.fact(1);
    let (quic, tcp) = (Transport::Quic, Transport::Tcp);
    let dialers = [quic, tcp].map(|on| peers::dialer(&hub.env, on, node.tls()));
    let [over_quic, over_tcp] = dialers;
    let dialer = FallbackDialer::new(hub.env.clone(), over_quic, over_tcp);

    let joins = tls::join_config(&ca_hash(&ca.der).unwrap()).unwrap();
    let both = [quic, tcp].map(|on| peers::dialer(&hub.env, on, joins.clone()));
    let [join_quic, join_tcp] = both;
    let joins = FallbackDialer::for_joins(hub.env.clone(), join_quic, join_tcp);
    let (joining, accepted) = tokio::join!(within(joins.dial(&address)), hub.accept());
    assert_eq!(joining.unwrap().transport(), tcp);
    assert!(accepted.unwrap().1);

    let (links, driven) = (Arc::new(Mutex::new(Vec::new())), node.clone());
    let seen = links.clone();
    let looping = tokio::spawn(async move {
        loop {
            let connection = dialer.dial(&address).await.unwrap();
            seen.lock().unwrap().push(connection.transport());
            let end = driven.drive(connection).await;
            assert!(!end.refused, "{end:?}");
        }
    });
    let serve = |door: peers::Door| {
        let hub = hub.clone();
        tokio::spawn(async move {
            while let Some(attempt) = door.listener().next().await {
                let (connection, joining) = attempt.accept().await.unwrap();
                assert!(!joining);
                hub.serve(connection);
            }
        })
    };
    let serving = serve(hub.door.clone());
    node.until("in sync", |state| state.keys() == ["/v1/pods/ns/a"]).await;
    hub.until("the fact", |state| state.facts == [1]).await;
    hub.until("a heartbeat", |state| state.beats > 0).await;
    assert_eq!(*links.lock().unwrap(), [tcp]);

    let (door, _) = peers::Door::open(&hub.env, quic, ca.hub_config(&hub.env, ALWAYS), udp.port()).await;
    node.host.fact(2);
    let opened = serve(door);
    // On a busy machine the first look may be too short.
    let two_looks = fallback::LOOK_AFTER[0] + fallback::LOOK_AFTER[1] + Duration::from_secs(10);
    peers::poll_for(two_looks, "the way back", || *links.lock().unwrap() == [tcp, quic]).await;
    hub.until("the old driver's end", |state| state.ended == 1).await;
    hub.host.put("/v1/pods/ns/b", b"two");
    node.host.fact(3);
    node.until("the change", |state| state.keys() == ["/v1/pods/ns/a", "/v1/pods/ns/b"]).await;
    hub.until("each fact once", |state| state.facts == [1, 2, 3]).await;
    let state = hub.state();
    assert_eq!((state.reason.as_str(), state.ended), ("connection closed: the node goes back to QUIC", 1));
    looping.abort();
    serving.abort();
    opened.abort();
}

/// A hub that dies says nothing. Its successor with the same key does, to the first packet that comes.
#[tokio::test]
async fn a_restarted_hub_tells_nodes_at_once() {
    let ca = Authority::new();
    let node = Node::new(&ca, "uid-1");
    let config = ca.hub_config(&node.env, ALWAYS);
    let bind = |address, config| QuicListener::bind_keyed(address, config, IDLE, &ResetKey::new(&[7; ResetKey::BYTES]));
    // Its tasks and sockets are gone with it, as with a process that is killed.
    let life = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = {
        let _inside = life.enter();
        bind("127.0.0.1:0".parse().unwrap(), config.clone()).unwrap()
    };
    let address = first.local_address().unwrap();
    life.spawn(async move {
        let (connection, _) = first.next().await.unwrap().accept().await.unwrap();
        drive_hub(HostEnv::new("/nonexistent"), connection, Arc::new(peers::HubSide::default())).await
    });
    let connection = within(peers::dialer(&node.env, Transport::Quic, node.tls()).dial(&address.to_string())).await;
    let link = tokio::spawn(node.drive(connection.unwrap()));
    node.until("a heartbeat", |state| state.beats > 0).await;
    life.shutdown_background();
    let mut second = None;
    peers::poll("the port", || {
        second = bind(address, config.clone()).ok();
        second.is_some()
    })
    .await;
    let end = within(link).await.unwrap();
    assert!(end.reason.contains("reset by peer"), "{end:?}");
}

/// What a day of looking for QUIC costs where nobody answers: the figure that `fallback::LOOK_AFTER` names.
#[tokio::test]
async fn looking_for_quic_in_vain_costs_little() {
    let ca = Authority::new();
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let node = Node::new(&ca, "uid-1");
    let env = node.env.clone();
    let dialer = peers::dialer(&env, Transport::Quic, node.tls());
    let address = silent.local_addr().unwrap().to_string();
    let mut cost = Vec::new();
    for patience in [fallback::LOOK, fallback::LONG_LOOK] {
        assert!(env.timeout(patience, dialer.dial(&address)).await.is_none());
        // The end of the attempt is told, too.
        env.sleep(Duration::from_millis(300)).await;
        let (mut bytes, mut buffer) = (0, [0; 2048]);
        while let Ok(length) = silent.try_recv(&mut buffer) {
            bytes += length as u64 + 28;
        }
        cost.push(bytes);
    }
    let every = fallback::LONG_LOOK_EVERY as u64;
    let day = (cost[0] * (every - 1) + cost[1]) / every * (86_400 / fallback::LOOK_AFTER[5].as_secs());
    assert!(cost[0] > 1200 && day <= 450_000, "{cost:?} bytes a look, {day} a day");
}
