//! What a pod and its containers may use, in the kernel's terms, by the kubelet's formulas.

use crate::parts::{HostInfo, NodeConfig, SwapBehaviour};
use holdfast_core::Quantity;
use holdfast_pods::{ledger, qos_class};
use holdfast_runtime::{MoreLimits, NodeCgroups, PodCgroup, Resources};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use std::collections::BTreeMap;

/// The period of CPU quotas, in microseconds.
const PERIOD_US: u64 = 100_000;
/// Pods of this priority and above are critical (`system-cluster-critical`).
const CRITICAL: i32 = 2_000_000_000;
/// The least of `cpu.shares`: of what asks for no CPU.
const FEWEST_SHARES: u64 = 2;
/// `oom_score_adj` of what shall go last, and first.
const OOM_LAST: i64 = -997;
const OOM_FIRST: i64 = 1000;

fn quantity(requirements: Option<&ResourceRequirements>, limits: bool, resource: &str) -> Option<Quantity> {
    let requirements = requirements?;
    let map = if limits { &requirements.limits } else { &requirements.requests };
    map.as_ref()?.get(resource)?.0.parse().ok()
}

/// An amount above zero: CPU in thousandths, else whole units.
fn amount(requirements: Option<&ResourceRequirements>, limits: bool, resource: &str) -> Option<i64> {
    let quantity = quantity(requirements, limits, resource)?;
    Some(if resource == "cpu" { quantity.milli() } else { quantity.units() }).filter(|amount| *amount > 0)
}

/// A request; what is only limited asks for that.
fn request(requirements: Option<&ResourceRequirements>, resource: &str) -> Option<i64> {
    amount(requirements, false, resource).or_else(|| amount(requirements, true, resource))
}

fn shares(milli: i64) -> u64 {
    let shares = milli.saturating_mul(1024) / 1000;
    u64::try_from(shares).unwrap_or(0).clamp(FEWEST_SHARES, 262_144)
}

fn quota(milli: i64) -> i64 {
    milli.saturating_mul(100).max(1000)
}

fn own(pod: &Pod) -> Option<&ResourceRequirements> {
    pod.spec.as_ref().and_then(|spec| spec.resources.as_ref())
}

/// The limit of a container: its own, else the pod's.
fn limit(pod: &Pod, container: &Container, resource: &str) -> Option<i64> {
    amount(container.resources.as_ref(), true, resource).or_else(|| amount(own(pod), true, resource))
}

/// The cgroup of all pods of the node.
pub(crate) fn root(config: &NodeConfig) -> String {
    format!("{}/kubepods", config.cgroup_root.trim_end_matches('/'))
}

/// The cgroup of a pod: guaranteed ones stand beside the classes of the others, as the kubelet has it.
pub(super) fn parent(config: &NodeConfig, pod: &Pod) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let root = root(config);
    match qos_class(pod) {
        "Guaranteed" => format!("{root}/pod{uid}"),
        class => format!("{root}/{}/pod{uid}", class.to_lowercase()),
    }
}

/// The cgroups above pods: together they are held to what is not reserved, and the class of burstable pods has a share by what
/// those ask for, in thousandths of a CPU.
pub(crate) fn above_pods(config: &NodeConfig, host: &HostInfo, burstable_cpu: i64) -> NodeCgroups {
    let reserved = &config.resources.reserved;
    let cpu = i64::from(host.cpus).saturating_mul(1000).saturating_sub(reserved.cpu_milli);
    let memory = i64::try_from(host.memory_bytes).unwrap_or(i64::MAX).saturating_sub(reserved.memory_bytes);
    NodeCgroups {
        root: root(config),
        all: PodCgroup { cpu_shares: shares(cpu), memory_limit_bytes: memory.max(0), ..PodCgroup::default() },
        classes: BTreeMap::from([
            ("besteffort".to_string(), FEWEST_SHARES),
            ("burstable".to_string(), shares(burstable_cpu)),
        ]),
    }
}

/// What all containers of a pod may use together (upstream's `ResourceConfigForPod`).
pub(super) fn pod(config: &NodeConfig, pod: &Pod) -> PodCgroup {
    let pids_limit = config.resources.pod_pids_limit;
    let Some(spec) = pod.spec.as_ref() else { return PodCgroup { pids_limit, ..PodCgroup::default() } };
    let cpu = all_limits(spec, "cpu");
    let memory = all_limits(spec, "memory");
    let cpu_shares = match qos_class(pod) {
        "BestEffort" => FEWEST_SHARES,
        _ => shares(ledger::requests(pod).cpu_milli),
    };
    PodCgroup {
        cpu_shares,
        cpu_quota_us: cpu.map_or(0, quota),
        cpu_period_us: cpu.map_or(0, |_| PERIOD_US),
        memory_limit_bytes: memory.unwrap_or(0),
        pids_limit,
    }
}

/// The limits of a pod together; `None` when it or one of its containers has none. Overhead counts.
fn all_limits(spec: &PodSpec, resource: &str) -> Option<i64> {
    let overhead = spec.overhead.as_ref().and_then(|list| list.get(resource)?.0.parse::<Quantity>().ok());
    let overhead = overhead.map_or(0, |quantity| if resource == "cpu" { quantity.milli() } else { quantity.units() });
    if let Some(all) = amount(spec.resources.as_ref(), true, resource) {
        return Some(all.saturating_add(overhead));
    }
    let of = |container: &Container| amount(container.resources.as_ref(), true, resource);
    let apps = spec.containers.iter().try_fold(0_i64, |sum, one| Some(sum.saturating_add(of(one)?)))?;
    let (mut sidecars, mut start) = (0_i64, 0_i64);
    for container in spec.init_containers.iter().flatten() {
        let own = of(container)?;
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(own);
            start = start.max(sidecars);
        } else {
            start = start.max(sidecars.saturating_add(own));
        }
    }
    Some(apps.saturating_add(sidecars).max(start).saturating_add(overhead))
}

/// What one container may use.
pub(super) fn container(host: &HostInfo, pod: &Pod, container: &Container) -> Resources {
    let wanted = container.resources.as_ref();
    let cpu_limit = limit(pod, container, "cpu");
    Resources {
        cpu_shares: shares(request(wanted, "cpu").unwrap_or(0)),
        cpu_period_us: cpu_limit.map_or(0, |_| PERIOD_US),
        cpu_quota_us: cpu_limit.map_or(0, quota),
        memory_limit_bytes: limit(pod, container, "memory").unwrap_or(0),
        oom_score_adj: i32::try_from(oom_score(host, pod, container)).unwrap_or(0),
    }
}

/// What of one container only processes of Linux are held to.
pub(super) fn more(config: &NodeConfig, host: &HostInfo, pod: &Pod, container: &Container) -> MoreLimits {
    let page = |bytes: u64| {
        let name = format!("hugepages-{}", Quantity::from_bytes(bytes));
        let limit = amount(container.resources.as_ref(), true, &name).unwrap_or(0);
        (bytes, u64::try_from(limit).unwrap_or(0))
    };
    // A node without huge pages has none to forbid.
    let huge_pages = host.huge_pages.iter().filter(|(_, count)| **count > 0).map(|(bytes, _)| page(*bytes)).collect();
    MoreLimits { swap_bytes: swap(config, host, pod, container), huge_pages }
}

/// How much of a container may be swapped out; `None` where there is nothing to swap to.
fn swap(config: &NodeConfig, host: &HostInfo, pod: &Pod, container: &Container) -> Option<i64> {
    let all = i64::try_from(host.swap_bytes).unwrap_or(i64::MAX);
    if all == 0 {
        return None;
    }
    let asked = amount(container.resources.as_ref(), false, "memory");
    let limited = amount(container.resources.as_ref(), true, "memory");
    let may = config.resources.swap == SwapBehaviour::Limited
        && qos_class(pod) == "Burstable"
        && !is_critical(pod)
        && asked != limited;
    let memory = i128::from(host.memory_bytes);
    match asked.filter(|_| may && memory > 0) {
        // The share of the swap that its request is of the memory.
        Some(asked) => i64::try_from(i128::from(asked) * i128::from(all) / memory).ok(),
        None => Some(0),
    }
}

fn is_critical(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.priority).is_some_and(|priority| priority >= CRITICAL)
}

/// How soon the kernel ends a container when memory is short (upstream's `GetContainerOOMScoreAdjust`).
fn oom_score(host: &HostInfo, pod: &Pod, container: &Container) -> i64 {
    let Some(spec) = &pod.spec else { return OOM_FIRST };
    let for_the_node = spec.priority_class_name.as_deref() == Some("system-node-critical");
    match qos_class(pod) {
        _ if for_the_node && is_critical(pod) => return OOM_LAST,
        "Guaranteed" => return OOM_LAST,
        "BestEffort" => return OOM_FIRST,
        _ => {}
    }
    // What is asked for the pod and by none of its containers is theirs in equal parts.
    let sidecars =
        || spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let all: Vec<&Container> = sidecars().chain(&spec.containers).collect();
    let asked = |one: &Container| request(one.resources.as_ref(), "memory").unwrap_or(0);
    let together = amount(spec.resources.as_ref(), false, "memory");
    let spare = together.map_or(0, |all_of_it| {
        let sum = all.iter().map(|one| asked(one)).fold(0, i64::saturating_add);
        all_of_it.saturating_sub(sum).max(0) / i64::try_from(all.len().max(1)).unwrap_or(1)
    });
    let capacity = i128::from(host.memory_bytes.max(1));
    let score = |one: &Container| {
        let share = i128::from(asked(one).saturating_add(spare)) * 1000 / capacity;
        i64::try_from(1000 - share).unwrap_or(0).clamp(1000 + OOM_LAST, OOM_FIRST - 1)
    };
    let own = score(container);
    if sidecars().any(|one| one.name == container.name) {
        // It goes no sooner than those that it serves.
        return spec.containers.iter().map(score).fold(own, i64::min);
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{NodeResources, Reserved};
    use holdfast_pods::typed;
    use serde_json::{Value, json};

    const GIB: u64 = 1 << 30;

    fn config() -> NodeConfig {
        NodeConfig { cgroup_root: "/holdfast/".into(), ..NodeConfig::default() }
    }

    fn host() -> HostInfo {
        HostInfo { cpus: 4, memory_bytes: 8 * GIB, ..HostInfo::default() }
    }

    fn made(spec: Value) -> Pod {
        typed::pod(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
    }

    fn one(resources: Value) -> Pod {
        made(json!({"containers": [{"name": "a", "resources": resources}]}))
    }

    fn of(pod: &Pod, name: &str) -> Resources {
        let spec = pod.spec.as_ref().unwrap();
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        container(&host(), pod, all.find(|one| one.name == name).unwrap())
    }

    #[test]
    fn containers_are_limited_by_the_kubelets_formulas() {
        let burstable =
            one(json!({"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "500m", "memory": "2Gi"}}));
        let expected = Resources {
            cpu_shares: 102,
            cpu_quota_us: 50_000,
            cpu_period_us: 100_000,
            memory_limit_bytes: 2 << 30,
            oom_score_adj: 875,
        };
        assert_eq!(of(&burstable, "a"), expected);
        let tiny = of(&one(json!({"limits": {"cpu": "1m"}})), "a");
        assert_eq!((tiny.cpu_shares, tiny.cpu_quota_us), (2, 1000));
        let free = of(&one(json!({})), "a");
        assert_eq!(free, Resources { cpu_shares: 2, oom_score_adj: 1000, ..Resources::default() });
    }

    #[test]
    fn who_goes_first_when_memory_is_short() {
        let score = |resources: Value| of(&one(resources), "a").oom_score_adj;
        let all = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(score(json!({"limits": all})), -997);
        assert_eq!(score(json!({"requests": {"cpu": "1"}})), 999);
        assert_eq!(score(json!({"requests": {"memory": "100Gi"}})), 3);
        let critical = json!({"priority": 2_000_001_000, "priorityClassName": "system-node-critical", "containers": [{"name": "a"}]});
        assert_eq!(of(&made(critical), "a").oom_score_adj, -997);
        let memory = |amount: &str| json!({"requests": {"memory": amount}});
        let served = made(json!({
            "containers": [{"name": "a", "resources": memory("4Gi")}, {"name": "b", "resources": memory("1Gi")}],
            "initContainers": [
                {"name": "side", "restartPolicy": "Always"},
                {"name": "init", "resources": memory("2Gi")},
            ],
        }));
        let scores = ["a", "b", "side", "init"].map(|name| of(&served, name).oom_score_adj);
        assert_eq!(scores, [500, 875, 500, 750]);
        let together = made(json!({
            "resources": {"requests": {"memory": "4Gi"}},
            "containers": [{"name": "a"}, {"name": "b", "resources": memory("2Gi")}],
        }));
        assert_eq!(["a", "b"].map(|name| of(&together, name).oom_score_adj), [875, 625]);
    }

    #[test]
    fn pods_stand_where_their_class_says() {
        let at = |pod: &Pod| parent(&config(), pod);
        assert_eq!(at(&one(json!({}))), "/holdfast/kubepods/besteffort/podu");
        assert_eq!(at(&one(json!({"requests": {"cpu": "1"}}))), "/holdfast/kubepods/burstable/podu");
        assert_eq!(at(&one(json!({"limits": {"cpu": "1", "memory": "1Gi"}}))), "/holdfast/kubepods/podu");
        let mut config = config();
        config.resources.reserved = Reserved { cpu_milli: 500, memory_bytes: 1 << 30, ..Reserved::default() };
        let above = above_pods(&config, &host(), 2000);
        assert_eq!((above.all.cpu_shares, above.all.memory_limit_bytes), (3584, 7 << 30));
        assert_eq!(above.classes, [("besteffort".to_string(), 2), ("burstable".to_string(), 2048)].into());
    }

    #[test]
    fn a_pod_is_limited_as_far_as_all_of_it_is() {
        let limits = |spec: Value| {
            let all = pod(&config(), &made(spec));
            (all.cpu_shares, all.cpu_quota_us, all.memory_limit_bytes >> 20)
        };
        let sized = |cpu: &str, memory: &str| json!({"name": cpu, "resources": {"limits": {"cpu": cpu, "memory": memory}, "requests": {"cpu": "100m"}}});
        let two = json!([sized("500m", "64Mi"), sized("1", "100Mi")]);
        assert_eq!(limits(json!({"containers": two})), (204, 150_000, 164));
        let more = json!({"containers": two, "overhead": {"cpu": "100m", "memory": "10Mi"}});
        assert_eq!(limits(more), (307, 160_000, 174), "overhead counts");
        let open = json!({"containers": [sized("500m", "64Mi"), {"name": "b", "resources": {"limits": {"cpu": "1"}}}]});
        assert_eq!(limits(open.clone()), (102, 150_000, 0), "one without a limit leaves the pod without");
        let mut own = open;
        own["resources"] = json!({"limits": {"memory": "200Mi"}, "requests": {"cpu": "2"}});
        assert_eq!(limits(own), (2048, 150_000, 200), "the pod's own come first");
        let mut init = sized("3", "300Mi");
        init["name"] = json!("i");
        assert_eq!(limits(json!({"containers": two, "initContainers": [init]})), (204, 300_000, 300));
        assert_eq!(limits(json!({"containers": [{"name": "a"}]})), (2, 0, 0));
        let resources = NodeResources { pod_pids_limit: 77, ..NodeResources::default() };
        assert_eq!(pod(&NodeConfig { resources, ..config() }, &one(json!({}))).pids_limit, 77);
    }

    #[test]
    fn a_pods_limit_holds_for_containers_without_one() {
        let all = made(json!({
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
            "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"memory": "64Mi"}}}],
        }));
        let seen = |name: &str| (of(&all, name).cpu_quota_us, of(&all, name).memory_limit_bytes >> 20);
        assert_eq!((seen("a"), seen("b")), ((200_000, 1024), (200_000, 64)));
    }

    #[test]
    fn swap_is_for_those_that_may() {
        let swapping = |behaviour: SwapBehaviour, host: &HostInfo, resources: Value| {
            let mut config = config();
            config.resources.swap = behaviour;
            let pod = one(resources);
            more(&config, host, &pod, &pod.spec.as_ref().unwrap().containers[0]).swap_bytes
        };
        let with = HostInfo { swap_bytes: 4 * GIB, ..host() };
        let burstable = || json!({"requests": {"memory": "2Gi"}, "limits": {"memory": "4Gi"}});
        assert_eq!(swapping(SwapBehaviour::Limited, &host(), burstable()), None, "there is none");
        assert_eq!(swapping(SwapBehaviour::None, &with, burstable()), Some(0));
        assert_eq!(swapping(SwapBehaviour::Limited, &with, burstable()), Some(1 << 30));
        for not in [
            json!({}),
            json!({"limits": {"cpu": "1", "memory": "1Gi"}}),
            json!({"requests": {"cpu": "1"}}),
            json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
        ] {
            assert_eq!(swapping(SwapBehaviour::Limited, &with, not.clone()), Some(0), "{not}");
        }
    }

    #[test]
    fn huge_pages_are_limited_by_size() {
        let host = HostInfo { huge_pages: [(2 << 20, 10), (1 << 30, 0)].into(), ..host() };
        let pod = one(json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "1Gi"}}));
        let found = more(&config(), &host, &pod, &pod.spec.as_ref().unwrap().containers[0]);
        assert_eq!(found.huge_pages, [(2 << 20, 4 << 20)].into());
    }
}
