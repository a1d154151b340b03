//! The informers that controllers share, so that a pod is kept once and not once a controller.

use crate::views::{NodeView, PodView, VolumeView};
use holdfast_controller::{Client, Informer, Project};
use holdfast_core::{FieldSelector, Gvr, ListOptions, Object, Target};
use holdfast_env::{BoxFuture, Task, World};
use std::sync::Arc;

/// The name of the ConfigMap with the cluster's CA.
pub(crate) const ROOT_CA: &str = "kube-root-ca.crt";

pub(crate) struct Shared {
    pub(crate) pods: Informer<PodView>,
    pub(crate) nodes: Informer<NodeView>,
    pub(crate) namespaces: Informer<Arc<Object>>,
    pub(crate) services: Informer<Arc<Object>>,
    pub(crate) claims: Informer<()>,
    pub(crate) volumes: Informer<VolumeView>,
    pub(crate) slices: Informer<Arc<Object>>,
    pub(crate) endpoints: Informer<Arc<Object>>,
    pub(crate) deployments: Informer<Arc<Object>>,
    pub(crate) replica_sets: Informer<Arc<Object>>,
    /// Only those named `default`.
    pub(crate) accounts: Informer<()>,
    /// Only those named [`ROOT_CA`].
    pub(crate) root_cas: Informer<Arc<Object>>,
}

pub(crate) fn core(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

pub(crate) fn apps(resource: &str) -> Gvr {
    Gvr::new("apps", "v1", resource)
}

impl Shared {
    pub(crate) fn new(world: &World, client: Arc<dyn Client>) -> Shared {
        let slices = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
        Shared {
            pods: Informer::new(world, client.clone(), core("pods")),
            nodes: Informer::new(world, client.clone(), core("nodes")),
            namespaces: Informer::new(world, client.clone(), core("namespaces")),
            services: Informer::new(world, client.clone(), core("services")),
            claims: Informer::new(world, client.clone(), core("persistentvolumeclaims")),
            volumes: Informer::new(world, client.clone(), core("persistentvolumes")),
            slices: Informer::new(world, client.clone(), slices),
            endpoints: Informer::new(world, client.clone(), core("endpoints")),
            deployments: Informer::new(world, client.clone(), apps("deployments")),
            replica_sets: Informer::new(world, client.clone(), apps("replicasets")),
            accounts: named(world, &client, "serviceaccounts", "default"),
            root_cas: named(world, &client, "configmaps", ROOT_CA),
        }
    }

    pub(crate) fn start(&self) -> Vec<Task> {
        vec![
            self.pods.start(),
            self.nodes.start(),
            self.namespaces.start(),
            self.services.start(),
            self.claims.start(),
            self.volumes.start(),
            self.slices.start(),
            self.endpoints.start(),
            self.deployments.start(),
            self.replica_sets.start(),
            self.accounts.start(),
            self.root_cas.start(),
        ]
    }
}

fn named<P: Project>(world: &World, client: &Arc<dyn Client>, resource: &str, name: &str) -> Informer<P> {
    let fields = FieldSelector { terms: vec![("metadata.name".into(), name.into(), true)] };
    let selection = ListOptions { fields, ..ListOptions::default() };
    Informer::selecting(world, client.clone(), Target::collection(core(resource), ""), selection)
}

/// Something to wait for.
pub(crate) fn synced<P: Project>(informer: &Informer<P>) -> BoxFuture<()> {
    let informer = informer.clone();
    Box::pin(async move { informer.synced().await })
}

/// Starts a controller once the caches that it reads are whole. The task owns what `start` starts.
pub(crate) fn start_after(
    world: &World,
    name: &'static str,
    caches: Vec<BoxFuture<()>>,
    start: impl FnOnce() -> Task + Send + 'static,
) -> Task {
    world.spawn(
        name,
        Box::pin(async move {
            for cache in caches {
                cache.await;
            }
            tracing::info!(controller = name, "Started controller");
            let _task = start();
            std::future::pending::<()>().await;
        }),
    )
}
