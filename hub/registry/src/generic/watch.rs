//! Watches: initial events, transitions of selectors, bookmarks, and the end.
//!
//! A watch runs no task: it is polled by whoever writes the answer, and reads the store's ring at its own pace. One of a
//! custom kind, whose objects may have to be converted by a webhook, ends when the kind is no longer served as it was.

use super::view;
use crate::custom::CustomKind;
use crate::engine::{Engine, Resource, decode, store_error};
use crate::keys;
use crate::limits::BOOKMARK_PERIOD;
use holdfast_core::verbs::WatchStream;
use holdfast_core::{ListOptions, Object, Revision, Status, Watch, WatchEvent, WatchEventType};
use holdfast_env::{BoxFuture, World};
use holdfast_kinds::{Kind, Selection, convert};
use holdfast_store::{Event, RangeRequest, Record, StoreError, Watcher};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Opens a watch.
///
/// # Errors
/// 400 and 422 for options that make no sense. A revision that is gone is a 410 on the stream's first poll, as
/// clients expect it (`too old resource version`).
pub(crate) async fn watch(
    engine: &Arc<Engine>,
    resource: &Resource<'_>,
    options: &ListOptions,
) -> Result<Watch, Status> {
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
        let objects = range.records.iter().map(|record| decode(record)).collect::<Result<Vec<_>, _>>()?;
        let shown = view::shown_all(engine, resource, objects).await?;
        for object in shown.into_iter().filter(|object| selection.matches(object)) {
            pending.push_back(Ok(WatchEvent { event_type: WatchEventType::Added, object }));
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
        selection: Arc::new(selection),
        of: resource.strategy.custom().map(|custom| OfCustom::new(engine, custom)),
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
    selection: Arc<Selection>,
    /// `None` for a built-in kind.
    of: Option<OfCustom>,
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

/// What the watch of a custom kind has beyond that of a built-in one.
struct OfCustom {
    engine: Arc<Engine>,
    custom: Arc<CustomKind>,
    /// Ends when the kind is not served any more, or shows its objects in another way.
    replaced: BoxFuture<()>,
    /// Events whose objects are being made what the client sees. Nothing comes before them.
    making: Option<BoxFuture<Result<Vec<WatchEvent>, Status>>>,
}

impl OfCustom {
    fn new(engine: &Arc<Engine>, custom: &Arc<CustomKind>) -> OfCustom {
        let (asked, kind) = (engine.clone(), custom.clone());
        let replaced = Box::pin(async move { asked.customs.replaced(&kind).await });
        OfCustom { engine: engine.clone(), custom: custom.clone(), replaced, making: None }
    }

    fn make(&mut self, selection: &Arc<Selection>, events: Vec<Event>) {
        let (engine, custom, selection) = (self.engine.clone(), self.custom.clone(), selection.clone());
        self.making = Some(Box::pin(async move { made(&engine, &custom, &selection, events).await }));
    }
}

/// What a client is told of events of a custom kind. All objects are shown at once.
async fn made(
    engine: &Engine,
    custom: &CustomKind,
    selection: &Selection,
    events: Vec<Event>,
) -> Result<Vec<WatchEvent>, Status> {
    let mut objects = Vec::new();
    let mut put = |record: &Record| -> Result<usize, Status> {
        objects.push(decode(record)?);
        Ok(objects.len() - 1)
    };
    let mut places = Vec::with_capacity(events.len());
    for event in &events {
        let new = event.record.as_deref().map(&mut put).transpose()?;
        let old = match &event.previous {
            // It was selected, and nobody is shown it.
            Some(_) if new.is_some() && selection.is_everything() => new,
            previous => previous.as_deref().map(&mut put).transpose()?,
        };
        places.push((old, new, event.revision));
    }
    let turn = custom.conversion.turn(engine).await;
    let shown = custom.show(engine, objects).await?;
    drop(turn);
    let of = |at: Option<usize>| at.map(|at| shown[at].clone());
    let told = places.into_iter().filter_map(|(old, new, revision)| {
        let (event_type, object) = transition(selection, of(old), of(new), revision)?;
        Some(WatchEvent { event_type, object })
    });
    Ok(told.collect())
}

/// What a change means to a client that is shown only what is selected.
fn transition(
    selection: &Selection,
    old: Option<Arc<Object>>,
    new: Option<Arc<Object>>,
    revision: Revision,
) -> Option<(WatchEventType, Arc<Object>)> {
    let old = old.filter(|object| selection.matches(object));
    let new = new.filter(|object| selection.matches(object));
    Some(match (old, new) {
        (None, Some(new)) => (WatchEventType::Added, new),
        (Some(_), Some(new)) => (WatchEventType::Modified, new),
        (Some(old), None) => (WatchEventType::Deleted, Arc::new(old.at_revision(revision))),
        (None, None) => return None,
    })
}

impl HubWatch {
    fn take(&mut self, event: Event) -> Result<(), Status> {
        let new = event.record.as_deref().map(decode).transpose()?;
        let old = event.previous.as_deref().map(decode).transpose()?;
        if let Some((event_type, object)) = transition(&self.selection, old, new, event.revision) {
            let object = convert::shown(self.kind, object)?;
            self.pending.push_back(Ok(WatchEvent { event_type, object }));
        }
        Ok(())
    }

    /// What became of the events that were being made.
    fn made(&mut self, made: Result<Vec<WatchEvent>, Status>) {
        if let Some(of) = &mut self.of {
            of.making = None;
        }
        match made {
            Ok(events) => self.pending.extend(events.into_iter().map(Ok)),
            Err(status) => {
                self.pending.push_back(Err(status));
                self.watcher = None;
            }
        }
    }

    fn end(&mut self) -> Poll<Option<Result<WatchEvent, Status>>> {
        self.of = None;
        self.watcher = None;
        Poll::Ready(None)
    }

    /// Whether the time that the client gave is over.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let over = self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
        if over {
            self.deadline = None;
        }
        over
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
            if let Some(making) = self.of.as_mut().and_then(|of| of.making.as_mut()) {
                match making.as_mut().poll(cx) {
                    Poll::Ready(made) => {
                        self.made(made);
                        continue;
                    }
                    Poll::Pending if self.is_over(cx) => return self.end(),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let Some(watcher) = &mut self.watcher else { return Poll::Ready(None) };
            match watcher.poll_next(cx) {
                Poll::Ready(Ok(events)) => {
                    if let Some(of) = &mut self.of {
                        of.make(&self.selection, events);
                        continue;
                    }
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
            if self.of.as_mut().is_some_and(|of| of.replaced.as_mut().poll(cx).is_ready()) {
                return self.end();
            }
            if self.is_over(cx) {
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
