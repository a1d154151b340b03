//! [`EtcdStore`]: reads from the cache, writes to etcd.

use crate::client::{CallError, Client};
use crate::connect::{Connector, EtcdTls};
use crate::follow::{Follower, Reached};
use crate::keys::{DEFAULT_PREFIX, Keys};
use crate::limits::{CALLS, DEADLINE, RETRY};
use crate::load::{self, Point};
use crate::txn::{self, number_of, revision_of};
use crate::wire::{self, PutRequest, RangeRequest, Request, RequestOp, Response, TxnRequest};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Backoff, Revision};
use holdfast_env::{Task, World};
use holdfast_store::{
    Condition, Op, Range, RangeRequest as StoreRange, Record, Store, StoreError, Txn, TxnOutcome, WatchCache, Watcher,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Which etcd, and what of it is ours.
#[derive(Clone)]
pub struct EtcdConfig {
    /// Its members, as `http://host:port`, or all as `https://host:port`.
    pub endpoints: Vec<String>,
    /// The folder of our keys. See [`DEFAULT_PREFIX`].
    pub prefix: String,
    /// Certificates, for `https`.
    pub tls: Option<EtcdTls>,
    /// How long it may take for an answer.
    pub deadline: Duration,
}

impl EtcdConfig {
    /// The members, and the rest as most will have it.
    pub fn new(endpoints: Vec<String>) -> EtcdConfig {
        EtcdConfig { endpoints, prefix: DEFAULT_PREFIX.to_owned(), tls: None, deadline: DEADLINE }
    }

    /// Whether it makes sense, without asking etcd.
    ///
    /// # Errors
    /// What is wrong, naming it.
    pub fn check(&self) -> Result<(), String> {
        let tls = self.endpoints.iter().filter(|url| url.starts_with("https://")).count();
        match &self.tls {
            _ if tls != 0 && tls != self.endpoints.len() => {
                return Err("the endpoints of etcd must be all http or all https".to_owned());
            }
            None if tls != 0 => return Err("etcd by https needs the CA that its certificate comes from".to_owned()),
            Some(_) if tls == 0 => return Err("certificates for etcd are of no use over http".to_owned()),
            Some(certificates) => drop(certificates.config()?),
            None => {}
        }
        Keys::new(&self.prefix)?;
        Client::check(&self.endpoints)
    }
}

/// etcd's revision as somebody was told it last.
struct Asked {
    /// All that asked by this number may use it.
    through: u64,
    answer: Result<Revision, StoreError>,
}

/// A [`Store`] on etcd.
pub struct EtcdStore {
    client: Arc<Client>,
    keys: Arc<Keys>,
    cache: Arc<WatchCache>,
    env: World,
    patience: Duration,
    reached: watch::Receiver<Reached>,
    wanted: watch::Sender<Revision>,
    /// Numbers those who ask for etcd's revision.
    askers: AtomicU64,
    asked: tokio::sync::Mutex<Asked>,
    places: Semaphore,
    /// The version of the key about compaction that this hub saw last.
    compacted: tokio::sync::Mutex<i64>,
    follower: Mutex<Option<Task>>,
}

impl EtcdStore {
    /// Loads all that the hubs have stored and begins to follow it. Waits for an etcd that is not there yet, and says so.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a configuration without sense; [`StoreError::Failed`] when etcd is too old or refuses.
    pub async fn open(config: &EtcdConfig, env: &World) -> Result<Arc<EtcdStore>, StoreError> {
        config.check().map_err(StoreError::Invalid)?;
        let keys = Arc::new(Keys::new(&config.prefix).map_err(StoreError::Invalid)?);
        let tls = config.tls.as_ref().map(EtcdTls::config).transpose().map_err(StoreError::Invalid)?;
        let client = Client::new(&config.endpoints, Connector(tls), env.clone(), config.deadline);
        let client = Arc::new(client.map_err(StoreError::Invalid)?);
        let (records, at) = load_patiently(&client, &keys, env).await?;
        let cache = Arc::new(WatchCache::new(records, at.revision)?);
        let (follower, reached, wanted) = {
            let (reached_sender, reached) = watch::channel(Reached { revision: at.revision, failed: None });
            let (wanted, wanted_receiver) = watch::channel(at.revision);
            let follower = Follower {
                client: client.clone(),
                keys: keys.clone(),
                cache: cache.clone(),
                env: env.clone(),
                at,
                reached: reached_sender,
                wanted: wanted_receiver,
                patience: config.deadline,
                begun: false,
            };
            (env.spawn("etcd-follow", Box::pin(follower.run())), reached, wanted)
        };
        Ok(Arc::new(EtcdStore {
            client,
            keys,
            cache,
            env: env.clone(),
            patience: config.deadline,
            reached,
            wanted,
            askers: AtomicU64::new(0),
            asked: tokio::sync::Mutex::new(Asked { through: 0, answer: Ok(at.revision) }),
            places: Semaphore::new(CALLS),
            compacted: tokio::sync::Mutex::new(0),
            follower: Mutex::new(Some(follower)),
        }))
    }

    /// Waits until the cache has all of etcd up to a revision. `pushed` is true when an event brings it there by itself;
    /// otherwise the watch is asked how far it is, since nothing below our prefix may have changed.
    async fn reach(&self, revision: Revision, pushed: bool) -> Result<(), StoreError> {
        let mut reached = self.reached.clone();
        if !pushed && reached.borrow().revision < revision {
            self.wanted.send_if_modified(|wanted| {
                let later = *wanted < revision;
                *wanted = (*wanted).max(revision);
                later
            });
        }
        let there = async {
            let there = reached.wait_for(|reached| reached.failed.is_some() || reached.revision >= revision).await;
            there.map_or(Some(StoreError::Closed), |reached| reached.failed.clone())
        };
        match self.env.timeout(self.patience, there).await {
            Some(failed) => failed.map_or(Ok(()), Err),
            None => Err(StoreError::Unavailable(format!("this hub is behind etcd, which is at revision {revision}"))),
        }
    }

    /// The revision that etcd is at, or was at after this was called. One question at a time serves all who wait for it.
    async fn etcd_revision(&self) -> Result<Revision, StoreError> {
        let mine = self.askers.fetch_add(1, Ordering::SeqCst) + 1;
        let mut asked = self.asked.lock().await;
        if asked.through < mine {
            let through = self.askers.load(Ordering::SeqCst);
            let answer = load::now(&self.client, &self.keys).await.map(|now| now.revision);
            *asked = Asked { through, answer };
        }
        asked.answer.clone()
    }

    /// The new versions of a committed transaction, as the cache has them, so that they are decoded once.
    async fn written(&self, txn: &Txn, revision: Revision) -> Result<Vec<Arc<Record>>, StoreError> {
        let events = self.cache.events_at(revision).unwrap_or_default();
        let mut records: BTreeMap<&str, Arc<Record>> = BTreeMap::new();
        for event in &events {
            records.extend(event.record.as_ref().map(|record| (&*event.key, record.clone())));
        }
        let mut found = Vec::new();
        for op in &txn.ops {
            let Op::Put { key, value } = op else { continue };
            found.push(match records.remove(key.as_str()) {
                Some(record) => record,
                // The watch is late, or the history is gone already.
                None => self.read_version(key, value, revision).await?,
            });
        }
        Ok(found)
    }

    async fn read_version(&self, key: &str, value: &Bytes, at: Revision) -> Result<Arc<Record>, StoreError> {
        let unknown = |why: String| StoreError::Unknown(format!("it was done at revision {at}, and {why}"));
        let request =
            RangeRequest { key: self.keys.of(key), revision: number_of(at), keys_only: true, ..Default::default() };
        let answer = self.client.range(&request).await.map_err(|err| unknown(err.of_read().to_string()))?;
        let kv = answer.kvs.first().ok_or_else(|| unknown(format!("etcd has no {key} there")))?;
        let (created, modified) = (revision_of(kv.create_revision), revision_of(kv.mod_revision));
        Ok(Arc::new(Record::new(key.into(), value.clone(), created, modified)))
    }

    fn refuse_if_failed(&self) -> Result<(), StoreError> {
        self.reached.borrow().failed.clone().map_or(Ok(()), Err)
    }
}

async fn load_patiently(client: &Client, keys: &Keys, env: &World) -> Result<(Vec<Arc<Record>>, Point), StoreError> {
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        match load::load(client, keys).await {
            Err(StoreError::Unavailable(err)) => {
                if backoff.failures() == 0 {
                    tracing::warn!(err, prefix = keys.prefix(), "Waiting for etcd");
                } else {
                    tracing::info!(err, "Still waiting for etcd");
                }
                env.sleep(backoff.fail()).await;
            }
            loaded => return loaded,
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    fn revision(&self) -> Revision {
        self.cache.revision()
    }

    async fn sync(&self) -> Result<Revision, StoreError> {
        self.refuse_if_failed()?;
        let revision = self.etcd_revision().await?;
        self.reach(revision, false).await?;
        Ok(self.cache.revision())
    }

    async fn get(&self, key: &str) -> Result<Option<Arc<Record>>, StoreError> {
        Ok(self.cache.get(key))
    }

    async fn range(&self, request: StoreRange) -> Result<Range, StoreError> {
        self.cache.range(&request)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.validate()?;
        self.refuse_if_failed()?;
        if txn.checks.is_empty() && txn.ops.is_empty() {
            // etcd would answer an empty transaction from whatever the member happens to know.
            return Ok(TxnOutcome::Committed { revision: self.sync().await?, records: Vec::new() });
        }
        let _place = self.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let answer = self.client.txn(&txn::request(&self.keys, &txn)).await.map_err(CallError::of_write)?;
        let revision = answer.header.as_ref().map(|header| revision_of(header.revision));
        let revision = revision.ok_or_else(|| StoreError::Unknown("etcd's answer has no header".to_owned()))?;
        // What is known is told, also if this hub's cache does not get there in time: whoever must not miss it syncs.
        let there = self.reach(revision, answer.succeeded && txn::wrote(&answer)).await;
        if let Err(err) = there {
            tracing::warn!(%err, %revision, "A transaction was answered before the cache had it");
        }
        if !answer.succeeded {
            return txn::lost(&txn, &answer).map_err(|err| StoreError::Failed(format!("etcd's answer: {err}")));
        }
        Ok(TxnOutcome::Committed { revision, records: self.written(&txn, revision).await? })
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.refuse_if_failed()?;
        self.cache.watch(prefix, after)
    }

    /// Forgets this hub's history at once. etcd is compacted by one hub at a time: the first to change a key that all
    /// know, while the others skip their turn and would take over if that one stopped.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.cache.forget(revision)?;
        self.refuse_if_failed()?;
        let mut seen = self.compacted.lock().await;
        let key = self.keys.compacted();
        let condition = if *seen == 0 { Condition::Absent } else { Condition::ModifiedAt(revision_of(*seen)) };
        let put = PutRequest { key: key.clone(), value: Bytes::from(revision.to_string()) };
        let read = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let turn = TxnRequest {
            compare: vec![txn::compare(key, condition)],
            success: vec![RequestOp { request: Some(Request::Put(put)) }],
            failure: vec![RequestOp { request: Some(Request::Range(read)) }],
        };
        let answer = self.client.txn(&turn).await.map_err(CallError::of_write)?;
        if !answer.succeeded {
            let current = answer.responses.first().and_then(|op| match &op.response {
                Some(Response::Range(found)) => found.kvs.first(),
                _ => None,
            });
            *seen = current.map_or(0, |kv| kv.mod_revision);
            return Ok(());
        }
        *seen = answer.header.map_or(0, |header| header.revision);
        match self.client.compact(&wire::CompactionRequest { revision: number_of(revision) }).await {
            Err(CallError::Refused(tonic::Code::OutOfRange, text)) if text.contains("compacted") => Ok(()),
            done => done.map_err(CallError::of_write),
        }
    }

    fn close(&self) {
        self.places.close();
        drop(self.follower.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.cache.close();
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        self.close();
    }
}
