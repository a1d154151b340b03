//! QUIC where it gets through, TCP where it does not, and back.
//!
//! [`FallbackDialer`] asks for an answer over QUIC first. Where there is none (a refusal is an answer), it dials the
//! same hub over TCP, and begins with what worked the next time. While a connection over TCP lives, it tries QUIC now
//! and then; when that answers, the new connection waits for the next dial, and the one over TCP is closed: the node
//! comes back at once, over QUIC, with a new session, which replaces the old one and loses nothing.
//!
//! Tasks: one for the last connection over TCP, which looks for QUIC; owned by the dialer.

use crate::address::HubAddress;
use async_trait::async_trait;
use futures_util::FutureExt;
use holdfast_env::{Connection, Dialer, Mono, NetError, Task, Transport, World};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// An answer over the first transport is waited for so long before the second is tried beside it.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Before the link goes over to TCP, which has answered, an answer to a new attempt over QUIC is waited for so long.
pub const ONCE_MORE: Duration = Duration::from_secs(2);
/// An answer over QUIC is waited for so long while the link is up over TCP: one datagram of 1,200 bytes goes out, since
/// quinn sends the next after a second, and one that ends the attempt.
pub const LOOK: Duration = Duration::from_millis(950);
/// Every [`LONG_LOOK_EVERY`]th look waits so long, and sends three and one: it reaches over paths with a long round trip.
pub const LONG_LOOK: Duration = Duration::from_millis(2500);
/// See [`LONG_LOOK`].
pub const LONG_LOOK_EVERY: usize = 4;
/// QUIC is looked for so long after the link went over to TCP: soon at first, in case a short trouble was mistaken for
/// a blocked path; then ever more seldom. Where nobody answers, a day of looking costs 0.45 MB.
pub const LOOK_AFTER: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(600),
];
/// A return to QUIC that held for less than this has not helped: looking goes on as seldom as before.
pub const HELD: Duration = Duration::from_secs(300);

/// Dials hubs, named `HOST:PORT[/TCPPORT]`, over QUIC or TCP.
pub struct FallbackDialer {
    env: World,
    dialers: Arc<Mutex<Dialers>>,
    /// Whether QUIC is looked for while a connection over TCP lives.
    looks: bool,
    state: Arc<Mutex<State>>,
    looking: Mutex<Option<Task>>,
}

#[derive(Clone)]
struct Dialers {
    quic: Arc<dyn Dialer>,
    tcp: Arc<dyn Dialer>,
}

struct State {
    worked: Transport,
    /// Found by looking; the next dial takes it.
    ready: Option<Arc<dyn Connection>>,
    /// Which look since QUIC last held is the next, counted from 1, and when it is.
    looked: usize,
    next_look: Mono,
    /// When looking last found QUIC.
    returned: Option<Mono>,
}

impl State {
    /// Sets the time of the next look.
    fn look_later(&mut self, now: Mono) {
        let last = LOOK_AFTER.len() - 1;
        self.next_look = now.after(LOOK_AFTER[self.looked.min(last)]);
        self.looked += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FallbackDialer {
    /// A dialer for links.
    pub fn new(env: World, quic: Arc<dyn Dialer>, tcp: Arc<dyn Dialer>) -> FallbackDialer {
        let state =
            State { worked: Transport::Quic, ready: None, looked: 0, next_look: Mono::default(), returned: None };
        let (state, looking) = (Arc::new(Mutex::new(state)), Mutex::default());
        let dialers = Arc::new(Mutex::new(Dialers { quic, tcp }));
        FallbackDialer { env, dialers, looks: true, state, looking }
    }

    /// Dials with these from now on, as after a renewal of the node's certificate. What worked stays known; a
    /// connection that looking has found, or is about to find, with the old ones is let go of.
    pub fn dial_with(&self, quic: Arc<dyn Dialer>, tcp: Arc<dyn Dialer>) {
        *lock(&self.dialers) = Dialers { quic, tcp };
        lock(&self.state).ready = None;
    }

    /// A dialer for joins, which are short: it does not look for QUIC while one is under way over TCP.
    pub fn for_joins(env: World, quic: Arc<dyn Dialer>, tcp: Arc<dyn Dialer>) -> FallbackDialer {
        FallbackDialer { looks: false, ..FallbackDialer::new(env, quic, tcp) }
    }

    /// Both transports: `first` alone for a while, then the other beside it. The first that connects wins. A refusal
    /// over QUIC is final; over TCP it may come from a stranger (any program may have that port), so QUIC is heard too.
    async fn dial_both(&self, hub: &HubAddress, first: Transport) -> Result<Arc<dyn Connection>, NetError> {
        let (quic_address, tcp_address) = (hub.quic(), hub.tcp());
        let mut head_start = self.env.sleep(PATIENCE);
        let dialers = lock(&self.dialers).clone();
        let mut quic = dialers.quic.dial(&quic_address);
        let mut tcp = dialers.tcp.dial(&tcp_address);
        let (mut quic_failed, mut tcp_failed) = (None, None);
        let mut both = false;
        loop {
            tokio::select! {
                biased;
                dialled = &mut quic, if quic_failed.is_none() && (both || first == Transport::Quic) => match dialled {
                    Err(NetError::Unreachable(why)) => quic_failed = Some(why),
                    answered => return answered,
                },
                dialled = &mut tcp, if tcp_failed.is_none() && (both || first == Transport::Tcp) => match dialled {
                    Err(err) => tcp_failed = Some(err),
                    Ok(over_tcp) if first == Transport::Quic => return Ok(self.once_more(&quic_address, over_tcp).await),
                    connected => return connected,
                },
                () = &mut head_start, if !both => {}
            }
            both = true;
            if let (Some(over_quic), Some(over_tcp)) = (&quic_failed, &tcp_failed) {
                return Err(match over_tcp {
                    NetError::Unreachable(over_tcp) => NetError::Unreachable(format!("{over_quic}, {over_tcp}")),
                    answered => answered.clone(),
                });
            }
        }
    }

    /// TCP answered first. The path may have come back a moment ago, while QUIC waits ever longer between its
    /// attempts: a new one tells that from a path that lets only TCP through.
    async fn once_more(&self, quic_address: &str, over_tcp: Arc<dyn Connection>) -> Arc<dyn Connection> {
        let quic = lock(&self.dialers).quic.clone();
        match self.env.timeout(ONCE_MORE, quic.dial(quic_address)).await {
            Some(Ok(over_quic)) => {
                over_tcp.close("QUIC answers");
                over_quic
            }
            _ => over_tcp,
        }
    }

    /// What looking found, if it still lives.
    fn take_ready(&self) -> Option<Arc<dyn Connection>> {
        let ready = lock(&self.state).ready.take()?;
        ready.closed().now_or_never().is_none().then_some(ready)
    }

    fn connected(&self, hub: &HubAddress, connection: &Arc<dyn Connection>) {
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut state.worked, connection.transport());
        *lock(&self.looking) = None;
        if connection.transport() != Transport::Tcp {
            return;
        }
        let now = self.env.monotonic();
        if before != Transport::Tcp {
            tracing::info!(hub = hub.tcp(), "QUIC gets no answer; the link goes over TCP");
            if state.returned.take().is_none_or(|returned| now.since(returned) >= HELD) {
                state.looked = 0;
            }
            state.look_later(now);
        }
        if self.looks {
            let looking = Looking {
                env: self.env.clone(),
                dialers: self.dialers.clone(),
                address: hub.quic(),
                state: self.state.clone(),
                over_tcp: Arc::downgrade(connection),
            };
            *lock(&self.looking) = Some(self.env.spawn("link-looks-for-quic", Box::pin(looking.run())));
        }
    }
}

#[async_trait]
impl Dialer for FallbackDialer {
    /// Cancel safe: a connection that was found by looking may be lost, and is closed then.
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, NetError> {
        let hub: HubAddress = address.parse().map_err(|err| NetError::Unreachable(format!("{err}")))?;
        // It may be another hub's than asked for: nodes are asked to take any of them.
        if let Some(ready) = self.take_ready() {
            return Ok(ready);
        }
        let worked = lock(&self.state).worked;
        let connection = self.dial_both(&hub, worked).await?;
        self.connected(&hub, &connection);
        Ok(connection)
    }
}

/// Looks for QUIC while a connection over TCP lives.
struct Looking {
    env: World,
    dialers: Arc<Mutex<Dialers>>,
    address: String,
    state: Arc<Mutex<State>>,
    /// Not held: the connection ends when its users let go of it.
    over_tcp: Weak<dyn Connection>,
}

impl Looking {
    async fn run(self) {
        loop {
            let (at, look) = {
                let state = lock(&self.state);
                (state.next_look, state.looked)
            };
            self.env.sleep_until(at).await;
            if self.over_tcp().is_none() {
                return;
            }
            let patience = if look.is_multiple_of(LONG_LOOK_EVERY) { LONG_LOOK } else { LOOK };
            let quic = lock(&self.dialers).quic.clone();
            let found = self.env.timeout(patience, quic.dial(&self.address)).await;
            if !Arc::ptr_eq(&quic, &lock(&self.dialers).quic) {
                continue;
            }
            let now = self.env.monotonic();
            let mut state = lock(&self.state);
            if let Some(Ok(connection)) = found {
                tracing::info!(hub = self.address, "QUIC gets an answer again; the link goes back to it");
                (state.worked, state.returned) = (Transport::Quic, Some(now));
                state.ready = Some(connection);
                drop(state);
                if let Some(over_tcp) = self.over_tcp() {
                    over_tcp.close("the node goes back to QUIC");
                }
                return;
            }
            state.look_later(now);
        }
    }

    /// The connection, while it lives.
    fn over_tcp(&self) -> Option<Arc<dyn Connection>> {
        self.over_tcp.upgrade().filter(|connection| connection.closed().now_or_never().is_none())
    }
}

#[cfg(test)]
mod tests;
