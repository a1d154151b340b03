//! ServiceCIDRs and IPAddresses.

use crate::cluster::{Cluster, condition};
use holdfast_core::{DeleteOptions, Json};
use serde_json::json;

fn range(name: &str, cidr: &str) -> Json {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "spec": {"cidrs": [cidr]}})
}

fn service(name: &str, ip: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "a"},
        "spec": {"clusterIP": ip, "ports": [{"port": 80}]}})
}

const RANGES: (&str, &str) = ("networking.k8s.io", "servicecidrs");

#[test]
fn a_range_becomes_ready_and_stays_while_it_is_used() {
    let cluster = Cluster::new();
    cluster.api.seed(range("more", "10.97.0.0/24"));
    cluster.api.seed(service("web", "10.97.0.5"));
    cluster.settle();
    let more = || cluster.api.find("servicecidrs", "", "more");
    let ready = |doc: &Json| condition(doc, "Ready");
    let doc = more().unwrap();
    assert_eq!(doc["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
    assert_eq!(ready(&doc), ("True".to_string(), String::new()));
    assert_eq!(doc["status"]["conditions"][0]["message"], "Kubernetes Service CIDR is ready");
    let writes = cluster.api.count("update");
    cluster.pass(24 * 3600);
    assert_eq!(cluster.api.count("update"), writes, "nothing changes, nothing is written");

    cluster.delete(RANGES, "", "more", DeleteOptions::default());
    cluster.pass(60);
    assert_eq!(ready(&more().unwrap()), ("False".to_string(), "Terminating".to_string()));
    // Another range takes its addresses over.
    cluster.api.seed(range("wide", "10.96.0.0/12"));
    cluster.pass(60);
    assert_eq!(more(), None);
    cluster.delete(RANGES, "", "wide", DeleteOptions::default());
    cluster.pass(60);
    assert!(cluster.api.find("servicecidrs", "", "wide").is_some());
    cluster.delete(("", "services"), "a", "web", DeleteOptions::default());
    cluster.pass(60);
    assert_eq!(cluster.api.all("servicecidrs"), Vec::<Json>::new());
}

#[test]
fn each_address_of_a_service_has_its_ip_address() {
    let cluster = Cluster::new();
    cluster.api.seed(service("web", "10.96.0.5"));
    cluster.api.seed(service("headless", "None"));
    cluster.settle();
    let found = |ip: &str| cluster.api.find("ipaddresses", "", ip);
    let doc = found("10.96.0.5").unwrap();
    let parent = json!({"resource": "services", "namespace": "a", "name": "web"});
    assert_eq!(doc["spec"]["parentRef"], parent);
    assert_eq!(doc["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"], "ipallocator.k8s.io");
    assert_eq!(cluster.api.all("ipaddresses").len(), 1);

    cluster.api.remove("ipaddresses", "", "10.96.0.5");
    cluster.settle();
    assert_ne!(found("10.96.0.5").unwrap()["metadata"]["uid"], doc["metadata"]["uid"]);
    // What the allocator gave and nobody has goes; what somebody made by hand stays.
    let mut leaked = doc.clone();
    leaked["metadata"] = json!({"name": "10.96.0.6", "labels": doc["metadata"]["labels"]});
    cluster.api.seed(leaked);
    let mut own = doc;
    own["metadata"] = json!({"name": "10.96.0.7"});
    cluster.api.seed(own);
    cluster.settle();
    assert_eq!((found("10.96.0.6"), found("10.96.0.7").is_some()), (None, true));
    cluster.delete(("", "services"), "a", "web", DeleteOptions::default());
    cluster.settle();
    assert_eq!(found("10.96.0.5"), None);
}
