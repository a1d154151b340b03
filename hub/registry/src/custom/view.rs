//! What reads show of the stored objects of a custom kind.
//!
//! An object is brought to its schema as that is now (unknown fields go, defaults that came later are filled), and then
//! converted to the version that was asked for; that version's own defaults are for what is written in it, as upstream has it.
//! What came of a stored object is kept for the next reader, within [`VIEWS_BYTES`].

use super::CustomKind;
use crate::engine::Engine;
use crate::limits::{CONVERTED_OBJECTS, VIEWS_BYTES};
use holdfast_core::{Json, Object, Revision, Status};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// An object in a version of its kind, by a state of its definition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    conversion: u64,
    version: &'static str,
    uid: Arc<str>,
    revision: Revision,
}

/// What an object looks like.
#[derive(Clone)]
enum View {
    /// As it is stored.
    Same,
    Made(Arc<Object>),
}

impl View {
    fn bytes(&self) -> usize {
        // The entry itself, its key twice, and the place in the line.
        const ENTRY: usize = 256;
        match self {
            View::Same => ENTRY,
            View::Made(object) => ENTRY + object.body().len(),
        }
    }
}

/// The views that were made last.
#[derive(Default)]
pub(crate) struct Views(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    views: BTreeMap<Key, View>,
    /// In the order in which they came.
    line: VecDeque<Key>,
    bytes: usize,
}

impl Views {
    fn get(&self, key: &Key) -> Option<View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).views.get(key).cloned()
    }

    fn put(&self, key: Key, view: View) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = view.bytes();
        if bytes > VIEWS_BYTES || kept.views.contains_key(&key) {
            return;
        }
        while kept.bytes + bytes > VIEWS_BYTES {
            let Some(oldest) = kept.line.pop_front() else { break };
            if let Some(view) = kept.views.remove(&oldest) {
                kept.bytes -= view.bytes();
            }
        }
        kept.bytes += bytes;
        kept.line.push_back(key.clone());
        kept.views.insert(key, view);
    }
}

impl CustomKind {
    fn key(&self, object: &Object) -> Key {
        Key {
            conversion: self.conversion.id,
            version: self.kind.version,
            uid: object.meta.uid.as_str().into(),
            revision: object.revision,
        }
    }

    /// Objects of the store in this version. All that have to be converted are converted at once, as far as one call takes
    /// them.
    ///
    /// # Errors
    /// 500 when they cannot be converted.
    pub(crate) async fn show(&self, engine: &Engine, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
        let views = &engine.customs.views;
        let mut shown: Vec<Arc<Object>> = Vec::with_capacity(objects.len());
        let mut fresh: Vec<(usize, Key)> = Vec::new();
        for object in objects {
            let key = self.key(&object);
            match views.get(&key) {
                Some(View::Made(made)) => shown.push(made),
                Some(View::Same) => shown.push(object),
                None => {
                    fresh.push((shown.len(), key));
                    shown.push(object);
                }
            }
        }
        // So many trees at once: a list may be as long as the store.
        for some in fresh.chunks(CONVERTED_OBJECTS) {
            let originals: Vec<Arc<Object>> = some.iter().map(|(at, _)| shown[*at].clone()).collect();
            for ((at, key), made) in some.iter().zip(self.made(engine, &originals).await?) {
                views.put(key.clone(), made.clone().map_or(View::Same, View::Made));
                if let Some(made) = made {
                    shown[*at] = made;
                }
            }
        }
        Ok(shown)
    }

    /// One object of the store, as [`CustomKind::show`].
    ///
    /// # Errors
    /// The same.
    pub(crate) async fn show_one(&self, engine: &Engine, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        let mut shown = self.show(engine, vec![object]).await?;
        shown.pop().ok_or_else(lost)
    }

    /// An object that is not, or no longer, as its revision has it in the store: what a dry run would make, or the last of
    /// one that went.
    ///
    /// # Errors
    /// As [`CustomKind::show`].
    pub(crate) async fn show_unstored(&self, engine: &Engine, object: Arc<Object>) -> Result<Arc<Object>, Status> {
        let mut made = self.made(engine, std::slice::from_ref(&object)).await?;
        Ok(made.pop().ok_or_else(lost)?.unwrap_or(object))
    }

    /// What objects look like; `None` for one that looks as it is.
    async fn made(&self, engine: &Engine, objects: &[Arc<Object>]) -> Result<Vec<Option<Arc<Object>>>, Status> {
        let mut docs: Vec<Json> = Vec::with_capacity(objects.len());
        let mut same: Vec<bool> = Vec::with_capacity(objects.len());
        for object in objects {
            let stored = object.to_json();
            let mut doc = stored.clone();
            self.conversion.refresh(&mut doc);
            same.push(doc == stored && object.gvk.version == self.kind.version);
            docs.push(doc);
        }
        let docs = self.conversion.convert(engine, docs, self.kind.version).await?;
        let made = objects.iter().zip(docs).zip(same).map(|((object, doc), same)| {
            if same {
                return Ok(None);
            }
            let made = Object::with_managed_fields(doc, object.managed_fields())?;
            Ok(Some(Arc::new(made.at_revision(object.revision))))
        });
        made.collect()
    }
}

fn lost() -> Status {
    Status::internal("an object got lost on its way to be shown")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(revision: u64) -> Key {
        Key { conversion: 1, version: "v1", uid: "u".into(), revision: Revision(revision) }
    }

    #[test]
    fn the_oldest_views_go_when_there_is_no_room() {
        let views = Views::default();
        let text = "x".repeat(VIEWS_BYTES / 4);
        let doc = serde_json::json!({ "apiVersion": "v1", "kind": "A", "metadata": {}, "text": text });
        let object = Arc::new(Object::from_json(doc).unwrap());
        for revision in 1..=5 {
            views.put(key(revision), View::Made(object.clone()));
        }
        let there: Vec<u64> = (1..=5).filter(|revision| views.get(&key(*revision)).is_some()).collect();
        assert_eq!(there, [3, 4, 5]);
        views.put(key(6), View::Same);
        assert!(matches!(views.get(&key(6)), Some(View::Same)));
        assert!(views.0.lock().unwrap().bytes <= VIEWS_BYTES);
    }
}
