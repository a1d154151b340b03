//! Endpoints of Services with a selector, and slices of Endpoints without one.

use crate::cluster::Cluster;
use holdfast_core::{DeleteOptions, Json};
use serde_json::json;

fn service(spec: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "a", "labels": {"team": "x"}}, "spec": spec})
}

fn pod(name: &str, ip: &str, ready: bool, port: i64) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "hostname": name, "subdomain": "web",
            "containers": [{"name": "c", "ports": [{"name": "www", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

fn address(name: &str, ip: &str) -> Json {
    json!({"ip": ip, "nodeName": "n1", "hostname": name,
        "targetRef": {"kind": "Pod", "namespace": "a", "name": name, "uid": name}})
}

#[test]
fn endpoints_follow_pods() {
    let cluster = Cluster::new();
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
    let ports = json!([{"name": "http", "port": 80, "targetPort": "www"}, {"name": "raw", "port": 90}]);
    cluster.api.seed(service(json!({"selector": {"app": "web"}, "clusterIP": "10.43.0.5", "ports": ports})));
    cluster.settle();
    let found = || cluster.api.find("endpoints", "a", "web").unwrap();
    assert_eq!(found()["subsets"].as_array().map_or(0, Vec::len), 0);
    assert_eq!(
        found()["metadata"]["labels"],
        json!({"team": "x", "endpoints.kubernetes.io/managed-by": "endpoint-controller"})
    );

    cluster.api.seed(pod("one", "10.42.0.1", true, 8080));
    cluster.api.seed(pod("two", "10.42.0.2", false, 8080));
    cluster.api.seed(pod("three", "10.42.0.3", true, 8081));
    cluster.settle();
    let port = |name: &str, port: i64| json!({"name": name, "port": port, "protocol": "TCP"});
    let all = [("one", "10.42.0.1"), ("two", "10.42.0.2"), ("three", "10.42.0.3")];
    let [one, two, three] = all.map(|(name, ip)| address(name, ip));
    let mut subsets = found()["subsets"].as_array().unwrap().clone();
    subsets.sort_by_key(|subset| subset["ports"][0]["port"].as_i64());
    assert_eq!(
        subsets,
        [
            json!({"addresses": [one, three], "notReadyAddresses": [two], "ports": [port("raw", 90)]}),
            json!({"addresses": [one], "notReadyAddresses": [two], "ports": [port("http", 8080)]}),
            json!({"addresses": [three], "ports": [port("http", 8081)]}),
        ]
    );
    assert_eq!(cluster.api.all("endpointslices").len(), 2, "ours are not mirrored");
    let updates = cluster.api.calls("update", "endpoints");
    cluster.pass(3600);
    assert_eq!(cluster.api.calls("update", "endpoints"), updates, "nothing changes, nothing is written");

    cluster.api.edit("pods", "a", "one", |doc| doc["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    cluster.api.remove("pods", "a", "three");
    cluster.settle();
    let subset = json!({"notReadyAddresses": [two], "ports": [port("http", 8080), port("raw", 90)]});
    assert_eq!(found()["subsets"], json!([subset]));
    // Whoever deletes them gets them back, until the Service goes.
    cluster.delete(("", "endpoints"), "a", "web", DeleteOptions::default());
    assert_eq!(found()["subsets"], json!([subset]));
    cluster.delete(("", "services"), "a", "web", DeleteOptions::default());
    assert_eq!(cluster.api.find("endpoints", "a", "web"), None);
}

#[test]
fn headless_services_need_no_ports() {
    let cluster = Cluster::new();
    let spec = json!({"selector": {"app": "web"}, "clusterIP": "None", "publishNotReadyAddresses": true});
    cluster.api.seed(service(spec));
    cluster.api.seed(pod("one", "10.42.0.1", false, 80));
    cluster.settle();
    let found = cluster.api.find("endpoints", "a", "web").unwrap();
    assert_eq!(found["subsets"], json!([{"addresses": [address("one", "10.42.0.1")]}]));
    assert_eq!(found["metadata"]["labels"]["service.kubernetes.io/headless"], "");
}

fn by_hand(subsets: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "a",
        "labels": {"team": "x"}, "annotations": {"note": "1",
            "kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "subsets": subsets})
}

#[test]
fn hand_made_endpoints_become_slices() {
    let cluster = Cluster::new();
    let ports = json!([{"name": "db", "port": 5432, "protocol": "TCP"}]);
    let addresses = json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2", "hostname": "second"}]);
    let subset = json!({"addresses": addresses, "notReadyAddresses": [{"ip": "2001:db8::1"}], "ports": ports});
    cluster.api.seed(by_hand(json!([subset])));
    cluster.settle();
    assert_eq!(cluster.api.all("endpointslices").len(), 0, "without a Service there is nobody to serve");
    cluster.api.seed(service(json!({"clusterIP": "10.43.0.5", "ports": [{"port": 5432}]})));
    cluster.settle();
    let slices = || {
        let mut all = cluster.api.all("endpointslices");
        all.sort_by_key(|slice| slice["addressType"].to_string());
        all
    };
    let all = slices();
    let [v4, v6] = &all[..] else { panic!("{all:#?}") };
    assert_eq!((&v4["addressType"], &v6["addressType"], &v4["ports"]), (&json!("IPv4"), &json!("IPv6"), &ports));
    assert_eq!(
        v4["endpoints"],
        json!([{"addresses": ["192.0.2.1"], "conditions": {"ready": true}},
            {"addresses": ["192.0.2.2"], "conditions": {"ready": true}, "hostname": "second"}])
    );
    assert_eq!(v6["endpoints"], json!([{"addresses": ["2001:db8::1"], "conditions": {"ready": false}}]));
    assert_eq!(
        v4["metadata"]["labels"],
        json!({"team": "x", "kubernetes.io/service-name": "web",
            "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io"})
    );
    assert_eq!(v4["metadata"]["annotations"], json!({"note": "1"}));
    assert_eq!(v4["metadata"]["ownerReferences"][0]["kind"], "Endpoints");
    let writes = cluster.api.count("update");
    cluster.pass(24 * 3600);
    assert_eq!(cluster.api.count("update"), writes, "nothing changes, nothing is written");

    // Other ports and one address less: the slices stay who they are.
    let name = v4["metadata"]["name"].clone();
    cluster.api.edit("endpoints", "a", "web", |doc| {
        doc["subsets"] = json!([{"addresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 1, "protocol": "UDP"}]}]);
    });
    cluster.settle();
    let all = slices();
    let [v4] = &all[..] else { panic!("{all:#?}") };
    assert_eq!(v4["ports"], json!([{"name": "", "port": 1, "protocol": "UDP"}]));
    assert_eq!((&v4["metadata"]["name"], &v4["endpoints"][0]["addresses"]), (&name, &json!(["192.0.2.2"])));

    // Not any more: on request, or because there is a selector now.
    cluster.api.edit("endpoints", "a", "web", |doc| {
        doc["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"] = json!("true");
    });
    cluster.settle();
    assert_eq!(cluster.api.all("endpointslices").len(), 0);
    cluster.api.edit("endpoints", "a", "web", |doc| doc["metadata"]["labels"] = json!({}));
    cluster.settle();
    assert_eq!(cluster.api.all("endpointslices").len(), 1);
    let doc = cluster.api.find("endpoints", "a", "web").unwrap();
    cluster.delete(("", "endpoints"), "a", "web", DeleteOptions::default());
    assert_eq!(cluster.api.all("endpointslices").len(), 0);
    cluster.api.seed(doc);
    cluster.settle();
    assert_eq!(cluster.api.all("endpointslices").len(), 1);
    cluster.api.edit("services", "a", "web", |doc| doc["spec"]["selector"] = json!({"app": "web"}));
    cluster.settle();
    let managers: Vec<Json> = slices()
        .iter()
        .map(|slice| slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"].clone())
        .collect();
    assert_eq!(managers, [json!("endpointslice-controller.k8s.io")]);
}
