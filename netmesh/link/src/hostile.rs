//! Peers that dribble: what they begin and never end has its time and its bound, and they hear what they did wrong. In
//! virtual time, over the multiplexer; its own frames are tested with it.

use crate::framed::FrameRecv;
use crate::hub::{Grant, HubHost, Refusal, drive_hub};
use crate::join::{Doorkeeper, serve_join};
use crate::mux::{self, Peer};
use crate::testing::Virtual;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest};
use holdfast_env::{BiStream, Connection, NetError, SendStream, Transport, World};
use holdfast_link_engine::limits::{FRAME, HANDSHAKE, MAX_FRAME_BYTES, STRANGER_FRAME_BYTES};
use holdfast_link_engine::mux::Side;
use holdfast_link_engine::wire::{
    FactAck, FactBatch, FactSort, Heartbeat, Hello, JoinReply, JoinRequest, Open, Payload, RenewRequest, SessionReady,
    TimeResetReply, TimeResetRequest, VERSION_MIN, WireFact, encode,
};
use holdfast_link_engine::{FrameReader, HubItem, HubView, Stream};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

/// So long that only what is tested here ends a connection.
const IDLE: Duration = Duration::from_secs(24 * 3600);

/// A hub that has nothing for a node, and takes its facts.
#[derive(Default)]
struct Hub {
    digest: SetDigest,
    facts: Mutex<Vec<Seq>>,
    /// Each batch of facts needs a permit, where there is such a judge.
    judge: Option<Semaphore>,
}

impl HubView for Hub {
    fn revision(&self) -> Revision {
        Revision(1)
    }
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_> {
        Box::new(std::iter::empty())
    }
    fn get(&self, _key: &str) -> Option<HubItem> {
        None
    }
    fn needs(&self, _pod: &str) -> Vec<String> {
        Vec::new()
    }
}

#[async_trait]
impl HubHost for Hub {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn HubView)) {
        use_view(self);
    }
    async fn view_changed(&self) {
        std::future::pending().await
    }
    async fn grant(&self, _hello: &Hello) -> Result<Grant, Refusal> {
        let heartbeat = Duration::from_secs(25);
        Ok(Grant {
            lineage: Lineage(1),
            session: Session(1),
            mark: Seq(0),
            heartbeat,
            longest_heartbeat: heartbeat,
            grace: heartbeat * 2,
        })
    }
    async fn apply_facts(&self, _session: Session, _outbox: OutboxGen, facts: Vec<WireFact>) -> Result<(), String> {
        if let Some(judge) = &self.judge {
            judge.acquire().await.unwrap().forget();
        }
        self.facts.lock().unwrap().extend(facts.iter().map(|fact| fact.seq));
        Ok(())
    }
    async fn online(&self, _session: Session, _connection: Arc<dyn Connection>) -> Result<(), Refusal> {
        Ok(())
    }
    fn alive(&self, _session: Session, _clock_micros: i64, _interval: Duration) {}
    fn applied(&self, _revision: Revision) {}
    async fn cut(&self) -> Refusal {
        std::future::pending().await
    }
}

#[async_trait]
impl Doorkeeper for Hub {
    async fn join(&self, _request: JoinRequest) -> JoinReply {
        JoinReply::Refused { reason: "nobody joins here".into() }
    }
    async fn time_reset(&self, _request: TimeResetRequest) -> TimeResetReply {
        TimeResetReply::Refused { code: "NotNow".into(), reason: "not now".into() }
    }
}

/// A peer's end, and the hub's.
fn pair(env: &World) -> (Arc<dyn Connection>, Arc<dyn Connection>) {
    let peer = || Peer { certificates: vec![], address: "there".into(), local: None, transport: Transport::Memory };
    let (near, far) = tokio::io::duplex(4096);
    let node = mux::connection(env, near, Side::Dialer, IDLE, peer());
    (node, mux::connection(env, far, Side::Listener, IDLE, peer()))
}

fn hello() -> Bytes {
    encode(&Hello {
        version_min: VERSION_MIN,
        version_max: VERSION_MIN,
        node_uid: "uid".into(),
        node_name: "edge".into(),
        boot: 1,
        lineage: Lineage(1),
        session: Session(0),
        root: SetDigest::default().root(),
        outbox: OutboxGen(1),
        clock_micros: 0,
    })
}

fn facts(seq: u64) -> Bytes {
    let fact = WireFact { seq: Seq(seq), sort: FactSort::Log, key: String::new(), body: Bytes::from_static(b"{}") };
    encode(&FactBatch { session: Session(1), outbox: OutboxGen(1), facts: vec![fact] })
}

/// The head of a frame of so many bytes.
fn head<T: Payload>(length: usize) -> Bytes {
    let length = u32::try_from(length).unwrap();
    [&T::KIND.to_le_bytes()[..], &length.to_le_bytes()].concat().into()
}

/// Opens a stream for something.
async fn open(node: &Arc<dyn Connection>, stream: Stream) -> BiStream {
    let (mut sender, receiver) = node.open_bi().await.unwrap();
    sender.write(encode(&Open { stream })).await.unwrap();
    (sender, receiver)
}

/// Writes a byte every so often, for ever or until the stream takes no more.
async fn dribble(env: &World, sender: &mut Box<dyn SendStream>, data: Bytes, pause: Duration) {
    for byte in data {
        env.sleep(pause).await;
        if sender.write(vec![byte].into()).await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// A session that is up; its control stream.
async fn up(node: &Arc<dyn Connection>) -> BiStream {
    let mut control = open(node, Stream::Control).await;
    control.0.write(hello()).await.unwrap();
    control.0.write(encode(&SessionReady { session: Session(1) })).await.unwrap();
    control
}

/// How the hub's driver ended, and what the peer was told, when the peer does `what`.
async fn ends(env: &World, hub: &Arc<Hub>, what: impl AsyncFnOnce(Arc<dyn Connection>)) -> String {
    let (node, connection) = pair(env);
    let driving = drive_hub(env.clone(), connection, hub.clone());
    let (reason, heard) = tokio::select! {
    biased;
            both = futures_util::future::join(driving, node.closed()) => both,
            () = what(node.clone()) => unreachable!("the peer is done"),
        };
    assert_eq!(heard, NetError::Closed(reason.clone()));
    reason
}

#[test]
fn a_hello_that_dribbles_has_the_time_of_a_handshake() {
    Virtual::run(async |env| {
        for bytes_before in [0, 6, 20] {
            let begun = env.monotonic();
            let reason = ends(&env, &Arc::default(), async |node| {
                let (mut control, _answers) = open(&node, Stream::Control).await;
                let hello = hello();
                control.write(hello.slice(..bytes_before)).await.unwrap();
                dribble(&env, &mut control, hello.slice(bytes_before..), Duration::from_secs(5)).await;
            })
            .await;
            assert_eq!(reason, "the node did not finish its handshake in time");
            // The peer may hear of it first.
            let took = env.monotonic().since(begun);
            assert!(took >= HANDSHAKE && took <= HANDSHAKE + Duration::from_secs(1), "{took:?}");
        }
    });
}

#[test]
fn streams_that_never_say_what_they_are_for_end_nothing_but_themselves() {
    Virtual::run(async |env| {
        let hub = Arc::<Hub>::default();
        let (node, connection) = pair(&env);
        let driving = drive_hub(env.clone(), connection, hub.clone());
        let peer = async {
            let _control = up(&node).await;
            let (mut silent, _answers) = node.open_bi().await.unwrap();
            silent.write(Bytes::from_static(&[1])).await.unwrap();
            // It waits behind the one before, and is served then.
            let (mut stream, _answers) = open(&node, Stream::Facts).await;
            stream.write(facts(1)).await.unwrap();
            while hub.facts.lock().unwrap().is_empty() {
                env.sleep(Duration::from_secs(1)).await;
            }
            assert!(env.monotonic().0 <= HANDSHAKE + Duration::from_secs(2), "{:?}", env.monotonic());
            node.close("done");
        };
        let (reason, ()) = tokio::join!(driving, peer);
        assert_eq!(reason, "connection closed: done");
    });
}

#[test]
fn a_frame_that_is_begun_must_be_ended() {
    Virtual::run(async |env| {
        let hub = Arc::<Hub>::default();
        let begun = env.monotonic();
        let reason = ends(&env, &hub, async |node| {
            let _control = up(&node).await;
            let (mut stream, _answers) = open(&node, Stream::Facts).await;
            stream.write(facts(1)).await.unwrap();
            stream.write(head::<FactBatch>(MAX_FRAME_BYTES)).await.unwrap();
            dribble(&env, &mut stream, vec![0; 10_000].into(), Duration::from_secs(10)).await;
        })
        .await;
        assert_eq!(reason, "a frame was not finished within 1200 s");
        assert_eq!(env.monotonic().since(begun), FRAME);
        // What came before it counts.
        assert_eq!(*hub.facts.lock().unwrap(), [Seq(1)]);
    });
}

#[test]
fn too_large_a_frame_ends_the_connection_by_its_head() {
    Virtual::run(async |env| {
        let reason = ends(&env, &Arc::default(), async |node| {
            let _control = up(&node).await;
            let (mut stream, _answers) = open(&node, Stream::Facts).await;
            stream.write(head::<FactBatch>(MAX_FRAME_BYTES + 1)).await.unwrap();
            std::future::pending().await
        })
        .await;
        assert_eq!(reason, format!("a frame of {} bytes is larger than is allowed", MAX_FRAME_BYTES + 1));
        assert_eq!(env.monotonic().0, Duration::ZERO);
    });
}

#[test]
fn facts_that_come_again_end_the_connection() {
    Virtual::run(async |env| {
        let hub = Arc::<Hub>::default();
        let reason = ends(&env, &hub, async |node| {
            let _control = up(&node).await;
            let (mut stream, _answers) = open(&node, Stream::Facts).await;
            for batch in [facts(1), facts(2), facts(2)] {
                stream.write(batch).await.unwrap();
                // The hub takes one batch at a time.
                env.sleep(Duration::from_secs(1)).await;
            }
            std::future::pending().await
        })
        .await;
        assert_eq!(reason, format!("a frame of type {} is not expected here", FactBatch::KIND));
        assert_eq!(*hub.facts.lock().unwrap(), [Seq(1), Seq(2)]);
    });
}

#[test]
fn facts_that_take_long_hold_up_nothing_and_end_with_the_connection() {
    Virtual::run(async |env| {
        let hub = Arc::new(Hub { judge: Some(Semaphore::new(0)), ..Hub::default() });
        let judge = hub.judge.as_ref().unwrap();
        let (node, connection) = pair(&env);
        let driving = drive_hub(env.clone(), connection, hub.clone());
        let peer = async {
            let _control = up(&node).await;
            let (mut stream, answers) = open(&node, Stream::Facts).await;
            stream.write(facts(1)).await.unwrap();
            for count in 1..=3 {
                env.sleep(Duration::from_secs(10)).await;
                node.send_datagram(encode(&Heartbeat { session: Session(1), count, clock_micros: 0 })).unwrap();
                let mut answer = FrameReader::default();
                answer.push(&node.recv_datagram().await.unwrap());
                let answer: Heartbeat = answer.next_frame().unwrap().unwrap().decode().unwrap();
                assert_eq!(answer.count, count);
            }
            assert_eq!(*hub.facts.lock().unwrap(), []);
            judge.add_permits(1);
            let ack: FactAck = FrameRecv::new(answers).expect().await.unwrap();
            assert_eq!(ack.seq, Seq(1));
            stream.write(facts(2)).await.unwrap();
            env.sleep(Duration::from_secs(1)).await;
            node.close("done");
        };
        let (reason, ()) = tokio::join!(driving, peer);
        assert_eq!(reason, "connection closed: done");
        judge.add_permits(1);
        env.sleep(Duration::from_secs(1)).await;
        assert_eq!(*hub.facts.lock().unwrap(), [Seq(1)], "nobody is there any more to hear of it");
    });
}

#[test]
fn a_second_hello_ends_the_connection() {
    Virtual::run(async |env| {
        let reason = ends(&env, &Arc::default(), async |node| {
            let (mut control, _answers) = up(&node).await;
            control.write(hello()).await.unwrap();
            std::future::pending().await
        })
        .await;
        assert_eq!(reason, format!("a frame of type {} is not expected here", Hello::KIND));
    });
}

#[test]
fn a_join_that_dribbles_ends_in_time_and_a_large_one_at_once() {
    Virtual::run(async |env| {
        let hub = Hub::default();
        let (node, connection) = pair(&env);
        let served = serve_join(&env, &connection, &hub);
        let peer = async {
            let (mut sender, _receiver) = node.open_bi().await.unwrap();
            sender.write(head::<JoinRequest>(STRANGER_FRAME_BYTES)).await.unwrap();
            tokio::select! {
            biased;
                            closed = node.closed() => closed,
                            () = dribble(&env, &mut sender, vec![0; 1000].into(), Duration::from_secs(1)) => unreachable!(),
                        }
        };
        let (served, heard) = tokio::join!(served, peer);
        assert_eq!(served.unwrap_err().to_string(), "the peer did not answer in time");
        assert_eq!(heard, NetError::Closed("answered".into()));
        assert!(env.monotonic().0 <= Duration::from_secs(25), "{:?}", env.monotonic());

        let (node, connection) = pair(&env);
        let peer = async {
            let (mut sender, _receiver) = node.open_bi().await.unwrap();
            sender.write(head::<JoinRequest>(STRANGER_FRAME_BYTES + 1)).await.unwrap();
            node.closed().await
        };
        let (served, _) = tokio::join!(serve_join(&env, &connection, &hub), peer);
        let too_large = format!("a frame of {} bytes is larger than is allowed", STRANGER_FRAME_BYTES + 1);
        assert_eq!(served.unwrap_err().to_string(), too_large);
    });
}

#[test]
fn a_renewal_that_dribbles_leaves_the_session_alone() {
    Virtual::run(async |env| {
        let hub = Arc::<Hub>::default();
        let (node, connection) = pair(&env);
        let driving = drive_hub(env.clone(), connection, hub.clone());
        let peer = async {
            let _control = up(&node).await;
            let (mut renewal, _answer) = open(&node, Stream::Renew).await;
            renewal.write(head::<RenewRequest>(1000)).await.unwrap();
            // Its stream is given up, and the next one may try.
            while renewal.write(Bytes::from_static(&[0])).await.is_ok() {
                env.sleep(Duration::from_secs(1)).await;
            }
            assert!(env.monotonic().0 <= Duration::from_secs(30), "{:?}", env.monotonic());
            let (mut stream, _answers) = open(&node, Stream::Facts).await;
            stream.write(facts(1)).await.unwrap();
            while hub.facts.lock().unwrap().is_empty() {
                env.sleep(Duration::from_secs(1)).await;
            }
            node.close("done");
        };
        let (reason, ()) = tokio::join!(driving, peer);
        assert_eq!(reason, "connection closed: done");
    });
}
