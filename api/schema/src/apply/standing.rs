//! Which fields upstream's Go types always have: structs that are held by value, and what is required.

use super::typing::Zero;
use crate::table::Type;

/// Structs held by value although they are not required. `metadata`, `spec` and `status` always are.
const BY_VALUE: &[(&str, &str)] = &[
    ("apiextensions.v1.CustomResourceDefinitionStatus", "acceptedNames"),
    ("apps.v1.DaemonSetSpec", "updateStrategy"),
    ("apps.v1.DeploymentSpec", "strategy"),
    ("apps.v1.ReplicaSetSpec", "template"),
    ("apps.v1.StatefulSetSpec", "updateStrategy"),
    ("authentication.v1.SelfSubjectReviewStatus", "userInfo"),
    ("authentication.v1.TokenReviewStatus", "user"),
    ("core.v1.Container", "resources"),
    ("core.v1.ContainerStatus", "lastState"),
    ("core.v1.ContainerStatus", "state"),
    ("core.v1.EphemeralContainer", "resources"),
    ("core.v1.Event", "source"),
    ("core.v1.NodeDaemonEndpoints", "kubeletEndpoint"),
    ("core.v1.NodeStatus", "daemonEndpoints"),
    ("core.v1.NodeStatus", "nodeInfo"),
    ("core.v1.PersistentVolumeClaimSpec", "resources"),
    ("core.v1.PodTemplate", "template"),
    ("core.v1.ServiceStatus", "loadBalancer"),
    ("discovery.v1.Endpoint", "conditions"),
    ("events.v1.Event", "deprecatedSource"),
    ("events.v1.Event", "regarding"),
    ("flowcontrol.v1.LimitedPriorityLevelConfiguration", "limitResponse"),
    ("networking.v1.IngressServiceBackend", "port"),
    ("networking.v1.IngressStatus", "loadBalancer"),
    ("networking.v1.NetworkPolicySpec", "podSelector"),
    ("resource.v1.AllocationResult", "devices"),
    ("resource.v1.ResourceClaimSpec", "devices"),
    ("v1.APIGroup", "preferredVersion"),
];

/// Structs behind a pointer although they are required, or called as those that are not.
const BY_POINTER: &[(&str, &str)] = &[
    ("apiextensions.v1.CustomResourceSubresources", "status"),
    ("apps.v1.DaemonSetSpec", "selector"),
    ("apps.v1.DeploymentSpec", "selector"),
    ("apps.v1.ReplicaSetSpec", "selector"),
    ("apps.v1.StatefulSetSpec", "selector"),
    ("core.v1.ScaleIOPersistentVolumeSource", "secretRef"),
    ("core.v1.ScaleIOVolumeSource", "secretRef"),
    ("networking.v1.IPAddressSpec", "parentRef"),
];

/// What the field `field` of the type `owner` is when nothing is said of it; `None` when it then is not there.
/// `is_struct` tells of a value that is one.
pub(crate) fn zero(owner: &str, field: &str, value: &Type, is_struct: bool, required: bool) -> Option<Zero> {
    let is_in = |table: &[(&str, &str)]| {
        table.iter().any(|(name, known)| {
            *known == field && owner.strip_suffix(name).is_some_and(|package| package.ends_with('.'))
        })
    };
    if is_struct && !is_in(BY_POINTER) {
        let always = required || matches!(field, "metadata" | "spec" | "status") || is_in(BY_VALUE);
        return always.then_some(Zero::Struct);
    }
    required.then_some(match value {
        Type::String | Type::Bytes => Zero::Text,
        Type::Bool => Zero::Bool,
        Type::Int32 | Type::Int64 | Type::Number => Zero::Number,
        Type::Named(_) | Type::List(_) | Type::Map(_) | Type::Any => Zero::Null,
    })
}
