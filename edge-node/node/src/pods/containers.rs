//! From a pod's specification to what a runtime is told.

use super::sizes;
use crate::parts::{Attachment, HostInfo, NodeConfig};
use holdfast_pods::admission::sysctl_name;
use holdfast_pods::recursive_read_only;
use holdfast_runtime::{ContainerSpec, LinuxOptions, MoreLimits, Mount, SandboxSpec, SecurityContext};
use holdfast_volumes::{MountedVolume, expand_command, kernel_hostname, resolve_mounts};
use k8s_openapi::api::core::v1::{Container, Pod, Service};
use std::collections::BTreeMap;
use std::path::Path;

/// The folder of a pod's logs, as the kubelet names it.
pub(crate) fn log_dir(config: &NodeConfig, pod: &Pod) -> std::path::PathBuf {
    let meta = &pod.metadata;
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    config.log_dir.join(format!("{}_{}_{}", part(&meta.namespace), part(&meta.name), part(&meta.uid)))
}

/// The log file of one attempt of a container.
pub(super) fn log_path(config: &NodeConfig, pod: &Pod, container: &str, attempt: u32) -> std::path::PathBuf {
    log_dir(config, pod).join(container).join(format!("{attempt}.log"))
}

fn security(pod: &Pod, container: &Container) -> SecurityContext {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.clone()).unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let privileged = own.privileged.unwrap_or(false);
    let capabilities = own.capabilities.unwrap_or_default();
    let mut groups = of_pod.supplemental_groups.clone().unwrap_or_default();
    groups.extend(of_pod.fs_group);
    let seccomp = own.seccomp_profile.or(of_pod.seccomp_profile);
    SecurityContext {
        run_as_user: own.run_as_user.or(of_pod.run_as_user),
        run_as_group: own.run_as_group.or(of_pod.run_as_group),
        run_as_non_root: own.run_as_non_root.or(of_pod.run_as_non_root).unwrap_or(false),
        supplemental_groups: groups,
        privileged,
        read_only_rootfs: own.read_only_root_filesystem.unwrap_or(false),
        allow_privilege_escalation: own.allow_privilege_escalation.unwrap_or(true),
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        seccomp: seccomp.map(|of| profile(&of.type_, of.localhost_profile.as_deref())).unwrap_or_default(),
    }
}

/// What of a container's security only processes of Linux have, and the signal that stops it.
fn linux(pod: &Pod, container: &Container, target_id: &str, limits: MoreLimits) -> LinuxOptions {
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let apparmor = own.and_then(|own| own.app_armor_profile.as_ref());
    let apparmor = apparmor.or(of_pod.and_then(|of_pod| of_pod.app_armor_profile.as_ref()));
    LinuxOptions {
        target_id: target_id.to_string(),
        stop_signal: container.lifecycle.as_ref().and_then(|hooks| hooks.stop_signal.clone()).unwrap_or_default(),
        apparmor: apparmor.map(|of| profile(&of.type_, of.localhost_profile.as_deref())).unwrap_or_default(),
        unmasked_proc: own.is_some_and(|own| own.proc_mount.as_deref() == Some("Unmasked")),
        strict_groups: of_pod.is_some_and(|of_pod| of_pod.supplemental_groups_policy.as_deref() == Some("Strict")),
        limits,
    }
}

/// A profile as runtimes are told of it.
fn profile(kind: &str, local: Option<&str>) -> String {
    match local {
        Some(name) if kind == "Localhost" => format!("Localhost/{name}"),
        _ => kind.to_string(),
    }
}

/// The sandbox of a pod.
///
/// # Errors
/// What the pod asks of it and cannot have.
pub(super) fn sandbox_spec(
    config: &NodeConfig,
    pod: &Pod,
    id: &str,
    handler: &str,
    attachment: &Attachment,
) -> Result<SandboxSpec, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.clone().unwrap_or_default();
    if spec.host_users == Some(false) {
        return Err("not implemented: user namespaces (hostUsers: false)".into());
    }
    let uid = meta.uid.clone().unwrap_or_default();
    let name = meta.name.clone().unwrap_or_default();
    Ok(SandboxSpec {
        id: id.to_string(),
        pod_name: name,
        pod_namespace: meta.namespace.clone().unwrap_or_default(),
        hostname: kernel_hostname(pod, &config.node_name, &config.cluster_domain)?,
        handler: handler.to_string(),
        netns_path: attachment.netns_path.clone(),
        ips: attachment.ips.clone(),
        host_pid: spec.host_pid.unwrap_or(false),
        host_ipc: spec.host_ipc.unwrap_or(false),
        share_process_namespace: spec.share_process_namespace.unwrap_or(false),
        cgroup_parent: sizes::parent(config, pod),
        cgroup: sizes::pod(config, pod),
        sysctls: spec
            .security_context
            .and_then(|context| context.sysctls)
            .unwrap_or_default()
            .into_iter()
            .map(|sysctl| (sysctl_name(&sysctl.name), sysctl.value))
            .collect(),
        labels: meta.labels.clone().unwrap_or_default(),
        pod_uid: uid,
    })
}

/// What a container needs beside the pod's specification.
pub(super) struct Surroundings<'a> {
    /// Volumes, mounted on the host.
    pub volumes: &'a BTreeMap<String, MountedVolume>,
    /// Resolved environment.
    pub env: Vec<(String, String)>,
    /// Host paths of files that every container gets: (host path, container path).
    pub files: Vec<(String, String)>,
    /// Id of the container whose processes it sees; empty for none.
    pub target_id: String,
    /// Mounts can be read-only with all that is mounted below them.
    pub recursive_read_only: bool,
}

/// The specification of one attempt of a container.
///
/// # Errors
/// `CreateContainerConfigError`'s text.
pub(super) fn container_spec(
    (config, host): (&NodeConfig, &HostInfo),
    pod: &Pod,
    container: &Container,
    id: &str,
    attempt: u32,
    around: Surroundings<'_>,
) -> Result<ContainerSpec, String> {
    let mut mounts: Vec<Mount> = resolve_mounts(container, around.volumes, &around.env)?
        .into_iter()
        .map(|mount| Mount {
            host_path: mount.host_path,
            container_path: mount.container_path,
            read_only: mount.read_only,
            propagation: mount.propagation,
            no_exec: mount.no_exec,
            ..Mount::default()
        })
        .collect();
    for (mount, wanted) in mounts.iter_mut().zip(container.volume_mounts.iter().flatten()) {
        mount.recursive_read_only = recursive_read_only(wanted, around.recursive_read_only)?;
    }
    for (host_path, container_path) in around.files {
        if mounts.iter().all(|mount| mount.container_path != container_path) {
            mounts.push(Mount { host_path, container_path, ..Mount::default() });
        }
    }
    let (command, args) = expand_command(container, &around.env);
    let ports = container.ports.iter().flatten().map(|port| {
        let number = u16::try_from(port.container_port).unwrap_or_default();
        (port.name.clone().unwrap_or_default(), number, port.protocol.clone().unwrap_or_else(|| "TCP".into()))
    });
    Ok(ContainerSpec {
        id: id.to_string(),
        name: container.name.clone(),
        attempt,
        image: container.image.clone().unwrap_or_default(),
        command,
        args,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        env: around.env.clone(),
        mounts,
        devices: Vec::new(),
        resources: sizes::container(host, pod, container),
        security: security(pod, container),
        log_path: path_text(&log_path(config, pod, &container.name, attempt)),
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        ports: ports.collect(),
        linux: linux(pod, container, &around.target_id, sizes::more(config, host, pod, container)),
    })
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// The environment that names a namespace's Services (`enableServiceLinks`), and always the API server's.
pub(super) fn service_env(pod: &Pod, services: &[Service]) -> Vec<(String, String)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
    let mut env = Vec::new();
    for service in services {
        let meta = &service.metadata;
        let (Some(name), of) = (meta.name.as_deref(), meta.namespace.as_deref().unwrap_or_default()) else { continue };
        let is_api = of == "default" && name == "kubernetes";
        if !(is_api || links && of == namespace) {
            continue;
        }
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { continue };
        let ports = spec.ports.clone().unwrap_or_default();
        let Some(first) = ports.first() else { continue };
        let prefix = name.to_uppercase().replace('-', "_");
        env.push((format!("{prefix}_SERVICE_HOST"), ip.to_string()));
        env.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
        for port in &ports {
            if let Some(name) = &port.name {
                let name = name.to_uppercase().replace('-', "_");
                env.push((format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string()));
            }
        }
        let scheme = first.protocol.as_deref().unwrap_or("TCP").to_lowercase();
        env.push((format!("{prefix}_PORT"), format!("{scheme}://{ip}:{}", first.port)));
        for port in &ports {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let lower = protocol.to_lowercase();
            let base = format!("{prefix}_PORT_{}_{protocol}", port.port);
            env.push((base.clone(), format!("{lower}://{ip}:{}", port.port)));
            env.push((format!("{base}_PROTO"), lower));
            env.push((format!("{base}_PORT"), port.port.to_string()));
            env.push((format!("{base}_ADDR"), ip.to_string()));
        }
    }
    env
}
