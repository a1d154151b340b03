//! The controllers, a module each.
//!
//! [`start_all`] starts them over one set of shared informers. Each controller writes through a client of its own
//! name, so that RBAC and audit tell them apart; [`PERMISSIONS`] says what each needs.
//!
//! Tasks: one an informer, one a controller, one an Event recorder; all owned by what [`start_all`] returns.
//!
//! Not built: Job, CronJob, StatefulSet, DaemonSet, TTL after finished, attach/detach, HPA.

pub mod certificates;
mod claim;
mod config;
pub mod deployment;
pub mod disruption;
pub mod endpoint_slice;
mod endpoint_slice_mirroring;
mod endpoints;
pub mod garbage;
pub mod limits;
pub mod namespace;
pub mod node_ipam;
pub mod node_lifecycle;
mod permissions;
pub mod pod_gc;
mod pod_writes;
pub mod protection;
pub mod replicaset;
pub mod resource_quota;
mod role_aggregation;
pub mod service_account;
mod service_cidr;
mod shared;
pub mod taint_eviction;
pub mod views;

pub use certificates::{CertificateAuthority, CertificateRequest};
pub use config::{ControllersConfig, served};
pub use permissions::{PERMISSIONS, Rule, SHARED_INFORMERS, ensure_roles};

use holdfast_controller::Client;
use holdfast_env::{Task, World};
use std::sync::Arc;

/// Starts every controller. `clients` gives the client of a controller by its name in [`PERMISSIONS`]. They end when
/// the tasks are dropped.
pub fn start_all(world: World, clients: &dyn Fn(&str) -> Arc<dyn Client>, config: ControllersConfig) -> Vec<Task> {
    let shared = shared::Shared::new(&world, clients(SHARED_INFORMERS));
    let config = Arc::new(config);
    let mut tasks = vec![
        deployment::start(&world, clients("deployment-controller"), &shared),
        replicaset::start(&world, clients("replicaset-controller"), &shared),
        endpoint_slice::start(&world, clients("endpointslice-controller"), &shared),
        endpoints::start(&world, clients("endpoint-controller"), &shared),
        endpoint_slice_mirroring::start(&world, clients("endpointslicemirroring-controller"), &shared),
        namespace::start(&world, clients("namespace-controller"), &shared, &config),
        node_lifecycle::start(&world, clients("node-controller"), &shared),
        taint_eviction::start(&world, clients("taint-eviction-controller"), &shared),
        node_ipam::start(&world, clients("node-ipam-controller"), &shared, &config),
        service_account::start_accounts(&world, clients("service-account-controller"), &shared),
        service_account::start_root_ca(&world, clients("root-ca-cert-publisher"), &shared, &config),
        pod_gc::start(&world, clients("pod-garbage-collector"), &shared, &config),
        protection::start_claims(&world, clients("pvc-protection-controller"), &shared),
        protection::start_volumes(&world, clients("pv-protection-controller"), &shared),
        resource_quota::start(&world, clients("resourcequota-controller"), &shared, &config),
        garbage::start(&world, clients("generic-garbage-collector"), &config),
    ];
    tasks.extend(disruption::start(&world, clients("disruption-controller"), &shared, &config));
    tasks.extend(service_cidr::start(&world, clients("service-cidrs-controller"), &shared));
    tasks.extend(role_aggregation::start(&world, clients("clusterrole-aggregation-controller")));
    tasks.extend(certificates::start(&world, clients, &config));
    tasks.extend(shared.start());
    tasks
}
