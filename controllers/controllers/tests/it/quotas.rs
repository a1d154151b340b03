//! ResourceQuotas: what they say is used is what there is.

use crate::cluster::Cluster;
use holdfast_core::{DeleteOptions, Gvr, Json, Status, Timestamp};
use holdfast_env::Env;
use serde_json::json;

fn quota(name: &str, spec: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name, "namespace": "a"}, "spec": spec})
}

fn pod(name: &str, spec: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a"}, "spec": spec})
}

fn sized(cpu: &str) -> Json {
    json!({"containers": [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]})
}

fn status(cluster: &Cluster, name: &str) -> Json {
    cluster.api.find("resourcequotas", "a", name).unwrap()["status"].clone()
}

#[test]
fn the_use_of_a_quota_is_what_there_is() {
    let cluster = Cluster::new();
    for (name, cpu) in [("one", "500m"), ("two", "1")] {
        cluster.api.seed(pod(name, sized(cpu)));
    }
    let hard = json!({"pods": "5", "requests.cpu": "4", "count/secrets": "3", "count/deployments.apps": "1",
        "services.nodeports": "2", "requests.storage": "1Gi", "count/widgets.example.com": "1"});
    cluster.api.seed(quota("all", json!({"hard": hard})));
    cluster.api.seed(quota("ends", json!({"hard": {"pods": "1"}, "scopes": ["Terminating"]})));
    cluster.settle();
    let mut expected = json!({"pods": "2", "requests.cpu": "1500m", "count/secrets": "0", "count/deployments.apps": "0",
        "services.nodeports": "0", "requests.storage": "0"});
    assert_eq!(status(&cluster, "all")["hard"], hard);
    assert_eq!(status(&cluster, "all")["used"], expected, "a kind that is not served has no count");
    assert_eq!(status(&cluster, "ends")["used"], json!({"pods": "0"}));

    // What admission would have charged is there; what goes is given back.
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "a"}}));
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "b"}}));
    cluster.api.edit("resourcequotas", "a", "all", |doc| doc["status"]["used"]["count/secrets"] = json!("1"));
    cluster.delete(("", "pods"), "a", "one", DeleteOptions::default());
    expected["pods"] = json!("1");
    expected["requests.cpu"] = json!("1");
    expected["count/secrets"] = json!("1");
    assert_eq!(status(&cluster, "all")["used"], expected);
    cluster.delete(("", "secrets"), "a", "s", DeleteOptions::default());
    expected["count/secrets"] = json!("0");
    assert_eq!(status(&cluster, "all")["used"], expected);

    cluster.api.edit("pods", "a", "two", |doc| doc["status"]["phase"] = json!("Succeeded"));
    cluster.settle();
    expected["pods"] = json!("0");
    expected["requests.cpu"] = json!("0");
    assert_eq!(status(&cluster, "all")["used"], expected);
}

#[test]
fn bounds_follow_the_spec_and_charges_that_come_between_are_not_lost() {
    let cluster = Cluster::new();
    cluster.api.seed(pod("one", sized("1")));
    let stale = Status::stale(&Gvr::new("", "v1", "resourcequotas"), "q");
    cluster.api.fail("update", "resourcequotas/status", 20, stale);
    cluster.api.seed(quota("q", json!({"hard": {"pods": "1"}})));
    cluster.pass(1);
    assert_eq!(status(&cluster, "q"), json!({"hard": {"pods": "1"}, "used": {"pods": "1"}}));
    cluster.api.edit("resourcequotas", "a", "q", |doc| doc["spec"]["hard"] = json!({"pods": "7", "cpu": "2"}));
    cluster.settle();
    assert_eq!(status(&cluster, "q"), json!({"hard": {"pods": "7", "cpu": "2"}, "used": {"pods": "1", "cpu": "1"}}));
    // What somebody else wrote is put right in time.
    cluster.api.edit("resourcequotas", "a", "q", |doc| doc["status"]["used"] = json!({"pods": "3", "cpu": "1"}));
    cluster.pass(301);
    assert_eq!(status(&cluster, "q")["used"], json!({"pods": "1", "cpu": "1"}));
    let writes = cluster.api.calls("update", "resourcequotas/status");
    cluster.pass(3000);
    assert_eq!(cluster.api.calls("update", "resourcequotas/status"), writes, "what is right is not written");
}

#[test]
fn a_pod_that_should_be_gone_makes_room() {
    let cluster = Cluster::new();
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "silent"}}));
    cluster.api.seed(quota("q", json!({"hard": {"pods": "1", "count/pods": "9"}})));
    cluster.api.seed(pod("one", json!({"nodeName": "silent", "containers": []})));
    cluster.pass(301);
    assert_eq!(status(&cluster, "q")["used"], json!({"pods": "1", "count/pods": "1"}));
    let gone_at = Timestamp::from_wall(cluster.world.wall().0).after(std::time::Duration::from_secs(30));
    cluster.api.edit("pods", "a", "one", |doc| {
        doc["metadata"]["deletionTimestamp"] = json!(gone_at);
        doc["metadata"]["deletionGracePeriodSeconds"] = json!(30);
    });
    cluster.pass(50);
    assert_eq!(status(&cluster, "q")["used"], json!({"pods": "1", "count/pods": "1"}));
    cluster.pass(15);
    assert_eq!(status(&cluster, "q")["used"], json!({"pods": "0", "count/pods": "1"}));
}
