//! Following the definitions of the store.

use super::definition::{self, Definition};
use super::{CRD_KIND, Catalogue, FINALIZER, cleanup};
use crate::engine::{Engine, decode, known, store_error};
use crate::generic::commit::{Meaning, Outcome, Write};
use crate::keys;
use crate::limits::CACHE_RETRY;
use holdfast_core::json::{items_at, remove, set};
use holdfast_core::{Gvr, Json, Object, Revision, Status, UserInfo};
use holdfast_server::RequestContext;
use holdfast_store::{Condition, RangeRequest, Record, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Follower {
    prefix: String,
    revision: Revision,
    definitions: BTreeMap<Arc<str>, Arc<Definition>>,
}

/// Where definitions are.
pub(super) fn gvr() -> Gvr {
    Gvr::new(CRD_KIND.0, CRD_KIND.1, "customresourcedefinitions")
}

/// Who changes definitions and removes what they leave.
pub(super) fn context() -> RequestContext {
    RequestContext::new(UserInfo::new("system:apiserver", &[holdfast_core::user::MASTERS]), "custom-kinds")
}

impl Follower {
    pub(super) async fn load(engine: &Engine) -> Result<Follower, Status> {
        let prefix = keys::prefix(known(&gvr())?);
        let request = RangeRequest { prefix: prefix.clone(), ..Default::default() };
        let range = engine.store.range(request).await.map_err(store_error)?;
        let mut follower = Follower { prefix, revision: range.revision, definitions: BTreeMap::new() };
        for record in &range.records {
            follower.put(record);
        }
        Ok(follower)
    }

    fn put(&mut self, record: &Record) {
        match decode(record) {
            Ok(object) => {
                let before = self.definitions.get(&*record.key).cloned();
                let definition = Definition::read(&object.to_json(), before.as_deref());
                self.definitions.insert(record.key.as_ref().into(), Arc::new(definition));
            }
            Err(err) => tracing::error!(key = &*record.key, %err, "A stored definition does not decode"),
        }
    }

    pub(super) fn publish(&self, engine: &Engine) {
        engine.customs.publish(Catalogue::new(self.revision, self.definitions.clone()));
    }

    /// Follows changes for ever. A lost watch is begun anew from the state.
    pub(super) async fn follow(&mut self, engine: &Engine) {
        loop {
            if let Err(err) = self.follow_watch(engine).await {
                if err == StoreError::Closed {
                    return;
                }
                tracing::warn!(%err, "Lost the watch on definitions; reading them again");
            }
            loop {
                engine.env.sleep(CACHE_RETRY).await;
                match Follower::load(engine).await {
                    Ok(follower) => {
                        *self = follower;
                        self.publish(engine);
                        break;
                    }
                    Err(err) => tracing::warn!(%err, "Could not read definitions"),
                }
            }
        }
    }

    async fn follow_watch(&mut self, engine: &Engine) -> Result<(), StoreError> {
        let mut watcher = engine.store.watch(&self.prefix, self.revision)?;
        loop {
            let busy = self.settle(engine).await;
            let events = if busy {
                match engine.env.timeout(CACHE_RETRY, watcher.next()).await {
                    Some(events) => events?,
                    None => continue,
                }
            } else {
                watcher.next().await?
            };
            for event in events {
                self.revision = event.revision;
                match &event.record {
                    Some(record) => self.put(record),
                    None => {
                        self.definitions.remove(&*event.key);
                    }
                }
            }
            self.publish(engine);
        }
    }

    /// Judges what waits for names, and clears what is going. Returns whether something is left to do without news.
    async fn settle(&self, engine: &Engine) -> bool {
        let catalogue = engine.customs.catalogue();
        let mut busy = false;
        for (key, definition) in &self.definitions {
            let outcome = if definition.deleting && definition.held {
                end(engine, key, definition, &catalogue).await
            } else if definition.established
                && definition::condition(&definition.conditions, "NamesAccepted") == Some("True")
            {
                Ok(true)
            } else {
                judge(engine, key, definition, &catalogue).await.map(|()| true)
            };
            busy |= !matches!(outcome, Ok(true));
            if let Err(status) = outcome {
                tracing::warn!(name = definition.name, %status, "Could not settle a definition; trying again");
            }
        }
        busy
    }
}

/// Clears away the objects of a definition that is going, and lets it go when none is left. Returns whether that is so.
async fn end(engine: &Engine, key: &str, definition: &Definition, catalogue: &Catalogue) -> Result<bool, Status> {
    if let Err(status) = judge(engine, key, definition, catalogue).await {
        tracing::warn!(name = definition.name, %status, "Could not say that a definition is going");
    }
    if !cleanup::clear(engine, definition).await? {
        return Ok(false);
    }
    let release = |object: &Object| {
        let mut doc = object.to_json();
        let finalizers = items_at(&doc, &["metadata", "finalizers"]).iter();
        let kept: Vec<_> = finalizers.filter(|name| name.as_str() != Some(FINALIZER)).cloned().collect();
        if kept.is_empty() {
            return Next::Gone;
        }
        set(&mut doc, &["metadata", "finalizers"], kept);
        Next::Changed(doc)
    };
    change(engine, key, &definition.name, release).await.map(|()| true)
}

/// What becomes of a definition.
enum Next {
    Same,
    Changed(Json),
    Gone,
}

/// Writes what becomes of a definition.
async fn change(engine: &Engine, key: &str, name: &str, to: impl FnOnce(&Object) -> Next) -> Result<(), Status> {
    let Some(record) = engine.store.get(key).await.map_err(store_error)? else { return Ok(()) };
    let old = decode(&record)?;
    let mut write = Write::default();
    write.check(key.to_string(), Condition::ModifiedAt(old.revision), Meaning::Subject);
    match to(&old) {
        Next::Same => return Ok(()),
        Next::Changed(mut doc) => {
            remove(&mut doc, &["metadata", "resourceVersion"]);
            let object = Object::with_managed_fields(doc, old.managed_fields())?;
            write.put(key.to_string(), object.body().clone());
        }
        Next::Gone => write.delete(key.to_string()),
    }
    match write.commit(engine, &context(), &gvr(), name).await? {
        // Another write came first: its event brings us back here.
        Outcome::Committed(..) | Outcome::Lost(_) => Ok(()),
    }
}

async fn judge(engine: &Engine, key: &str, definition: &Definition, catalogue: &Catalogue) -> Result<(), Status> {
    let judged = |object: &Object| {
        let mut doc = object.to_json();
        if definition::judge(&mut doc, catalogue, engine.now()) { Next::Changed(doc) } else { Next::Same }
    };
    change(engine, key, &definition.name, judged).await
}
