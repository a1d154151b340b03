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
async fn a_balancer_that_keeps_sources_asks_nodes_at_a_port_of_its_own() {
    let cluster = cluster().await;
    let balanced =
        json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "loadBalancerClass": "example.com/x" });
    let made = cluster.create("services", "default", service("a", balanced)).await.unwrap().to_json();
    let port = made["spec"]["healthCheckNodePort"].as_u64().unwrap();
    assert!((30_000..=32_767).contains(&port) && made["spec"]["ports"][0]["nodePort"] != port, "{made:#}");
    let key = format!("/allocations/nodeports/{port}");
    assert!(cluster.store.get(&key).await.unwrap().is_some());
    let taken = json!({ "type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": port });
    let refused = cluster.create("services", "default", service("b", taken)).await.unwrap_err();
    assert!(refused.message().ends_with("provided port is already allocated"), "{refused}");
    for (change, text) in [
        (json!({ "healthCheckNodePort": port + 1 }), "spec.healthCheckNodePort: Forbidden: field is immutable"),
        (
            json!({ "loadBalancerClass": "example.com/y" }),
            "spec.loadBalancerClass: Invalid value: \"example.com/y\": may not change once set",
        ),
    ] {
        let refused = cluster.merge("services", "a", json!({ "spec": change })).await.unwrap_err();
        assert!(refused.message().contains(text), "{refused}");
    }
    // Who leaves it out keeps it.
    let mut without = made.clone();
    without["spec"].as_object_mut().unwrap().remove("healthCheckNodePort");
    assert_eq!(cluster.update("services", without).await.unwrap().to_json()["spec"]["healthCheckNodePort"], port);
    let ingress = |list: Json| json!({ "status": { "loadBalancer": { "ingress": list } } });
    let status = async |list: Json| {
        let at = target("services", "default", "a").with_subresource("status");
        let patch = Patch { patch_type: PatchType::Merge, body: ingress(list) };
        cluster.registry.patch(&cluster.cx, &at, patch, &strict()).await.map(|(object, _)| object.to_json())
    };
    let refused = status(json!([{ "ip": "x" }, { "hostname": "1.2.3.4" }, { "ipMode": "VIP" }])).await.unwrap_err();
    for text in [
        "ingress[0].ip: Invalid value: \"x\": must be a valid IP address",
        "ingress[1].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        "ingress[2].ipMode: Forbidden: may not be specified when `ip` is not set",
    ] {
        assert!(refused.message().contains(text), "{refused}");
    }
    let told = status(json!([{ "ip": "192.0.2.1" }])).await.unwrap();
    assert_eq!(told["status"]["loadBalancer"]["ingress"], json!([{ "ip": "192.0.2.1", "ipMode": "VIP" }]));
    let back = cluster.merge("services", "a", json!({ "spec": { "type": "ClusterIP" } })).await.unwrap().to_json();
    for field in ["healthCheckNodePort", "externalTrafficPolicy", "loadBalancerClass", "allocateLoadBalancerNodePorts"]
    {
        assert!(back["spec"].get(field).is_none(), "{field}: {back:#}");
    }
    assert!(cluster.store.get(&key).await.unwrap().is_none());
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

const ADDRESSES: &str = "networking.k8s.io/ipaddresses";
const CIDRS: &str = "networking.k8s.io/servicecidrs";

#[tokio::test]
async fn an_address_is_shown_as_long_as_a_service_has_it() {
    let cluster = cluster().await;
    let api = cluster.get(ADDRESSES, "", "10.96.0.1").await.unwrap();
    let parent = json!({ "resource": "services", "namespace": "default", "name": "kubernetes" });
    assert_eq!(api["spec"], json!({ "parentRef": parent }));
    assert_eq!(
        api["metadata"]["labels"],
        json!({ "ipaddress.kubernetes.io/ip-family": "IPv4", "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io" })
    );
    assert!(api["metadata"]["uid"].is_string() && api["metadata"]["creationTimestamp"].is_string(), "{api:#}");

    let mut watch =
        cluster.registry.watch(&cluster.cx, &target(ADDRESSES, "", ""), &ListOptions::default()).await.unwrap();
    assert_eq!(cluster.next(&mut watch).await.0, "ADDED 10.96.0.1");
    let asked = json!({ "clusterIP": "10.96.0.7" });
    let made = cluster.create("services", "default", service("a", asked.clone())).await.unwrap();
    let (event, revision) = cluster.next(&mut watch).await;
    assert_eq!((event.as_str(), revision), ("ADDED 10.96.0.7", made.revision.0), "one transaction");
    cluster
        .merge("services", "a", json!({ "spec": { "type": "ExternalName", "externalName": "x.example" } }))
        .await
        .unwrap();
    assert_eq!(cluster.next(&mut watch).await.0, "DELETED 10.96.0.7");
    cluster.delete("services", "default", "a").await.unwrap();
    cluster.create("services", "default", service("a", asked.clone())).await.unwrap();
    cluster.delete("services", "default", "a").await.unwrap();
    for sort in ["ADDED", "DELETED"] {
        assert_eq!(cluster.next(&mut watch).await.0, format!("{sort} 10.96.0.7"));
    }

    // An address that somebody keeps by hand is nobody else's.
    let gateway = json!({ "group": "example.com", "resource": "gateways", "namespace": "default", "name": "g" });
    let kept = json!({ "metadata": { "name": "10.96.0.7" }, "spec": { "parentRef": gateway } });
    cluster.create(ADDRESSES, "", kept).await.unwrap();
    let taken = cluster.create("services", "default", service("a", asked.clone())).await.unwrap_err();
    assert!(taken.message().ends_with("provided IP is already allocated"), "{taken}");
    cluster.delete(ADDRESSES, "", "10.96.0.7").await.unwrap();
    cluster.create("services", "default", service("a", asked.clone())).await.unwrap();
    // Who deletes what shows the address of a Service frees nothing.
    cluster.delete(ADDRESSES, "", "10.96.0.7").await.unwrap();
    let taken = cluster.create("services", "default", service("b", asked)).await.unwrap_err();
    assert!(taken.message().ends_with("provided IP is already allocated"), "{taken}");
}

#[tokio::test]
async fn further_ranges_serve_once_they_are_ready() {
    let cluster = cluster().await;
    let default = cluster.get(CIDRS, "", "kubernetes").await.unwrap();
    assert_eq!(default["spec"]["cidrs"], json!(["10.96.0.0/24"]));
    let condition = &default["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Ready"), &json!("True")));
    assert_eq!(default["metadata"]["finalizers"], json!(["networking.k8s.io/service-cidr-finalizer"]));
    cluster.registry.ensure_defaults(6443).await.unwrap();
    assert_eq!(cluster.get(CIDRS, "", "kubernetes").await.unwrap(), default, "nothing is written at the next start");

    let more = json!({ "metadata": { "name": "more" }, "spec": { "cidrs": ["10.97.0.0/30"] } });
    cluster.create(CIDRS, "", more).await.unwrap();
    let asked = || service("a", json!({ "clusterIP": "10.97.0.1" }));
    let outside = cluster.create("services", "default", asked()).await.unwrap_err();
    assert!(outside.message().contains("is not in the valid range"), "{outside}");
    let mut doc = cluster.get(CIDRS, "", "more").await.unwrap();
    doc["status"]["conditions"] = json!([{ "type": "Ready", "status": "True", "reason": "", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }]);
    cluster.update_part(CIDRS, "status", doc).await.unwrap();
    cluster.create("services", "default", asked()).await.unwrap();
    for n in 0..253 {
        cluster.create("services", "default", service(&format!("s{n}"), json!({}))).await.unwrap();
    }
    let last = cluster.create("services", "default", service("b", json!({}))).await.unwrap().to_json();
    assert_eq!(last["spec"]["clusterIP"], "10.97.0.2");
    let status = cluster.create("services", "default", service("last", json!({}))).await.unwrap_err();
    assert!(status.message().contains("range is full"), "{status}");
}

#[tokio::test]
async fn the_default_range_is_what_the_hub_was_told() {
    let store: Arc<dyn Store> = CachedStore::open(MemoryLog::new()).unwrap();
    let first = cluster_on(store.clone()).await;
    let uid = first.get(CIDRS, "", "kubernetes").await.unwrap()["metadata"]["uid"].clone();
    let issuer = JwtIssuer::from_pem(crate::tokens::tests_key().as_bytes(), "https://hub", "https://hub").unwrap();
    let second = HubRegistry::new(HubRegistryConfig {
        store,
        env: first.env.clone(),
        service_cidr: "10.98.0.0/16".parse().unwrap(),
        token_issuer: Arc::new(issuer),
        lineage: Lineage(1),
        eviction_after: crate::EVICTION_AFTER,
    });
    second.ensure_defaults(6443).await.unwrap();
    let anew = first.get(CIDRS, "", "kubernetes").await.unwrap();
    assert_eq!(
        (&anew["spec"]["cidrs"], anew["status"]["conditions"][0]["status"] == "True"),
        (&json!(["10.98.0.0/16"]), true)
    );
    assert_ne!(anew["metadata"]["uid"], uid);
}
