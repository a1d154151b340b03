//! What the generated table lacks, written by hand: patch strategies, list types, defaults.
//!
//! A test compares each entry with the published documents, and the other way round for the served kinds.

use holdfast_core::Json;

/// How a field takes part in patches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patching {
    /// Lists merge instead of being replaced.
    pub(crate) merge: bool,
    /// The patch may say which keys stay.
    pub(crate) retain_keys: bool,
    /// What tells the elements of a merged list apart; empty for scalars.
    pub(crate) key: &'static str,
}

/// Short names of the packages that the tables below speak of.
const CORE: &str = "io.k8s.api.core.v1.";
const APPS: &str = "io.k8s.api.apps.v1.";
const DISCOVERY: &str = "io.k8s.api.discovery.v1.";
const EVENTS: &str = "io.k8s.api.events.v1.";
const NODE: &str = "io.k8s.api.node.v1.";
const RBAC: &str = "io.k8s.api.rbac.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Package, type, field, merge key, retainKeys.
const MERGED: &[(&str, &str, &str, &str, bool)] = &[
    (APPS, "DeploymentStatus", "conditions", "type", false),
    (APPS, "ReplicaSetStatus", "conditions", "type", false),
    (CORE, "Container", "env", "name", false),
    (CORE, "Container", "ports", "containerPort", false),
    (CORE, "Container", "volumeDevices", "devicePath", false),
    (CORE, "Container", "volumeMounts", "mountPath", false),
    (CORE, "ContainerStatus", "allocatedResourcesStatus", "name", false),
    (CORE, "ContainerStatus", "volumeMounts", "mountPath", false),
    (CORE, "EphemeralContainer", "env", "name", false),
    (CORE, "EphemeralContainer", "ports", "containerPort", false),
    (CORE, "EphemeralContainer", "volumeDevices", "devicePath", false),
    (CORE, "EphemeralContainer", "volumeMounts", "mountPath", false),
    (CORE, "NamespaceStatus", "conditions", "type", false),
    (CORE, "NodeSpec", "podCIDRs", "", false),
    (CORE, "NodeStatus", "addresses", "type", false),
    (CORE, "NodeStatus", "conditions", "type", false),
    (CORE, "PodSpec", "containers", "name", false),
    (CORE, "PodSpec", "ephemeralContainers", "name", false),
    (CORE, "PodSpec", "hostAliases", "ip", false),
    (CORE, "PodSpec", "imagePullSecrets", "name", false),
    (CORE, "PodSpec", "initContainers", "name", false),
    (CORE, "PodSpec", "resourceClaims", "name", true),
    (CORE, "PodSpec", "schedulingGates", "name", false),
    (CORE, "PodSpec", "topologySpreadConstraints", "topologyKey", false),
    (CORE, "PodSpec", "volumes", "name", true),
    (CORE, "PodStatus", "conditions", "type", false),
    (CORE, "PodStatus", "hostIPs", "ip", false),
    (CORE, "PodStatus", "podIPs", "ip", false),
    (CORE, "PodStatus", "resourceClaimStatuses", "name", true),
    (CORE, "ServiceAccount", "secrets", "name", false),
    (CORE, "ServiceSpec", "ports", "port", false),
    (CORE, "ServiceStatus", "conditions", "type", false),
    (META, "ObjectMeta", "finalizers", "", false),
    (META, "ObjectMeta", "ownerReferences", "uid", false),
];

/// Package, type, field: maps whose patch may say which keys stay.
const RETAINED: &[(&str, &str, &str)] = &[(APPS, "DeploymentSpec", "strategy")];

/// What tells list elements apart for server-side apply, where it is not the merge key alone.
const KEYED: &[(&str, &str, &str, &[&str])] = &[
    (CORE, "Container", "ports", &["containerPort", "protocol"]),
    (CORE, "EphemeralContainer", "ports", &["containerPort", "protocol"]),
    (CORE, "PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    (CORE, "ResourceRequirements", "claims", &["name"]),
    (CORE, "ResourceStatus", "resources", &["resourceID"]),
    (CORE, "ServiceSpec", "ports", &["port", "protocol"]),
];

/// Lists whose elements are told apart by their value.
const SETS: &[(&str, &str, &str)] = &[
    (CORE, "ContainerRestartRuleOnExitCodes", "values"),
    (CORE, "NodeAllocatableResourceClaimStatus", "containers"),
    (CORE, "NodeSpec", "podCIDRs"),
    (DISCOVERY, "Endpoint", "addresses"),
    (META, "ObjectMeta", "finalizers"),
];

/// Lists that are one value although they have a merge key.
const WHOLE: &[(&str, &str, &str)] = &[(CORE, "PodStatus", "hostIPs")];

/// Lists of which upstream says nothing.
const UNTYPED: &[(&str, &str, &str)] = &[(META, "APIResource", "verbs")];

/// Maps that are one value.
const ATOMIC_MAPS: &[(&str, &str, &str)] =
    &[(CORE, "PodSpec", "nodeSelector"), (CORE, "ServiceSpec", "selector"), (NODE, "Scheduling", "nodeSelector")];

/// Types that are one value.
const ATOMIC_TYPES: &[(&str, &str)] = &[
    (CORE, "ConfigMapKeySelector"),
    (CORE, "FileKeySelector"),
    (CORE, "LocalObjectReference"),
    (CORE, "NodeSelector"),
    (CORE, "NodeSelectorTerm"),
    (CORE, "ObjectFieldSelector"),
    (CORE, "ObjectReference"),
    (CORE, "ResourceFieldSelector"),
    (CORE, "SecretKeySelector"),
    (CORE, "TypedLocalObjectReference"),
    (DISCOVERY, "EndpointPort"),
    (META, "LabelSelector"),
    (META, "OwnerReference"),
    (RBAC, "RoleRef"),
    (RBAC, "Subject"),
];

/// Where the generator calls a field required and upstream does not, or the other way round.
const REQUIRED: &[(&str, &str, &str, bool)] = &[
    (CORE, "ConfigMapEnvSource", "name", false),
    (CORE, "ConfigMapKeySelector", "name", false),
    (CORE, "ConfigMapProjection", "name", false),
    (CORE, "ConfigMapVolumeSource", "name", false),
    (CORE, "Event", "metadata", true),
    (CORE, "LocalObjectReference", "name", false),
    (CORE, "SecretEnvSource", "name", false),
    (CORE, "SecretKeySelector", "name", false),
    (CORE, "SecretProjection", "name", false),
    (EVENTS, "Event", "eventTime", true),
];

/// The defaults that OpenAPI shows. Most defaults depend on other fields and are the registry's alone.
const DEFAULTS: &[(&str, &str, &str, &str)] = &[
    (CORE, "AzureDiskVolumeSource", "cachingMode", "ReadWrite"),
    (CORE, "AzureDiskVolumeSource", "fsType", "ext4"),
    (CORE, "AzureDiskVolumeSource", "kind", "Shared"),
    (CORE, "ContainerPort", "protocol", "TCP"),
    (CORE, "ISCSIVolumeSource", "iscsiInterface", "default"),
    (CORE, "RBDVolumeSource", "keyring", "/etc/ceph/keyring"),
    (CORE, "RBDVolumeSource", "pool", "rbd"),
    (CORE, "RBDVolumeSource", "user", "admin"),
    (CORE, "ScaleIOVolumeSource", "fsType", "xfs"),
    (CORE, "ScaleIOVolumeSource", "storageMode", "ThinProvisioned"),
    (CORE, "ServicePort", "protocol", "TCP"),
];

/// How the elements of a list belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    /// Upstream does not say.
    Untyped,
    /// The list is one value.
    Atomic,
    /// Each value stands once.
    Set,
    /// Elements are told apart by this key.
    Map(&'static str),
    /// … by these keys.
    Keyed(&'static [&'static str]),
}

fn is(name: &str, package: &str, short: &str) -> bool {
    name.strip_prefix(package) == Some(short)
}

fn names(table: &[(&str, &str, &str)], name: &str, field: &str) -> bool {
    table.iter().any(|(p, t, f)| *f == field && is(name, p, t))
}

/// How the field `field` of the type `name` is patched.
pub(crate) fn patching(name: &str, field: &str) -> Patching {
    if let Some(&(.., key, retain_keys)) = MERGED.iter().find(|(p, t, f, ..)| *f == field && is(name, p, t)) {
        return Patching { merge: true, retain_keys, key };
    }
    Patching { retain_keys: names(RETAINED, name, field), ..Patching::default() }
}

/// How the elements of the list `field` of the type `name` belong together.
pub(crate) fn list_type(name: &str, field: &str) -> ListType {
    if let Some((.., keys)) = KEYED.iter().find(|(p, t, f, _)| *f == field && is(name, p, t)) {
        return ListType::Keyed(keys);
    }
    let key = patching(name, field).key;
    if names(SETS, name, field) {
        ListType::Set
    } else if names(UNTYPED, name, field) {
        ListType::Untyped
    } else if key.is_empty() || names(WHOLE, name, field) {
        ListType::Atomic
    } else {
        ListType::Map(key)
    }
}

/// Whether the map `field` of the type `name` is one value.
pub(crate) fn is_atomic_map(name: &str, field: &str) -> bool {
    names(ATOMIC_MAPS, name, field)
}

/// Whether the type `name` is one value.
pub(crate) fn is_atomic_type(name: &str) -> bool {
    ATOMIC_TYPES.iter().any(|(package, short)| is(name, package, short))
}

/// Whether a field is required, where the generated table errs.
pub(crate) fn required(name: &str, field: &str) -> Option<bool> {
    let known = REQUIRED.iter().find(|(p, t, f, _)| *f == field && is(name, p, t)).map(|(.., required)| *required);
    // The generator makes `metadata` required of every kind; upstream does so of one.
    known.or((field == "metadata").then_some(false))
}

/// The default that OpenAPI shows for a field.
pub(crate) fn default(name: &str, field: &str) -> Option<Json> {
    let found = DEFAULTS.iter().find(|(p, t, f, _)| *f == field && is(name, p, t));
    found.map(|(.., default)| Json::from(*default))
}

/// Every field that a table above speaks of.
#[cfg(test)]
pub(crate) fn all() -> Vec<(String, &'static str)> {
    let merged = MERGED.iter().map(|&(package, name, field, ..)| (package, name, field));
    let keyed = KEYED.iter().map(|&(package, name, field, _)| (package, name, field));
    let required = REQUIRED.iter().map(|&(package, name, field, _)| (package, name, field));
    let defaults = DEFAULTS.iter().map(|&(package, name, field, _)| (package, name, field));
    let plain = [RETAINED, SETS, WHOLE, UNTYPED, ATOMIC_MAPS].into_iter().flatten().copied();
    let fields = merged.chain(keyed).chain(required).chain(defaults).chain(plain);
    fields.map(|(package, name, field)| (format!("{package}{name}"), field)).collect()
}
