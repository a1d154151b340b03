//! Scheduler and controllers, each as its own ServiceAccount of `kube-system`.

use super::Shared;
use anyhow::Context;
use holdfast_apiserver::{ApiServer, RequestAuthority};
use holdfast_controller::{Client, ResourceKind};
use holdfast_controllers::ControllersConfig;
use holdfast_core::UserInfo;
use holdfast_core::user::MASTERS;
use holdfast_env::Task;
use holdfast_registry::HubRegistry;
use holdfast_server::Served;
use std::sync::Arc;
use tokio::sync::watch;

/// The scheduler's ServiceAccount; its role is among the default objects.
const SCHEDULER: &str = "kube-scheduler";

/// Makes the roles that are missing and starts everything that reconciles.
pub(crate) async fn start(
    shared: &Shared<'_>,
    server: &ApiServer,
    registry: &HubRegistry,
) -> anyhow::Result<Vec<Task>> {
    let admin = server.client(UserInfo::new("system:holdfast:hub", &[MASTERS]));
    holdfast_controllers::ensure_roles(&*admin).await.context("make the controllers' roles")?;
    let (kinds, following) = served(shared, registry);
    let clients = |name: &str| -> Arc<dyn Client> { server.controller_client(name) };
    let config = ControllersConfig {
        cluster_cidr: shared.config.cluster_cidr,
        root_ca_pem: shared.pki.roots_pem(),
        kinds,
        authority: Some(Arc::new(RequestAuthority::new(shared.pki.clone(), shared.world.clone()))),
        ..ControllersConfig::default()
    };
    let mut tasks = holdfast_controllers::start_all(shared.world.clone(), &clients, config);
    let scheduler = holdfast_scheduler::run_scheduler(shared.world.clone(), clients(SCHEDULER));
    tasks.push(shared.world.spawn("scheduler", Box::pin(scheduler)));
    tasks.push(following);
    Ok(tasks)
}

/// The kinds that are served, in the words of controllers; the task follows their changes.
fn served(shared: &Shared<'_>, registry: &HubRegistry) -> (watch::Receiver<Arc<[ResourceKind]>>, Task) {
    let words = |served: &Served| served.kinds.iter().map(ResourceKind::from).collect::<Arc<[_]>>();
    let mut live = registry.kinds().subscribe();
    let (sender, kinds) = watch::channel(words(&live.borrow_and_update()));
    let follow = async move {
        while live.changed().await.is_ok() {
            sender.send_replace(words(&live.borrow_and_update()));
        }
    };
    (kinds, shared.world.spawn("served-kinds", Box::pin(follow)))
}
