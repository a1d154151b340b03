//! Tests of the engine over a store in memory, and tables of defaults and error texts per kind.

mod admission;
mod apply;
mod bad_input;
mod certificates;
mod conversion;
mod counted;
mod custom;
mod defaults;
mod delegated;
mod delete;
mod dynamic;
mod ephemeral;
mod events;
mod eviction;
mod flow_control;
mod inserted;
mod limits;
mod list;
mod metrics;
mod mountable_secrets;
mod offline_policy;
mod patches;
mod pod_security;
mod quotas;
mod resize;
mod reviews;
mod roles;
mod selectors;
mod services;
mod shared_store;
mod stolen;
mod texts;
mod validation;
mod watch;
mod write;

use crate::{CommitWith, HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_core::verbs::FieldValidation;
use holdfast_core::{
    Gvr, Json, Lineage, ListOptions, Object, Patch, PatchType, Status, Target, UserInfo, Watch, WatchEventType,
    WriteOptions,
};
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_server::{Deleted, Registry, RequestContext};
use holdfast_store::Store;
use holdfast_store::memory::CachedStore;
use holdfast_store::testing::MemoryLog;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A cluster without nodes: registry, store and default objects.
pub(crate) struct Cluster {
    pub(crate) registry: HubRegistry,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) env: World,
    pub(crate) cx: RequestContext,
}

pub(crate) async fn cluster() -> Cluster {
    cluster_on(CachedStore::open(MemoryLog::new()).unwrap()).await
}

pub(crate) async fn cluster_on(store: Arc<dyn Store>) -> Cluster {
    let env: World = HostEnv::new("/nonexistent");
    let issuer = JwtIssuer::from_pem(crate::tokens::tests_key().as_bytes(), "https://hub", "https://hub").unwrap();
    let registry = HubRegistry::new(HubRegistryConfig {
        store: store.clone(),
        env: env.clone(),
        service_cidr: "10.96.0.0/24".parse().unwrap(),
        token_issuer: Arc::new(issuer),
        lineage: Lineage(1),
        eviction_after: crate::EVICTION_AFTER,
    });
    registry.ensure_defaults(6443).await.unwrap();
    let cx = RequestContext::new(UserInfo::new("admin", &["system:masters"]), "test");
    let cluster = Cluster { registry, store, env, cx };
    cluster.create("serviceaccounts", "default", json!({ "metadata": { "name": "default" } })).await.unwrap();
    cluster
}

/// `pods`, `apps/deployments`, …; all of version v1.
pub(crate) fn gvr(resource: &str) -> Gvr {
    let (group, plural) = resource.rsplit_once('/').unwrap_or(("", resource));
    Gvr::new(group, "v1", plural)
}

pub(crate) fn target(resource: &str, namespace: &str, name: &str) -> Target {
    let at = Target::collection(gvr(resource), namespace);
    if name.is_empty() { at } else { Target { name: Some(name.to_string()), ..at } }
}

impl Cluster {
    pub(crate) async fn create(&self, resource: &str, namespace: &str, doc: Json) -> Result<Arc<Object>, Status> {
        self.registry.create(&self.cx, &target(resource, namespace, ""), doc, &strict()).await
    }

    pub(crate) async fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Json, Status> {
        self.registry.get(&self.cx, &target(resource, namespace, name)).await.map(|object| object.to_json())
    }

    pub(crate) async fn update(&self, resource: &str, doc: Json) -> Result<Arc<Object>, Status> {
        self.update_part(resource, "", doc).await
    }

    pub(crate) async fn update_part(&self, resource: &str, part: &str, doc: Json) -> Result<Arc<Object>, Status> {
        let text = |field: &str| doc["metadata"][field].as_str().unwrap_or_default().to_string();
        let mut at = target(resource, &text("namespace"), &text("name"));
        if !part.is_empty() {
            at = at.with_subresource(part);
        }
        self.registry.update(&self.cx, &at, doc, &strict()).await.map(|(object, _)| object)
    }

    pub(crate) async fn merge(&self, resource: &str, name: &str, body: Json) -> Result<Arc<Object>, Status> {
        let patch = Patch { patch_type: PatchType::Merge, body };
        let at = target(resource, "default", name);
        self.registry.patch(&self.cx, &at, patch, &WriteOptions::default()).await.map(|(object, _)| object)
    }

    pub(crate) async fn delete(&self, resource: &str, namespace: &str, name: &str) -> Result<Deleted, Status> {
        self.registry.delete(&self.cx, &target(resource, namespace, name), &Default::default()).await
    }

    pub(crate) async fn watch(&self, resource: &str, options: ListOptions) -> Watch {
        self.registry.watch(&self.cx, &target(resource, "default", ""), &options).await.unwrap()
    }

    /// The next event as `ADDED name`, with the revision; fails after five seconds.
    pub(crate) async fn next(&self, watch: &mut Watch) -> (String, u64) {
        let event = self.env.timeout(Duration::from_secs(5), watch.next()).await.expect("no event in 5 s");
        let event = event.expect("the watch ended").unwrap();
        let name = match event.event_type {
            WatchEventType::Bookmark => event.object.meta.annotations.keys().next().cloned().unwrap_or_default(),
            _ => event.object.meta.name.clone(),
        };
        (format!("{} {name}", event.event_type.as_str()), event.object.revision.0)
    }
}

pub(crate) fn strict() -> WriteOptions {
    WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() }
}

pub(crate) fn config_map(name: &str, labels: Json) -> Json {
    json!({ "metadata": { "name": name, "labels": labels }, "data": { "key": "value" } })
}

pub(crate) fn pod(name: &str) -> Json {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "main", "image": "app:1" }] } })
}

pub(crate) fn deployment(name: &str) -> Json {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{ "name": "main", "image": "app" }] },
            },
        },
    })
}

pub(crate) fn with_extension(cx: &RequestContext, extension: CommitWith) -> RequestContext {
    RequestContext { extension: Some(Arc::new(extension)), ..cx.clone() }
}
