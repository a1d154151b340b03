//! The informer: lists and watches one resource, keeps a [`Cache`] of it, and tells handlers what changed.
//!
//! States: *listing* (a streaming list, ended by the `initial-events-end` bookmark; a plain list where the server
//! refuses that), *watching* from the last revision seen, and *waiting* after a failure. A watch that ends is taken
//! up where it stopped; 410 goes back to listing. Handlers run in the informer's task, in the order of events.

use crate::limits::{CALL_LIMIT, RELIST_CAP, RELIST_INITIAL, RESYNC, WATCH_SLACK, WATCH_SPAN};
use crate::{Cache, Change, Client, Key, Project, WorkQueue};
use holdfast_core::verbs::{INITIAL_EVENTS_END, VersionMatch};
use holdfast_core::{
    Backoff, Gvr, ListOptions, Object, Reason, Revision, Status, Target, Watch, WatchEvent, WatchEventType,
};
use holdfast_env::{Mono, Task, World};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

type Handler<P> = Arc<dyn Fn(&Change<P>) + Send + Sync>;

/// An informer of one resource, or of the part of it that a selector selects. Clones are the same informer.
pub struct Informer<P> {
    world: World,
    client: Arc<dyn Client>,
    target: Target,
    selection: ListOptions,
    cache: Arc<Cache<P>>,
    handlers: Arc<Mutex<Vec<Handler<P>>>>,
    synced: Arc<watch::Sender<bool>>,
}

impl<P> Clone for Informer<P> {
    fn clone(&self) -> Self {
        Informer {
            world: self.world.clone(),
            client: self.client.clone(),
            target: self.target.clone(),
            selection: self.selection.clone(),
            cache: self.cache.clone(),
            handlers: self.handlers.clone(),
            synced: self.synced.clone(),
        }
    }
}

impl<P: Project> Informer<P> {
    /// An informer of all of `gvr`. It does nothing until [`Informer::start`].
    pub fn new(world: &World, client: Arc<dyn Client>, gvr: Gvr) -> Informer<P> {
        Informer::selecting(world, client, Target::collection(gvr, ""), ListOptions::default())
    }

    /// An informer of what the selectors of `selection` select in `target`.
    pub fn selecting(world: &World, client: Arc<dyn Client>, target: Target, selection: ListOptions) -> Informer<P> {
        Informer {
            world: world.clone(),
            client,
            target,
            selection,
            cache: Arc::new(Cache::new()),
            handlers: Arc::default(),
            synced: Arc::new(watch::Sender::new(false)),
        }
    }

    /// What it knows.
    pub fn cache(&self) -> &Arc<Cache<P>> {
        &self.cache
    }

    /// Calls `handler` with every change from now on, in the informer's task: it must be quick. Register before
    /// [`Informer::start`] to see the first objects.
    pub fn on_change(&self, handler: impl Fn(&Change<P>) + Send + Sync + 'static) {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(handler));
    }

    /// Adds to `queue` the keys that `keys` names for each change.
    pub fn enqueue<K: Ord + Clone + Debug + Send + 'static>(
        &self,
        queue: &WorkQueue<K>,
        keys: impl Fn(&Change<P>) -> Vec<K> + Send + Sync + 'static,
    ) {
        let queue = queue.clone();
        self.on_change(move |change| keys(change).into_iter().for_each(|key| queue.add(key)));
    }

    /// Adds to `queue` the key of each changed object.
    pub fn enqueue_self(&self, queue: &WorkQueue<Key>) {
        self.enqueue(queue, |change| vec![change.key.clone()]);
    }

    /// Whether the cache held a whole list once.
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first whole list. Cancel safe.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// Starts the informer's task.
    pub fn start(&self) -> Task {
        let informer = self.clone();
        self.world.spawn("informer", Box::pin(async move { informer.run().await }))
    }

    async fn run(self) {
        let mut backoff = Backoff::new(RELIST_INITIAL, RELIST_CAP);
        let mut last: Option<Revision> = None;
        let mut resync = self.world.monotonic().after(RESYNC);
        loop {
            let began = self.world.monotonic();
            let ended = match last {
                None => self.list(&mut last, &mut resync).await,
                Some(from) => self.watch_from(from, &mut last, &mut resync).await,
            };
            match ended {
                // A watch that lived a while ended as it should; one that ends at once must not spin.
                Ok(()) if self.world.monotonic().since(began) > RELIST_INITIAL => backoff.reset(),
                Ok(()) => self.pause(&mut backoff).await,
                Err(status) if status.is(Reason::Expired) || status.is(Reason::Gone) => {
                    tracing::debug!(resource = %self.target.gvr, "A watch fell behind; listing again");
                    last = None;
                    self.pause(&mut backoff).await;
                }
                Err(status) => {
                    tracing::warn!(resource = %self.target.gvr, err = %status, "A list or watch failed");
                    self.pause(&mut backoff).await;
                }
            }
        }
    }

    async fn pause(&self, backoff: &mut Backoff) {
        let wait = backoff.fail();
        let jitter = wait * u32::from(self.world.random_u64() as u8) / 256;
        self.world.sleep(wait + jitter).await;
    }

    fn options(&self, last: Option<Revision>) -> (ListOptions, Duration) {
        let span = WATCH_SPAN + Duration::from_secs(self.world.random_u64() % WATCH_SPAN.as_secs());
        let options = ListOptions {
            resource_version: last,
            version_match: last.is_none().then_some(VersionMatch::NotOlderThan),
            allow_bookmarks: true,
            send_initial_events: last.is_none().then_some(true),
            timeout_seconds: Some(span.as_secs()),
            ..self.selection.clone()
        };
        (options, span)
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        match self.world.timeout(CALL_LIMIT, call).await {
            Some(result) => result,
            None => Err(Status::timeout(format!("{} did not answer", self.target.gvr))),
        }
    }

    /// A streaming list, then the same stream as a watch.
    async fn list(&self, last: &mut Option<Revision>, resync: &mut Mono) -> Result<(), Status> {
        let (options, span) = self.options(None);
        let mut stream = match self.call(self.client.watch(&self.target, &options)).await {
            Ok(stream) => stream,
            Err(status) if status.code() == 400 || status.code() == 422 => return self.plain_list(last).await,
            Err(status) => return Err(status),
        };
        let end = self.world.monotonic().after(span + WATCH_SLACK);
        let mut objects = BTreeMap::new();
        loop {
            let wait = CALL_LIMIT.min(end.since(self.world.monotonic()));
            let event = match self.world.timeout(wait, stream.next()).await {
                None => return Err(Status::timeout(format!("the list of {} did not end", self.target.gvr))),
                Some(None) => return Ok(()),
                Some(Some(event)) => event?,
            };
            match event.event_type {
                WatchEventType::Bookmark => {
                    let ends = event.object.meta.annotations.get(INITIAL_EVENTS_END);
                    if ends.is_some_and(|value| value == "true") {
                        *last = Some(event.object.revision);
                        break;
                    }
                }
                WatchEventType::Deleted => {
                    objects.remove(&Key::of(&event.object));
                }
                WatchEventType::Added | WatchEventType::Modified => {
                    objects.insert(Key::of(&event.object), event.object);
                }
            }
        }
        self.replace(&objects);
        self.follow(stream, end, last, resync).await
    }

    async fn plain_list(&self, last: &mut Option<Revision>) -> Result<(), Status> {
        let list = self.call(self.client.list(&self.target, &self.selection)).await?;
        let objects = list.items.into_iter().map(|object| (Key::of(&object), object)).collect();
        self.replace(&objects);
        *last = Some(list.revision);
        Ok(())
    }

    async fn watch_from(&self, from: Revision, last: &mut Option<Revision>, resync: &mut Mono) -> Result<(), Status> {
        let (options, span) = self.options(Some(from));
        let stream = self.call(self.client.watch(&self.target, &options)).await?;
        let end = self.world.monotonic().after(span + WATCH_SLACK);
        self.follow(stream, end, last, resync).await
    }

    async fn follow(
        &self,
        mut stream: Watch,
        end: Mono,
        last: &mut Option<Revision>,
        resync: &mut Mono,
    ) -> Result<(), Status> {
        loop {
            let now = self.world.monotonic();
            if now >= *resync {
                *resync = now.after(RESYNC);
                self.resync();
            }
            if now >= end {
                return Ok(());
            }
            let wait = end.min(*resync).since(now);
            match self.world.timeout(wait, stream.next()).await {
                None => {}
                Some(None) => return Ok(()),
                Some(Some(event)) => self.apply(&event?, last),
            }
        }
    }

    fn apply(&self, event: &WatchEvent, last: &mut Option<Revision>) {
        let change = match event.event_type {
            WatchEventType::Bookmark => None,
            WatchEventType::Deleted => self.cache.remove(&Key::of(&event.object)),
            WatchEventType::Added | WatchEventType::Modified => self.cache.put(&event.object),
        };
        if event.object.revision > Revision(0) {
            *last = Some(event.object.revision);
        }
        if let Some(change) = change {
            self.tell(&change);
        }
    }

    fn replace(&self, objects: &BTreeMap<Key, Arc<Object>>) {
        for change in self.cache.replace(objects) {
            self.tell(&change);
        }
        self.synced.send_replace(true);
    }

    fn resync(&self) {
        for item in self.cache.all() {
            self.tell(&Change { key: item.key(), old: Some(item.clone()), new: Some(item) });
        }
    }

    fn tell(&self, change: &Change<P>) {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for handler in handlers {
            handler(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeWorld, MemoryApi};
    use holdfast_core::DeleteOptions;
    use serde_json::json;

    fn config_map(name: &str) -> holdfast_core::Json {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a"}})
    }

    fn names(informer: &Informer<()>) -> Vec<String> {
        informer.cache().all().iter().map(|item| item.key().to_string()).collect()
    }

    #[test]
    fn lists_then_follows_and_survives_the_end_of_a_watch_and_410() {
        let world = FakeWorld::new(3);
        let env: World = world.clone();
        let api = MemoryApi::new(&env);
        let gvr = Gvr::new("", "v1", "configmaps");
        api.seed(config_map("one"));
        let informer: Informer<()> = Informer::new(&env, api.clone(), gvr.clone());
        let _task = informer.start();
        world.settle();
        assert!(informer.has_synced());
        assert_eq!(names(&informer), ["a/one"]);

        api.seed(config_map("two"));
        world.settle();
        assert_eq!(names(&informer), ["a/one", "a/two"]);

        let watches = api.count("watch");
        world.advance(Duration::from_secs(3600));
        assert!(api.count("watch") > watches, "the server ended the watch and it was taken up again");
        api.seed(config_map("three"));
        world.settle();
        assert_eq!(names(&informer), ["a/one", "a/three", "a/two"]);

        // While it is cut off, one object goes and one comes, and history is forgotten: only a list shows it.
        api.fail("watch", "configmaps", 3, Status::unavailable("not now", 1));
        api.cut();
        world.run({
            let (api, gvr) = (api.clone(), gvr.clone());
            async move { api.delete(&Target::object(gvr, "a", "one"), &DeleteOptions::default()).await.unwrap() }
        });
        api.seed(config_map("four"));
        api.compact();
        world.advance(Duration::from_secs(120));
        assert_eq!(names(&informer), ["a/four", "a/three", "a/two"]);
    }

    #[test]
    fn failures_back_off() {
        let world = FakeWorld::new(3);
        let env: World = world.clone();
        let api = MemoryApi::new(&env);
        api.fail("watch", "configmaps", 1000, Status::unavailable("not now", 1));
        let informer: Informer<()> = Informer::new(&env, api.clone(), Gvr::new("", "v1", "configmaps"));
        let _task = informer.start();
        world.advance(Duration::from_secs(300));
        let tries = api.count("watch");
        assert!((8..=20).contains(&tries), "{tries} tries in five minutes");
        assert!(!informer.has_synced());
    }
}
