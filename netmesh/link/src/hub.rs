//! The hub's driver.
//!
//! Facts are applied in a task of their own ([`apply`]), because the store, and whoever judges writes, may take long over
//! them, and heartbeats, objects and calls must not wait for that.

use crate::arrivals::{Arrived, INPUTS, read_frames};
use crate::background::Background;
use crate::framed::{FrameRecv, LinkError};
use crate::node::clock_micros;
use crate::renew::{ANSWER, serve_request};
use crate::traffic::{Meter, Purpose, Traffic};
use async_trait::async_trait;
use holdfast_core::{Lineage, OutboxGen, Revision, Seq, Session};
use holdfast_env::{Connection, SendStream, Task, World};
use holdfast_link_engine::heartbeat::address_hash;
use holdfast_link_engine::wire::{HeartbeatLimits, Hello, Open, RenewReply, RenewRequest, WireFact};
use holdfast_link_engine::{HubInput, HubLink, HubOutput, HubView, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Batches of facts that wait for the one that is being applied. The engine takes a batch only when the store has the one
/// before it, and the node sends none before that: so this is never full, and the driver never waits.
const BATCHES: usize = 1;

/// A session for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The hub's history.
    pub lineage: Lineage,
    /// The session, durable in the store.
    pub session: Session,
    /// The mark of the node's outbox.
    pub mark: Seq,
    /// Interval of heartbeats to begin with.
    pub heartbeat: Duration,
    /// The longest interval that the node may find for itself.
    pub longest_heartbeat: Duration,
    /// Silence after which the node counts as gone.
    pub grace: Duration,
}

/// Why a node is not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// What one node's link needs of the hub.
#[async_trait]
pub trait HubHost: Send + Sync + 'static {
    /// Lends the node's view to the engine.
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn HubView));
    /// Completes when the view changed since the last call. Cancel safe.
    async fn view_changed(&self);
    /// Checks the node's words against its certificate and makes a session durable.
    async fn grant(&self, hello: &Hello) -> Result<Grant, Refusal>;
    /// Puts facts and the mark into the store, in order; it may take as long as it has to. An error ends the connection:
    /// the node sends them again. When the connection ends first, this is dropped: what it then has under way must not
    /// take effect after facts of a later session.
    async fn apply_facts(&self, session: Session, outbox: OutboxGen, facts: Vec<WireFact>) -> Result<(), String>;
    /// The node has made its session durable: notes it in the store. From now on calls go over the connection.
    async fn online(&self, session: Session, connection: Arc<dyn Connection>) -> Result<(), Refusal>;
    /// The node is alive; its next heartbeat comes after `interval` at most.
    fn alive(&self, session: Session, clock_micros: i64, interval: Duration);
    /// Whether heartbeats are answered now: an answer lets a node go on with what it may do only while the hub hears it.
    fn answers(&self) -> bool {
        true
    }
    /// Where bytes are counted.
    fn traffic(&self) -> Arc<Traffic> {
        Arc::default()
    }
    /// The node has the whole view of this revision durably.
    fn applied(&self, revision: Revision);
    /// Decides about a new certificate for the node of this connection; durable before it is answered.
    async fn renew(&self, _request: RenewRequest) -> RenewReply {
        let reason = "this hub does not renew certificates".to_string();
        RenewReply::Refused { code: "NotImplemented".into(), reason }
    }
    /// Completes when the node must be cut (replaced, deleted, revoked), with the reason. Cancel safe.
    async fn cut(&self) -> Refusal;
}

/// Runs one connection to its end; the reason comes back.
pub async fn drive_hub(env: World, connection: Arc<dyn Connection>, host: Arc<dyn HubHost>) -> String {
    let (inputs, mut queue) = mpsc::channel(INPUTS);
    let traffic = host.traffic();
    let (facts, batches) = mpsc::channel(BATCHES);
    let mut driver = Driver {
        meter: Meter::new(&connection, &traffic),
        traffic,
        env: env.clone(),
        connection: connection.clone(),
        host: host.clone(),
        senders: BTreeMap::new(),
        inputs: inputs.clone(),
        facts,
        tasks: Vec::new(),
        session: None,
    };
    driver.tasks.push(
        env.spawn("link-streams", Box::pin(accept(env.clone(), connection.clone(), host.clone(), inputs.clone()))),
    );
    driver.tasks.push(env.spawn("link-datagrams", Box::pin(datagrams(connection.clone(), inputs.clone()))));
    driver.tasks.push(env.spawn("link-facts", Box::pin(apply(host.clone(), batches, inputs))));
    let mut engine = HubLink::start(env.monotonic().0);
    let mut cut = false;
    let reason = loop {
        let deadline = engine.next_deadline().map(holdfast_env::Mono);
        let timer = async {
            match deadline {
                Some(deadline) => env.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            biased;
            closed = connection.closed() => break closed.to_string(),
            refusal = host.cut(), if !cut => {
                cut = true;
                HubInput::Refused { code: refusal.code, reason: refusal.reason }
            }
            arrived = queue.recv() => match arrived {
                Some(Arrived::Input(input)) => input,
                Some(Arrived::Opened(stream, sender)) => {
                    driver.senders.insert(stream, sender);
                    continue;
                }
                Some(Arrived::Broken(reason)) => break reason,
                None => break "the driver ended".to_string(),
            },
            () = host.view_changed() => HubInput::ViewChanged,
            () = timer => HubInput::Tick,
        };
        if let Some(reason) = driver.feed(&mut engine, input).await {
            break reason;
        }
        driver.meter.look();
    };
    connection.close(&reason);
    reason
}

/// Facts on their way into the store; at least one.
struct Batch {
    session: Session,
    outbox: OutboxGen,
    facts: Vec<WireFact>,
    last: Seq,
}

struct Driver {
    env: World,
    connection: Arc<dyn Connection>,
    host: Arc<dyn HubHost>,
    senders: BTreeMap<Stream, Box<dyn SendStream>>,
    inputs: mpsc::Sender<Arrived<HubInput>>,
    facts: mpsc::Sender<Batch>,
    tasks: Vec<Task>,
    session: Option<Session>,
    meter: Meter,
    traffic: Arc<Traffic>,
}

impl Driver {
    /// Feeds the engine, and again with the results of what it asked for. The reason when the connection ends.
    async fn feed(&mut self, engine: &mut HubLink, input: HubInput) -> Option<String> {
        match &input {
            HubInput::Frame(stream, frame) => self.traffic.received((*stream).into(), frame.wire_bytes()),
            HubInput::Datagram(data, _) => self.traffic.received(Purpose::Heartbeat, data.len()),
            _ => {}
        }
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let now = self.env.monotonic().0;
            let clock = clock_micros(&self.env);
            let mut outputs = Vec::new();
            let mut input = Some(input);
            self.host.with_view(&mut |view| {
                if let Some(input) = input.take() {
                    outputs = engine.handle(now, clock, input, view);
                }
            });
            for output in outputs {
                match output {
                    HubOutput::Send(stream, data) => {
                        if let Err(err) = self.send(stream, data).await {
                            return Some(err.to_string());
                        }
                    }
                    HubOutput::SendDatagram(_) if !self.host.answers() => {}
                    HubOutput::SendDatagram(data) => {
                        self.traffic.sent(Purpose::Heartbeat, data.len());
                        // As good as lost when it does not fit the path now.
                        let _ = self.connection.send_datagram(data);
                    }
                    HubOutput::Grant(hello, _version) => {
                        next = Some(match self.host.grant(&hello).await {
                            Ok(Grant { lineage, session, mark, heartbeat, longest_heartbeat, grace }) => {
                                let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
                                let limits = HeartbeatLimits {
                                    longest_ms: millis(longest_heartbeat),
                                    grace_ms: millis(grace),
                                    address: address_hash(&self.connection.peer_address()),
                                };
                                HubInput::Granted { lineage, session, mark, heartbeat, limits }
                            }
                            Err(Refusal { code, reason }) => HubInput::Refused { code, reason },
                        });
                    }
                    HubOutput::Online(session) => {
                        self.session = Some(session);
                        if let Err(Refusal { code, reason }) = self.host.online(session, self.connection.clone()).await
                        {
                            next = Some(HubInput::Refused { code, reason });
                            break;
                        }
                    }
                    HubOutput::Facts(outbox, facts) => {
                        let (Some(session), Some(last)) = (self.session, facts.last().map(|fact| fact.seq)) else {
                            return Some("facts came before the session".into());
                        };
                        if self.facts.send(Batch { session, outbox, facts, last }).await.is_err() {
                            return Some("facts are no longer taken".into());
                        }
                    }
                    HubOutput::Alive { clock_micros, interval } => {
                        if let Some(session) = self.session {
                            self.host.alive(session, clock_micros, interval);
                        }
                    }
                    HubOutput::Applied(revision) => self.host.applied(revision),
                    HubOutput::Close(reason) => {
                        // Lets a refusal reach the node before the connection goes.
                        if let Some(mut control) = self.senders.remove(&Stream::Control) {
                            let _ = control.finish().await;
                            self.env.timeout(Duration::from_secs(1), self.connection.closed()).await;
                        }
                        return Some(reason);
                    }
                }
            }
        }
        None
    }

    async fn send(&mut self, stream: Stream, data: bytes::Bytes) -> Result<(), holdfast_env::NetError> {
        if stream == Stream::Sync && !self.senders.contains_key(&stream) {
            let (mut sender, receiver) = self.connection.open_bi().await?;
            sender.set_priority(stream.priority());
            self.senders.insert(stream, Background::start(&self.env, sender));
            let reader =
                read_frames(self.env.clone(), stream, FrameRecv::new(receiver), self.inputs.clone(), HubInput::Frame);
            self.tasks.push(self.env.spawn("link-reader", Box::pin(reader)));
        }
        match self.senders.get_mut(&stream) {
            Some(sender) => {
                self.traffic.sent(stream.into(), data.len());
                sender.write(data).await
            }
            None => Err(holdfast_env::NetError::Closed("the node has not opened this stream".into())),
        }
    }
}

/// Applies what the node reports, a batch after the other.
async fn apply(host: Arc<dyn HubHost>, mut batches: mpsc::Receiver<Batch>, inputs: mpsc::Sender<Arrived<HubInput>>) {
    while let Some(Batch { session, outbox, facts, last }) = batches.recv().await {
        let arrived = match host.apply_facts(session, outbox, facts).await {
            Ok(()) => Arrived::Input(HubInput::FactsCommitted { seq: last }),
            Err(reason) => Arrived::Broken(reason),
        };
        if inputs.send(arrived).await.is_err() {
            return;
        }
    }
}

async fn datagrams(connection: Arc<dyn Connection>, inputs: mpsc::Sender<Arrived<HubInput>>) {
    while let Ok(data) = connection.recv_datagram().await {
        let from = address_hash(&connection.peer_address());
        if inputs.send(Arrived::Input(HubInput::Datagram(data, from))).await.is_err() {
            return;
        }
    }
}

/// Takes the node's streams: one control, one facts, one renewal at a time.
async fn accept(
    env: World,
    connection: Arc<dyn Connection>,
    host: Arc<dyn HubHost>,
    inputs: mpsc::Sender<Arrived<HubInput>>,
) {
    let mut readers: BTreeMap<Stream, Task> = BTreeMap::new();
    let mut renewal: Option<Task> = None;
    while let Ok((mut sender, receiver)) = connection.accept_bi().await {
        let mut frames = FrameRecv::new(receiver);
        let opened = env.timeout(holdfast_link_engine::limits::HANDSHAKE, frames.expect::<Open>()).await;
        match opened {
            Some(Ok(Open { stream }))
                if matches!(stream, Stream::Control | Stream::Facts) && !readers.contains_key(&stream) =>
            {
                sender.set_priority(stream.priority());
                if inputs.send(Arrived::Opened(stream, sender)).await.is_err() {
                    return;
                }
                readers.insert(
                    stream,
                    env.spawn(
                        "link-reader",
                        Box::pin(read_frames(env.clone(), stream, frames, inputs.clone(), HubInput::Frame)),
                    ),
                );
            }
            Some(Ok(Open { stream: Stream::Renew })) if renewal.as_ref().is_none_or(Task::is_finished) => {
                let host = host.clone();
                let world = env.clone();
                let serve = async move {
                    let decide = |request| async move { host.renew(request).await };
                    let served = world.timeout(ANSWER, serve_request(&mut sender, &mut frames, decide)).await;
                    if let Err(err) = served.unwrap_or(Err(LinkError::Timeout)) {
                        tracing::debug!(%err, "A renewal did not finish");
                    }
                };
                renewal = Some(env.spawn("link-renewal", Box::pin(serve)));
            }
            _ => sender.reset(1),
        }
    }
}
