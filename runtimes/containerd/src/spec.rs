//! The OCI runtime specification of a container: a pure function of what the agent and the image say.

use crate::capabilities::capabilities;
use crate::image_config::ImageConfig;
use crate::seccomp;
use crate::users::ResolvedUser;
use holdfast_runtime::{ContainerSpec, MoreLimits, Mount, Resources, RuntimeError, SandboxSpec};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Hidden from unprivileged containers.
const MASKED: [&str; 10] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];
/// Not writable in unprivileged containers.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// A device node with its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedDevice {
    /// Path inside.
    pub path: String,
    /// `c` or `b`.
    pub kind: char,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Of `rwm`.
    pub access: String,
}

/// What a pod's containers share, on the host. `None`: the host's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxPaths {
    /// Pinned IPC namespace.
    pub ipc: Option<PathBuf>,
    /// Pinned UTS namespace, which carries the host name.
    pub uts: Option<PathBuf>,
    /// Shared memory.
    pub shm: Option<PathBuf>,
    /// `/etc/hostname`.
    pub hostname: Option<PathBuf>,
}

/// What a container is confined by, where that does not follow from its specification alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confinement {
    /// PID namespace that it joins; `None` for one of its own, or the host's.
    pub pid: Option<PathBuf>,
    /// The seccomp profile that lies on the node, if it names one.
    pub seccomp: Option<Value>,
    /// AppArmor profile.
    pub apparmor: Option<String>,
}

/// Everything that a specification is made of.
#[derive(Clone, Debug)]
pub struct SpecInput<'a> {
    /// The pod.
    pub sandbox: &'a SandboxSpec,
    /// The container.
    pub container: &'a ContainerSpec,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// Who it runs as.
    pub user: ResolvedUser,
    /// What the pod shares.
    pub paths: SandboxPaths,
    /// What confines it.
    pub confinement: Confinement,
    /// Devices with their numbers.
    pub devices: Vec<ResolvedDevice>,
    /// cgroup, absolute from the hierarchy's root.
    pub cgroup: String,
    /// Whether the host has only the unified hierarchy.
    pub cgroup_v2: bool,
    /// Whether the kernel counts what is swapped.
    pub counts_swap: bool,
    /// The container that is the root of the sandbox, where the runtime has such a thing.
    pub sandbox_root: Option<String>,
    /// Group under which containers share a shim.
    pub shim_group: String,
    /// The lowest OOM score adjustment that may be set.
    pub lowest_oom_score_adj: i32,
    /// Capabilities that the agent has, a bit each.
    pub available_capabilities: u64,
}

/// Builds the specification (OCI runtime-spec 1.0.2), for cgroupfs.
///
/// # Errors
/// [`RuntimeError::Config`] for what cannot be met, [`RuntimeError::BadImage`] when there is no command.
pub fn runtime_spec(input: &SpecInput<'_>) -> Result<Value, RuntimeError> {
    let (sandbox, container) = (input.sandbox, input.container);
    let security = &container.security;
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process(input)?,
        "root": {"path": "rootfs", "readonly": security.read_only_rootfs},
        "mounts": mounts(input)?,
        "annotations": {
            "io.containerd.runc.v2.group": input.shim_group,
            "io.kubernetes.cri.container-type": "container",
        },
        "linux": linux(input)?,
    });
    if let Some(root) = &input.sandbox_root {
        spec["hostname"] = json!(sandbox.hostname);
        spec["annotations"]["io.kubernetes.cri.sandbox-id"] = json!(root);
    }
    if !sandbox.sysctls.is_empty() {
        spec["linux"]["sysctl"] = json!(sandbox.sysctls);
    }
    if let Some(profile) = &input.confinement.apparmor {
        spec["process"]["apparmorProfile"] = json!(profile);
    }
    Ok(spec)
}

/// Command line by Kubernetes' rules: `command` replaces ENTRYPOINT and CMD, `args` replaces CMD.
fn args(container: &ContainerSpec, image: &ImageConfig) -> Vec<String> {
    let (program, rest) = if container.command.is_empty() {
        let rest = if container.args.is_empty() { &image.cmd } else { &container.args };
        (&image.entrypoint, rest)
    } else {
        (&container.command, &container.args)
    };
    program.iter().chain(rest).cloned().collect()
}

/// PATH and HOSTNAME, the image's variables, the pod's; the later wins and keeps the earlier's place.
fn environment(input: &SpecInput<'_>) -> Vec<String> {
    let mut env: Vec<String> = vec![PATH.to_string()];
    if !input.sandbox.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", input.sandbox.hostname));
    }
    if input.container.tty {
        env.push("TERM=xterm".to_string());
    }
    let own = input.container.env.iter().map(|(name, value)| format!("{name}={value}"));
    for variable in input.image.env.iter().cloned().chain(own) {
        let name = variable.split('=').next().unwrap_or_default();
        match env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
            Some(known) => *known = variable,
            None => env.push(variable),
        }
    }
    env
}

fn process(input: &SpecInput<'_>) -> Result<Value, RuntimeError> {
    let (container, security) = (input.container, &input.container.security);
    let args = args(container, input.image);
    if args.first().is_none_or(String::is_empty) {
        return Err(RuntimeError::BadImage { image: container.image.clone(), reason: "no command specified".into() });
    }
    let cwd = [&container.working_dir, &input.image.working_dir].into_iter().find(|dir| !dir.is_empty());
    let cwd = cwd.map_or("/", String::as_str);
    if !cwd.starts_with('/') {
        return Err(RuntimeError::Config(format!("working directory {cwd:?} is not absolute")));
    }
    let caps = capabilities(security, input.available_capabilities)?;
    Ok(json!({
        "terminal": container.tty,
        "user": {"uid": input.user.uid, "gid": input.user.gid, "additionalGids": input.user.groups},
        "args": args,
        "env": environment(input),
        "cwd": cwd,
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        "noNewPrivileges": !security.allow_privilege_escalation && !security.privileged,
        "oomScoreAdj": container.resources.oom_score_adj.max(input.lowest_oom_score_adj),
    }))
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": kind, "source": source, "options": options})
}

fn mounts(input: &SpecInput<'_>) -> Result<Vec<Value>, RuntimeError> {
    let privileged = input.container.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let safe = ["nosuid", "noexec", "nodev"];
    let mut list = vec![
        mount("/proc", "proc", "proc", &safe),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &safe),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access]),
    ];
    let shm = input.paths.shm.as_ref().map_or_else(|| "/dev/shm".to_string(), |path| path.display().to_string());
    list.push(mount("/dev/shm", "bind", &shm, &["rbind", "nosuid", "noexec", "nodev", "rw"]));
    if let Some(hostname) = &input.paths.hostname {
        let access = if input.container.security.read_only_rootfs { "ro" } else { "rw" };
        list.push(mount("/etc/hostname", "bind", &hostname.display().to_string(), &["rbind", "rprivate", access]));
    }
    let mut own: Vec<&Mount> = input.container.mounts.iter().collect();
    // A mount point comes before what lies in it.
    own.sort_by_key(|mount| mount.container_path.split('/').filter(|part| !part.is_empty()).count());
    list.retain(|known| own.iter().all(|mount| known["destination"] != clean(&mount.container_path)));
    for entry in own {
        let destination = clean(&entry.container_path);
        if !destination.starts_with('/') || destination == "/" || destination.split('/').any(|part| part == "..") {
            return Err(RuntimeError::Config(format!("invalid mount path {:?}", entry.container_path)));
        }
        let access = match (entry.read_only, entry.recursive_read_only) {
            (_, true) => "rro",
            (true, false) => "ro",
            (false, false) => "rw",
        };
        if entry.host_path.is_empty() {
            list.push(mount(&destination, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=1777", access]));
            continue;
        }
        let propagation = match entry.propagation.as_str() {
            "" | "private" | "rprivate" => "rprivate",
            word @ ("rslave" | "rshared") => word,
            other => return Err(RuntimeError::Config(format!("unknown mount propagation {other:?}"))),
        };
        let mut options = vec!["rbind", propagation, access];
        if entry.no_exec {
            options.push("noexec");
        }
        list.push(mount(&destination, "bind", &entry.host_path, &options));
    }
    Ok(list)
}

fn clean(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".to_string(),
        path => path.to_string(),
    }
}

fn namespaces(input: &SpecInput<'_>) -> Vec<Value> {
    let sandbox = input.sandbox;
    let mut list = vec![json!({"type": "mount"})];
    match &input.confinement.pid {
        Some(path) => list.push(json!({"type": "pid", "path": path.display().to_string()})),
        None if sandbox.host_pid => {}
        // Where the sandbox has a kernel of its own, that of its root.
        None if input.sandbox_root.is_some() && sandbox.share_process_namespace => {}
        None => list.push(json!({"type": "pid"})),
    }
    if !sandbox.netns_path.is_empty() {
        list.push(json!({"type": "network", "path": sandbox.netns_path}));
    }
    for (kind, path) in [("ipc", &input.paths.ipc), ("uts", &input.paths.uts)] {
        if let Some(path) = path {
            list.push(json!({"type": kind, "path": path.display().to_string()}));
        }
    }
    // v1 has no working view of a private hierarchy in the kernel's mounts.
    if input.cgroup_v2 && !input.container.security.privileged {
        list.push(json!({"type": "cgroup"}));
    }
    list
}

fn resources(input: &SpecInput<'_>) -> Value {
    let privileged = input.container.security.privileged;
    let mut rules = vec![json!({"allow": privileged, "access": "rwm"})];
    if !privileged {
        rules.extend(input.devices.iter().map(|device| {
            json!({"allow": true, "type": device.kind, "major": device.major, "minor": device.minor, "access": device.access})
        }));
    }
    let container = input.container;
    let limits = limits(&container.resources, &container.linux.limits, input.counts_swap, input.cgroup_v2, false);
    let mut all = Map::from_iter([("devices".to_string(), json!(rules))]);
    all.extend(limits);
    Value::Object(all)
}

/// Limits of a container's cgroup. For a container that runs also what is unlimited is said, so that it becomes so.
pub(crate) fn limits(
    wanted: &Resources,
    more: &MoreLimits,
    counts_swap: bool,
    v2: bool,
    running: bool,
) -> Map<String, Value> {
    let mut cpu = Map::new();
    if wanted.cpu_shares > 0 {
        cpu.insert("shares".into(), json!(wanted.cpu_shares.clamp(2, 262_144)));
    }
    if wanted.cpu_quota_us > 0 || running {
        cpu.insert("quota".into(), json!(if wanted.cpu_quota_us > 0 { wanted.cpu_quota_us } else { -1 }));
        cpu.insert("period".into(), json!(if wanted.cpu_period_us > 0 { wanted.cpu_period_us } else { 100_000 }));
    }
    let mut all = Map::new();
    if !cpu.is_empty() {
        all.insert("cpu".into(), Value::Object(cpu));
    }
    let limited = wanted.memory_limit_bytes > 0;
    let mut memory = Map::new();
    if limited || running {
        memory.insert("limit".into(), json!(if limited { wanted.memory_limit_bytes } else { -1 }));
    }
    let swap = more.swap_bytes.filter(|_| counts_swap);
    // v1 counts memory and swap together, and forbids swap only to what has a limit.
    if let Some(swap) = swap.filter(|_| limited && !v2) {
        memory.insert("swap".into(), json!(wanted.memory_limit_bytes.saturating_add(swap)));
    }
    if !memory.is_empty() {
        all.insert("memory".into(), Value::Object(memory));
    }
    if let Some(swap) = swap.filter(|_| v2) {
        all.insert("unified".into(), json!({"memory.swap.max": swap.to_string()}));
    }
    if !more.huge_pages.is_empty() {
        let size = |(size, limit): (&u64, &u64)| json!({"pageSize": page_size(*size), "limit": limit});
        all.insert("hugepageLimits".into(), more.huge_pages.iter().map(size).collect());
    }
    all
}

/// A size of huge pages as the kernel names its files: `64KB`, `2MB`, `1GB`.
fn page_size(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{}KB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{}MB", bytes >> 20),
        _ => format!("{}GB", bytes >> 30),
    }
}

fn linux(input: &SpecInput<'_>) -> Result<Value, RuntimeError> {
    let security = &input.container.security;
    let devices: Vec<Value> = input
        .devices
        .iter()
        .map(|device| {
            json!({
                "path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
                "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
            })
        })
        .collect();
    let mut linux = json!({
        "namespaces": namespaces(input),
        "cgroupsPath": input.cgroup,
        "resources": resources(input),
        "devices": devices,
    });
    if !security.privileged {
        if !input.container.linux.unmasked_proc {
            linux["maskedPaths"] = json!(MASKED);
            linux["readonlyPaths"] = json!(READ_ONLY);
        }
        match security.seccomp.as_str() {
            "" | "Unconfined" => {}
            "RuntimeDefault" => {
                linux["seccomp"] = seccomp::default_profile(&capabilities(security, input.available_capabilities)?);
            }
            other => match &input.confinement.seccomp {
                Some(profile) => linux["seccomp"] = profile.clone(),
                None => return Err(RuntimeError::Config(format!("unknown seccomp profile {other:?}"))),
            },
        }
    }
    let propagation = |word: &str| input.container.mounts.iter().any(|mount| mount.propagation == word);
    if propagation("rshared") {
        linux["rootfsPropagation"] = json!("rshared");
    } else if propagation("rslave") {
        linux["rootfsPropagation"] = json!("rslave");
    }
    Ok(linux)
}

#[cfg(test)]
mod tests;
