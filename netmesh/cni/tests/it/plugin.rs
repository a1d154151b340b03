use crate::harness::*;
use serde_json::{Value, json};
use std::path::Path;

fn call(command: &str, id: &str, netns: &Path, conf: &Value) -> (i32, Value) {
    let netns = netns.display().to_string();
    let env = [("CNI_COMMAND", command), ("CNI_CONTAINERID", id), ("CNI_NETNS", &netns), ("CNI_IFNAME", "eth0")];
    plugin(&env, &conf.to_string())
}

fn add(id: &str, netns: &Path, conf: &Value) -> Value {
    let (code, result) = call("ADD", id, netns, conf);
    assert_eq!(code, 0, "{result}");
    result
}

fn address(result: &Value) -> std::net::IpAddr {
    v4(result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap())
}

#[test]
fn version_and_errors_are_as_specified() {
    on_a_host(async |host: &Host| {
        let (code, version) = plugin(&[("CNI_COMMAND", "VERSION")], "{}");
        assert_eq!((code, &version["supportedVersions"]), (0, &json!(["0.4.0", "1.0.0", "1.1.0"])));
        let conf = host.conf();
        let netns = host.netns("a");
        let netns = netns.display().to_string();
        let full = [("CNI_COMMAND", "ADD"), ("CNI_CONTAINERID", "a"), ("CNI_NETNS", &*netns), ("CNI_IFNAME", "eth0")];
        let with =
            |name: &str, value: &'static str| full.map(|(key, old)| (key, if key == name { value } else { old }));
        for (env, input, expected) in [
            (full, "{nonsense", 6),
            (full, r#"{"cniVersion":"0.1.0","name":"x"}"#, 1),
            (full, r#"{"cniVersion":"1.1.0","name":"x"}"#, 7),
            (with("CNI_COMMAND", "FLY"), &conf.to_string(), 4),
            (with("CNI_CONTAINERID", ""), &conf.to_string(), 4),
            (with("CNI_CONTAINERID", "../../x"), &conf.to_string(), 4),
            (with("CNI_NETNS", "/etc/passwd"), &conf.to_string(), 4),
        ] {
            let (code, error) = plugin(&env, input);
            assert_eq!((code, error["code"].as_u64()), (1, Some(expected)), "{error}");
            assert!(!error["msg"].as_str().unwrap().is_empty() && error["cniVersion"] == "1.1.0", "{error}");
        }
        assert_eq!(ip("-o link").lines().count(), 1, "a refused ADD left a link");
    });
}

#[test]
fn pods_reach_each_other_and_del_leaves_nothing() {
    on_a_host(async |host: &Host| {
        let conf = host.conf();
        let (a, b) = (host.netns("a"), host.netns("b"));
        let first = add("a", &a, &conf);
        assert_eq!(first["ips"][0]["address"], "10.42.1.2/32");
        assert_eq!(first["ips"][0]["gateway"], "10.42.1.1");
        assert_eq!((&first["interfaces"][2]["name"], &first["interfaces"][0]["name"]), (&json!("eth0"), &json!("hf0")));
        assert_eq!(add("a", &a, &conf), first, "ADD is not idempotent");
        let second = add("b", &b, &conf);
        let (ip_a, ip_b) = (address(&first), address(&second));
        serve(&a, v4("0.0.0.0"), 80);
        serve(&b, v4("0.0.0.0"), 80);
        assert_eq!(ask(Some(&a), None, ip_b, 80), Ok(ip_a.to_string()));
        assert_eq!(ask(Some(&b), None, ip_a, 80), Ok(ip_b.to_string()));
        assert_eq!(ask(None, None, ip_a, 80), Ok("10.42.1.1".into()));

        let mut checked = conf.clone();
        checked["prevResult"] = first.clone();
        assert_eq!(call("CHECK", "a", &a, &checked), (0, Value::Null));
        let host_end = first["interfaces"][1]["name"].as_str().unwrap().to_string();
        ip(&format!("link set {host_end} nomaster"));
        let (code, error) = call("CHECK", "a", &a, &checked);
        assert_eq!((code, error["code"].as_u64()), (1, Some(102)), "{error}");
        assert_eq!(address(&add("a", &a, &conf)), ip_a, "a damaged link is not mended");
        assert_eq!(ask(Some(&b), None, ip_a, 80), Ok(ip_b.to_string()));

        for _ in 0..2 {
            assert_eq!(call("DEL", "a", &a, &conf), (0, Value::Null));
        }
        let gone = Path::new("/nowhere");
        assert_eq!(call("DEL", "b", gone, &conf), (0, Value::Null));
        let links = ip("-o link");
        assert_eq!(links.lines().count(), 2, "{links}");
        let files = std::fs::read_dir(host.path("data/test")).unwrap().flatten().map(|entry| entry.file_name());
        let addresses: Vec<_> = files.filter(|name| name.to_str().unwrap().starts_with("10.")).collect();
        assert!(addresses.is_empty(), "{addresses:?}");
    });
}

#[test]
fn addresses_run_out_with_an_error_and_gc_brings_them_back() {
    on_a_host(async |host: &Host| {
        let mut conf = host.conf();
        conf["ranges"] = json!([{"subnet": "10.42.1.0/30"}]);
        let (a, b) = (host.netns("a"), host.netns("b"));
        add("a", &a, &conf);
        let (code, error) = call("ADD", "b", &b, &conf);
        assert_eq!((code, error["msg"].as_str()), (1, Some("no IP addresses available")));
        let (code, error) = plugin(&[("CNI_COMMAND", "STATUS")], &conf.to_string());
        assert_eq!((code, error["code"].as_u64()), (1, Some(50)), "{error}");
        assert_eq!(ip("-o link").lines().count(), 3);
        let mut gc = conf.clone();
        gc["cni.dev/valid-attachments"] = json!([{"containerID": "b", "ifname": "eth0"}]);
        assert_eq!(plugin(&[("CNI_COMMAND", "GC")], &gc.to_string()), (0, Value::Null));
        add("b", &b, &conf);
        assert_eq!(plugin(&[("CNI_COMMAND", "STATUS")], &host.conf().to_string()), (0, Value::Null));
    });
}

#[test]
fn only_traffic_that_leaves_the_cluster_is_masqueraded() {
    on_a_host(async |host: &Host| {
        let (a, outside) = (host.netns("a"), host.netns("outside"));
        let pod = address(&add("a", &a, &host.conf()));
        ip("link add up0 type veth peer name up1");
        ip("addr add 192.0.2.1/24 dev up0");
        ip("addr add 10.42.9.1/24 dev up0");
        ip("link set up0 up");
        std::fs::write("/proc/sys/net/ipv4/conf/up0/rp_filter", "0").unwrap();
        ip(&format!("link set up1 netns {}", {
            // `ip` wants a name or a pid: a namespace file goes through a descriptor of this process.
            let name = format!("hfcni-{}", std::process::id());
            std::fs::create_dir_all("/run/netns").unwrap();
            std::os::unix::fs::symlink(&outside, format!("/run/netns/{name}")).unwrap();
            name
        }));
        std::fs::remove_file(format!("/run/netns/hfcni-{}", std::process::id())).unwrap();
        holdfast_cni::netns::enter(Some(&outside), || {
            ip("link set up1 up");
            ip("addr add 192.0.2.9/24 dev up1");
            ip("addr add 10.42.9.9/24 dev up1");
            ip("route add 10.42.1.0/24 via 10.42.9.1");
        })
        .unwrap();
        serve(&outside, v4("0.0.0.0"), 80);
        assert_eq!(ask(Some(&a), None, v4("192.0.2.9"), 80), Ok("192.0.2.1".into()));
        assert_eq!(ask(Some(&a), None, v4("10.42.9.9"), 80), Ok(pod.to_string()));
        let table = nft("list table ip holdfast-cni");
        assert_eq!(table.matches("masquerade").count(), 1, "{table}");
        add("a", &a, &host.conf());
        assert_eq!(nft("list table ip holdfast-cni"), table);
    });
}
