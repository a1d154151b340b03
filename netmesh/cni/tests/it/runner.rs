use crate::harness::*;
use holdfast_cni::netns;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_pod_keeps_its_address_across_restart_and_reboot() {
    on_a_host(async |host: &Host| {
        let network = host.network();
        network.status().await.unwrap();
        let first = network.attach(&pod("uid-a")).await.unwrap();
        let second = network.attach(&pod("uid-b")).await.unwrap();
        assert_eq!(first.ips, [v4("10.42.1.2")]);
        assert_eq!(network.attach(&pod("uid-a")).await.unwrap(), first);
        network.check(&pod("uid-a")).await.unwrap();
        serve(&first.netns_path, v4("0.0.0.0"), 80);
        assert_eq!(ask(Some(&second.netns_path), None, first.ips[0], 80), Ok(second.ips[0].to_string()));
        let mtu = netns::enter(Some(&first.netns_path), || ip("link show eth0")).unwrap();
        assert!(mtu.contains("mtu 1400"), "{mtu}");
        let tables = network.interface_tables(vec![pod("uid-a"), pod("uid-none")]).await;
        assert_eq!(tables.keys().collect::<Vec<_>>(), ["uid-a"], "what is not there is left out");
        let eth0 = tables["uid-a"].lines().find(|line| line.trim_start().starts_with("eth0:")).unwrap();
        let received: u64 = eth0.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(received > 100, "a connection was served: {eth0}");
        drop(network);

        // A restart of the agent.
        let network = host.network();
        assert_eq!(network.attach(&pod("uid-b")).await.unwrap(), second);
        // A reboot: namespaces, links and rules are gone, the disk stays.
        for attachment in [&first, &second] {
            netns::remove(&attachment.netns_path).unwrap();
        }
        ip("link del hf0");
        nft("flush ruleset");
        let network = host.network();
        assert_eq!(network.attach(&pod("uid-b")).await.unwrap(), second);
        assert_eq!(network.attach(&pod("uid-a")).await.unwrap(), first);
        serve(&first.netns_path, v4("0.0.0.0"), 81);
        assert_eq!(ask(Some(&second.netns_path), None, first.ips[0], 81), Ok(second.ips[0].to_string()));

        network.detach(&pod("uid-a")).await.unwrap();
        network.detach(&pod("uid-a")).await.unwrap();
        assert!(!first.netns_path.exists());
        assert!(network.check(&pod("uid-a")).await.is_err());
        network.gc(&[]).await.unwrap();
        assert!(!second.netns_path.exists());
        let links = ip("-o link");
        assert_eq!(links.lines().count(), 2, "{links}");
        assert_eq!(std::fs::read_dir(host.path("state/pods")).unwrap().count(), 0);
    });
}

fn script(host: &Host, name: &str, body: &str) {
    let path = host.path("plugins").join(name);
    std::fs::create_dir_all(host.path("plugins")).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

fn chain(host: &Host, second: &str) {
    let list =
        json!({"cniVersion": "1.0.0", "name": "mixed", "plugins": [host.conf(), {"type": second, "note": "kept"}]});
    std::fs::create_dir_all(host.path("conf")).unwrap();
    std::fs::write(host.path("conf/05-mixed.conflist"), list.to_string()).unwrap();
}

#[test]
fn other_plugins_are_called_in_order_with_the_result_so_far() {
    on_a_host(async |host: &Host| {
        chain(host, "after");
        let log = host.path("calls").display().to_string();
        let body = format!(
            "input=$(cat); echo \"$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $input\" >>{log}\n\
             [ $CNI_COMMAND = ADD ] && echo \"$input\" | sed 's/.*\"prevResult\"://; s/}}$//'; exit 0"
        );
        script(host, "after", &body);
        let network = host.network();
        let attached = network.attach(&pod("uid-a")).await.unwrap();
        assert_eq!(attached.ips, [v4("10.42.1.2")]);
        network.detach(&pod("uid-a")).await.unwrap();
        let calls = std::fs::read_to_string(&log).unwrap();
        let lines: Vec<&str> = calls.lines().collect();
        assert!(lines[0].starts_with("ADD uid-a eth0 IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=name-uid-a;"));
        assert!(lines[1].starts_with("DEL uid-a eth0"));
        for line in &lines {
            assert!(
                line.contains("\"note\":\"kept\"")
                    && line.contains("10.42.1.2/32")
                    && line.contains("\"name\":\"mixed\"")
            );
        }
        assert!(!host.path("conf/10-holdfast.conflist").exists());
    });
}

#[test]
fn a_plugin_that_fails_is_named_and_nothing_stays() {
    on_a_host(async |host: &Host| {
        chain(host, "broken");
        let network = host.network();
        let text = network.attach(&pod("uid-a")).await.unwrap_err().to_string();
        assert!(text.starts_with("plugin type=\"broken\" failed (ADD): failed to find plugin"), "{text}");
        let body = "cat >/dev/null; [ $CNI_COMMAND = ADD ] || exit 0; echo '{\"code\":11,\"msg\":\"later\",\"details\":\"busy\"}'; exit 1";
        script(host, "broken", body);
        let text = network.attach(&pod("uid-a")).await.unwrap_err().to_string();
        assert_eq!(text, "plugin type=\"broken\" failed (ADD): later: busy");
        let links = ip("-o link");
        assert_eq!(links.lines().count(), 2, "{links}");
        assert_eq!(std::fs::read_dir(host.path("netns")).unwrap().count(), 0);
        assert_eq!(std::fs::read_dir(host.path("state/pods")).unwrap().count(), 0);
        std::fs::write(host.path("conf/05-mixed.conflist"), "{").unwrap();
        let text = holdfast_cni::PodNetwork::new(host.config()).unwrap_err().to_string();
        assert!(text.contains("05-mixed.conflist"), "{text}");
    });
}

/// As `kubectl port-forward` does: also what no other pod could reach.
#[test]
fn what_listens_on_a_pods_loopback_alone_is_reached() {
    on_a_host(async |host: &Host| {
        let network = host.network();
        let own = network.attach(&pod("uid-a")).await.unwrap();
        serve(&own.netns_path, v4("127.0.0.1"), 90);
        let mut stream = network.connect(&pod("uid-a"), 90).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        assert_eq!(answer, "127.0.0.1");
        let refused = network.connect(&pod("uid-a"), 91).await.unwrap_err().to_string();
        assert!(refused.starts_with("failed to connect to localhost:91 inside namespace"), "{refused}");
        assert!(refused.contains("dial tcp 127.0.0.1:91: Connection refused"), "{refused}");
        let gone = network.connect(&pod("uid-z"), 90).await.unwrap_err().to_string();
        assert!(gone.contains("entering network namespace"), "{gone}");
    });
}
