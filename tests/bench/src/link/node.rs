//! A node that has nothing but its end of the link: it takes what the hub sends and keeps it in memory.

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest};
use holdfast_env::{Dialer, World};
use holdfast_link::call::NodeCall;
use holdfast_link::join::{JoinToken, join};
use holdfast_link::tls::{self, CertificateClock, CertificateTime};
use holdfast_link::{NodeHost, NodeIdentity, QuicDialer, drive_node};
use holdfast_link_engine::wire::{Hello, VERSION, VERSION_MIN, WireFact};
use holdfast_link_engine::{NodeView, Persist};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const HEARTBEAT: Duration = Duration::from_secs(10);
/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(500);

/// What the node holds.
#[derive(Default)]
struct Kept {
    items: BTreeMap<String, (ContentHash, Lineage, Revision, Bytes)>,
    digest: SetDigest,
    lineage: Lineage,
    session: Session,
}

/// A node.
pub(crate) struct BenchNode {
    identity: NodeIdentity,
    kept: Mutex<Kept>,
    in_sync: AtomicBool,
}

/// The hub's certificates end far from now.
struct Today;

impl CertificateClock for Today {
    fn certificate_time(&self) -> CertificateTime {
        CertificateTime { at: Duration::ZERO, trusted: false }
    }
}

impl BenchNode {
    /// Joins by a token.
    pub(crate) async fn join(env: &World, hub: &str, token: &JoinToken, name: &str) -> Result<Arc<BenchNode>> {
        let dialer = QuicDialer::new(tls::join_config(&token.ca_hash)?, HEARTBEAT)?;
        let connection = dialer.dial(hub).await?;
        let identity = join(env, &connection, token, name).await?;
        Ok(Arc::new(BenchNode { identity, kept: Mutex::default(), in_sync: AtomicBool::new(false) }))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has the hub's whole view since the last [`BenchNode::forget`].
    pub(crate) fn is_in_sync(&self) -> bool {
        self.in_sync.load(Ordering::SeqCst)
    }

    /// What was heard before counts no more.
    pub(crate) fn forget(&self) {
        self.in_sync.store(false, Ordering::SeqCst);
    }

    /// Connects, and again whenever the connection has ended.
    pub(crate) async fn run(self: Arc<Self>, env: World, hub: String) -> Result<()> {
        let config = tls::node_config(Arc::new(Today), &self.identity)?;
        let dialer = QuicDialer::new(config, HEARTBEAT)?;
        loop {
            if let Ok(connection) = dialer.dial(&hub).await {
                drive_node(env.clone(), connection, self.clone(), self.hello()).await;
            }
            let jitter = Duration::from_millis(env.random_u64() % 500);
            env.sleep(AGAIN + jitter).await;
        }
    }

    fn hello(&self) -> Hello {
        let kept = self.lock();
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION,
            node_uid: self.identity.node_uid.clone(),
            node_name: self.identity.node_name.clone(),
            boot: 1,
            lineage: kept.lineage,
            session: kept.session,
            root: kept.digest.root(),
            outbox: OutboxGen(1),
            clock_micros: 0,
        }
    }
}

impl NodeView for Kept {
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self, buckets: u64) -> Vec<(String, ContentHash)> {
        let asked = |key: &str| buckets & (1 << holdfast_core::digest::bucket_of(key)) != 0;
        self.items.iter().filter(|(key, _)| asked(key)).map(|(key, item)| (key.clone(), item.0)).collect()
    }
    fn body(&self, key: &str, hash: ContentHash) -> Option<Bytes> {
        self.items.get(key).filter(|item| item.0 == hash).map(|item| item.3.clone())
    }
    fn assigned(&self, key: &str) -> Option<(Lineage, Revision)> {
        self.items.get(key).map(|(_, lineage, revision, _)| (*lineage, *revision))
    }
    fn facts_after(&self, _after: Seq, _max: usize) -> Vec<WireFact> {
        Vec::new()
    }
}

#[async_trait]
impl NodeHost for BenchNode {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn NodeView)) {
        use_view(&*self.lock());
    }
    async fn persist(&self, what: Persist) -> Result<(), String> {
        let mut kept = self.lock();
        match what {
            Persist::Session { lineage, session } => (kept.lineage, kept.session) = (lineage, session),
            Persist::Items(batch) => {
                for (key, hash, revision, body) in batch.puts {
                    if let Some((old, ..)) = kept.items.insert(key.clone(), (hash, batch.lineage, revision, body)) {
                        kept.digest.remove(&key, old);
                    }
                    kept.digest.add(&key, hash);
                }
                for key in batch.drops {
                    if let Some((old, ..)) = kept.items.remove(&key) {
                        kept.digest.remove(&key, old);
                    }
                }
            }
        }
        Ok(())
    }
    fn acknowledged(&self, _seq: Seq) {}
    fn connected(&self, _session: Session, _time_micros: i64) {}
    fn alive(&self, _time_micros: i64) {}
    fn in_sync(&self, _revision: Revision) {
        self.in_sync.store(true, Ordering::SeqCst);
    }
    async fn facts_changed(&self) {
        std::future::pending().await
    }
    async fn call(&self, _call: NodeCall) {}
}

/// Reads a token.
pub(crate) fn token(text: &str) -> Result<JoinToken> {
    JoinToken::parse(text).map_err(|err| anyhow!(err))
}
