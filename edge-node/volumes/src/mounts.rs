//! A container's volume mounts, with `subPath` kept inside its volume.

use crate::env::expand_env;
use crate::{MountedVolume, images};
use k8s_openapi::api::core::v1::{Container, VolumeMount};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

/// A bind mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMount {
    /// Absolute path on the host.
    pub host_path: String,
    /// Absolute path inside.
    pub container_path: String,
    /// No writing.
    pub read_only: bool,
    /// `private`, `rslave` or `rshared`.
    pub propagation: String,
    /// Nothing in it can be run.
    pub no_exec: bool,
}

/// The mounts of `container` over the pod's volumes. `env` is for `subPathExpr`. Blocking: makes missing sub-paths.
/// The error is the text of `CreateContainerConfigError`.
///
/// A sub-path is resolved with its links and must end inside its volume. A container of the same pod that swaps a link
/// between this check and the mount can still win the race; mounts by file descriptor would close it.
pub fn resolve_mounts(
    container: &Container,
    volumes: &BTreeMap<String, MountedVolume>,
    env: &[(String, String)],
) -> Result<Vec<ContainerMount>, String> {
    if container.volume_devices.iter().flatten().next().is_some() {
        return Err("not implemented: volumeDevices".into());
    }
    container.volume_mounts.iter().flatten().map(|mount| resolve(container, mount, volumes, env)).collect()
}

fn resolve(
    container: &Container,
    mount: &VolumeMount,
    volumes: &BTreeMap<String, MountedVolume>,
    env: &[(String, String)],
) -> Result<ContainerMount, String> {
    let (volume_name, name) = (&mount.name, &container.name);
    let volume = volumes
        .get(volume_name)
        .ok_or_else(|| format!("cannot find volume {volume_name:?} to mount into container {name:?}"))?;
    let sub_path = sub_path(mount, env)?;
    let host_path = if sub_path.is_empty() {
        volume.host_path.clone()
    } else if volume.is_image {
        images::folder_below(&volume.host_path, &sub_path)?
    } else {
        below(&volume.host_path, &sub_path).map_err(|why| {
            format!("failed to prepare subPath for volumeMount {volume_name:?} of container {name:?}: {why}")
        })?
    };
    let container_path = match mount.mount_path.strip_prefix('/') {
        Some(_) => mount.mount_path.clone(),
        None => format!("/{}", mount.mount_path),
    };
    Ok(ContainerMount {
        host_path: host_path.to_str().ok_or("a path of the host is not UTF-8")?.to_string(),
        container_path,
        read_only: volume.read_only || mount.read_only == Some(true),
        propagation: match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => "rslave",
            Some("Bidirectional") => "rshared",
            _ => "private",
        }
        .to_string(),
        no_exec: volume.is_image,
    })
}

/// The path below its volume that a mount names; empty for the volume itself.
pub(crate) fn sub_path(mount: &VolumeMount, env: &[(String, String)]) -> Result<String, String> {
    match (mount.sub_path.as_deref(), mount.sub_path_expr.as_deref()) {
        (Some(path), _) if !path.is_empty() => Ok(path.to_string()),
        (_, Some(text)) if !text.is_empty() => {
            let path = expand_env(text, env);
            if path.contains("$(") {
                return Err(format!("subPathExpr {text:?} refers to a variable that is not set"));
            }
            Ok(path)
        }
        _ => Ok(String::new()),
    }
}

/// `path` below `base`, made when it is missing; an error when it would lie outside.
fn below(base: &Path, path: &str) -> Result<PathBuf, String> {
    let relative = Path::new(path);
    if !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{path:?} must be relative and must not contain '..'"));
    }
    let text = |problem: io::Error| format!("{path:?}: {problem}");
    let base = fs::canonicalize(base).map_err(text)?;
    let mut at = base.clone();
    for part in relative.components().filter(|part| matches!(part, Component::Normal(_))) {
        let next = at.join(part);
        if let Err(problem) = fs::symlink_metadata(&next) {
            if problem.kind() != io::ErrorKind::NotFound {
                return Err(text(problem));
            }
            let mode = fs::metadata(&at).map_err(text)?.permissions().mode() & 0o7777;
            fs::create_dir(&next).map_err(text)?;
            fs::set_permissions(&next, fs::Permissions::from_mode(mode)).map_err(text)?;
        }
        // Links are followed step by step, so that nothing is ever made behind one that leads out.
        at = fs::canonicalize(&next).map_err(text)?;
        if !at.starts_with(&base) {
            return Err(format!("{path:?} leads out of the volume"));
        }
    }
    Ok(at)
}
