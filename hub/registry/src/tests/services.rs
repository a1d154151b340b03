//! Addresses and node ports.

use super::*;
use std::collections::BTreeSet;

fn service(name: &str, more: Json) -> Json {
    let mut spec = json!({ "selector": { "app": name }, "ports": [{ "port": 80 }] });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({ "metadata": { "name": name }, "spec": spec })
}

#[tokio::test]
async fn addresses_are_given_once_and_come_back() {
    let cluster = cluster().await;
    let api = cluster.get("services", "default", "kubernetes").await.unwrap();
    assert_eq!(
        (&api["spec"]["clusterIP"], &api["spec"]["ports"][0]["targetPort"]),
        (&json!("10.96.0.1"), &json!(6443))
    );

    let made = cluster.create("services", "default", service("a", json!({}))).await.unwrap().to_json();
    let ip = made["spec"]["clusterIP"].as_str().unwrap().to_string();
    assert!(ip.starts_with("10.96.0.") && made["spec"]["clusterIPs"] == json!([ip]), "{made}");
    let taken = cluster.create("services", "default", service("b", json!({ "clusterIP": ip }))).await.unwrap_err();
    assert!(
        taken.message().contains("failed to allocate IP")
            && taken.message().ends_with("provided IP is already allocated"),
        "{taken}"
    );
    let outside = cluster.create("services", "default", service("b", json!({ "clusterIP": "192.0.2.1" }))).await;
    assert!(
        outside.unwrap_err().message().contains("is not in the valid range. The range of valid IPs is 10.96.0.0/24")
    );
    cluster.delete("services", "default", "a").await.unwrap();
    cluster.create("services", "default", service("b", json!({ "clusterIP": ip }))).await.unwrap();

    let headless = cluster.create("services", "default", service("c", json!({ "clusterIP": "None" }))).await.unwrap();
    assert_eq!(headless.to_json()["spec"]["clusterIP"], "None");
}

#[tokio::test]
async fn racing_creates_get_different_addresses() {
    let cluster = Arc::new(cluster().await);
    let all = (0..60).map(|n| {
        let cluster = cluster.clone();
        async move {
            let doc = service(&format!("s{n}"), json!({ "type": "NodePort" }));
            cluster.create("services", "default", doc).await.unwrap().to_json()
        }
    });
    let made = futures_util::future::join_all(all).await;
    let ips: BTreeSet<&str> = made.iter().filter_map(|doc| doc["spec"]["clusterIP"].as_str()).collect();
    let ports: BTreeSet<u64> = made.iter().filter_map(|doc| doc["spec"]["ports"][0]["nodePort"].as_u64()).collect();
    assert_eq!((ips.len(), ports.len()), (60, 60));
    assert!(ports.iter().all(|port| (30_000..=32_767).contains(port)));
}

#[tokio::test]
async fn a_service_that_changes_its_type_frees_what_it_held() {
    let cluster = cluster().await;
    let made = cluster.create("services", "default", service("a", json!({ "type": "NodePort" }))).await.unwrap();
    let doc = made.to_json();
    let port = doc["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let key = format!("/allocations/nodeports/{port}");
    assert!(cluster.store.get(&key).await.unwrap().is_some());
    let back = cluster.merge("services", "a", json!({ "spec": { "type": "ClusterIP" } })).await.unwrap().to_json();
    assert!(back["spec"]["ports"][0].get("nodePort").is_none());
    assert_eq!(back["spec"]["clusterIP"], doc["spec"]["clusterIP"]);
    assert!(cluster.store.get(&key).await.unwrap().is_none());
    let other = cluster.merge("services", "a", json!({ "spec": { "clusterIP": "10.96.0.9" } })).await.unwrap_err();
    assert!(other.message().ends_with("may not change once set"), "{other}");
}

#[tokio::test]
async fn a_full_range_is_told() {
    let cluster = cluster().await;
    for n in 0..253 {
        cluster.create("services", "default", service(&format!("s{n}"), json!({}))).await.unwrap();
    }
    let status = cluster.create("services", "default", service("last", json!({}))).await.unwrap_err();
    assert!(status.message().contains("range is full"), "{status}");
}
