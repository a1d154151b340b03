//! Scheduler and controllers, each as its own ServiceAccount of `kube-system`.

use super::Shared;
use anyhow::Context;
use holdfast_apiserver::ApiServer;
use holdfast_controller::{Client, ResourceKind};
use holdfast_controllers::{ControllersConfig, PERMISSIONS, Rule};
use holdfast_core::user::MASTERS;
use holdfast_core::{Gvr, Json, Reason, Status, Target, UserInfo};
use holdfast_env::Task;
use serde_json::json;
use std::sync::Arc;

const RBAC: &str = "rbac.authorization.k8s.io";
/// The scheduler's ServiceAccount; its role is among the default objects.
const SCHEDULER: &str = "kube-scheduler";

/// Makes the roles that are missing and starts everything that reconciles.
pub(crate) async fn start(shared: &Shared<'_>, server: &ApiServer) -> anyhow::Result<Vec<Task>> {
    let admin = server.client(UserInfo::new("system:holdfast:hub", &[MASTERS]));
    for (name, rules) in PERMISSIONS {
        ensure_role(&*admin, name, rules).await.with_context(|| format!("make the role of {name}"))?;
    }
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

/// A role and its binding for a controller that the default objects do not know.
async fn ensure_role(client: &dyn Client, controller: &str, rules: &[Rule]) -> Result<(), Status> {
    let name = format!("system:controller:{controller}");
    let metadata = json!({"name": name, "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
    let rules: Json = rules
        .iter()
        .map(|rule| json!({"apiGroups": rule.groups, "resources": rule.resources, "verbs": rule.verbs}))
        .collect();
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": metadata,
        "rules": rules});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": controller, "namespace": "kube-system"}]});
    for (resource, body) in [("clusterroles", role), ("clusterrolebindings", binding)] {
        let gvr = Gvr::new(RBAC, "v1", resource);
        match client.get(&Target::object(gvr.clone(), "", &name)).await {
            Ok(_) => continue,
            Err(status) if status.is(Reason::NotFound) => {}
            Err(status) => return Err(status),
        }
        client.create(&Target::collection(gvr, ""), body).await?;
    }
    Ok(())
}
