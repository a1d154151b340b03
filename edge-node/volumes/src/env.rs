//! The environment of a container, and `$(VAR)` in its command. Pure.

use crate::VolumeObjects;
use k8s_openapi::api::core::v1::{Container, Pod};

/// The environment of `container`: services, then `envFrom`, then `env`, a later one winning.
/// `services_env` is what service links add. The error is the text of `CreateContainerConfigError`.
pub fn resolve_env(
    _pod: &Pod,
    _container: &Container,
    _objects: &dyn VolumeObjects,
    _services_env: &[(String, String)],
    _pod_ips: &[String],
    _host_ip: &str,
    _node_name: &str,
) -> Result<Vec<(String, String)>, String> {
    Ok(Vec::new())
}

/// `command` and `args` with `$(VAR)` replaced.
pub fn expand_command(_container: &Container, _env: &[(String, String)]) -> (Vec<String>, Vec<String>) {
    (Vec::new(), Vec::new())
}
