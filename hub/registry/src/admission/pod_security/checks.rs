//! The checks of the standards, each with the reason and the detail that upstream gives.

use super::Level;
use holdfast_core::Json;
use holdfast_core::json::{at, bool_at, i64_at, items_at, str_at};
use std::collections::BTreeSet;

type Found = Option<(String, String)>;

/// A pod, as the checks see it.
struct Pod<'p> {
    metadata: Option<&'p Json>,
    spec: &'p Json,
    minor: u32,
}

const BASELINE_CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// Safe sysctls, with the minor version from which on they are.
const SYSCTLS: [(&str, u32); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// What a level forbids of a pod, in upstream's order: the checks of baseline, then those of restricted, each by name.
pub(super) fn run(level: Level, minor: u32, metadata: Option<&Json>, spec: &Json) -> Vec<(String, String)> {
    let pod = Pod { metadata, spec, minor };
    let restricted = level == Level::Restricted;
    let mut found = Vec::new();
    if level >= Level::Baseline {
        found.push(pod.app_armor());
        // A stricter check of restricted stands for its forerunner.
        if !(restricted && minor >= 22) {
            found.push(pod.capabilities());
        }
        found.push(pod.host_namespaces());
        if !restricted {
            found.push(pod.host_paths());
        }
        found.extend([pod.host_ports(), pod.host_probes(), pod.privileged(), pod.proc_mount(), pod.se_linux()]);
        if !(restricted && minor >= 19) {
            found.push(pod.seccomp());
        }
        found.extend([pod.sysctls(), pod.host_process()]);
    }
    if restricted {
        found.extend([
            pod.privilege_escalation(),
            pod.restricted_capabilities(),
            pod.restricted_volumes(),
            pod.run_as_non_root(),
            pod.run_as_user(),
            pod.restricted_seccomp(),
        ]);
    }
    found.into_iter().flatten().collect()
}

fn quoted<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| format!("{:?}", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// `container "a"`, `containers "a", "b"`.
fn containers(names: &[&str]) -> String {
    format!("{} {}", plural("container", names.len()), quoted(names))
}

fn plural(word: &str, count: usize) -> String {
    if count == 1 { word.to_string() } else { format!("{word}s") }
}

fn name(container: &Json) -> &str {
    str_at(container, &["name"]).unwrap_or_default()
}

impl<'p> Pod<'p> {
    /// Init containers, containers, ephemeral ones.
    fn all(&self) -> impl Iterator<Item = &'p Json> {
        ["initContainers", "containers", "ephemeralContainers"]
            .into_iter()
            .flat_map(|list| items_at(self.spec, &[list]))
    }

    fn named(&self, bad: impl Fn(&Json) -> bool) -> Vec<&'p str> {
        self.all().filter(|container| bad(container)).map(name).collect()
    }

    fn is_windows(&self) -> bool {
        self.minor >= 25 && str_at(self.spec, &["os", "name"]) == Some("windows")
    }

    /// `pod and container "a"`, of what is bad; `None` when nothing is.
    fn subjects(&self, pod: bool, bad: &[&str]) -> Option<String> {
        match (pod, bad.is_empty()) {
            (false, true) => None,
            (true, true) => Some("pod".into()),
            (false, false) => Some(containers(bad)),
            (true, false) => Some(format!("pod and {}", containers(bad))),
        }
    }

    fn app_armor(&self) -> Found {
        const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
        let mut values = BTreeSet::new();
        let mut bad = |holder: &Json| {
            let kind = str_at(holder, &["securityContext", "appArmorProfile", "type"]);
            let kind = kind.filter(|kind| !matches!(*kind, "RuntimeDefault" | "Localhost"));
            kind.map(|kind| values.insert(format!("{kind:?}"))).is_some()
        };
        let pod = bad(self.spec);
        let named: Vec<&str> = self.all().filter(|container| bad(container)).map(name).collect();
        let mut details = Vec::new();
        if let Some(subjects) = self.subjects(pod, &named) {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            details.push(format!("{subjects} must not set AppArmor profile type to {}", values.join(", ")));
        }
        let annotations = self.metadata.and_then(|metadata| at(metadata, &["annotations"])).and_then(Json::as_object);
        let mut forbidden: Vec<String> = annotations
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with(ANNOTATION))
            .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
            .filter(|(_, value)| !value.is_empty() && *value != "runtime/default" && !value.starts_with("localhost/"))
            .map(|(key, value)| format!("{key}={value:?}"))
            .collect();
        forbidden.sort();
        if !forbidden.is_empty() {
            details.push(format!("{} {}", plural("annotation", forbidden.len()), forbidden.join(", ")));
        }
        let count = values.len() + forbidden.len();
        (!details.is_empty()).then(|| (plural("forbidden AppArmor profile", count), details.join("; ")))
    }

    fn added_capabilities(&self, allowed: &[&str]) -> Option<String> {
        let mut values = BTreeSet::new();
        let mut bad = Vec::new();
        for container in self.all() {
            let added = items_at(container, &["securityContext", "capabilities", "add"]);
            let wrong: Vec<&str> = added.iter().filter_map(Json::as_str).filter(|add| !allowed.contains(add)).collect();
            if !wrong.is_empty() {
                bad.push(name(container));
                values.extend(wrong);
            }
        }
        let text =
            || format!("{} must not include {} in securityContext.capabilities.add", containers(&bad), quoted(values));
        (!bad.is_empty()).then(text)
    }

    fn capabilities(&self) -> Found {
        Some(("non-default capabilities".into(), self.added_capabilities(&BASELINE_CAPABILITIES)?))
    }

    fn host_namespaces(&self) -> Found {
        let used = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
        let used: Vec<String> = used
            .filter(|field| bool_at(self.spec, &[field]) == Some(true))
            .map(|field| format!("{field}=true"))
            .collect();
        (!used.is_empty()).then(|| ("host namespaces".into(), used.join(", ")))
    }

    fn host_paths(&self) -> Found {
        let volumes = items_at(self.spec, &["volumes"]).iter().filter(|volume| volume.get("hostPath").is_some());
        let names: Vec<&str> = volumes.map(name).collect();
        let text = || format!("{} {}", plural("volume", names.len()), quoted(&names));
        (!names.is_empty()).then(|| ("hostPath volumes".into(), text()))
    }

    fn host_ports(&self) -> Found {
        let ports_of = |container: &Json| -> Vec<i64> {
            let ports = items_at(container, &["ports"]).iter().filter_map(|port| i64_at(port, &["hostPort"]));
            ports.filter(|port| *port != 0).collect()
        };
        let bad = self.named(|container| !ports_of(container).is_empty());
        let ports: BTreeSet<i64> = self.all().flat_map(ports_of).collect();
        let word = plural("hostPort", ports.len());
        let shown: Vec<String> = ports.iter().map(i64::to_string).collect();
        let verb = if bad.len() == 1 { "uses" } else { "use" };
        let text = || format!("{} {verb} {word} {}", containers(&bad), shown.join(", "));
        (!bad.is_empty()).then(|| (word.clone(), text()))
    }

    fn host_probes(&self) -> Found {
        if self.minor < 34 {
            return None;
        }
        let hosts_of = |container: &Json| -> Vec<String> {
            let handlers = [
                &["livenessProbe"][..],
                &["readinessProbe"],
                &["startupProbe"],
                &["lifecycle", "postStart"],
                &["lifecycle", "preStop"],
            ];
            let of = handlers.iter().filter_map(|path| at(container, path)).flat_map(|handler| {
                ["httpGet", "tcpSocket"]
                    .map(|action| str_at(handler, &[action, "host"]).unwrap_or_default().to_string())
            });
            of.filter(|host| !host.is_empty() && host != "127.0.0.1" && host != "::1").collect()
        };
        let bad = self.named(|container| !hosts_of(container).is_empty());
        let hosts: BTreeSet<String> = self.all().flat_map(hosts_of).collect();
        let verb = if bad.len() == 1 { "uses" } else { "use" };
        let text = || {
            let word = plural("host", hosts.len());
            format!("{} {verb} probe or lifecycle {word} {}", containers(&bad), quoted(&hosts))
        };
        (!bad.is_empty()).then(|| ("probe or lifecycle host".into(), text()))
    }

    fn privileged(&self) -> Found {
        let bad = self.named(|container| bool_at(container, &["securityContext", "privileged"]) == Some(true));
        let text = || format!("{} must not set securityContext.privileged=true", containers(&bad));
        (!bad.is_empty()).then(|| ("privileged".into(), text()))
    }

    fn proc_mount(&self) -> Found {
        let mount = |container: &Json| {
            let kind = str_at(container, &["securityContext", "procMount"]).unwrap_or_default().to_string();
            (!kind.is_empty() && kind != "Default").then_some(kind)
        };
        let bad = self.named(|container| mount(container).is_some());
        let kinds: BTreeSet<String> = self.all().filter_map(mount).collect();
        let text = || format!("{} must not set securityContext.procMount to {}", containers(&bad), quoted(&kinds));
        (!bad.is_empty()).then(|| ("procMount".into(), text()))
    }

    fn se_linux(&self) -> Found {
        let mut types = BTreeSet::new();
        let (mut user, mut role) = (false, false);
        let mut bad = |holder: &Json| {
            let option =
                |field: &str| str_at(holder, &["securityContext", "seLinuxOptions", field]).unwrap_or_default();
            let engine = self.minor >= 31 && option("type") == "container_engine_t";
            let known = matches!(option("type"), "" | "container_t" | "container_init_t" | "container_kvm_t");
            let wrong = !known && !engine;
            if wrong {
                types.insert(option("type").to_string());
            }
            user |= !option("user").is_empty();
            role |= !option("role").is_empty();
            wrong || !option("user").is_empty() || !option("role").is_empty()
        };
        let pod = bad(self.spec);
        let named: Vec<&str> = self.all().filter(|container| bad(container)).map(name).collect();
        let subjects = self.subjects(pod, &named)?;
        let mut what = Vec::new();
        if !types.is_empty() {
            what.push(format!("{} {}", plural("type", types.len()), quoted(types)));
        }
        what.extend(user.then(|| "user may not be set".to_string()));
        what.extend(role.then(|| "role may not be set".to_string()));
        Some((
            "seLinuxOptions".into(),
            format!("{subjects} set forbidden securityContext.seLinuxOptions: {}", what.join("; ")),
        ))
    }

    /// Who sets a profile that nobody may.
    fn bad_seccomp(&self) -> Option<String> {
        let kind = |holder: &Json| {
            let kind = str_at(holder, &["securityContext", "seccompProfile", "type"]).unwrap_or_default().to_string();
            (!matches!(kind.as_str(), "" | "RuntimeDefault" | "Localhost")).then_some(kind)
        };
        let bad = self.named(|container| kind(container).is_some());
        let kinds: BTreeSet<String> = self.all().filter_map(kind).chain(kind(self.spec)).collect();
        let subjects = self.subjects(kind(self.spec).is_some(), &bad)?;
        Some(format!("{subjects} must not set securityContext.seccompProfile.type to {}", quoted(kinds)))
    }

    fn seccomp(&self) -> Found {
        if self.minor < 19 {
            return None;
        }
        Some(("seccompProfile".into(), self.bad_seccomp()?))
    }

    fn sysctls(&self) -> Found {
        let safe = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && self.minor >= *since);
        let asked = items_at(self.spec, &["securityContext", "sysctls"]).iter().map(name);
        let bad: Vec<&str> = asked.filter(|name| !safe(name)).collect();
        (!bad.is_empty()).then(|| ("forbidden sysctls".into(), bad.join(", ")))
    }

    fn host_process(&self) -> Found {
        let asks = |holder: &Json| bool_at(holder, &["securityContext", "windowsOptions", "hostProcess"]) == Some(true);
        let subjects = self.subjects(asks(self.spec), &self.named(asks))?;
        Some(("hostProcess".into(), format!("{subjects} must not set securityContext.windowsOptions.hostProcess=true")))
    }

    fn privilege_escalation(&self) -> Found {
        if self.is_windows() || self.minor < 8 {
            return None;
        }
        let bad =
            self.named(|container| bool_at(container, &["securityContext", "allowPrivilegeEscalation"]) != Some(false));
        let text = || format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
        (!bad.is_empty()).then(|| ("allowPrivilegeEscalation != false".into(), text()))
    }

    fn restricted_capabilities(&self) -> Found {
        if self.is_windows() || self.minor < 22 {
            return None;
        }
        let drops_all = |container: &Json| {
            items_at(container, &["securityContext", "capabilities", "drop"])
                .iter()
                .any(|drop| drop.as_str() == Some("ALL"))
        };
        let missing = self.named(|container| !drops_all(container));
        let missing = (!missing.is_empty())
            .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&missing)));
        let details: Vec<String> = missing.into_iter().chain(self.added_capabilities(&["NET_BIND_SERVICE"])).collect();
        (!details.is_empty()).then(|| ("unrestricted capabilities".into(), details.join("; ")))
    }

    fn restricted_volumes(&self) -> Found {
        let mut bad = Vec::new();
        let mut types = BTreeSet::new();
        for volume in items_at(self.spec, &["volumes"]) {
            let source =
                volume.as_object().into_iter().flatten().map(|(key, _)| key.as_str()).find(|key| *key != "name");
            if let Some(source) = source.filter(|source| !VOLUMES.contains(source)) {
                bad.push(name(volume));
                types.insert(source);
            }
        }
        let verb = if bad.len() == 1 { "uses" } else { "use" };
        let text = || {
            let (volumes, word) = (plural("volume", bad.len()), plural("restricted volume type", types.len()));
            format!("{volumes} {} {verb} {word} {}", quoted(&bad), quoted(&types))
        };
        (!bad.is_empty()).then(|| ("restricted volume types".into(), text()))
    }

    fn run_as_non_root(&self) -> Found {
        let asked = |holder: &Json| bool_at(holder, &["securityContext", "runAsNonRoot"]);
        let pod = asked(self.spec);
        let refused = self.named(|container| asked(container) == Some(false));
        let silent = self.named(|container| asked(container).is_none());
        let mut details = Vec::new();
        if let Some(subjects) = self.subjects(pod == Some(false), &refused) {
            details.push(format!("{subjects} must not set securityContext.runAsNonRoot=false"));
        }
        if pod.is_none() && !silent.is_empty() {
            details.push(format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&silent)));
        }
        (!details.is_empty()).then(|| ("runAsNonRoot != true".into(), details.join("; ")))
    }

    fn run_as_user(&self) -> Found {
        if self.minor < 23 {
            return None;
        }
        let root = |holder: &Json| i64_at(holder, &["securityContext", "runAsUser"]) == Some(0);
        let subjects = self.subjects(root(self.spec), &self.named(root))?;
        Some(("runAsUser=0".into(), format!("{subjects} must not set runAsUser=0")))
    }

    fn restricted_seccomp(&self) -> Found {
        if self.is_windows() || self.minor < 19 {
            return None;
        }
        let says = |holder: &Json| at(holder, &["securityContext", "seccompProfile", "type"]).is_some();
        let silent = self.named(|container| !says(container));
        let missing = (!says(self.spec) && !silent.is_empty()).then(|| {
            let subjects = containers(&silent);
            format!(
                "pod or {subjects} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
            )
        });
        let details: Vec<String> = self.bad_seccomp().into_iter().chain(missing).collect();
        (!details.is_empty()).then(|| ("seccompProfile".into(), details.join("; ")))
    }
}
