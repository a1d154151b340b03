//! Roles that join others carry their rules.

use crate::cluster::Cluster;
use holdfast_core::Json;
use serde_json::json;

fn role(name: &str, label: &str, resources: &[&str]) -> Json {
    let rules: Vec<Json> =
        resources.iter().map(|one| json!({"verbs": ["get"], "apiGroups": [""], "resources": [one]})).collect();
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": name, "labels": {label: "true"}}, "rules": rules})
}

fn joining(name: &str, label: &str, selects: &str) -> Json {
    let mut doc = role(name, label, &[]);
    doc["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {selects: "true"}}]});
    doc
}

fn held(cluster: &Cluster, name: &str) -> Vec<String> {
    let role = cluster.api.find("clusterroles", "", name).unwrap();
    let rules = role["rules"].as_array().cloned().unwrap_or_default();
    rules.iter().map(|rule| rule["resources"][0].as_str().unwrap().to_string()).collect()
}

#[test]
fn what_is_joined_follows_through_other_roles() {
    let cluster = Cluster::new();
    cluster.api.seed(joining("edit", "none", "to-edit"));
    cluster.api.seed(joining("view", "to-edit", "to-view"));
    cluster.api.seed(role("a", "to-view", &["pods", "services"]));
    cluster.api.seed(role("b", "to-edit", &["secrets", "pods"]));
    cluster.settle();
    assert_eq!(held(&cluster, "view"), ["pods", "services"]);
    assert_eq!(held(&cluster, "edit"), ["secrets", "pods", "services"]);

    cluster.api.edit("clusterroles", "", "a", |doc| doc["metadata"]["labels"] = json!({}));
    cluster.settle();
    assert_eq!((held(&cluster, "view"), held(&cluster, "edit")), (vec![], vec!["secrets".into(), "pods".into()]));
    cluster.api.edit("clusterroles", "", "view", |doc| doc["rules"] = json!([{"verbs": ["*"], "resources": ["*"]}]));
    cluster.settle();
    assert_eq!(held(&cluster, "view"), [""; 0]);
    let updates = cluster.api.calls("update", "clusterroles");
    cluster.pass(24 * 3600);
    assert_eq!(cluster.api.calls("update", "clusterroles"), updates, "nothing changes, nothing is written");
}
