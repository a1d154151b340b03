use super::*;
use holdfast_runtime::{Resources, SecurityContext};
use std::collections::BTreeMap;

fn sandbox() -> SandboxSpec {
    SandboxSpec {
        id: "uid-0".into(),
        hostname: "web-1".into(),
        netns_path: "/run/netns/x".into(),
        cgroup_parent: "/holdfast/poduid".into(),
        sysctls: BTreeMap::from([("net.ipv4.ip_unprivileged_port_start".to_string(), "0".to_string())]),
        ..Default::default()
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        id: "uid-web-0".into(),
        image: "registry.local/agnhost:1".into(),
        env: vec![("A".into(), "2".into()), ("B".into(), "x=y".into())],
        mounts: vec![
            Mount { container_path: "/data/sub/".into(), host_path: "/v/2".into(), ..Default::default() },
            Mount { container_path: "/data".into(), host_path: "/v/1".into(), read_only: true, ..Default::default() },
            Mount { container_path: "/dev/shm".into(), ..Default::default() },
        ],
        resources: Resources {
            cpu_shares: 102,
            cpu_quota_us: 20_000,
            cpu_period_us: 100_000,
            memory_limit_bytes: 64 << 20,
            oom_score_adj: 900,
        },
        ..Default::default()
    }
}

fn image() -> ImageConfig {
    ImageConfig {
        entrypoint: vec!["/agnhost".into()],
        cmd: vec!["pause".into()],
        env: vec!["PATH=/bin".into(), "A=1".into()],
        ..Default::default()
    }
}

fn input<'a>(sandbox: &'a SandboxSpec, container: &'a ContainerSpec, image: &'a ImageConfig) -> SpecInput<'a> {
    SpecInput {
        sandbox,
        container,
        image,
        user: ResolvedUser { uid: 33, gid: 34, groups: vec![34, 40] },
        paths: SandboxPaths {
            ipc: Some("/run/s/ipc".into()),
            uts: Some("/run/s/uts".into()),
            shm: Some("/run/s/shm".into()),
            hostname: Some("/run/s/hostname".into()),
        },
        confinement: Confinement::default(),
        devices: Vec::new(),
        cgroup: "/holdfast/poduid/uid-web-0".into(),
        cgroup_v2: true,
        counts_swap: true,
        sandbox_root: None,
        lowest_oom_score_adj: -1000,
        shim_group: "uid-0".into(),
        available_capabilities: (1 << 41) - 1,
    }
}

#[test]
fn an_ordinary_container() {
    let (sandbox, container, image) = (sandbox(), container(), image());
    let spec = runtime_spec(&input(&sandbox, &container, &image)).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&spec).unwrap());
}

#[test]
fn command_and_args_follow_kubernetes_table() {
    let words = |list: &[&str]| list.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    for (command, given, expected) in [
        (&[][..], &[][..], &["/agnhost", "pause"][..]),
        (&["/x"], &[], &["/x"]),
        (&[], &["env"], &["/agnhost", "env"]),
        (&["/x"], &["env"], &["/x", "env"]),
    ] {
        let container = ContainerSpec { command: words(command), args: words(given), ..container() };
        assert_eq!(args(&container, &image()), expected);
    }
}

#[test]
fn security_settings_reach_the_specification() {
    let sandbox = SandboxSpec { host_pid: true, netns_path: String::new(), ..sandbox() };
    let image = image();
    let mut container = container();
    container.security = SecurityContext { privileged: true, ..Default::default() };
    let spec = runtime_spec(&input(&sandbox, &container, &image)).unwrap();
    assert!(spec["linux"].get("maskedPaths").is_none() && spec["linux"].get("seccomp").is_none());
    assert_eq!(spec["process"]["noNewPrivileges"], false);
    assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], true);
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| ns["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["mount", "ipc", "uts"]);

    container.security = SecurityContext {
        seccomp: "RuntimeDefault".into(),
        read_only_rootfs: true,
        drop_capabilities: vec!["ALL".into()],
        ..Default::default()
    };
    let spec = runtime_spec(&input(&sandbox, &container, &image)).unwrap();
    assert_eq!(spec["root"]["readonly"], true);
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["process"]["capabilities"]["bounding"], json!([]));
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
}

#[test]
fn confinement_reaches_the_specification() {
    let (sandbox, image, mut container) = (sandbox(), image(), container());
    container.security.seccomp = "Localhost/a.json".into();
    container.linux.unmasked_proc = true;
    let confinement = Confinement {
        pid: Some("/proc/7/ns/pid".into()),
        seccomp: Some(json!({"defaultAction": "SCMP_ACT_LOG"})),
        apparmor: Some("mine".into()),
    };
    let spec = runtime_spec(&SpecInput { confinement, ..input(&sandbox, &container, &image) }).unwrap();
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_LOG");
    assert_eq!(spec["process"]["apparmorProfile"], "mine");
    assert_eq!(spec["linux"]["namespaces"][1], json!({"type": "pid", "path": "/proc/7/ns/pid"}));
    assert!(spec["linux"].get("maskedPaths").is_none() && spec["linux"].get("readonlyPaths").is_none());
}

#[test]
fn limits_are_said_as_the_version_of_cgroups_wants_them() {
    let resources = container().resources;
    let more = MoreLimits { swap_bytes: Some(1 << 20), huge_pages: [(2 << 20, 4 << 20), (1 << 30, 0)].into() };
    let pages = json!([{"pageSize": "2MB", "limit": 4 << 20}, {"pageSize": "1GB", "limit": 0}]);
    let cpu = json!({"shares": 102, "quota": 20_000, "period": 100_000});
    let limits = |wanted: &Resources, more: &MoreLimits, counts_swap: bool, v2: bool, running: bool| {
        Value::Object(limits(wanted, more, counts_swap, v2, running))
    };
    let two = json!({"cpu": cpu, "memory": {"limit": 64 << 20}, "unified": {"memory.swap.max": "1048576"}, "hugepageLimits": pages});
    assert_eq!(limits(&resources, &more, true, true, false), two);
    let one = limits(&resources, &more, true, false, false);
    assert_eq!(one["memory"], json!({"limit": 64 << 20, "swap": 65 << 20}));
    assert!(limits(&resources, &more, false, true, false).get("unified").is_none(), "swap is not counted");
    let none = Resources { cpu_shares: 2, ..Resources::default() };
    assert_eq!(limits(&none, &MoreLimits::default(), true, true, false), json!({"cpu": {"shares": 2}}));
    let running = json!({"cpu": {"shares": 2, "quota": -1, "period": 100_000}, "memory": {"limit": -1}});
    assert_eq!(limits(&none, &MoreLimits::default(), true, true, true), running);
}

#[test]
fn what_cannot_be_met_is_refused() {
    let (sandbox, image) = (sandbox(), ImageConfig::default());
    let refuse = |container: &ContainerSpec| runtime_spec(&input(&sandbox, container, &image)).unwrap_err().to_string();
    assert!(refuse(&container()).ends_with("no command specified"));
    let base = ContainerSpec { command: vec!["/x".into()], ..container() };
    let relative = ContainerSpec { working_dir: "tmp".into(), ..base.clone() };
    assert_eq!(refuse(&relative), "working directory \"tmp\" is not absolute");
    let mut local = base.clone();
    local.security.seccomp = "Somewhere".into();
    assert_eq!(refuse(&local), "unknown seccomp profile \"Somewhere\"");
    let escape = Mount { container_path: "/a/../../b".into(), host_path: "/v".into(), ..Default::default() };
    assert!(refuse(&ContainerSpec { mounts: vec![escape], ..base }).starts_with("invalid mount path"));
}
