//! The reconcile loop: workers take keys, reconcile them, and put them back as the outcome says.

use crate::WorkQueue;
use crate::limits::RECONCILE_LIMIT;
use async_trait::async_trait;
use futures_util::FutureExt;
use holdfast_core::{Reason, Status};
use holdfast_env::{Task, World};
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// How a reconcile ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until something changes.
    Done,
    /// Look again after this long, even if nothing changes.
    RequeueAfter(Duration),
}

/// How a reconcile failed; the one thing that the loop needs to know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconcileError {
    /// Try again: after this long, or after the key's back-off.
    #[error("{why}")]
    RetryAfter {
        /// `None` for the key's back-off.
        wait: Option<Duration>,
        /// What happened.
        why: String,
    },
    /// Only an event can help; the key comes back with it.
    #[error("{0}")]
    Wait(String),
    /// Trying again would not help.
    #[error("{0}")]
    GiveUp(String),
}

impl ReconcileError {
    /// Try again after the key's back-off.
    pub fn retry(why: impl ToString) -> ReconcileError {
        ReconcileError::RetryAfter { wait: None, why: why.to_string() }
    }
}

impl From<Status> for ReconcileError {
    fn from(status: Status) -> ReconcileError {
        let why = status.message().to_string();
        match status.reason() {
            Reason::BadRequest | Reason::MethodNotAllowed => ReconcileError::GiveUp(why),
            _ => {
                let wait = status.details().and_then(|details| details.retry_after_seconds);
                ReconcileError::RetryAfter { wait: wait.map(|s| Duration::from_secs(s.into())), why }
            }
        }
    }
}

/// Brings the world closer to what is wanted, one key at a time.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// What it is called with.
    type Key: Ord + Clone + Debug + Send + Sync + 'static;

    /// One step. May be dropped at any `await`: what it does must be safe to do again.
    async fn reconcile(&self, key: &Self::Key) -> Result<Outcome, ReconcileError>;
}

/// Runs `workers` workers over `queue` until the returned task is dropped.
pub fn run_controller<R: Reconciler>(
    world: &World,
    name: &'static str,
    reconciler: Arc<R>,
    queue: WorkQueue<R::Key>,
    workers: usize,
) -> Task {
    let all = (0..workers).map(|_| worker(world.clone(), name, reconciler.clone(), queue.clone()));
    let all: Vec<_> = all.collect();
    world.spawn(
        name,
        Box::pin(async move {
            futures_util::future::join_all(all).await;
        }),
    )
}

async fn worker<R: Reconciler>(world: World, name: &'static str, reconciler: Arc<R>, queue: WorkQueue<R::Key>) {
    loop {
        let key = queue.take().await;
        let work = AssertUnwindSafe(reconciler.reconcile(&key)).catch_unwind();
        let result = match world.timeout(RECONCILE_LIMIT, work).await {
            Some(Ok(result)) => result,
            Some(Err(_)) => {
                tracing::error!(controller = name, ?key, "A reconcile broke an invariant and panicked");
                Err(ReconcileError::retry("the reconciler panicked"))
            }
            None => Err(ReconcileError::retry(format!("not done within {RECONCILE_LIMIT:?}"))),
        };
        settle(name, &queue, &key, result);
        queue.done(&key);
    }
}

fn settle<K: Ord + Clone + Debug + Send + 'static>(
    name: &'static str,
    queue: &WorkQueue<K>,
    key: &K,
    result: Result<Outcome, ReconcileError>,
) {
    match result {
        Ok(Outcome::Done) => queue.forget(key),
        Ok(Outcome::RequeueAfter(wait)) => {
            queue.forget(key);
            queue.add_after(key.clone(), wait);
        }
        Err(ReconcileError::RetryAfter { wait: Some(wait), why }) => {
            tracing::debug!(controller = name, ?key, err = %why, "A reconcile failed and waits as it was told");
            queue.add_after(key.clone(), wait);
        }
        Err(ReconcileError::RetryAfter { wait: None, why }) => {
            tracing::debug!(controller = name, ?key, err = %why, "A reconcile failed and is tried again");
            queue.retry(key.clone());
        }
        Err(ReconcileError::Wait(why)) => {
            tracing::debug!(controller = name, ?key, err = %why, "A reconcile waits for an event");
            queue.forget(key);
        }
        Err(ReconcileError::GiveUp(why)) => {
            tracing::warn!(controller = name, ?key, err = %why, "A reconcile gave up");
            queue.forget(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeWorld;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Script(Mutex<Vec<String>>);

    #[async_trait]
    impl Reconciler for Script {
        type Key = String;
        async fn reconcile(&self, key: &String) -> Result<Outcome, ReconcileError> {
            let times = {
                let mut log = self.0.lock().unwrap();
                log.push(key.clone());
                log.iter().filter(|seen| *seen == key).count()
            };
            match (key.as_str(), times) {
                ("flaky", 1) => Err(ReconcileError::retry("first time")),
                ("broken", 1) => panic!("as planned"),
                ("slow", 1) => std::future::pending().await,
                ("later", 1) => Ok(Outcome::RequeueAfter(Duration::from_secs(50))),
                ("hopeless", _) => Err(ReconcileError::GiveUp("no".into())),
                _ => Ok(Outcome::Done),
            }
        }
    }

    #[test]
    fn outcomes_decide_when_a_key_comes_back() {
        let world = FakeWorld::new(7);
        let env: World = world.clone();
        let queue = WorkQueue::new(env.clone());
        let script = Arc::new(Script::default());
        let _task = run_controller(&env, "script", script.clone(), queue.clone(), 2);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        for key in ["flaky", "broken", "later", "hopeless", "slow"] {
            queue.add(key.to_string());
        }
        world.advance(Duration::from_secs(49));
        std::panic::set_hook(hook);
        let count = |key: &str| script.0.lock().unwrap().iter().filter(|seen| *seen == key).count();
        assert_eq!(
            [count("flaky"), count("broken"), count("later"), count("hopeless"), count("slow")],
            [2, 2, 1, 1, 1]
        );
        world.advance(Duration::from_secs(2));
        assert_eq!(count("later"), 2);
        world.advance(RECONCILE_LIMIT);
        assert_eq!(count("slow"), 2, "a reconcile that hangs is dropped and tried again");
    }
}
