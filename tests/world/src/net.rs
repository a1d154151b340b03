//! Connections between machines: reliable streams, unreliable datagrams, silence that ends them.
//!
//! Each chunk of a stream is a packet that is sent until it arrives; while a path is closed, or loses it, it is sent
//! again later. A side that hears nothing for its idle time-out is closed, and the other side does not hear of it.

use crate::universe::{MachineId, Universe, lock};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{BiStream, Connection, NetError, RecvStream, SendStream};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Chunks of a stream that wait for the network; a writer waits when there are as many.
const WINDOW_CHUNKS: usize = 8;
/// Datagrams that wait for a reader; further ones are lost.
const DATAGRAMS: usize = 64;
/// The first and the longest wait before a packet is sent again.
const RESEND: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(5));
/// How long a dial waits for an answer.
const DIAL: Duration = Duration::from_secs(10);

/// What is wrong with the way from one machine to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathFaults {
    /// Nothing gets through.
    pub cut: bool,
    /// Packets lost, in millionths.
    pub loss_ppm: u32,
    /// Datagrams that arrive twice, in millionths.
    pub twice_ppm: u32,
    /// Shortest and longest time on the way, in microseconds.
    pub delay_us: (u64, u64),
    /// Bytes a second; 0 for as many as there are.
    pub bytes_per_second: u64,
}

impl Default for PathFaults {
    fn default() -> PathFaults {
        PathFaults { cut: false, loss_ppm: 0, twice_ppm: 0, delay_us: (500, 20_000), bytes_per_second: 0 }
    }
}

/// Where on its way a chunk was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapSide {
    /// The sender gave it to the network.
    Sent,
    /// The receiver can read it.
    Delivered,
}

/// A look at what goes over the wire.
#[derive(Clone, Debug)]
pub struct Tap<'a> {
    /// The connection.
    pub connection: u64,
    /// The stream within the connection; datagrams have none.
    pub stream: Option<u64>,
    /// From which machine.
    pub from: MachineId,
    /// To which machine.
    pub to: MachineId,
    /// Where it was seen.
    pub side: TapSide,
    /// The bytes.
    pub data: &'a [u8],
}

type TapFn = Box<dyn FnMut(&Tap<'_>) + Send>;

struct Listener {
    machine: MachineId,
    accept: mpsc::UnboundedSender<Arc<dyn Connection>>,
}

#[derive(Default)]
struct NetState {
    paths: BTreeMap<(MachineId, MachineId), PathFaults>,
    /// Machines whose address changed at their NAT: nothing reaches them until they have sent something.
    moved: BTreeMap<MachineId, bool>,
    /// How often that happened to each: the port that others see it at.
    rebindings: BTreeMap<MachineId, u32>,
    listeners: BTreeMap<String, Listener>,
    connections: Vec<Weak<Shared>>,
    next: u64,
    tap: Option<TapFn>,
    packets: u64,
    bytes: u64,
}

/// The network. Clones are the same network.
#[derive(Clone)]
pub struct Net {
    universe: Universe,
    state: Arc<Mutex<NetState>>,
}

impl Net {
    /// A network without faults.
    pub fn new(universe: &Universe) -> Net {
        Net { universe: universe.clone(), state: Arc::default() }
    }

    /// Looks at everything that goes over the wire from now on.
    pub fn tap(&self, tap: impl FnMut(&Tap<'_>) + Send + 'static) {
        lock(&self.state).tap = Some(Box::new(tap));
    }

    /// Sets what is wrong on the way from one machine to another.
    pub fn set_path(&self, from: MachineId, to: MachineId, faults: PathFaults) {
        lock(&self.state).paths.insert((from, to), faults);
    }

    /// What is wrong on the way from one machine to another.
    pub fn path(&self, from: MachineId, to: MachineId) -> PathFaults {
        lock(&self.state).paths.get(&(from, to)).copied().unwrap_or_default()
    }

    /// The machine's NAT forgets it.
    pub fn rebind(&self, machine: MachineId) {
        let mut state = lock(&self.state);
        state.moved.insert(machine, true);
        *state.rebindings.entry(machine).or_default() += 1;
    }

    /// Packets and bytes so far.
    pub fn traffic(&self) -> (u64, u64) {
        let state = lock(&self.state);
        (state.packets, state.bytes)
    }

    /// Listens at an address; what comes in is accepted from the channel.
    pub fn listen(&self, address: &str, machine: MachineId) -> mpsc::UnboundedReceiver<Arc<dyn Connection>> {
        let (accept, incoming) = mpsc::unbounded_channel();
        lock(&self.state).listeners.insert(address.to_string(), Listener { machine, accept });
        incoming
    }

    /// The machine's processes are gone: their connections say nothing more, and its addresses answer no more.
    pub fn silence(&self, machine: MachineId) {
        let mut state = lock(&self.state);
        state.listeners.retain(|_, listener| listener.machine != machine);
        state.connections.retain(|connection| connection.strong_count() > 0);
        let connections: Vec<Arc<Shared>> = state.connections.iter().filter_map(Weak::upgrade).collect();
        drop(state);
        for shared in connections {
            for side in 0..2 {
                if shared.machines[side] == machine {
                    shared.end(side, NetError::Closed("the process is gone".into()));
                }
            }
        }
    }

    /// Connects from `machine` to an address. `certificates` is what the listener sees of the caller.
    ///
    /// # Errors
    /// [`NetError::Unreachable`] when nothing answers.
    pub async fn dial(
        &self,
        machine: MachineId,
        address: &str,
        certificates: Vec<Vec<u8>>,
        idle: Duration,
    ) -> Result<Arc<dyn Connection>, NetError> {
        let unreachable = || NetError::Unreachable(format!("{address} (no answer)"));
        let end = self.universe.now() + DIAL;
        let peer = lock(&self.state).listeners.get(address).map(|listener| listener.machine);
        let Some(peer) = peer else {
            self.universe.sleep_until(end).await;
            return Err(unreachable());
        };
        for (from, to) in [(machine, peer), (peer, machine), (machine, peer)] {
            if self.carry(from, to, 1200, Some(end), || true).await.is_none() {
                self.universe.sleep_until(end).await;
                return Err(unreachable());
            }
        }
        let mut state = lock(&self.state);
        let Some(listener) = state.listeners.get(address).filter(|listener| listener.machine == peer) else {
            return Err(unreachable());
        };
        let accept = listener.accept.clone();
        state.next += 1;
        let shared = Arc::new(Shared {
            net: self.clone(),
            id: state.next,
            machines: [machine, peer],
            idle,
            certificates,
            sides: [Mutex::default(), Mutex::default()],
            streams: Mutex::new(0),
            rung: [Notify::new(), Notify::new()],
        });
        state.connections.push(Arc::downgrade(&shared));
        drop(state);
        for side in 0..2 {
            shared.heard(side);
            let watched = Arc::downgrade(&shared);
            let universe = self.universe.clone();
            self.universe.spawn(Universe::NOBODY, "idle", Box::pin(watch_idle(universe, watched, side)));
        }
        let ours: Arc<dyn Connection> = Arc::new(SimConnection { shared: shared.clone(), side: 0 });
        if accept.send(Arc::new(SimConnection { shared, side: 1 })).is_err() {
            return Err(unreachable());
        }
        Ok(ours)
    }

    /// Sends one packet once: whether it arrives, and when.
    fn attempt(&self, from: MachineId, to: MachineId, bytes: usize) -> Option<Duration> {
        let mut state = lock(&self.state);
        let faults = state.paths.get(&(from, to)).copied().unwrap_or_default();
        state.packets += 1;
        state.bytes += bytes as u64 + 60;
        if state.moved.get(&to).copied().unwrap_or(false) {
            return None;
        }
        if faults.cut {
            return None;
        }
        state.moved.remove(&from);
        drop(state);
        self.universe.random(|rng| {
            let lost = rng.ppm(faults.loss_ppm);
            let mut micros = rng.between(faults.delay_us.0, faults.delay_us.1);
            // Zero is no limit.
            micros += (bytes as u64 * 1_000_000).checked_div(faults.bytes_per_second).unwrap_or(0);
            (!lost).then(|| Duration::from_micros(micros))
        })
    }

    /// Sends a packet until it arrives; `None` when `alive` says that nobody is there to send it, or at `end`.
    async fn carry(
        &self,
        from: MachineId,
        to: MachineId,
        bytes: usize,
        end: Option<Duration>,
        alive: impl Fn() -> bool,
    ) -> Option<()> {
        let mut wait = RESEND.0;
        loop {
            if !alive() || end.is_some_and(|end| self.universe.now() >= end) {
                return None;
            }
            match self.attempt(from, to, bytes) {
                Some(delay) => {
                    self.universe.sleep(delay).await;
                    return Some(());
                }
                None => {
                    self.universe.sleep(wait).await;
                    wait = (wait * 2).min(RESEND.1);
                }
            }
        }
    }

    fn show(&self, tap: &Tap<'_>) {
        let taken = lock(&self.state).tap.take();
        if let Some(mut look) = taken {
            look(tap);
            lock(&self.state).tap.get_or_insert(look);
        }
    }
}

#[derive(Default)]
struct Side {
    ended: Option<NetError>,
    silent_at: Duration,
    streams: std::collections::VecDeque<BiStream>,
    datagrams: std::collections::VecDeque<Bytes>,
}

struct Shared {
    net: Net,
    id: u64,
    machines: [MachineId; 2],
    idle: Duration,
    certificates: Vec<Vec<u8>>,
    sides: [Mutex<Side>; 2],
    streams: Mutex<u64>,
    /// Rung at whatever happens to a side.
    rung: [Notify; 2],
}

impl Shared {
    fn ended(&self, side: usize) -> Option<NetError> {
        lock(&self.sides[side]).ended.clone()
    }

    fn end(&self, side: usize, why: NetError) {
        let (streams, datagrams) = {
            let mut state = lock(&self.sides[side]);
            state.ended.get_or_insert(why);
            (std::mem::take(&mut state.streams), std::mem::take(&mut state.datagrams))
        };
        drop((streams, datagrams));
        self.rung[side].notify_waiters();
    }

    async fn wait_for_end(&self, side: usize) {
        loop {
            let mut rung = std::pin::pin!(self.rung[side].notified());
            rung.as_mut().enable();
            if self.ended(side).is_some() {
                return;
            }
            rung.await;
        }
    }

    fn heard(&self, side: usize) {
        lock(&self.sides[side]).silent_at = self.net.universe.now() + self.idle;
    }

    /// One packet of `side` has arrived: the other side has heard it, and its acknowledgement may come back.
    fn arrived(&self, side: usize) {
        self.heard(1 - side);
        if self.net.attempt(self.machines[1 - side], self.machines[side], 30).is_some() {
            self.heard(side);
        }
    }

    fn open(self: &Arc<Shared>, side: usize) -> BiStream {
        let stream = {
            let mut streams = lock(&self.streams);
            *streams += 1;
            *streams
        };
        let (ours_out, theirs_in) = self.pipe(side, stream);
        let (theirs_out, ours_in) = self.pipe(1 - side, stream);
        let shared = self.clone();
        let announce = async move {
            let [from, to] = [shared.machines[side], shared.machines[1 - side]];
            if shared.net.carry(from, to, 8, None, || shared.ended(side).is_none()).await.is_some()
                && shared.ended(1 - side).is_none()
            {
                shared.arrived(side);
                lock(&shared.sides[1 - side]).streams.push_back((theirs_out, theirs_in));
                shared.rung[1 - side].notify_waiters();
            }
        };
        self.net.universe.spawn(Universe::NOBODY, "open", Box::pin(announce));
        (ours_out, ours_in)
    }

    /// One direction of a stream.
    fn pipe(self: &Arc<Shared>, side: usize, stream: u64) -> (Box<dyn SendStream>, Box<dyn RecvStream>) {
        let (to_net, from_app) = mpsc::channel(WINDOW_CHUNKS);
        let (to_app, from_net) = mpsc::channel(WINDOW_CHUNKS);
        let pump = pump(self.clone(), side, stream, from_app, to_app);
        self.net.universe.spawn(Universe::NOBODY, "pipe", Box::pin(pump));
        let out = SimSend { shared: self.clone(), side, to_net: Some(to_net) };
        let inward = SimRecv { shared: self.clone(), side: 1 - side, from_net, rest: Bytes::new(), over: false };
        (Box::new(out), Box::new(inward))
    }
}

#[derive(Clone, Debug)]
enum Chunk {
    Data(Bytes),
    Finished,
    Reset(u64),
}

async fn pump(
    shared: Arc<Shared>,
    side: usize,
    stream: u64,
    mut from_app: mpsc::Receiver<Chunk>,
    to_app: mpsc::Sender<Chunk>,
) {
    let [from, to] = [shared.machines[side], shared.machines[1 - side]];
    let alive = || shared.ended(side).is_none() && shared.ended(1 - side).is_none();
    loop {
        // A stream that is dropped without a word ends in order, as quinn's do.
        let chunk = from_app.recv().await.unwrap_or(Chunk::Finished);
        let last = !matches!(chunk, Chunk::Data(_));
        let data = if let Chunk::Data(data) = &chunk { data.clone() } else { Bytes::new() };
        let mut tap = Tap { connection: shared.id, stream: Some(stream), from, to, side: TapSide::Sent, data: &data };
        if !data.is_empty() && alive() {
            shared.net.show(&tap);
        }
        let carried = shared.net.carry(from, to, data.len(), None, || shared.ended(side).is_none()).await;
        if carried.is_none() || !alive() {
            // The receiver hears nothing more, and finds out by the silence.
            return shared.wait_for_end(1 - side).await;
        }
        shared.arrived(side);
        if !data.is_empty() {
            tap.side = TapSide::Delivered;
            shared.net.show(&tap);
        }
        if to_app.send(chunk).await.is_err() || last {
            return;
        }
    }
}

async fn watch_idle(universe: Universe, shared: Weak<Shared>, side: usize) {
    loop {
        let due = match shared.upgrade() {
            None => return,
            Some(shared) => {
                if shared.ended(side).is_some() {
                    return;
                }
                let due = lock(&shared.sides[side]).silent_at;
                if universe.now() >= due {
                    return shared.end(side, NetError::Closed("timed out".into()));
                }
                due
            }
        };
        universe.sleep_until(due).await;
    }
}

struct SimConnection {
    shared: Arc<Shared>,
    side: usize,
}

impl SimConnection {
    /// Waits until `take` finds something, or the connection has ended.
    async fn wait<T>(&self, mut take: impl FnMut(&mut Side) -> Option<T>) -> Result<T, NetError> {
        loop {
            let mut rung = std::pin::pin!(self.shared.rung[self.side].notified());
            rung.as_mut().enable();
            {
                let mut side = lock(&self.shared.sides[self.side]);
                if let Some(found) = take(&mut side) {
                    return Ok(found);
                }
                if let Some(why) = &side.ended {
                    return Err(why.clone());
                }
            }
            rung.await;
        }
    }
}

#[async_trait]
impl Connection for SimConnection {
    async fn open_bi(&self) -> Result<BiStream, NetError> {
        match self.shared.ended(self.side) {
            Some(why) => Err(why),
            None => Ok(self.shared.open(self.side)),
        }
    }

    async fn accept_bi(&self) -> Result<BiStream, NetError> {
        self.wait(|side| side.streams.pop_front()).await
    }

    fn send_datagram(&self, data: Bytes) -> Result<(), NetError> {
        if let Some(why) = self.shared.ended(self.side) {
            return Err(why);
        }
        let (shared, side) = (self.shared.clone(), self.side);
        let [from, to] = [shared.machines[side], shared.machines[1 - side]];
        let net = &shared.net;
        let tap = Tap { connection: shared.id, stream: None, from, to, side: TapSide::Sent, data: &data };
        net.show(&tap);
        let twice_ppm = net.path(from, to).twice_ppm;
        let copies = 1 + usize::from(net.universe.random(|rng| rng.ppm(twice_ppm)));
        for _ in 0..copies {
            let Some(delay) = net.attempt(from, to, data.len()) else { continue };
            let (shared, data) = (shared.clone(), data.clone());
            let deliver = async move {
                shared.net.universe.sleep(delay).await;
                if shared.ended(1 - side).is_some() {
                    return;
                }
                shared.arrived(side);
                let tap = Tap { connection: shared.id, stream: None, from, to, side: TapSide::Delivered, data: &data };
                shared.net.show(&tap);
                {
                    let mut other = lock(&shared.sides[1 - side]);
                    if other.datagrams.len() < DATAGRAMS {
                        other.datagrams.push_back(data);
                    }
                }
                shared.rung[1 - side].notify_waiters();
            };
            net.universe.spawn(Universe::NOBODY, "datagram", Box::pin(deliver));
        }
        Ok(())
    }

    async fn recv_datagram(&self) -> Result<Bytes, NetError> {
        self.wait(|side| side.datagrams.pop_front()).await
    }

    fn close(&self, reason: &str) {
        let (shared, side) = (self.shared.clone(), self.side);
        if shared.ended(side).is_some() {
            return;
        }
        shared.end(side, NetError::Closed(reason.to_string()));
        let [from, to] = [shared.machines[side], shared.machines[1 - side]];
        // Said once; when it is lost, the peer finds out by the silence.
        if let Some(delay) = shared.net.attempt(from, to, 40) {
            let why = NetError::Closed(reason.to_string());
            let universe = shared.net.universe.clone();
            universe.clone().spawn(
                Universe::NOBODY,
                "close",
                Box::pin(async move {
                    universe.sleep(delay).await;
                    shared.end(1 - side, why);
                }),
            );
        }
    }

    async fn closed(&self) -> NetError {
        match self.wait(|_| None::<()>).await {
            Err(why) => why,
            Ok(()) => NetError::Closed("ended".into()),
        }
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        if self.side == 1 { self.shared.certificates.clone() } else { Vec::new() }
    }

    fn peer_address(&self) -> String {
        let peer = self.shared.machines[1 - self.side];
        let port = lock(&self.shared.net.state).rebindings.get(&peer).copied().unwrap_or_default();
        format!("machine-{peer}:{port}")
    }

    fn local_address(&self) -> Option<String> {
        Some(format!("machine-{}", self.shared.machines[self.side]))
    }
}

impl Drop for SimConnection {
    fn drop(&mut self) {
        self.close("dropped");
    }
}

struct SimSend {
    shared: Arc<Shared>,
    side: usize,
    to_net: Option<mpsc::Sender<Chunk>>,
}

#[async_trait]
impl SendStream for SimSend {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        if let Some(why) = self.shared.ended(self.side) {
            return Err(why);
        }
        let Some(to_net) = &self.to_net else { return Err(NetError::Closed("the stream has ended".into())) };
        let gone = || self.shared.ended(self.side).unwrap_or(NetError::Reset(0));
        let mut rung = std::pin::pin!(self.shared.rung[self.side].notified());
        rung.as_mut().enable();
        let mut write = std::pin::pin!(to_net.send(Chunk::Data(data)));
        loop {
            tokio::select! {
                biased;
                sent = write.as_mut() => return sent.map_err(|_| gone()),
                () = rung.as_mut() => {
                    if let Some(why) = self.shared.ended(self.side) {
                        return Err(why);
                    }
                    rung.set(self.shared.rung[self.side].notified());
                    rung.as_mut().enable();
                }
            }
        }
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        if let Some(to_net) = self.to_net.take() {
            // Nobody reads it any more when this fails.
            let _ = to_net.send(Chunk::Finished).await;
        }
        Ok(())
    }

    fn reset(&mut self, code: u64) {
        if let Some(to_net) = self.to_net.take() {
            let _ = to_net.try_send(Chunk::Reset(code));
        }
    }
}

struct SimRecv {
    shared: Arc<Shared>,
    side: usize,
    from_net: mpsc::Receiver<Chunk>,
    rest: Bytes,
    over: bool,
}

#[async_trait]
impl RecvStream for SimRecv {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        loop {
            if !self.rest.is_empty() {
                let count = self.rest.len().min(max);
                return Ok(Some(self.rest.split_to(count)));
            }
            if self.over {
                return Ok(None);
            }
            let mut rung = std::pin::pin!(self.shared.rung[self.side].notified());
            rung.as_mut().enable();
            if let Some(why) = self.shared.ended(self.side) {
                return Err(why);
            }
            tokio::select! {
                biased;
                chunk = self.from_net.recv() => match chunk {
                    Some(Chunk::Data(data)) => self.rest = data,
                    Some(Chunk::Finished) => self.over = true,
                    Some(Chunk::Reset(code)) => return Err(NetError::Reset(code)),
                    None => {
                        return Err(self.shared.ended(self.side).unwrap_or(NetError::Closed("lost".into())));
                    }
                },
                () = rung => {}
            }
        }
    }

    fn stop(&mut self, _code: u64) {
        self.from_net.close();
    }
}
