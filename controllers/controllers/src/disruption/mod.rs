//! Disruption: counts for each PodDisruptionBudget how many of its pods may be evicted now
//! (<https://kubernetes.io/docs/tasks/run-application/configure-pdb/>, upstream's `pkg/controller/disruption`).
//!
//! The eviction takes from `disruptionsAllowed` and notes the pod in `disruptedPods`; both are writes at a revision, so neither
//! overwrites what the other saw. A pod that was noted and is still there after [`DISRUPTED_FOR`] counts again.

mod expected;

use crate::ControllersConfig;
use crate::limits::{DISRUPTED_FOR, WORKERS};
use crate::shared::{Shared, start_after, synced};
use crate::views::PodView;
use async_trait::async_trait;
use expected::{Counts, Expected};
use holdfast_controller::{
    Cache, Change, Client, EventRecorder, Informer, Involved, Item, Key, Outcome, Project, ReconcileError, Reconciler,
    WorkQueue, run_controller,
};
use holdfast_core::{Gvr, Json, LabelSelector, Object, Reason, Status, Timestamp, json as path};
use holdfast_env::{Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const NAME: &str = "disruption-controller";
const CONDITION: &str = "DisruptionAllowed";

/// A budget, and what it selects.
struct Budget {
    object: Arc<Object>,
    /// `None` selects nothing; an empty selector everything.
    selector: Option<LabelSelector>,
}

impl Project for Budget {
    fn project(object: &Arc<Object>) -> Budget {
        let selector = path::at(&object.to_json(), &["spec", "selector"]).map(LabelSelector::from_spec);
        Budget { object: object.clone(), selector: selector.and_then(Result::ok) }
    }
}

impl Budget {
    fn selects(&self, pod: &Item<PodView>) -> bool {
        self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.meta.labels))
    }
}

type Pod = Arc<Item<PodView>>;

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    events: EventRecorder,
    budgets: Arc<Cache<Budget>>,
    pods: Arc<Cache<PodView>>,
    expected: Expected,
}

fn gvr() -> Gvr {
    Gvr::new("policy", "v1", "poddisruptionbudgets")
}

pub(crate) fn start(
    world: &World,
    client: Arc<dyn Client>,
    shared: &Shared,
    config: &Arc<ControllersConfig>,
) -> Vec<Task> {
    let queue = WorkQueue::new(world.clone());
    let budgets: Informer<Budget> = Informer::new(world, client.clone(), gvr());
    budgets.enqueue_self(&queue);
    let known = budgets.cache().clone();
    shared.pods.enqueue(&queue, move |change| {
        if matches!((&change.old, &change.new), (Some(old), Some(new)) if old.revision == new.revision) {
            return Vec::new();
        }
        let all = known.in_namespace(&change.key.namespace);
        let concerned = all.iter().filter(|budget| concerns(&budget.value, change));
        concerned.map(|budget| budget.key()).collect()
    });
    let expected = Expected {
        client: client.clone(),
        replica_sets: shared.replica_sets.cache().clone(),
        deployments: shared.deployments.cache().clone(),
        kinds: config.kinds.clone(),
    };
    let controller = Arc::new(Controller {
        world: world.clone(),
        events: EventRecorder::new(world, client.clone(), NAME),
        client,
        budgets: budgets.cache().clone(),
        pods: shared.pods.cache().clone(),
        expected,
    });
    let env = world.clone();
    let caches =
        vec![synced(&budgets), synced(&shared.pods), synced(&shared.replica_sets), synced(&shared.deployments)];
    let work = start_after(world, NAME, caches, move || run_controller(&env, NAME, controller, queue, WORKERS));
    vec![budgets.start(), work]
}

fn concerns(budget: &Budget, change: &Change<PodView>) -> bool {
    change.states().any(|pod| budget.selects(pod))
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.budgets.get(key) else { return Ok(Outcome::Done) };
        let budget = &item.value;
        let mut pods = self.pods.in_namespace(&key.namespace);
        pods.retain(|pod| budget.selects(pod));
        let doc = budget.object.to_json();
        let now = Timestamp::from_wall(self.world.wall().0);
        let counts = match self.expected.count(&doc, &pods).await {
            Ok(counts) => counts,
            Err(why) => {
                self.fail(&budget.object, doc, &why, now).await?;
                return Err(ReconcileError::retry(why));
            }
        };
        let disrupted = Disrupted::of(&doc, &pods, now);
        let written = self.write(&budget.object, doc, &counts, &pods, &disrupted, now).await?;
        if written {
            self.tell(&budget.object, &pods, &counts, &disrupted);
        }
        Ok(disrupted.recheck.map_or(Outcome::Done, Outcome::RequeueAfter))
    }
}

/// The pods that are being evicted.
#[derive(Default)]
struct Disrupted<'p> {
    /// When each was noted, as it is written.
    pods: BTreeMap<String, Json>,
    /// Those that should have gone by now.
    overdue: Vec<&'p Pod>,
    /// When the next of them should have gone.
    recheck: Option<Duration>,
}

impl<'p> Disrupted<'p> {
    fn of(doc: &Json, pods: &'p [Pod], now: Timestamp) -> Disrupted<'p> {
        let mut all = Disrupted::default();
        for pod in pods.iter().filter(|pod| !pod.meta.is_deleting()) {
            let Some(noted) = path::at(doc, &["status", "disruptedPods", &pod.meta.name]) else { continue };
            let since = noted.as_str().and_then(Timestamp::parse).unwrap_or_default();
            let until = since.after(DISRUPTED_FOR);
            if until < now {
                all.overdue.push(pod);
                continue;
            }
            // Times have whole seconds: a moment later it is certainly over.
            let left = until.since(now) + Duration::from_secs(1);
            all.recheck = Some(all.recheck.map_or(left, |soonest: Duration| soonest.min(left)));
            all.pods.insert(pod.meta.name.clone(), noted.clone());
        }
        all
    }
}

impl Controller {
    /// Writes the status; whether it changed.
    async fn write(
        &self,
        object: &Object,
        mut doc: Json,
        counts: &Counts,
        pods: &[Pod],
        disrupted: &Disrupted<'_>,
        now: Timestamp,
    ) -> Result<bool, Status> {
        let healthy =
            |pod: &&Pod| !pod.meta.is_deleting() && pod.value.ready && !disrupted.pods.contains_key(&pod.meta.name);
        let healthy = i64::try_from(pods.iter().filter(healthy).count()).unwrap_or(i64::MAX);
        // A budget of no pods allows nothing: the first ones that come find it safe.
        let allowed = if counts.expected > 0 { (healthy - counts.desired).max(0) } else { 0 };
        let before = path::at(&doc, &["status"]).cloned().unwrap_or_else(|| json!({}));
        let mut status = json!({
            "currentHealthy": healthy, "desiredHealthy": counts.desired, "expectedPods": counts.expected,
            "disruptionsAllowed": allowed, "observedGeneration": object.meta.generation,
        });
        if !disrupted.pods.is_empty() {
            path::set(&mut status, &["disruptedPods"], json!(disrupted.pods));
        }
        let verdict = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        let conditions = with_condition(&before, (verdict.0, verdict.1, ""), object.meta.generation, now);
        path::set(&mut status, &["conditions"], conditions);
        if status == before {
            return Ok(false);
        }
        path::set(&mut doc, &["status"], status);
        self.update(object, doc).await
    }

    /// Nothing may go while nobody can count.
    async fn fail(&self, object: &Object, mut doc: Json, why: &str, now: Timestamp) -> Result<(), Status> {
        let before = path::at(&doc, &["status"]).cloned().unwrap_or_else(|| json!({}));
        let mut status = before.clone();
        path::set(&mut status, &["disruptionsAllowed"], 0);
        let observed = path::i64_at(&before, &["observedGeneration"]).unwrap_or(0);
        path::set(&mut status, &["conditions"], with_condition(&before, ("False", "SyncFailed", why), observed, now));
        if status == before {
            return Ok(());
        }
        let message = format!("Failed to calculate the number of expected pods: {why}");
        self.events.warning(&Involved::of(object), "CalculateExpectedPodCountFailed", message);
        path::set(&mut doc, &["status"], status);
        self.update(object, doc).await.map(|_| ())
    }

    /// `false` when the budget is gone. The document names the revision that it was read at.
    async fn update(&self, object: &Object, doc: Json) -> Result<bool, Status> {
        let at = Key::of(object).target(gvr()).with_subresource("status");
        match self.client.update(&at, doc).await {
            Err(status) if status.is(Reason::NotFound) => Ok(false),
            other => other.map(|_| true),
        }
    }

    fn tell(&self, object: &Object, pods: &[Pod], counts: &Counts, disrupted: &Disrupted<'_>) {
        let about = Involved::of(object);
        if pods.is_empty() {
            self.events.normal(&about, "NoPods", "No matching pods found");
        }
        if !counts.unmanaged.is_empty() {
            tracing::debug!(budget = %about.key, pods = ?counts.unmanaged, "Pods of a budget have no controller");
            let text = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of \
                the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
                pods please set \".spec.minAvailable\" field of the PDB to an integer value.";
            self.events.warning(&about, "UnmanagedPods", text);
        }
        for pod in &disrupted.overdue {
            let text = format!("Pod was expected by PDB {} to be deleted but it wasn't", about.key);
            self.events.warning(&Involved::new("v1", "Pod", &pod.key(), &pod.meta.uid), "NotDeleted", text);
        }
    }
}

/// The conditions with ours as it is now. Its time changes with its status alone.
fn with_condition(
    before: &Json,
    (status, reason, message): (&str, &str, &str),
    observed: i64,
    now: Timestamp,
) -> Vec<Json> {
    let mut all = path::items_at(before, &["conditions"]).to_vec();
    let old = all.iter().position(|condition| path::str_at(condition, &["type"]) == Some(CONDITION));
    let kept = old.map(|at| &all[at]).filter(|old| path::str_at(old, &["status"]) == Some(status));
    let since = kept.and_then(|old| path::str_at(old, &["lastTransitionTime"])).map(str::to_string);
    let new = json!({
        "type": CONDITION, "status": status, "reason": reason, "message": message, "observedGeneration": observed,
        "lastTransitionTime": since.unwrap_or_else(|| now.to_string()),
    });
    match old {
        Some(at) => all[at] = new,
        None => all.push(new),
    }
    all
}
