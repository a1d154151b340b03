//! The node's index of Events, over the views: one task owns them, so sled has one opener and nobody waits for it.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Seq;
use holdfast_edge_views::{EventViews, limits};
use holdfast_env::{Task, World};
use holdfast_node::EventIndex;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Calls that wait for the disk. A further record is dropped with a warning; a further question is refused.
const MAX_WAITING: usize = 1024;
/// Calls that are done in one go.
const MAX_BATCH: usize = 256;
/// How long a question may take; opening a large view takes milliseconds.
const ANSWER: Duration = Duration::from_secs(10);

enum Call {
    Record(Vec<(Seq, Bytes)>),
    Find { namespace: Option<String>, pod: Option<String>, answer: oneshot::Sender<Vec<Value>> },
}

/// The index. Dropping it ends its task.
pub(crate) struct Happenings {
    env: World,
    calls: mpsc::Sender<Call>,
    _task: Task,
}

impl Happenings {
    /// Keeps the view in `dir`.
    pub(crate) fn start(env: World, dir: PathBuf) -> Happenings {
        let (calls, waiting) = mpsc::channel(MAX_WAITING);
        let task = env.spawn("event-views", Box::pin(run(env.clone(), EventViews::new(dir), waiting)));
        Happenings { env, calls, _task: task }
    }
}

#[async_trait]
impl EventIndex for Happenings {
    fn record(&self, events: Vec<(Seq, Bytes)>) {
        if self.calls.try_send(Call::Record(events)).is_err() {
            tracing::warn!("The view of Events does not keep up; some are missing in it");
        }
    }

    async fn find(&self, namespace: Option<String>, pod: Option<String>) -> Result<Vec<Value>, String> {
        let (answer, answered) = oneshot::channel();
        let call = Call::Find { namespace, pod, answer };
        self.calls.try_send(call).map_err(|_| "too many questions are waiting for the view of Events".to_string())?;
        match self.env.timeout(ANSWER, answered).await {
            Some(Ok(events)) => Ok(events),
            Some(Err(_)) => Err("the node is stopping".into()),
            None => Err("the view of Events does not answer".into()),
        }
    }
}

async fn run(env: World, mut views: EventViews, mut waiting: mpsc::Receiver<Call>) {
    let mut open = false;
    loop {
        let mut batch = Vec::new();
        if open {
            // While sled is closed, nothing wakes up for it.
            if env.timeout(limits::QUIET, waiting.recv_many(&mut batch, MAX_BATCH)).await == Some(0) {
                return;
            }
        } else if waiting.recv_many(&mut batch, MAX_BATCH).await == 0 {
            return;
        }
        let now = env.monotonic();
        let worked = env.blocking(move || {
            for call in batch {
                work(&mut views, call);
            }
            let open = views.close_idle(now);
            (views, open)
        });
        let Some((back, still)) = worked.await else { return };
        (views, open) = (back, still);
    }
}

fn work(views: &mut EventViews, call: Call) {
    match call {
        Call::Record(events) => {
            let older = events.len().saturating_sub(limits::MAX_EVENTS);
            for (seq, event) in &events[older..] {
                views.record(*seq, event);
            }
        }
        Call::Find { namespace, pod, answer } => {
            // An asker that is gone needs no answer.
            let _ = answer.send(views.events(namespace.as_deref(), pod.as_deref()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;
    use serde_json::json;

    fn event(reason: &str) -> Bytes {
        let event =
            json!({"metadata": {"namespace": "a"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": reason});
        serde_json::to_vec(&event).unwrap().into()
    }

    #[tokio::test]
    async fn a_question_sees_what_was_recorded_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        let index = Happenings::start(env, dir.path().join("views"));
        index.record(vec![(Seq(1), event("Pulled")), (Seq(2), event("Created"))]);
        index.record(vec![(Seq(3), event("Started"))]);
        let found = index.find(Some("a".into()), Some("p".into())).await.unwrap();
        let reasons: Vec<_> = found.iter().map(|event| event["reason"].as_str().unwrap()).collect();
        assert_eq!(reasons, ["Pulled", "Created", "Started"]);
        assert!(index.find(Some("b".into()), None).await.unwrap().is_empty());
    }
}
