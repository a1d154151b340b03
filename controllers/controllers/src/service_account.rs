//! What every namespace has: the ServiceAccount `default`, and `kube-root-ca.crt` with the cluster's CA.

use crate::ControllersConfig;
use crate::shared::{ROOT_CA, Shared, core, start_after, synced};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, Informer, Key, Outcome, Project, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::{Json, Object, Reason, Status, Target, json as path};
use holdfast_env::{Task, World};
use serde_json::json;
use std::sync::Arc;

struct Accounts {
    client: Arc<dyn Client>,
    namespaces: Arc<Cache<Arc<Object>>>,
    accounts: Arc<Cache<()>>,
}

struct RootCa {
    client: Arc<dyn Client>,
    namespaces: Arc<Cache<Arc<Object>>>,
    maps: Arc<Cache<Arc<Object>>>,
    config: Arc<ControllersConfig>,
}

fn queue<P: Project>(world: &World, shared: &Shared, content: &Informer<P>) -> WorkQueue<Key> {
    let queue = WorkQueue::new(world.clone());
    shared.namespaces.enqueue_self(&queue);
    content.enqueue(&queue, |change| vec![Key::new("", &change.key.namespace)]);
    queue
}

pub(crate) fn start_accounts(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = queue(world, shared, &shared.accounts);
    let (namespaces, accounts) = (shared.namespaces.cache().clone(), shared.accounts.cache().clone());
    let controller = Arc::new(Accounts { client, namespaces, accounts });
    let caches = vec![synced(&shared.namespaces), synced(&shared.accounts)];
    let env = world.clone();
    start_after(world, "service-account-controller", caches, move || {
        run_controller(&env, "service-account-controller", controller, queue, 1)
    })
}

pub(crate) fn start_root_ca(
    world: &World,
    client: Arc<dyn Client>,
    shared: &Shared,
    config: &Arc<ControllersConfig>,
) -> Task {
    let queue = queue(world, shared, &shared.root_cas);
    let (namespaces, maps) = (shared.namespaces.cache().clone(), shared.root_cas.cache().clone());
    let controller = Arc::new(RootCa { client, namespaces, maps, config: config.clone() });
    let caches = vec![synced(&shared.namespaces), synced(&shared.root_cas)];
    let env = world.clone();
    start_after(world, "root-ca-cert-publisher", caches, move || {
        run_controller(&env, "root-ca-cert-publisher", controller, queue, 1)
    })
}

/// Whether the namespace is there to stay.
fn active(namespaces: &Cache<Arc<Object>>, key: &Key) -> bool {
    namespaces.get(key).is_some_and(|namespace| !namespace.meta.is_deleting())
}

/// A namespace that began to end meanwhile refuses new content, and that is fine.
fn created(result: Result<Arc<Object>, Status>) -> Result<Outcome, ReconcileError> {
    match result {
        Err(status) if status.is(Reason::AlreadyExists) || status.is(Reason::NotFound) => Ok(Outcome::Done),
        Err(status) if status.message().contains("because it is being terminated") => Ok(Outcome::Done),
        other => other.map(|_| Outcome::Done).map_err(ReconcileError::from),
    }
}

#[async_trait]
impl Reconciler for Accounts {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let account = Key::new(&key.name, "default");
        if !active(&self.namespaces, key) || self.accounts.get(&account).is_some() {
            return Ok(Outcome::Done);
        }
        let body = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": key.name},
        });
        created(self.client.create(&Target::collection(core("serviceaccounts"), &key.name), body).await)
    }
}

const DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

#[async_trait]
impl Reconciler for RootCa {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        if !active(&self.namespaces, key) {
            return Ok(Outcome::Done);
        }
        let data = json!({"ca.crt": self.config.root_ca_pem});
        let at = Key::new(&key.name, ROOT_CA);
        let Some(map) = self.maps.get(&at) else {
            let body = json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": ROOT_CA, "namespace": key.name,
                    "annotations": {"kubernetes.io/description": DESCRIPTION}},
                "data": data,
            });
            return created(self.client.create(&Target::collection(core("configmaps"), &key.name), body).await);
        };
        let mut doc: Json = map.value.to_json();
        if path::at(&doc, &["data"]) == Some(&data) {
            return Ok(Outcome::Done);
        }
        path::set(&mut doc, &["data"], data);
        created(self.client.update(&at.target(core("configmaps")), doc).await)
    }
}
