//! The node's driver.

use crate::arrivals::{Arrived, INPUTS, read_frames};
use crate::background::Background;
use crate::call::{NodeCall, counted, split};
use crate::traffic::{Meter, Purpose, Traffic};
use async_trait::async_trait;
use holdfast_core::{Revision, Seq, Session};
use holdfast_env::{Connection, SendStream, Task, Transport, World};
use holdfast_link_engine::mux::limits::{CONNECTION_WINDOW, STREAM_WINDOW};
use holdfast_link_engine::wire::{Hello, Open};
use holdfast_link_engine::{Keepalive, NodeInput, NodeLink, NodeOutput, NodeView, Pace, Persist, Stream};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Calls that one connection may run at a time; a further one is refused by resetting its stream.
const MAX_CALLS: usize = 64;

// Calls that nobody reads leave room for the link's own streams.
const _: () = assert!((MAX_CALLS + 2) * (STREAM_WINDOW as usize) < CONNECTION_WINDOW as usize);

/// What the link needs of the node.
#[async_trait]
pub trait NodeHost: Send + Sync + 'static {
    /// Lends the store to the engine.
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn NodeView));
    /// Makes something durable; an error ends the connection.
    async fn persist(&self, what: Persist) -> Result<(), String>;
    /// Whether nothing can be made durable any more until the node starts again. Objects that come then are not answered, and the
    /// connection goes on for what the node has to say.
    fn is_mute(&self) -> bool {
        false
    }
    /// The hub has all facts up to here.
    fn acknowledged(&self, seq: Seq);
    /// The session is up.
    fn connected(&self, session: Session, time_micros: i64);
    /// The hello (0) or a heartbeat, by its number, is about to be sent.
    fn renewing(&self, _count: u64) {}
    /// The hub has answered the hello (0) or a heartbeat.
    fn renewed(&self, _count: u64) {}
    /// The hub answered a heartbeat.
    fn alive(&self, time_micros: i64);
    /// What is known of this path's time-outs.
    fn keepalive(&self, _path: &str) -> Keepalive {
        Keepalive::default()
    }
    /// More is known of this path; how heartbeats go from now on, while the connection lives.
    fn paced(&self, _path: &str, _known: Keepalive, _pace: Option<Pace>) {}
    /// Where bytes are counted.
    fn traffic(&self) -> Arc<Traffic> {
        Arc::default()
    }
    /// The whole view at this revision is here.
    fn in_sync(&self, revision: Revision);
    /// Completes when the outbox has news since the last call. Cancel safe.
    async fn facts_changed(&self);
    /// Serves a call until it ends.
    async fn call(&self, call: NodeCall);
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEnd {
    /// Why.
    pub reason: String,
    /// The hub refused this node: do not hurry back.
    pub refused: bool,
}

/// What tells a path from others: when it is another one, a node begins its search for an interval anew.
fn path_of(connection: &Arc<dyn Connection>) -> String {
    format!("{} {}", connection.transport().name(), connection.local_address().unwrap_or_default())
}

/// Runs one connection to its end.
pub async fn drive_node(env: World, connection: Arc<dyn Connection>, host: Arc<dyn NodeHost>, hello: Hello) -> LinkEnd {
    let (inputs, mut queue) = mpsc::channel(INPUTS);
    let traffic = host.traffic();
    let mut driver = Driver {
        env: env.clone(),
        connection: connection.clone(),
        host: host.clone(),
        senders: BTreeMap::new(),
        inputs: inputs.clone(),
        tasks: Vec::new(),
        path: path_of(&connection),
        meter: Meter::new(&connection, &traffic),
        traffic,
    };
    driver.tasks.push(
        env.spawn("link-streams", Box::pin(accept(env.clone(), connection.clone(), host.clone(), inputs.clone()))),
    );
    driver.tasks.push(env.spawn("link-datagrams", Box::pin(datagrams(connection.clone(), inputs.clone()))));
    host.renewing(0);
    let (mut engine, outputs) = NodeLink::start(env.monotonic().0, &hello);
    engine.recall(host.keepalive(&driver.path));
    let mut end = driver.perform(outputs).await;
    while end.is_none() {
        let deadline = engine.next_deadline().map(holdfast_env::Mono);
        let timer = async {
            match deadline {
                Some(deadline) => env.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let input = tokio::select! {
            biased;
            closed = connection.closed() => {
                end = Some(LinkEnd { reason: closed.to_string(), refused: false });
                break;
            }
            arrived = queue.recv() => match arrived {
                Some(Arrived::Input(input)) => input,
                Some(Arrived::Opened(stream, sender)) => {
                    driver.senders.insert(stream, sender);
                    continue;
                }
                Some(Arrived::Broken(reason)) => {
                    end = Some(LinkEnd { reason, refused: false });
                    break;
                }
                None => break,
            },
            () = host.facts_changed() => NodeInput::FactsChanged,
            () = timer => NodeInput::Tick,
        };
        if matches!(input, NodeInput::Tick) {
            let carried = NodeInput::Carried(driver.meter.look().received_bytes);
            end = driver.feed(&mut engine, carried).await;
        }
        if end.is_none() {
            end = driver.feed(&mut engine, input).await;
        }
        driver.meter.look();
    }
    let known = engine.ended(env.monotonic().0, connection.transport() != Transport::Tcp);
    host.paced(&driver.path, known, None);
    let end = end.unwrap_or(LinkEnd { reason: "the driver ended".into(), refused: false });
    connection.close(&end.reason);
    end
}

struct Driver {
    env: World,
    connection: Arc<dyn Connection>,
    host: Arc<dyn NodeHost>,
    senders: BTreeMap<Stream, Box<dyn SendStream>>,
    inputs: mpsc::Sender<Arrived<NodeInput>>,
    tasks: Vec<Task>,
    path: String,
    meter: Meter,
    traffic: Arc<Traffic>,
}

impl Driver {
    /// Feeds the engine, and again whenever something it asked for is durable.
    async fn feed(&mut self, engine: &mut NodeLink, input: NodeInput) -> Option<LinkEnd> {
        match &input {
            NodeInput::Frame(stream, frame) => self.traffic.received((*stream).into(), frame.wire_bytes()),
            NodeInput::Datagram(data) => self.traffic.received(Purpose::Heartbeat, data.len()),
            _ => {}
        }
        let mut pending = vec![input];
        while let Some(input) = pending.pop() {
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
                if let NodeOutput::Persist(what) = output {
                    let is_items = matches!(what, Persist::Items(_));
                    if let Err(reason) = self.host.persist(what).await {
                        if is_items && self.host.is_mute() {
                            continue;
                        }
                        return Some(LinkEnd { reason, refused: false });
                    }
                    pending.push(NodeInput::Persisted);
                } else if let Some(end) = self.perform(vec![output]).await {
                    return Some(end);
                }
            }
        }
        None
    }

    async fn perform(&mut self, outputs: Vec<NodeOutput>) -> Option<LinkEnd> {
        for output in outputs {
            match output {
                NodeOutput::Send(stream, data) => {
                    if let Err(err) = self.send(stream, data).await {
                        return Some(LinkEnd { reason: err.to_string(), refused: false });
                    }
                }
                NodeOutput::SendHeartbeat { count, data } => {
                    self.host.renewing(count);
                    self.traffic.sent(Purpose::Heartbeat, data.len());
                    // A heartbeat that does not fit the path now is as good as lost.
                    let _ = self.connection.send_datagram(data);
                }
                NodeOutput::Acknowledged(seq) => self.host.acknowledged(seq),
                NodeOutput::Connected { session, time_micros } => {
                    self.host.renewed(0);
                    self.host.connected(session, time_micros);
                }
                NodeOutput::Alive { count, time_micros } => {
                    self.host.renewed(count);
                    self.host.alive(time_micros);
                }
                NodeOutput::Paced(known, pace) => self.host.paced(&self.path, known, Some(pace)),
                NodeOutput::InSync(revision) => self.host.in_sync(revision),
                NodeOutput::Close { reason, refused } => return Some(LinkEnd { reason, refused }),
                NodeOutput::Persist(_) => debug_assert!(false, "persisting is the feeder's"),
            }
        }
        None
    }

    async fn send(&mut self, stream: Stream, data: bytes::Bytes) -> Result<(), holdfast_env::NetError> {
        if let std::collections::btree_map::Entry::Vacant(slot) = self.senders.entry(stream) {
            if stream == Stream::Sync {
                return Err(holdfast_env::NetError::Closed("the sync stream is not open".into()));
            }
            let (mut sender, frames) = split(self.connection.open_bi().await?);
            sender.set_priority(stream.priority());
            let facts = stream == Stream::Facts;
            slot.insert(if facts { Background::start(&self.env, sender) } else { sender });
            let reader = read_frames(self.env.clone(), stream, frames, self.inputs.clone(), NodeInput::Frame);
            self.tasks.push(self.env.spawn("link-reader", Box::pin(reader)));
        }
        match self.senders.get_mut(&stream) {
            Some(sender) => {
                self.traffic.sent(stream.into(), data.len());
                sender.write(data).await
            }
            None => Ok(()),
        }
    }
}

/// The wall clock in microseconds since 1970.
pub(crate) fn clock_micros(env: &World) -> i64 {
    i64::try_from(env.wall().0.as_micros()).unwrap_or(i64::MAX)
}

async fn datagrams(connection: Arc<dyn Connection>, inputs: mpsc::Sender<Arrived<NodeInput>>) {
    while let Ok(data) = connection.recv_datagram().await {
        if inputs.send(Arrived::Input(NodeInput::Datagram(data))).await.is_err() {
            return;
        }
    }
}

/// Takes the hub's streams: one sync stream, and calls.
async fn accept(
    env: World,
    connection: Arc<dyn Connection>,
    host: Arc<dyn NodeHost>,
    inputs: mpsc::Sender<Arrived<NodeInput>>,
) {
    let mut calls: Vec<Task> = Vec::new();
    let mut readers: Vec<Task> = Vec::new();
    while let Ok(stream) = connection.accept_bi().await {
        let (mut sender, mut frames) = split(stream);
        calls.retain(|call| !call.is_finished());
        let opened = env.timeout(holdfast_link_engine::limits::HANDSHAKE, frames.expect::<Open>()).await;
        match opened {
            Some(Ok(Open { stream: Stream::Sync })) if readers.is_empty() => {
                sender.set_priority(Stream::Sync.priority());
                if inputs.send(Arrived::Opened(Stream::Sync, sender)).await.is_err() {
                    return;
                }
                readers.push(env.spawn(
                    "link-sync",
                    Box::pin(read_frames(env.clone(), Stream::Sync, frames, inputs.clone(), NodeInput::Frame)),
                ));
            }
            Some(Ok(Open { stream: Stream::Call })) if calls.len() < MAX_CALLS => {
                let host = host.clone();
                let (sender, frames) = counted(sender, frames, &host.traffic());
                calls.push(env.spawn(
                    "link-call",
                    Box::pin(async move {
                        if let Ok(call) = NodeCall::read(sender, frames).await {
                            host.call(call).await;
                        }
                    }),
                ));
            }
            _ => sender.reset(1),
        }
    }
}
