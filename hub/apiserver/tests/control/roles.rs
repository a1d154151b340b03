//! Roles that join others, with the controller's own rights.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_users_carry_what_they_join() {
    let hub = hub().await;
    let own = json!({"verbs": ["get"], "apiGroups": ["x.io"], "resources": ["things"]});
    let label = json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"});
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": "x-view", "labels": label}, "rules": [own]});
    hub.create("rbac.authorization.k8s.io/clusterroles", "", role).await;
    let holds = |all: &[Json], name: &str| {
        let role = all.iter().find(|role| role["metadata"]["name"] == name);
        role.is_some_and(|role| role["rules"].as_array().is_some_and(|rules| rules.contains(&own)))
    };
    hub.wait("what view joins is in all three", "rbac.authorization.k8s.io/clusterroles", "", |all| {
        ["view", "edit", "admin"].iter().all(|name| holds(all, name))
    })
    .await;
}
