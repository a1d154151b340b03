use crate::harness::*;
use holdfast_cni::netns;

/// Services as the proxy makes them: a virtual address that leads to a pod.
fn service(vip: &str, to: &str) {
    nft("add table ip vips");
    nft("add chain ip vips pre { type nat hook prerouting priority dstnat; }");
    nft("add chain ip vips out { type nat hook output priority -100; }");
    for chain in ["pre", "out"] {
        nft(&format!("add rule ip vips {chain} ip daddr {vip} dnat to {to}"));
    }
}

#[test]
fn wasm_pods_share_a_namespace_and_are_reached_like_any_pod() {
    on_a_host(async |host: &Host| reach(host).await);
}

#[test]
fn the_same_holds_where_bridged_frames_are_not_translated() {
    on_a_host(async |host: &Host| {
        // Absent where the kernel has no such switch: then this is how it always is.
        let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", "0");
        reach(host).await;
    });
}

async fn reach(host: &Host) {
    let network = host.network();
    let (a, b) = (network.attach_shared(&pod("w-a")).await.unwrap(), network.attach_shared(&pod("w-b")).await.unwrap());
    assert_eq!(network.attach_shared(&pod("w-a")).await.unwrap(), a);
    assert_eq!(a.netns_path, b.netns_path);
    assert!(a.netns_path.ends_with("holdfast-wasm"));
    let own = network.attach(&pod("uid-c")).await.unwrap();
    assert_ne!(a.ips, b.ips);
    serve(&a.netns_path, a.ips[0], 80);
    serve(&b.netns_path, b.ips[0], 80);
    serve(&own.netns_path, v4("0.0.0.0"), 80);
    assert_eq!(ask(Some(&own.netns_path), None, a.ips[0], 80), Ok(own.ips[0].to_string()));
    assert_eq!(ask(None, None, b.ips[0], 80), Ok("10.42.1.1".into()));
    assert_eq!(ask(Some(&a.netns_path), Some(b.ips[0]), own.ips[0], 80), Ok(b.ips[0].to_string()));
    // Between two of them, through the host.
    assert_eq!(ask(Some(&a.netns_path), Some(a.ips[0]), b.ips[0], 80), Ok(a.ips[0].to_string()));
    // Loopback works inside.
    serve(&a.netns_path, v4("127.0.0.1"), 90);
    assert_eq!(ask(Some(&a.netns_path), None, v4("127.0.0.1"), 90), Ok("127.0.0.1".into()));

    // A Service between neighbours: the reply must come back through the translation.
    service("10.43.0.1", &b.ips[0].to_string());
    assert_eq!(ask(Some(&a.netns_path), Some(a.ips[0]), v4("10.43.0.1"), 80), Ok(a.ips[0].to_string()));
    assert_eq!(ask(Some(&own.netns_path), None, v4("10.43.0.1"), 80), Ok(own.ips[0].to_string()));
    let other = network.attach(&pod("uid-d")).await.unwrap();
    service("10.43.0.2", &own.ips[0].to_string());
    assert_eq!(ask(Some(&other.netns_path), None, v4("10.43.0.2"), 80), Ok(other.ips[0].to_string()));

    // What the host's policies forbid is forbidden between neighbours too.
    nft("add table ip guard");
    nft("add chain ip guard forward { type filter hook forward priority filter; }");
    nft(&format!("add rule ip guard forward ip saddr {} ip daddr {} reject", a.ips[0], b.ips[0]));
    assert!(ask(Some(&a.netns_path), Some(a.ips[0]), b.ips[0], 80).is_err());
}

#[test]
fn shared_addresses_go_and_come_back_after_a_reboot() {
    on_a_host(async |host: &Host| {
        let network = host.network();
        let a = network.attach_shared(&pod("w-a")).await.unwrap();
        let b = network.attach_shared(&pod("w-b")).await.unwrap();
        network.detach_shared(&pod("w-a")).await.unwrap();
        network.detach_shared(&pod("w-a")).await.unwrap();
        let addresses = || netns::enter(Some(&b.netns_path), || ip("-4 -o addr show eth0")).unwrap();
        let text = addresses();
        assert!(!text.contains(&format!("{}/", a.ips[0])) && text.contains(&format!("{}/32", b.ips[0])), "{text}");

        netns::remove(&b.netns_path).unwrap();
        ip("link del hf0");
        let network = host.network();
        assert_eq!(network.attach_shared(&pod("w-b")).await.unwrap(), b);
        serve(&b.netns_path, b.ips[0], 80);
        assert_eq!(ask(None, None, b.ips[0], 80), Ok("10.42.1.1".into()));
        network.gc(&[pod("w-b")]).await.unwrap();
        assert!(addresses().contains(&b.ips[0].to_string()));
        network.gc(&[]).await.unwrap();
        assert!(!addresses().contains(&b.ips[0].to_string()));
    });
}

#[test]
fn the_first_pod_after_the_last_one_left_is_reached() {
    on_a_host(async |host: &Host| {
        let network = host.network();
        network.attach_shared(&pod("w-a")).await.unwrap();
        network.detach_shared(&pod("w-a")).await.unwrap();
        let b = network.attach_shared(&pod("w-b")).await.unwrap();
        serve(&b.netns_path, b.ips[0], 80);
        assert_eq!(ask(None, None, b.ips[0], 80), Ok("10.42.1.1".into()));
    });
}
