//! Bytes by purpose, since the start of the process.
//!
//! The drivers count the frames that they send and read; what a connection carried in all (UDP payloads, or the bytes of
//! the TLS connection) comes from the connection itself, and the difference is overhead: packet heads, acknowledgements,
//! handshakes, what was sent again, probes of the path. Heads of IP, UDP and TCP are not counted.

use async_trait::async_trait;
use holdfast_env::{Carried, Connection, NetError, SendStream};
use holdfast_link_engine::Stream;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Who is who; renewals of certificates.
    Control,
    /// Objects.
    Sync,
    /// What the node reports.
    Facts,
    /// Heartbeats.
    Heartbeat,
    /// Logs and exec.
    Calls,
    /// All else that the connections carried.
    Overhead,
}

/// All of them, with their names.
const PURPOSES: [(Purpose, &str); 6] = [
    (Purpose::Control, "control"),
    (Purpose::Sync, "sync"),
    (Purpose::Facts, "facts"),
    (Purpose::Heartbeat, "heartbeat"),
    (Purpose::Calls, "calls"),
    (Purpose::Overhead, "overhead"),
];

impl From<Stream> for Purpose {
    fn from(stream: Stream) -> Purpose {
        match stream {
            Stream::Control | Stream::Renew => Purpose::Control,
            Stream::Sync => Purpose::Sync,
            Stream::Facts => Purpose::Facts,
            Stream::Call => Purpose::Calls,
        }
    }
}

/// Bytes of one purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bytes {
    /// Sent by this end.
    pub sent: u64,
    /// Received by this end.
    pub received: u64,
}

#[derive(Debug, Default)]
struct Counter {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Counter {
    fn read(&self) -> Bytes {
        Bytes { sent: self.sent.load(Ordering::Relaxed), received: self.received.load(Ordering::Relaxed) }
    }
}

/// The counters of one process, for all of its connections.
#[derive(Debug, Default)]
pub struct Traffic {
    /// By purpose, overhead aside.
    counters: [Counter; PURPOSES.len() - 1],
    carried: Counter,
}

impl Traffic {
    fn counter(&self, purpose: Purpose) -> Option<&Counter> {
        self.counters.get(purpose as usize)
    }

    /// So many bytes were sent.
    pub fn sent(&self, purpose: Purpose, bytes: usize) {
        if let Some(counter) = self.counter(purpose) {
            counter.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// So many bytes were received.
    pub fn received(&self, purpose: Purpose, bytes: usize) {
        if let Some(counter) = self.counter(purpose) {
            counter.received.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// The totals by name.
    pub fn totals(&self) -> BTreeMap<&'static str, Bytes> {
        let (mut known, carried) = (Bytes::default(), self.carried.read());
        let mut totals = BTreeMap::new();
        for (purpose, name) in PURPOSES {
            if let Some(counter) = self.counter(purpose) {
                let bytes = counter.read();
                (known.sent, known.received) = (known.sent + bytes.sent, known.received + bytes.received);
                totals.insert(name, bytes);
            } else {
                // What was just written may not be on its way yet.
                let sent = carried.sent.saturating_sub(known.sent);
                totals.insert(name, Bytes { sent, received: carried.received.saturating_sub(known.received) });
            }
        }
        totals
    }
}

/// A sending half whose bytes are counted.
pub(crate) struct Counted {
    pub(crate) stream: Box<dyn SendStream>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) purpose: Purpose,
}

#[async_trait]
impl SendStream for Counted {
    async fn write(&mut self, data: bytes::Bytes) -> Result<(), NetError> {
        self.traffic.sent(self.purpose, data.len());
        self.stream.write(data).await
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.stream.finish().await
    }

    fn reset(&mut self, code: u64) {
        self.stream.reset(code);
    }
}

/// Adds what one connection carries to the totals; the rest of it when dropped.
pub(crate) struct Meter {
    connection: Arc<dyn Connection>,
    traffic: Arc<Traffic>,
    seen: Carried,
}

impl Meter {
    pub(crate) fn new(connection: &Arc<dyn Connection>, traffic: &Arc<Traffic>) -> Meter {
        Meter { connection: connection.clone(), traffic: traffic.clone(), seen: Carried::default() }
    }

    /// Looks at the connection; what it carried so far.
    pub(crate) fn look(&mut self) -> Carried {
        let now = self.connection.carried();
        let carried = &self.traffic.carried;
        carried.sent.fetch_add(now.sent_bytes.saturating_sub(self.seen.sent_bytes), Ordering::Relaxed);
        carried.received.fetch_add(now.received_bytes.saturating_sub(self.seen.received_bytes), Ordering::Relaxed);
        self.seen = now;
        now
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_purpose_has_is_overhead() {
        let traffic = Traffic::default();
        traffic.sent(Purpose::Facts, 10);
        traffic.received(Purpose::Heartbeat, 5);
        traffic.carried.sent.store(12, Ordering::Relaxed);
        let totals = traffic.totals();
        assert_eq!(totals["facts"], Bytes { sent: 10, received: 0 });
        assert_eq!(totals["heartbeat"], Bytes { sent: 0, received: 5 });
        assert_eq!(totals["overhead"], Bytes { sent: 2, received: 0 });
        assert_eq!(totals.len(), PURPOSES.len());
    }
}
