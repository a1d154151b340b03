//! The run lease: by when the hub has surely heard this node, and so until when it replaces nothing of it.
//!
//! A heartbeat is a renewal. What counts is when the acknowledged one was *sent*, on the clock that goes on in suspend:
//! the hub counts from when it received it, which is later. And it counts only once the node has the hub's whole view in
//! this connection: what was replaced meanwhile is gone by then, and cannot start again. The time is kept where it outlives the agent and not the
//! boot: after a reboot the lease counts as expired until the hub has answered. So it does while the journal is in doubt:
//! it may hold a pod that was replaced since.

use crate::parts::NodeParts;
use holdfast_edge_store::Doubt;
use holdfast_mutation::broken;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Name of the value that outlives the agent.
const NAME: &str = "run-lease";
/// Heartbeats that wait for their answer; older ones are forgotten.
const PENDING: usize = 8;

/// The lease of this node.
pub(crate) struct RunLease {
    parts: NodeParts,
    renewed: watch::Sender<Option<Duration>>,
    connection: Mutex<Renewals>,
}

/// The renewals of one connection.
#[derive(Default)]
struct Renewals {
    /// When heartbeats were sent that wait for their answer.
    sent: BTreeMap<u64, Duration>,
    /// The latest that was acknowledged.
    acknowledged: Option<Duration>,
    /// The node has the hub's whole view.
    in_sync: bool,
}

impl RunLease {
    /// The lease as an earlier life of the agent left it.
    pub(crate) fn new(parts: &NodeParts, doubt: Doubt) -> Arc<RunLease> {
        let kept = parts.host.recall(NAME).filter(|_| doubt == Doubt::None);
        let kept = kept.and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
        let mut renewed = kept.map(|bytes| Duration::from_nanos(u64::from_le_bytes(bytes)));
        if broken("lease-outlives-the-boot") {
            renewed = Some(parts.env.boottime());
        }
        Arc::new(RunLease { parts: parts.clone(), renewed: watch::channel(renewed).0, connection: Mutex::default() })
    }

    /// A hello (0) or a heartbeat is about to be sent.
    pub(crate) fn sending(&self, count: u64) {
        let now = self.parts.env.boottime();
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if count == 0 {
            *connection = Renewals::default();
        }
        connection.sent.insert(count, now);
        while connection.sent.len() > PENDING {
            connection.sent.pop_first();
        }
    }

    /// The hub has answered it.
    pub(crate) fn acknowledged(&self, count: u64) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = connection.sent.remove(&count);
        connection.acknowledged = connection.acknowledged.max(sent);
        self.renew(&connection);
    }

    /// The node has the hub's whole view.
    pub(crate) fn in_sync(&self) {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        connection.in_sync = true;
        self.renew(&connection);
    }

    fn renew(&self, connection: &Renewals) {
        let Some(at) = connection.acknowledged.filter(|_| connection.in_sync || broken("lease-before-sync")) else {
            return;
        };
        let news = self.renewed.send_if_modified(|renewed| {
            let news = renewed.is_none_or(|known| known < at);
            if news {
                *renewed = Some(at);
            }
            news
        });
        if news {
            let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
            self.parts.host.remember(NAME, &nanos.to_le_bytes());
        }
    }

    /// How long a pod that fails over after `after` may still run; zero when it may not.
    pub(crate) fn left(&self, after: Duration) -> Duration {
        if broken("lease-not-enforced") {
            return after;
        }
        let now = self.parts.env.boottime();
        let until = self.renewed.borrow().map(|renewed| renewed.saturating_add(after));
        until.map_or(Duration::ZERO, |until| until.saturating_sub(now))
    }

    /// Follows renewals.
    pub(crate) fn follow(&self) -> watch::Receiver<Option<Duration>> {
        self.renewed.subscribe()
    }
}
