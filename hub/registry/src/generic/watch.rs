//! Watches: initial events, transitions of selectors, bookmarks, and the end.
//!
//! A watch runs no task: it is polled by whoever writes the answer, and reads the store's ring at its own pace.

use crate::engine::{Engine, Resource, decode, store_error};
use crate::keys;
use crate::limits::BOOKMARK_PERIOD;
use holdfast_core::verbs::WatchStream;
use holdfast_core::{ListOptions, Revision, Status, Watch, WatchEvent, WatchEventType};
use holdfast_env::{BoxFuture, World};
use holdfast_kinds::{Kind, Selection};
use holdfast_store::{Event, RangeRequest, StoreError, Watcher};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Opens a watch.
///
/// # Errors
/// 400 and 422 for options that make no sense. A revision that is gone is a 410 on the stream's first poll, as
/// clients expect it (`too old resource version`).
pub(crate) async fn watch(engine: &Engine, resource: &Resource<'_>, options: &ListOptions) -> Result<Watch, Status> {
    options.validate(true)?;
    let name = (!resource.name.is_empty()).then_some(resource.name);
    let selection = Selection::new(resource.kind, options, name)?;
    let prefix = keys::scope(resource.kind, resource.namespace);
    // Without a revision it begins at the most recent state, with 0 at whatever is at hand.
    let asked = options.resource_version.unwrap_or_default();
    match options.resource_version {
        None => drop(engine.sync().await?),
        Some(asked) => engine.not_older_than(asked).await?,
    }
    let current = engine.store.revision();

    let streaming_list = options.send_initial_events == Some(true);
    let initial = match options.send_initial_events {
        Some(wanted) => wanted,
        None => asked.0 == 0,
    };
    let mut pending = VecDeque::new();
    let after = if initial {
        let range = engine
            .store
            .range(RangeRequest { prefix: prefix.clone(), ..Default::default() })
            .await
            .map_err(store_error)?;
        for record in &range.records {
            let object = decode(record)?;
            if selection.matches(&object) {
                let object = super::decode::shown(resource.kind, object)?;
                pending.push_back(Ok(WatchEvent { event_type: WatchEventType::Added, object }));
            }
        }
        if streaming_list && options.allow_bookmarks {
            pending.push_back(WatchEvent::bookmark(&resource.kind.gvk(), range.revision, true));
        }
        range.revision
    } else if asked.0 == 0 {
        current
    } else {
        asked
    };

    let watcher = match engine.store.watch(&prefix, after) {
        Ok(watcher) => Some(watcher),
        Err(StoreError::Compacted { requested, oldest }) => {
            pending.push_back(Err(too_old(requested, oldest)));
            None
        }
        Err(err) => return Err(store_error(err)),
    };
    let deadline = options.timeout_seconds.map(|seconds| engine.env.sleep(Duration::from_secs(seconds)));
    let next_bookmark = options.allow_bookmarks.then(|| engine.env.sleep(BOOKMARK_PERIOD));
    Ok(Box::new(HubWatch {
        kind: resource.kind,
        selection,
        env: engine.env.clone(),
        pending,
        watcher,
        deadline,
        next_bookmark,
        last_sent: after,
    }))
}

fn too_old(requested: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {requested} ({oldest})"))
}

struct HubWatch {
    kind: &'static Kind,
    selection: Selection,
    env: World,
    pending: VecDeque<Result<WatchEvent, Status>>,
    /// `None` once it has ended.
    watcher: Option<Box<dyn Watcher>>,
    deadline: Option<BoxFuture<()>>,
    /// `None` when bookmarks are not wanted.
    next_bookmark: Option<BoxFuture<()>>,
    /// The revision that the client knows of.
    last_sent: Revision,
}

impl HubWatch {
    fn take(&mut self, event: Event) -> Result<(), Status> {
        let new = event.record.as_deref().map(decode).transpose()?;
        let old = event.previous.as_deref().map(decode).transpose()?;
        let new = new.filter(|object| self.selection.matches(object));
        let old = old.filter(|object| self.selection.matches(object));
        let (event_type, object) = match (old, new) {
            (None, Some(new)) => (WatchEventType::Added, new),
            (Some(_), Some(new)) => (WatchEventType::Modified, new),
            (Some(old), None) => (WatchEventType::Deleted, Arc::new(old.at_revision(event.revision))),
            (None, None) => return Ok(()),
        };
        let object = super::decode::shown(self.kind, object)?;
        self.pending.push_back(Ok(WatchEvent { event_type, object }));
        Ok(())
    }

    /// A bookmark at what was handed out, when the client does not know of it yet.
    fn progress_bookmark(&mut self) -> Option<Result<WatchEvent, Status>> {
        let progress = self.watcher.as_ref()?.progress();
        self.last_sent = progress.max(self.last_sent);
        Some(WatchEvent::bookmark(&self.kind.gvk(), self.last_sent, false))
    }
}

impl WatchStream for HubWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, Status>>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                if let Ok(event) = &event {
                    self.last_sent = self.last_sent.max(event.object.revision);
                }
                return Poll::Ready(Some(event));
            }
            let Some(watcher) = &mut self.watcher else { return Poll::Ready(None) };
            match watcher.poll_next(cx) {
                Poll::Ready(Ok(events)) => {
                    for event in events {
                        if let Err(status) = self.take(event) {
                            self.pending.push_back(Err(status));
                            self.watcher = None;
                            break;
                        }
                    }
                    continue;
                }
                Poll::Ready(Err(err)) => {
                    let status = match err {
                        StoreError::Compacted { requested, oldest } => too_old(requested, oldest),
                        err => store_error(err),
                    };
                    self.watcher = None;
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Pending => {}
            }
            if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                self.deadline = None;
                // The last bookmark lets the client go on from here.
                let last = self.next_bookmark.take().and_then(|_| self.progress_bookmark());
                self.watcher = None;
                return Poll::Ready(last);
            }
            if self.next_bookmark.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                self.next_bookmark = Some(self.env.sleep(BOOKMARK_PERIOD));
                if let Some(event) = self.progress_bookmark() {
                    return Poll::Ready(Some(event));
                }
            }
            return Poll::Pending;
        }
    }
}
