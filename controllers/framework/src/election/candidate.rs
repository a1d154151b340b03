//! The driver of [`Election`]: the Lease through a [`Client`], the work in a [`Scope`].

use super::engine::{Election, Input, Lease, Output, Term, Timing, Write};
use crate::{Client, EventRecorder, Involved, Key, Scope};
use holdfast_core::{Gvr, Json, Object, Patch, PatchType, Reason, Status, Target, Timestamp, json as path};
use holdfast_env::{BoxFuture, Task, World};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Begins the work of a leader in the world that it is given; the work ends when the tasks are dropped.
pub type Lead = Box<dyn Fn(World, Term) -> Vec<Task> + Send + Sync>;

/// Who wants to lead.
pub struct Candidate {
    /// Clocks and tasks.
    pub world: World,
    /// Reads and renews the Lease, and records Events about it.
    pub client: Arc<dyn Client>,
    /// Takes the Lease: the hub's writes in the same transaction what the writes of the led check.
    pub taking: Arc<dyn Client>,
    /// Namespace and name of the Lease.
    pub lease: Key,
    /// `holderIdentity`; no other candidate has it, nor had it before.
    pub identity: String,
    /// Whom Events come from.
    pub component: &'static str,
    /// How long what takes.
    pub timing: Timing,
}

/// A running candidate. Dropping it ends it at once: its Lease is then left to run out.
pub struct Candidacy {
    resign: CancellationToken,
    over: oneshot::Receiver<()>,
    _task: Task,
}

impl Candidacy {
    /// Ends the work, then gives the Lease up, so that another can lead at once.
    pub async fn resign(self) {
        self.resign.cancel();
        // Over too when the task is gone.
        let _ = self.over.await;
    }
}

/// What came of a read or write, and the UID of the Lease where it was told.
struct Answer {
    input: Input,
    uid: Option<String>,
}

impl From<Input> for Answer {
    fn from(input: Input) -> Answer {
        Answer { input, uid: None }
    }
}

impl Candidate {
    /// Stands for election until it resigns.
    pub fn start(self, lead: Lead) -> Candidacy {
        let resign = CancellationToken::new();
        let (told, over) = oneshot::channel();
        let (world, asked) = (self.world.clone(), resign.clone());
        let run = async move {
            self.run(lead, asked).await;
            let _ = told.send(());
        };
        Candidacy { resign, over, _task: world.spawn("election", Box::pin(run)) }
    }

    async fn run(self, lead: Lead, resign: CancellationToken) {
        let mut election = Election::new(&self.identity, self.timing);
        let events = EventRecorder::new(&self.world, self.client.clone(), self.component);
        let mut attempt: Option<BoxFuture<Answer>> = None;
        let mut ending: Option<BoxFuture<()>> = None;
        let mut leading: Option<(Scope, Vec<Task>)> = None;
        let (mut resigned, mut uid) = (false, String::new());
        let mut input = Input::Tick;
        loop {
            for output in election.handle(self.world.boottime(), self.world.random_u64(), input) {
                match output {
                    Output::Read => attempt = Some(self.read()),
                    Output::Write(write) => attempt = Some(self.write(write)),
                    Output::Lead(term) => {
                        tracing::info!(lease = %self.lease, identity = self.identity, "Became leader");
                        self.tell(&events, &uid, "became leader");
                        let scope = Scope::new(&self.world);
                        let tasks = lead(scope.world(), term);
                        leading = Some((scope, tasks));
                    }
                    Output::Stop => {
                        tracing::info!(lease = %self.lease, identity = self.identity, "Stopped leading");
                        self.tell(&events, &uid, "stopped leading");
                        let work = leading.take();
                        ending = Some(Box::pin(async move {
                            let Some((scope, tasks)) = work else { return };
                            drop(tasks);
                            scope.ended().await;
                        }));
                    }
                    Output::Over => return,
                }
            }
            let deadline = election.next_deadline();
            let timer = async {
                match deadline {
                    Some(deadline) => self.world.sleep(deadline.saturating_sub(self.world.boottime())).await,
                    None => std::future::pending().await,
                }
            };
            input = tokio::select! {
                biased;
                () = resign.cancelled(), if !resigned => {
                    resigned = true;
                    Input::Resign
                }
                answer = present(&mut attempt) => {
                    attempt = None;
                    uid = answer.uid.unwrap_or(uid);
                    answer.input
                }
                () = present(&mut ending) => {
                    ending = None;
                    Input::Ended
                }
                () = timer => Input::Tick,
            };
        }
    }

    fn tell(&self, events: &EventRecorder, uid: &str, what: &str) {
        let about = Involved::new("coordination.k8s.io/v1", "Lease", &self.lease, uid);
        events.normal(&about, "LeaderElection", format!("{} {what}", self.identity));
    }

    /// No call may take longer than a leader may go on without its answer.
    fn limited(
        &self,
        call: impl Future<Output = Result<Arc<Object>, Status>> + Send + 'static,
        done: impl FnOnce(Result<&Object, &Status>) -> Input + Send + 'static,
    ) -> BoxFuture<Answer> {
        let (world, limit) = (self.world.clone(), self.timing.deadline);
        Box::pin(async move {
            match world.timeout(limit, call).await {
                Some(Ok(object)) => Answer { input: done(Ok(&object)), uid: Some(object.meta.uid.clone()) },
                Some(Err(status)) => done(Err(&status)).into(),
                None => Input::Failed.into(),
            }
        })
    }

    fn read(&self) -> BoxFuture<Answer> {
        let (client, at, default) = (self.client.clone(), self.lease.target(leases()), self.timing.lease);
        let call = async move { client.get(&at).await };
        self.limited(call, move |answer| match answer {
            Ok(object) => Input::Read(Some(lease_of(object, default))),
            Err(status) if status.is(Reason::NotFound) => Input::Read(None),
            Err(status) => {
                tracing::debug!(err = %status, "Could not read the lease of the election");
                Input::Failed
            }
        })
    }

    fn write(&self, write: Write) -> BoxFuture<Answer> {
        let now = Timestamp::from_wall(self.world.wall().0).to_micro_string();
        let seconds = self.timing.lease.as_secs();
        let mut spec = json!({"holderIdentity": self.identity, "leaseDurationSeconds": seconds, "renewTime": now});
        let is_ours = matches!(write, Write::Renew { .. } | Write::Release { .. });
        let client = if is_ours { self.client.clone() } else { self.taking.clone() };
        let at = match &write {
            Write::Create => None,
            Write::Take { over } => Some(over.revision),
            Write::Renew { at } | Write::Release { at } => Some(*at),
        };
        match &write {
            Write::Create => merge(&mut spec, json!({"acquireTime": now, "leaseTransitions": 0})),
            // Ours by a write whose answer was lost.
            Write::Take { over } if over.holder == self.identity => {}
            Write::Take { over } => {
                merge(&mut spec, json!({"acquireTime": now, "leaseTransitions": over.transitions + 1}));
            }
            Write::Renew { .. } => {}
            Write::Release { .. } => {
                merge(&mut spec, json!({"acquireTime": now, "leaseDurationSeconds": 1, "holderIdentity": null}));
            }
        }
        let target = self.lease.target(leases());
        let name = self.lease.name.clone();
        let call = async move {
            let Some(at) = at else {
                let body = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec,
                });
                return client.create(&Target::collection(leases(), target.namespace()), body).await;
            };
            let body = json!({"metadata": {"resourceVersion": at.to_string()}, "spec": spec});
            client.patch(&target, Patch { patch_type: PatchType::Merge, body }).await
        };
        self.limited(call, move |answer| match answer {
            Ok(object) => Input::Written(object.revision),
            Err(status) if status.is(Reason::NotFound) => Input::Missing,
            Err(status) if status.is(Reason::Conflict) || status.is(Reason::AlreadyExists) => Input::Conflict,
            Err(status) => {
                tracing::warn!(err = %status, "Could not write the lease of the election");
                Input::Failed
            }
        })
    }
}

fn leases() -> Gvr {
    Gvr::new("coordination.k8s.io", "v1", "leases")
}

fn merge(spec: &mut Json, more: Json) {
    if let (Json::Object(spec), Json::Object(more)) = (spec, more) {
        spec.extend(more);
    }
}

fn lease_of(object: &Object, default: Duration) -> Lease {
    let doc = object.to_json();
    let seconds = path::i64_at(&doc, &["spec", "leaseDurationSeconds"]).and_then(|seconds| u64::try_from(seconds).ok());
    Lease {
        revision: object.revision,
        holder: path::str_at(&doc, &["spec", "holderIdentity"]).unwrap_or_default().to_string(),
        duration: seconds.map_or(default, Duration::from_secs),
        transitions: path::i64_at(&doc, &["spec", "leaseTransitions"]).unwrap_or(0),
    }
}

/// What `future` gives, if there is one. Cancel safe.
async fn present<T>(future: &mut Option<BoxFuture<T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
