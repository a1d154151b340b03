//! ClusterRoles that join others: their rules are a copy of those of the roles that their selectors select. The authorizer
//! follows the selectors itself; the copy is for who reads the role.

use crate::shared::{start_after, synced};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, Informer, Key, Outcome, Project, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::json::{items_at, set};
use holdfast_core::{Gvr, Json, LabelSelector, Object, Reason};
use holdfast_env::{Task, World};
use std::sync::Arc;

const NAME: &str = "clusterrole-aggregation-controller";

struct Controller {
    client: Arc<dyn Client>,
    roles: Arc<Cache<Role>>,
}

/// A role, and which it joins: nothing for most.
struct Role {
    object: Arc<Object>,
    joins: Vec<LabelSelector>,
}

impl Project for Role {
    fn project(object: &Arc<Object>) -> Role {
        let joins = object.skim(&["aggregationRule"]).unwrap_or_default();
        Role { object: object.clone(), joins: selectors(&joins) }
    }
}

fn gvr() -> Gvr {
    Gvr::new("rbac.authorization.k8s.io", "v1", "clusterroles")
}

fn selectors(rule: &Json) -> Vec<LabelSelector> {
    let specs = items_at(rule, &["clusterRoleSelectors"]).iter();
    specs.filter_map(|spec| LabelSelector::from_spec(spec).ok()).collect()
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>) -> Vec<Task> {
    let roles: Informer<Role> = Informer::new(world, client.clone(), gvr());
    let queue = WorkQueue::new(world.clone());
    let cache = roles.cache().clone();
    // There are few that join others, and any role may be one of theirs, or have been.
    roles.enqueue(&queue, move |change| {
        let same = change.old.as_ref().map(|old| old.revision) == change.new.as_ref().map(|new| new.revision);
        if same {
            return Vec::new();
        }
        cache.all().iter().filter(|role| !role.value.joins.is_empty()).map(|role| role.key()).collect()
    });
    let controller = Arc::new(Controller { client, roles: roles.cache().clone() });
    let (env, caches) = (world.clone(), vec![synced(&roles)]);
    // One worker: a role may join what another reconcile is about to write.
    let work = start_after(world, NAME, caches, move || run_controller(&env, NAME, controller, queue, 1));
    vec![work, roles.start()]
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.roles.get(key) else { return Ok(Outcome::Done) };
        if item.value.joins.is_empty() {
            return Ok(Outcome::Done);
        }
        let mut role = item.value.object.to_json();
        let mut rules: Vec<Json> = Vec::new();
        let all = self.roles.all();
        for selector in &item.value.joins {
            for other in all.iter().filter(|other| other.key() != *key && selector.matches(&other.meta.labels)) {
                for rule in items_at(&other.value.object.to_json(), &["rules"]) {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        if items_at(&role, &["rules"]) == rules.as_slice() {
            return Ok(Outcome::Done);
        }
        set(&mut role, &["rules"], rules);
        match self.client.update(&key.target(gvr()), role).await {
            Err(status) if status.is(Reason::NotFound) => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done).map_err(ReconcileError::from),
        }
    }
}
