//! The task `etcd-follow`: one watch of everything below the prefix, from the loaded revision on, into the cache.
//!
//! It alone writes the cache. When the watch is lost it is begun again where it stopped, so nothing is missed and watchers
//! see nothing of it; when etcd has forgotten that place meanwhile, the state is read anew and all watchers are cut, which
//! the API tells as 410. What is read by whoever waits is [`Reached`].

use crate::client::{CallError, Client, WatchStream};
use crate::keys::{Keys, Place};
use crate::limits::{PROGRESS_AGAIN, PROGRESS_EVERY, RETRY};
use crate::load::{self, Point};
use crate::txn::{number_of, record, revision_of};
use crate::wire::{self, EventType, WatchCreateRequest, WatchResponse};
use holdfast_core::{Backoff, Revision};
use holdfast_env::{BoxFuture, Mono, World};
use holdfast_store::{Event, Record, StoreError, WatchCache};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How far the cache has come.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// All of etcd up to this revision is in the cache.
    pub(crate) revision: Revision,
    /// Why it comes no further.
    pub(crate) failed: Option<StoreError>,
}

/// Why a watch ended.
enum End {
    /// It can be begun again where it stopped.
    Lost(String),
    /// Its place was compacted away.
    Compacted,
    /// Nothing can follow.
    Failed(StoreError),
}

impl From<CallError> for End {
    fn from(err: CallError) -> End {
        match err {
            CallError::NotSent(why) | CallError::Unclear(why) | CallError::Refused(_, why) => End::Lost(why),
        }
    }
}

impl From<StoreError> for End {
    fn from(err: StoreError) -> End {
        End::Lost(err.to_string())
    }
}

/// The task's own.
pub(crate) struct Follower {
    pub(crate) client: Arc<Client>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) cache: Arc<WatchCache>,
    pub(crate) env: World,
    /// Where the cache stands.
    pub(crate) at: Point,
    pub(crate) reached: watch::Sender<Reached>,
    /// The newest revision that somebody waits for.
    pub(crate) wanted: watch::Receiver<Revision>,
    /// So long the watch may stand still behind what somebody waits for, before it is taken for dead.
    pub(crate) patience: Duration,
    /// The watch has begun.
    pub(crate) begun: bool,
}

impl Follower {
    /// Follows until etcd cannot be followed any more.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let end = match self.follow().await {
                Ok(never) => match never {},
                Err(End::Compacted) => self.reload().await.err(),
                Err(end) => Some(end),
            };
            if std::mem::take(&mut self.begun) {
                backoff.reset();
            }
            match end {
                None => continue,
                Some(End::Failed(err)) => {
                    tracing::error!(%err, "The store stopped");
                    self.reached.send_modify(|reached| reached.failed = Some(err));
                    let cache = self.cache.clone();
                    self.env.run_blocking(Box::new(move || cache.close())).await;
                    return;
                }
                Some(End::Lost(err)) if backoff.failures() == 0 => {
                    tracing::warn!(err, revision = %self.at.revision, "Lost etcd's watch; beginning it again");
                }
                Some(End::Lost(err)) => tracing::info!(err, "Still without etcd's watch"),
                Some(End::Compacted) => {}
            }
            let wait = backoff.fail();
            self.env.sleep(wait).await;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let now = load::now(&self.client, &self.keys).await?;
        self.at.precedes(now).map_err(End::Failed)?;
        let (key, range_end) = self.keys.all();
        let start_revision = number_of(self.at.revision.next());
        let mut watch = self.client.watch(WatchCreateRequest { key, range_end, start_revision }).await?;
        let ended = self.receive(&mut watch).await;
        if matches!(ended, Err(End::Lost(_))) {
            self.client.give_up(watch.number());
        }
        ended
    }

    async fn receive(&mut self, watch: &mut WatchStream) -> Result<std::convert::Infallible, End> {
        // When the next word of progress may be asked for, when the last one was, and where the watch stood still.
        let mut again: Option<BoxFuture<()>> = None;
        let mut asked: Option<Mono> = None;
        let mut still: Option<(Mono, Revision)> = None;
        loop {
            let wanted = *self.wanted.borrow_and_update();
            if wanted <= self.at.revision {
                (again, still) = (None, None);
            } else if again.is_none() {
                let now = self.env.monotonic();
                match still {
                    Some((since, at)) if at == self.at.revision => {
                        if now.since(since) > self.patience {
                            return Err(End::Lost(format!("the watch stands at {at}, and etcd is at {wanted}")));
                        }
                    }
                    _ => still = Some((now, self.at.revision)),
                }
                let rest = asked.map_or(Duration::ZERO, |at| PROGRESS_EVERY.saturating_sub(now.since(at)));
                let next = if self.begun && rest.is_zero() {
                    watch.ask_progress();
                    asked = Some(now);
                    PROGRESS_AGAIN
                } else {
                    rest.max(PROGRESS_EVERY)
                };
                again = Some(self.env.sleep(next));
            }
            let timer = async {
                match &mut again {
                    Some(timer) => timer.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = watch.next() => {
                    let answer = answer?;
                    if answer.events.is_empty() {
                        // It was the word of progress, perhaps of before somebody wanted more.
                        again = None;
                    }
                    self.take(answer)?;
                }
                changed = self.wanted.changed() => {
                    // Nobody is left who could want anything; the store is going away.
                    if changed.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
                () = timer => again = None,
            }
        }
    }

    fn take(&mut self, answer: WatchResponse) -> Result<(), End> {
        if answer.canceled {
            return Err(if answer.compact_revision > 0 { End::Compacted } else { End::Lost(answer.cancel_reason) });
        }
        if answer.created {
            self.begun = true;
            return Ok(());
        }
        let Some(last) = answer.events.last().and_then(|event| event.kv.as_ref()) else {
            // Without events: all up to the header's revision were sent.
            let revision = answer.header.map_or(self.at.revision, |header| revision_of(header.revision));
            self.cache.advance(revision);
            self.reach(revision);
            return Ok(());
        };
        let revision = revision_of(last.mod_revision);
        let events = self.events(&answer.events);
        if events.is_empty() {
            self.cache.advance(revision);
        } else {
            self.cache.publish(events, revision);
        }
        self.reach(revision);
        Ok(())
    }

    /// The events of the store's keys. What a key held before is in the cache, or among these.
    fn events(&self, events: &[wire::Event]) -> Vec<Event> {
        let mut newest: BTreeMap<Arc<str>, Option<Arc<Record>>> = BTreeMap::new();
        let mut found = Vec::with_capacity(events.len());
        for event in events {
            let Some(kv) = &event.kv else { continue };
            let key = match self.keys.place(&kv.key) {
                Place::Key(key) => key,
                Place::Own => continue,
                Place::Foreign => {
                    load::foreign(&kv.key, "the key is none of a hub");
                    continue;
                }
            };
            let previous = newest.get(key).cloned().unwrap_or_else(|| self.cache.get(key));
            let record = match event.sort() {
                EventType::Delete => None,
                EventType::Put => match record(key, kv) {
                    Ok(record) => Some(record),
                    Err(err) => {
                        load::foreign(&kv.key, &err);
                        continue;
                    }
                },
            };
            if previous.is_none() && record.is_none() {
                continue;
            }
            let key: Arc<str> = match (&previous, &record) {
                (Some(known), _) | (None, Some(known)) => known.key.clone(),
                (None, None) => continue,
            };
            newest.insert(key.clone(), record.clone());
            found.push(Event { revision: revision_of(kv.mod_revision), key, record, previous });
        }
        found
    }

    fn reach(&mut self, revision: Revision) {
        self.at.revision = self.at.revision.max(revision);
        let revision = self.at.revision;
        self.reached.send_modify(|reached| reached.revision = revision);
    }

    async fn reload(&mut self) -> Result<(), End> {
        let (records, at) = load::load(&self.client, &self.keys).await?;
        self.at.precedes(at).map_err(End::Failed)?;
        tracing::warn!(
            from = %self.at.revision, to = %at.revision, "etcd had forgotten what came next; read all of it again"
        );
        self.cache.replace(records, at.revision);
        self.reach(at.revision);
        Ok(())
    }
}
