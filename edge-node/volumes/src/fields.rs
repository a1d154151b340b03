//! `fieldRef` and `resourceFieldRef`: a pod's own fields as text. Pure.

use holdfast_core::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

/// What of a node its pods may have, by resource (`cpu`, `memory`, …).
pub type Allocatable = BTreeMap<String, Quantity>;

/// What is known of a pod beside its object. In volumes the addresses come from its status.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runtime<'a> {
    /// The pod's addresses.
    pub pod_ips: &'a [String],
    /// The node's addresses, first the primary.
    pub host_ips: &'a [String],
    /// The node's name.
    pub node_name: &'a str,
}

/// The text of a field, for `fieldRef`.
pub fn field(pod: &Pod, path: &str, runtime: Runtime<'_>) -> Result<String, String> {
    let meta = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let spec = pod.spec.as_ref();
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    Ok(match path {
        "metadata.name" => text(meta.name.as_ref()),
        "metadata.namespace" => text(meta.namespace.as_ref()),
        "metadata.uid" => text(meta.uid.as_ref()),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" if runtime.node_name.is_empty() => text(spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.nodeName" => runtime.node_name.to_string(),
        "spec.serviceAccountName" => text(spec.and_then(|spec| spec.service_account_name.as_ref())),
        "status.hostIP" => text(runtime.host_ips.first()),
        "status.hostIPs" => runtime.host_ips.join(","),
        "status.podIP" => text(runtime.pod_ips.first()),
        "status.podIPs" => runtime.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// `metadata.labels['key']` taken apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A map as upstream writes it into a file: `key="escaped value"` lines.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

/// The number of a resource, for `resourceFieldRef`; `own` is the container that asks. A container without a limit has the
/// pod's, and one without that what pods may have of the node.
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    allocatable: &Allocatable,
) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    let all = || spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    let container = match selector.container_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => all().find(|container| container.name == name).ok_or(format!("container {name} not found"))?,
        None => own.ok_or_else(|| "containerName is required".to_string())?,
    };
    let (kind, name) = selector.resource.split_once('.').unwrap_or(("", ""));
    let resources = container.resources.as_ref();
    let limit = resources.and_then(|resources| resources.limits.as_ref()).and_then(|list| list.get(name));
    let request = resources.and_then(|resources| resources.requests.as_ref()).and_then(|list| list.get(name));
    let is_of_node = matches!(name, "cpu" | "memory" | "ephemeral-storage");
    let known = is_of_node || name.starts_with("hugepages-");
    let parse = |text: &str| text.parse::<Quantity>().map_err(|problem| problem.to_string());
    let own_or = |amount: Option<&ApiQuantity>| amount.map(|amount| parse(&amount.0)).transpose();
    // As upstream, a limit of zero is none.
    let limit = own_or(limit)?.filter(|limit| limit.milli() != 0 || !is_of_node);
    let amount = match kind {
        _ if !known => return Err(format!("unsupported container resource : {}", selector.resource)),
        "limits" => {
            let of_pod = spec.and_then(|spec| spec.resources.as_ref()?.limits.as_ref()?.get(name));
            let of_node = allocatable.get(name).copied().filter(|_| is_of_node);
            limit.or(own_or(of_pod)?).or(of_node)
        }
        "requests" => own_or(request)?.or(limit),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let Some(amount) = amount.map(Quantity::milli) else { return Ok("0".into()) };
    let divisor = match &selector.divisor {
        Some(divisor) => parse(&divisor.0)?.milli(),
        None => 1000,
    };
    let divisor = if divisor <= 0 { 1000 } else { divisor };
    Ok((amount / divisor + i64::from(amount % divisor != 0)).to_string())
}
