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

fn is(name: &str, package: &str, short: &str) -> bool {
    name.strip_prefix(package) == Some(short)
}

/// How the field `field` of the type `name` is patched.
pub(crate) fn patching(name: &str, field: &str) -> Patching {
    if let Some(&(.., key, retain_keys)) = MERGED.iter().find(|(p, t, f, ..)| *f == field && is(name, p, t)) {
        return Patching { merge: true, retain_keys, key };
    }
    let retain_keys = RETAINED.iter().any(|(p, t, f)| *f == field && is(name, p, t));
    Patching { retain_keys, ..Patching::default() }
}

/// Whether a field is required, where the generated table errs.
pub(crate) fn required(_name: &str, field: &str) -> Option<bool> {
    // The generator makes `metadata` required of every kind; upstream does so of none.
    (field == "metadata").then_some(false)
}

/// The default that OpenAPI shows for a field.
pub(crate) fn default(_name: &str, _field: &str) -> Option<Json> {
    None
}

/// Every field that a table above speaks of.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let merged = MERGED.iter().map(|(package, name, field, ..)| (*package, *name, *field));
    merged.chain(RETAINED.iter().copied()).map(|(package, name, field)| {
        let full: &'static str = Box::leak(format!("{package}{name}").into_boxed_str());
        (full, field)
    })
}
