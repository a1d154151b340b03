//! The index of the node's Events: by the number of their log fact, the oldest first.

use crate::folder::{self, ViewError, guarded};
use crate::limits::{MAX_EVENT_BYTES, MAX_EVENTS, MAX_FOLDER_BYTES, QUIET};
use holdfast_core::Seq;
use holdfast_env::Mono;
use serde_json::Value;
use std::path::PathBuf;

/// What happened on this node.
///
/// sled is opened by the first call that needs it and closed by [`EventViews::close_idle`]. No call returns an error.
pub struct EventViews {
    dir: PathBuf,
    open: Option<Open>,
    /// Whether a call came since the last look at the clock.
    used: bool,
    quiet_since: Mono,
}

struct Open {
    db: sled::Db,
    /// Events in it; sled would count them one by one.
    count: usize,
}

impl EventViews {
    /// A view in `dir`, which this touches only when it is used.
    pub fn new(dir: PathBuf) -> EventViews {
        EventViews { dir, open: None, used: false, quiet_since: Mono::default() }
    }

    /// Records an Event (JSON) under its fact's number. The same one again changes nothing; another one under the
    /// same number shows that the journal began anew, and the view does so too. Blocks.
    pub fn record(&mut self, seq: Seq, event: &[u8]) {
        if event.len() > MAX_EVENT_BYTES {
            tracing::warn!(bytes = event.len(), seq = seq.0, "An Event is too large for the view of Events");
            return;
        }
        self.with(|open| open.put(seq, event));
    }

    /// The Events of a namespace, or about one pod by its name; all when neither is given. The oldest first. Blocks.
    pub fn events(&mut self, namespace: Option<&str>, pod: Option<&str>) -> Vec<Value> {
        let wanted = |event: &Value| {
            let involved = &event["involvedObject"];
            namespace.is_none_or(|namespace| event["metadata"]["namespace"] == namespace)
                && pod.is_none_or(|pod| involved["kind"] == "Pod" && involved["name"] == pod)
        };
        self.with(|open| open.all(wanted)).unwrap_or_default()
    }

    /// Closes sled, which also makes it durable, when no call came for [`QUIET`]. To be called now and then; returns
    /// whether sled is still open. Blocks.
    pub fn close_idle(&mut self, now: Mono) -> bool {
        if std::mem::take(&mut self.used) {
            self.quiet_since = now;
        } else if now.since(self.quiet_since) >= QUIET {
            self.close();
        }
        self.open.is_some()
    }

    /// Closes sled. Dropping does the same.
    pub fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let flushed = guarded(move || {
            open.db.flush()?;
            drop(open);
            Ok(())
        });
        if let Err(err) = flushed {
            tracing::warn!(err = folder::chain(&err), "The view of Events was not written in full");
        }
    }

    /// Works on the open view. Over damage it begins anew, once; `None` when that does not work either.
    fn with<T>(&mut self, work: impl Fn(&mut Open) -> Result<T, ViewError>) -> Option<T> {
        self.used = true;
        let err = match self.attempt(&work) {
            Ok(done) => return Some(done),
            Err(ViewError::Locked) => {
                // Whoever has it open still needs it.
                tracing::warn!(dir = %self.dir.display(), "The view of Events is in use by another process");
                return None;
            }
            Err(err) => err,
        };
        tracing::warn!(dir = %self.dir.display(), err = folder::chain(&err), "The view of Events is made anew");
        self.forget();
        match folder::remove(&self.dir).and_then(|()| self.attempt(&work)) {
            Ok(done) => Some(done),
            Err(err) => {
                self.forget();
                tracing::warn!(err = folder::chain(&err), "The view of Events cannot be used");
                None
            }
        }
    }

    /// Lets go of a broken store, which may panic once more while it closes.
    fn forget(&mut self) {
        let broken = self.open.take();
        let _ = guarded(move || {
            drop(broken);
            Ok(())
        });
    }

    fn attempt<T>(&mut self, work: &impl Fn(&mut Open) -> Result<T, ViewError>) -> Result<T, ViewError> {
        let open = match self.open.take() {
            Some(open) => self.open.insert(open),
            None => {
                let opened = Open::new(self)?;
                self.open.insert(opened)
            }
        };
        guarded(|| work(open))
    }
}

impl Drop for EventViews {
    fn drop(&mut self) {
        self.close();
    }
}

impl Open {
    fn new(views: &EventViews) -> Result<Open, ViewError> {
        let db = folder::open(&views.dir)?;
        let (count, size) = guarded(|| Ok((db.len(), db.size_on_disk()?)))?;
        let mut open = Open { db, count };
        if size > MAX_FOLDER_BYTES {
            tracing::warn!(bytes = size, "The view of Events has grown too large and is written anew");
            let kept = guarded(|| open.db.iter().map(|entry| Ok(entry?)).collect::<Result<Vec<_>, ViewError>>())?;
            drop(open);
            folder::remove(&views.dir)?;
            open = Open { db: folder::open(&views.dir)?, count: 0 };
            for (key, value) in kept {
                open.put(number(&key), &value)?;
            }
        }
        Ok(open)
    }

    fn put(&mut self, seq: Seq, event: &[u8]) -> Result<(), ViewError> {
        let key = seq.0.to_be_bytes();
        match self.db.get(key)? {
            Some(old) if old == event => return Ok(()),
            Some(_) => {
                tracing::warn!(seq = seq.0, "The journal has begun anew, and so does the view of Events");
                self.db.clear()?;
                self.count = 0;
            }
            None => {}
        }
        self.db.insert(key, event)?;
        self.count += 1;
        while self.count > MAX_EVENTS && self.db.pop_min()?.is_some() {
            self.count -= 1;
        }
        Ok(())
    }

    fn all(&self, wanted: impl Fn(&Value) -> bool) -> Result<Vec<Value>, ViewError> {
        let mut found = Vec::new();
        for entry in self.db.iter() {
            let (key, value) = entry?;
            let event = serde_json::from_slice(&value).map_err(|_| ViewError::Record(number(&key).0))?;
            if wanted(&event) {
                found.push(event);
            }
        }
        Ok(found)
    }
}

fn number(key: &[u8]) -> Seq {
    Seq(key.try_into().map_or(0, u64::from_be_bytes))
}
