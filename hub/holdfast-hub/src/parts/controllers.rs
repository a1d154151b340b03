//! Scheduler and controllers, each as its own ServiceAccount of `kube-system`.

use super::Shared;
use anyhow::Context;
use holdfast_apiserver::ApiServer;
use holdfast_controller::{Client, ResourceKind};
use holdfast_controllers::ControllersConfig;
use holdfast_core::UserInfo;
use holdfast_core::user::MASTERS;
use holdfast_env::Task;
use std::sync::Arc;

/// The scheduler's ServiceAccount; its role is among the default objects.
const SCHEDULER: &str = "kube-scheduler";

/// Makes the roles that are missing and starts everything that reconciles.
pub(crate) async fn start(shared: &Shared<'_>, server: &ApiServer) -> anyhow::Result<Vec<Task>> {
    let admin = server.client(UserInfo::new("system:holdfast:hub", &[MASTERS]));
    holdfast_controllers::ensure_roles(&*admin).await.context("make the controllers' roles")?;
    let clients = |name: &str| -> Arc<dyn Client> { server.controller_client(name) };
    let config = ControllersConfig {
        cluster_cidr: shared.config.cluster_cidr,
        root_ca_pem: shared.pki.roots_pem(),
        kinds: holdfast_kinds::all().iter().map(ResourceKind::from).collect(),
        ..ControllersConfig::default()
    };
    let mut tasks = holdfast_controllers::start_all(shared.world.clone(), &clients, config);
    let scheduler = holdfast_scheduler::run_scheduler(shared.world.clone(), clients(SCHEDULER));
    tasks.push(shared.world.spawn("scheduler", Box::pin(scheduler)));
    Ok(tasks)
}
