//! Whether a node takes a pod that it was given: what the kubelet judges once, before anything of the pod is made.

use crate::machine::EVICTED;
use crate::qos_class;
use k8s_openapi::api::core::v1::{AppArmorProfile, Pod};

/// What of the node matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Names of the loaded AppArmor profiles; `None` where the kernel has no AppArmor.
    pub apparmor: Option<Vec<String>>,
    /// The conditions that speak of pressure and hold.
    pub pressure: Vec<&'static str>,
    /// Sysctls that pods may set beyond the safe ones: names, or their beginning with `*` behind it ([`check_pattern`]).
    pub unsafe_sysctls: Vec<String>,
}

/// Pods of this priority and above are taken all the same (`system-cluster-critical`).
const CRITICAL: i32 = 2_000_000_000;

/// The namespace that a sysctl belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

/// The sysctls that touch no other pod and not the node, as upstream lists them.
const SAFE_SYSCTLS: [(&str, Namespace); 12] = [
    ("kernel.shm_rmid_forced", Namespace::Ipc),
    ("net.ipv4.ip_local_port_range", Namespace::Net),
    ("net.ipv4.ip_local_reserved_ports", Namespace::Net),
    ("net.ipv4.ip_unprivileged_port_start", Namespace::Net),
    ("net.ipv4.ping_group_range", Namespace::Net),
    ("net.ipv4.tcp_fin_timeout", Namespace::Net),
    ("net.ipv4.tcp_keepalive_intvl", Namespace::Net),
    ("net.ipv4.tcp_keepalive_probes", Namespace::Net),
    ("net.ipv4.tcp_keepalive_time", Namespace::Net),
    ("net.ipv4.tcp_rmem", Namespace::Net),
    ("net.ipv4.tcp_syncookies", Namespace::Net),
    ("net.ipv4.tcp_wmem", Namespace::Net),
];

const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";
const APPARMOR: &str = "AppArmor";
/// The reasons for which pods are not taken.
pub(crate) const REASONS: [&str; 4] = [EVICTED, SYSCTL_FORBIDDEN, APPARMOR, crate::shutdown::REJECTED.0];

/// A sysctl's name with dots between its parts. With `/` first, dots stand for themselves and slashes part (as in paths).
pub fn sysctl_name(name: &str) -> String {
    let first = name.find(['.', '/']).and_then(|at| name.as_bytes().get(at));
    if first != Some(&b'/') {
        return name.to_string();
    }
    let swap = |letter| match letter {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    name.chars().map(swap).collect()
}

/// Nothing when the node takes the pod, else reason and message, upstream's.
pub fn admit(pod: &Pod, host: &Host) -> Result<(), (&'static str, String)> {
    if is_kept_away(pod, &host.pressure) {
        return Err((EVICTED, format!("The node had condition: [{}]. ", host.pressure.join(" "))));
    }
    sysctls(pod, &host.unsafe_sysctls).map_err(|why| (SYSCTL_FORBIDDEN, format!("forbidden sysctl: {why}")))?;
    apparmor(pod, host).map_err(|why| (APPARMOR, format!("Cannot enforce AppArmor: {why}")))
}

/// Whether pressure keeps the pod away. A lack of memory alone does so only to those that name no need of it.
fn is_kept_away(pod: &Pod, pressure: &[&str]) -> bool {
    let spec = pod.spec.as_ref();
    if pressure.is_empty() || spec.and_then(|spec| spec.priority).unwrap_or(0) >= CRITICAL {
        return false;
    }
    let tolerates = spec.into_iter().flat_map(|spec| spec.tolerations.iter().flatten()).any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let fits = key == "node.kubernetes.io/memory-pressure" || key.is_empty();
        let effect = toleration.effect.as_deref().unwrap_or_default();
        fits && toleration.operator.as_deref() == Some("Exists") && (effect.is_empty() || effect == "NoSchedule")
    });
    pressure != ["MemoryPressure"] || (qos_class(pod) == "BestEffort" && !tolerates)
}

/// Whether a name, or its beginning with `*` behind it, fits a sysctl.
fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |beginning| name.starts_with(beginning))
}

/// The namespace of a sysctl that has one, or of all that fit a pattern.
fn namespace(pattern: &str) -> Option<Namespace> {
    let name = pattern.trim_end_matches('*');
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    if ipc.iter().any(|beginning| name.starts_with(beginning)) || name == "kernel.sem" {
        return Some(Namespace::Ipc);
    }
    name.starts_with("net.").then_some(Namespace::Net)
}

/// Why a pattern of sysctls cannot be allowed.
///
/// # Errors
/// For people.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let name = pattern.strip_suffix('*').unwrap_or(pattern);
    let letters =
        |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_/".contains(&b));
    if name.is_empty() || name.contains('*') || !name.split('.').all(letters) {
        return Err(format!("{pattern:?} is no sysctl name, nor the beginning of one with * behind it"));
    }
    match namespace(pattern) {
        Some(_) => Ok(()),
        None => Err(format!("the sysctls {pattern:?} are not known to be namespaced")),
    }
}

fn sysctls(pod: &Pod, allowed: &[String]) -> Result<(), String> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let asked = spec.security_context.iter().flat_map(|context| context.sysctls.iter().flatten());
    for sysctl in asked {
        let name = sysctl_name(&sysctl.name);
        let safe = SAFE_SYSCTLS.iter().find(|(safe, _)| *safe == name).map(|(_, namespace)| *namespace);
        let known = safe.or_else(|| {
            let pattern = allowed.iter().find(|pattern| fits(pattern, &name))?;
            namespace(pattern)
        });
        let (shared, word) = match known {
            Some(Namespace::Ipc) => (spec.host_ipc, "IPC"),
            Some(Namespace::Net) => (spec.host_network, "Net"),
            None => return Err(format!("{name:?} not allowlisted")),
        };
        if shared == Some(true) {
            return Err(format!("{name:?} not allowed with host {word} enabled"));
        }
    }
    Ok(())
}

fn apparmor(pod: &Pod, host: &Host) -> Result<(), String> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let of_pod = spec.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
    let all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let profiles = all.filter_map(|container| {
        let own = container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref());
        own.or(of_pod)
    });
    let asked: Vec<&AppArmorProfile> = profiles.filter(|profile| profile.type_ != "Unconfined").collect();
    if asked.is_empty() {
        return Ok(());
    }
    let loaded = host.apparmor.as_ref().ok_or("AppArmor is not enabled on the host")?;
    for profile in asked.into_iter().filter(|profile| profile.type_ == "Localhost") {
        let name = profile.localhost_profile.as_deref().unwrap_or_default();
        if !loaded.iter().any(|known| known == name) {
            return Err(format!("profile {name:?} is not loaded"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typed;
    use serde_json::{Value, json};

    fn judge(spec: Value, host: &Host) -> String {
        let pod = typed::pod(json!({"metadata": {"name": "a"}, "spec": spec})).unwrap();
        match admit(&pod, host) {
            Ok(()) => "taken".into(),
            Err((reason, message)) => format!("{reason}: {message}"),
        }
    }

    fn with_sysctl(name: &str, more: Value) -> String {
        let mut spec = json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        judge(spec, &Host::default())
    }

    #[test]
    fn safe_sysctls_alone_are_taken() {
        assert_eq!(with_sysctl("net.ipv4.tcp_syncookies", json!({})), "taken");
        assert_eq!(with_sysctl("net/ipv4/tcp_syncookies", json!({})), "taken");
        assert_eq!(
            with_sysctl("kernel.msgmax", json!({})),
            "SysctlForbidden: forbidden sysctl: \"kernel.msgmax\" not allowlisted"
        );
        assert_eq!(
            with_sysctl("net.ipv4.tcp_rmem", json!({"hostNetwork": true})),
            "SysctlForbidden: forbidden sysctl: \"net.ipv4.tcp_rmem\" not allowed with host Net enabled"
        );
        assert_eq!(
            with_sysctl("kernel.shm_rmid_forced", json!({"hostIPC": true})),
            "SysctlForbidden: forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host IPC enabled"
        );
        assert_eq!(sysctl_name("net/ipv4/conf/eth0.1/x"), "net.ipv4.conf.eth0/1.x");
    }

    #[test]
    fn pressure_keeps_pods_away() {
        let plain = || json!({"containers": [{"name": "a"}]});
        let with = |field: &str, value: Value| {
            let mut spec = plain();
            spec[field] = value;
            spec
        };
        let sized = json!({"containers": [{"name": "a", "resources": {"requests": {"memory": "1Mi"}}}]});
        let tolerant =
            json!([{"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}]);
        let (memory, disk) = (vec!["MemoryPressure"], vec!["DiskPressure"]);
        for (spec, pressure, taken) in [
            (plain(), vec![], true),
            (plain(), memory.clone(), false),
            (sized.clone(), memory.clone(), true),
            (with("tolerations", tolerant.clone()), memory.clone(), true),
            (sized, disk.clone(), false),
            (with("tolerations", tolerant), disk.clone(), false),
            (with("priority", json!(CRITICAL)), disk.clone(), true),
        ] {
            let host = Host { pressure: pressure.clone(), ..Host::default() };
            assert_eq!(judge(spec.clone(), &host) == "taken", taken, "{spec} {pressure:?}");
        }
        let host = Host { pressure: vec!["MemoryPressure", "DiskPressure"], ..Host::default() };
        assert_eq!(judge(plain(), &host), "Evicted: The node had condition: [MemoryPressure DiskPressure]. ");
    }

    #[test]
    fn a_node_may_allow_more_sysctls() {
        let host = Host { unsafe_sysctls: vec!["kernel.msg*".into(), "net.core.somaxconn".into()], ..Host::default() };
        let judge = |name: &str, more: Value| {
            let mut spec = json!({"containers": [], "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            judge(spec, &host)
        };
        assert_eq!(judge("kernel.msgmax", json!({})), "taken");
        assert_eq!(judge("net/core/somaxconn", json!({})), "taken");
        assert!(judge("net.core.somaxconn2", json!({})).ends_with("not allowlisted"));
        assert!(judge("kernel.shmmax", json!({})).ends_with("not allowlisted"));
        assert!(judge("kernel.msgmax", json!({"hostIPC": true})).ends_with("not allowed with host IPC enabled"));
        assert!(
            judge("net.core.somaxconn", json!({"hostNetwork": true})).ends_with("not allowed with host Net enabled")
        );
        for fine in ["kernel.shm*", "kernel.sem", "fs.mqueue.*", "net.*", "net.ipv4.conf.eth0/1.forwarding"] {
            assert_eq!(check_pattern(fine), Ok(()), "{fine}");
        }
        for wrong in ["", "*", "kernel.*", "vm.swappiness", "net.*.x", "Net.core", "kernel.semaphore"] {
            assert!(check_pattern(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn apparmor_needs_a_kernel_that_has_it() {
        let profile = |kind: &str, name: Value| json!({"type": kind, "localhostProfile": name});
        let spec = |of_pod: Value, own: Value| {
            let own = json!({"name": "a", "securityContext": {"appArmorProfile": own}});
            json!({"containers": [own], "securityContext": {"appArmorProfile": of_pod}})
        };
        let (without, with) = (Host::default(), Host { apparmor: Some(vec!["mine".into()]), ..Host::default() });
        let none = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        let default = || profile("RuntimeDefault", Value::Null);
        assert_eq!(judge(spec(default(), Value::Null), &without), none);
        assert_eq!(judge(spec(Value::Null, profile("Localhost", json!("mine"))), &without), none);
        assert_eq!(judge(spec(default(), profile("Unconfined", Value::Null)), &without), "taken");
        assert_eq!(judge(spec(default(), profile("Localhost", json!("mine"))), &with), "taken");
        assert_eq!(
            judge(spec(Value::Null, profile("Localhost", json!("other"))), &with),
            "AppArmor: Cannot enforce AppArmor: profile \"other\" is not loaded"
        );
    }
}
