//! Watches of the local API. A watch runs no task: it is polled by whoever writes the answer, and looks at the
//! journal again when that says that something has changed.

use super::registry::Shared;
use super::versions::Change;
use holdfast_core::verbs::WatchStream;
use holdfast_core::{ListOptions, Object, Revision, Status, Target, Watch, WatchEvent, WatchEventType};
use holdfast_env::BoxFuture;
use holdfast_kinds::{Kind, Selection, convert};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// Changes within this time are told together.
const SETTLE: Duration = Duration::from_millis(50);
/// How often a watch without news says how far it has come, as upstream's.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// Opens a watch.
///
/// # Errors
/// 400 and 422 for options that make no sense, 503 when the kind cannot be read. A version that is not known any
/// more is a 410 on the stream's first poll, as clients expect it.
pub(super) async fn open(
    shared: &Arc<Shared>,
    kind: &'static Kind,
    at: &Target,
    options: &ListOptions,
) -> Result<Watch, Status> {
    options.validate(true)?;
    let selection = Selection::new(kind, options, at.name.as_deref())?;
    // Subscribed before the look: a change after it rings.
    let changes = shared.store.changes();
    shared.observe(kind).await?;
    let asked = options.resource_version.unwrap_or_default();
    let mut watch = LocalWatch {
        shared: shared.clone(),
        kind,
        namespace: at.namespace.clone(),
        selection,
        pending: VecDeque::new(),
        cursor: asked,
        turn: None,
        deadline: options.timeout_seconds.map(|seconds| shared.env.sleep(Duration::from_secs(seconds))),
        next_bookmark: options.allow_bookmarks.then(|| shared.env.sleep(BOOKMARK_PERIOD)),
        ended: false,
    };
    if options.send_initial_events.unwrap_or(asked.0 == 0) {
        watch.begin(options.send_initial_events == Some(true) && options.allow_bookmarks)?;
    } else {
        if asked.0 == 0 {
            watch.cursor = shared.versions().now();
        }
        watch.catch_up();
    }
    watch.turn = Some(turn(shared.clone(), kind, changes));
    Ok(Box::new(watch))
}

type Turn = BoxFuture<Result<Receiver<u64>, Status>>;

/// Completes when the kind has been looked at again after a change.
fn turn(shared: Arc<Shared>, kind: &'static Kind, mut changes: Receiver<u64>) -> Turn {
    Box::pin(async move {
        let stopping = || Status::unavailable("the node is stopping", 1);
        changes.changed().await.map_err(|_| stopping())?;
        shared.env.sleep(SETTLE).await;
        changes.mark_unchanged();
        shared.observe(kind).await?;
        Ok(changes)
    })
}

struct LocalWatch {
    shared: Arc<Shared>,
    kind: &'static Kind,
    namespace: Option<String>,
    selection: Selection,
    pending: VecDeque<Result<WatchEvent, Status>>,
    /// Changes up to here were told.
    cursor: Revision,
    turn: Option<Turn>,
    deadline: Option<BoxFuture<()>>,
    /// `None` when bookmarks are not wanted.
    next_bookmark: Option<BoxFuture<()>>,
    ended: bool,
}

impl LocalWatch {
    fn wants(&self, object: &Object) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| object.meta.namespace == *namespace)
            && self.selection.matches(object)
    }

    /// Tells what there is.
    fn begin(&mut self, with_bookmark: bool) -> Result<(), Status> {
        let shared = self.shared.clone();
        let versions = shared.versions();
        let found: Vec<Arc<Object>> = versions.objects(self.kind.plural).map(|(_, object)| object.clone()).collect();
        self.cursor = versions.now();
        drop(versions);
        for object in found {
            if !self.wants(&object) {
                continue;
            }
            let object = convert::shown(self.kind, object)?;
            self.pending.push_back(Ok(WatchEvent { event_type: WatchEventType::Added, object }));
        }
        if with_bookmark {
            self.pending.push_back(WatchEvent::bookmark(&self.kind.gvk(), self.cursor, true));
        }
        Ok(())
    }

    /// Tells the changes since the last time.
    fn catch_up(&mut self) {
        let shared = self.shared.clone();
        let versions = shared.versions();
        let (changes, now) = (versions.after(self.kind.plural, self.cursor), versions.now());
        drop(versions);
        let Some(changes) = changes else {
            let why = format!("too old resource version: {} ({now})", self.cursor);
            self.pending.push_back(Err(Status::expired(why)));
            self.ended = true;
            return;
        };
        for change in changes {
            if let Some(event) = self.event(change).transpose() {
                self.pending.push_back(event);
            }
        }
        self.cursor = now;
    }

    /// What a change means under the selection.
    fn event(&self, change: Change) -> Result<Option<WatchEvent>, Status> {
        let old = change.old.filter(|object| self.wants(object));
        let new = change.new.filter(|object| self.wants(object));
        let (event_type, object) = match (old, new) {
            (None, Some(new)) => (WatchEventType::Added, new),
            (Some(_), Some(new)) => (WatchEventType::Modified, new),
            (Some(old), None) => (WatchEventType::Deleted, Arc::new(old.at_revision(change.revision))),
            (None, None) => return Ok(None),
        };
        Ok(Some(WatchEvent { event_type, object: convert::shown(self.kind, object)? }))
    }

    fn fail(&mut self, status: Status) {
        self.pending.push_back(Err(status));
        self.ended = true;
    }
}

impl WatchStream for LocalWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, Status>>> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Poll::Ready(Some(event));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            if let Some(turn) = &mut self.turn
                && let Poll::Ready(looked) = turn.as_mut().poll(cx)
            {
                match looked {
                    Ok(changes) => {
                        self.turn = Some(self::turn(self.shared.clone(), self.kind, changes));
                        self.catch_up();
                    }
                    Err(status) => self.fail(status),
                }
                continue;
            }
            if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                self.ended = true;
                // The last bookmark lets the client go on from here.
                let last =
                    self.next_bookmark.take().map(|_| WatchEvent::bookmark(&self.kind.gvk(), self.cursor, false));
                return Poll::Ready(last);
            }
            if self.next_bookmark.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
                self.next_bookmark = Some(self.shared.env.sleep(BOOKMARK_PERIOD));
                return Poll::Ready(Some(WatchEvent::bookmark(&self.kind.gvk(), self.cursor, false)));
            }
            return Poll::Pending;
        }
    }
}
