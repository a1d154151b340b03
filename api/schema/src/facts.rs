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
    /// A struct is replaced as a whole.
    pub(crate) replace: bool,
    /// What tells the elements of a merged list apart; empty for scalars.
    pub(crate) key: &'static str,
}

/// Short names of the packages that the tables below speak of.
const ADMISSION: &str = "io.k8s.api.admissionregistration.v1.";
const APPS: &str = "io.k8s.api.apps.v1.";
const AUTOSCALING: &str = "io.k8s.api.autoscaling.v1.";
const BATCH: &str = "io.k8s.api.batch.v1.";
const CERTIFICATES: &str = "io.k8s.api.certificates.v1.";
const CORE: &str = "io.k8s.api.core.v1.";
const DISCOVERY: &str = "io.k8s.api.discovery.v1.";
const EVENTS: &str = "io.k8s.api.events.v1.";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.";
const FLOW: &str = "io.k8s.api.flowcontrol.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const NETWORK: &str = "io.k8s.api.networking.v1.";
const NODE: &str = "io.k8s.api.node.v1.";
const POLICY: &str = "io.k8s.api.policy.v1.";
const RBAC: &str = "io.k8s.api.rbac.v1.";
const REGISTRATION: &str = "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.";
const RESOURCE: &str = "io.k8s.api.resource.v1.";
const SCALING: &str = "io.k8s.api.autoscaling.v1.";
const SCALING2: &str = "io.k8s.api.autoscaling.v2.";
const STORAGE: &str = "io.k8s.api.storage.v1.";

/// Package, type, field, merge key, retainKeys.
const MERGED: &[(&str, &str, &str, &str, bool)] = &[
    (ADMISSION, "MutatingAdmissionPolicySpec", "matchConditions", "name", false),
    (ADMISSION, "MutatingWebhook", "matchConditions", "name", false),
    (ADMISSION, "MutatingWebhookConfiguration", "webhooks", "name", false),
    (ADMISSION, "ValidatingAdmissionPolicySpec", "matchConditions", "name", false),
    (ADMISSION, "ValidatingAdmissionPolicySpec", "variables", "name", false),
    (ADMISSION, "ValidatingWebhook", "matchConditions", "name", false),
    (ADMISSION, "ValidatingWebhookConfiguration", "webhooks", "name", false),
    (APPS, "DaemonSetStatus", "conditions", "type", false),
    (APPS, "DeploymentStatus", "conditions", "type", false),
    (APPS, "ReplicaSetStatus", "conditions", "type", false),
    (APPS, "StatefulSetStatus", "conditions", "type", false),
    (BATCH, "JobStatus", "conditions", "type", false),
    (CORE, "ComponentStatus", "conditions", "type", false),
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
    (CORE, "PersistentVolumeClaimStatus", "conditions", "type", false),
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
    (CORE, "ReplicationControllerStatus", "conditions", "type", false),
    (CORE, "ServiceAccount", "secrets", "name", false),
    (CORE, "ServiceSpec", "ports", "port", false),
    (CORE, "ServiceStatus", "conditions", "type", false),
    (EXTENSIONS, "JSONSchemaProps", "x-kubernetes-validations", "rule", false),
    (FLOW, "FlowSchemaStatus", "conditions", "type", false),
    (FLOW, "PriorityLevelConfigurationStatus", "conditions", "type", false),
    (META, "ObjectMeta", "finalizers", "", false),
    (META, "ObjectMeta", "ownerReferences", "uid", false),
    (NETWORK, "ServiceCIDRStatus", "conditions", "type", false),
    (POLICY, "PodDisruptionBudgetStatus", "conditions", "type", false),
    (REGISTRATION, "APIServiceStatus", "conditions", "type", false),
    (RESOURCE, "ResourceClaimStatus", "reservedFor", "uid", false),
    (SCALING2, "HorizontalPodAutoscalerStatus", "conditions", "type", false),
    (STORAGE, "CSINodeSpec", "drivers", "name", false),
];

/// Package, type, field: maps whose patch may say which keys stay.
const RETAINED: &[(&str, &str, &str)] = &[(APPS, "DeploymentSpec", "strategy")];

/// Structs that a patch replaces instead of merging into them.
const REPLACED: &[(&str, &str, &str)] = &[(POLICY, "PodDisruptionBudgetSpec", "selector")];

/// What tells list elements apart for server-side apply, where it is not the merge key alone.
const KEYED: &[(&str, &str, &str, &[&str])] = &[
    (ADMISSION, "ValidatingAdmissionPolicyStatus", "conditions", &["type"]),
    (CERTIFICATES, "CertificateSigningRequestStatus", "conditions", &["type"]),
    (CORE, "Container", "ports", &["containerPort", "protocol"]),
    (CORE, "EphemeralContainer", "ports", &["containerPort", "protocol"]),
    (CORE, "PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    (CORE, "ResourceRequirements", "claims", &["name"]),
    (CORE, "ResourceStatus", "resources", &["resourceID"]),
    (CORE, "ServiceSpec", "ports", &["port", "protocol"]),
    (EXTENSIONS, "CustomResourceDefinitionStatus", "conditions", &["type"]),
    (RESOURCE, "AllocatedDeviceStatus", "conditions", &["type"]),
    (RESOURCE, "ResourceClaimStatus", "devices", &["driver", "device", "pool", "shareID"]),
];

/// Lists whose elements are told apart by their value.
const SETS: &[(&str, &str, &str)] = &[
    (ADMISSION, "ValidatingAdmissionPolicyBindingSpec", "validationActions"),
    (BATCH, "PodFailurePolicyOnExitCodesRequirement", "values"),
    (BATCH, "UncountedTerminatedPods", "failed"),
    (BATCH, "UncountedTerminatedPods", "succeeded"),
    (CORE, "ContainerRestartRuleOnExitCodes", "values"),
    (CORE, "NodeAllocatableResourceClaimStatus", "containers"),
    (CORE, "NodeSpec", "podCIDRs"),
    (DISCOVERY, "Endpoint", "addresses"),
    (FLOW, "NonResourcePolicyRule", "nonResourceURLs"),
    (FLOW, "NonResourcePolicyRule", "verbs"),
    (FLOW, "ResourcePolicyRule", "apiGroups"),
    (FLOW, "ResourcePolicyRule", "namespaces"),
    (FLOW, "ResourcePolicyRule", "resources"),
    (FLOW, "ResourcePolicyRule", "verbs"),
    (META, "ObjectMeta", "finalizers"),
    (STORAGE, "CSIDriverSpec", "volumeLifecycleModes"),
];

/// Lists that are one value although they have a merge key.
const WHOLE: &[(&str, &str, &str)] = &[(BATCH, "JobStatus", "conditions"), (CORE, "PodStatus", "hostIPs")];

/// Lists of which upstream says nothing.
const UNTYPED: &[(&str, &str, &str)] = &[(META, "APIResource", "verbs")];

/// Bytes that upstream calls a list that is one value: to Go they are a list of numbers.
const ATOMIC_BYTES: &[(&str, &str, &str)] = &[(REGISTRATION, "APIServiceSpec", "caBundle")];

/// Maps that are one value.
const ATOMIC_MAPS: &[(&str, &str, &str)] = &[
    (CORE, "PodSpec", "nodeSelector"),
    (CORE, "ReplicationControllerSpec", "selector"),
    (CORE, "ServiceSpec", "selector"),
    (NODE, "Scheduling", "nodeSelector"),
];

/// Maps, and structs of types that are one value elsewhere, whose fields have owners of their own.
const GRANULAR: &[(&str, &str, &str)] =
    &[(CORE, "PersistentVolumeClaimStatus", "allocatedResourceStatuses"), (CORE, "PersistentVolumeSpec", "claimRef")];

/// Types of which a value may be any JSON: a number, a list, a schema or `true`.
const ANY_JSON: &[(&str, &str)] = &[
    (EXTENSIONS, "JSON"),
    (EXTENSIONS, "JSONSchemaPropsOrArray"),
    (EXTENSIONS, "JSONSchemaPropsOrBool"),
    (EXTENSIONS, "JSONSchemaPropsOrStringArray"),
];

/// Types that are one value.
const ATOMIC_TYPES: &[(&str, &str)] = &[
    (ADMISSION, "MatchResources"),
    (ADMISSION, "NamedRuleWithOperations"),
    (ADMISSION, "ParamKind"),
    (ADMISSION, "ParamRef"),
    (ADMISSION, "Variable"),
    (CORE, "ConfigMapKeySelector"),
    (CORE, "EndpointAddress"),
    (CORE, "EndpointPort"),
    (CORE, "FileKeySelector"),
    (CORE, "LocalObjectReference"),
    (CORE, "NodeSelector"),
    (CORE, "NodeSelectorTerm"),
    (CORE, "ObjectFieldSelector"),
    (CORE, "ObjectReference"),
    (CORE, "ResourceFieldSelector"),
    (CORE, "ScopeSelector"),
    (CORE, "SecretKeySelector"),
    (CORE, "SecretReference"),
    (CORE, "TopologySelectorTerm"),
    (CORE, "TypedLocalObjectReference"),
    (DISCOVERY, "EndpointPort"),
    (META, "LabelSelector"),
    (META, "OwnerReference"),
    (NETWORK, "ServiceBackendPort"),
    (RBAC, "RoleRef"),
    (RBAC, "Subject"),
    (SCALING, "CrossVersionObjectReference"),
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
    (CORE, "ConfigMapEnvSource", "name", ""),
    (CORE, "ConfigMapKeySelector", "name", ""),
    (CORE, "ConfigMapProjection", "name", ""),
    (CORE, "ConfigMapVolumeSource", "name", ""),
    (CORE, "ContainerPort", "protocol", "TCP"),
    (CORE, "GRPCAction", "service", ""),
    (CORE, "ISCSIPersistentVolumeSource", "iscsiInterface", "default"),
    (CORE, "ISCSIVolumeSource", "iscsiInterface", "default"),
    (CORE, "LocalObjectReference", "name", ""),
    (CORE, "RBDPersistentVolumeSource", "keyring", "/etc/ceph/keyring"),
    (CORE, "RBDPersistentVolumeSource", "pool", "rbd"),
    (CORE, "RBDPersistentVolumeSource", "user", "admin"),
    (CORE, "RBDVolumeSource", "keyring", "/etc/ceph/keyring"),
    (CORE, "RBDVolumeSource", "pool", "rbd"),
    (CORE, "RBDVolumeSource", "user", "admin"),
    (CORE, "ScaleIOPersistentVolumeSource", "fsType", "xfs"),
    (CORE, "ScaleIOPersistentVolumeSource", "storageMode", "ThinProvisioned"),
    (CORE, "ScaleIOVolumeSource", "fsType", "xfs"),
    (CORE, "ScaleIOVolumeSource", "storageMode", "ThinProvisioned"),
    (CORE, "SecretEnvSource", "name", ""),
    (CORE, "SecretKeySelector", "name", ""),
    (CORE, "SecretProjection", "name", ""),
    (CORE, "ServicePort", "protocol", "TCP"),
    (RESOURCE, "DeviceToleration", "operator", "Equal"),
];

/// Defaults that are no text, as JSON.
const OTHER_DEFAULTS: &[(&str, &str, &str, &str)] = &[
    (AUTOSCALING, "ScaleSpec", "replicas", "0"),
    (CORE, "AzureDiskVolumeSource", "readOnly", "false"),
    (CORE, "FileKeySelector", "optional", "false"),
    (CORE, "ReplicationControllerSpec", "minReadySeconds", "0"),
    (CORE, "ReplicationControllerSpec", "replicas", "1"),
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
        return Patching { merge: true, retain_keys, key, replace: false };
    }
    Patching { retain_keys: names(RETAINED, name, field), replace: names(REPLACED, name, field), ..Patching::default() }
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

/// Whether the bytes `field` of the type `name` are told to be a list that is one value.
pub(crate) fn is_atomic_bytes(name: &str, field: &str) -> bool {
    names(ATOMIC_BYTES, name, field)
}

/// Whether the map `field` of the type `name` is one value.
pub(crate) fn is_atomic_map(name: &str, field: &str) -> bool {
    names(ATOMIC_MAPS, name, field)
}

/// Whether the map or struct `field` of the type `name` is told to have fields with owners of their own.
pub(crate) fn is_granular(name: &str, field: &str) -> bool {
    names(GRANULAR, name, field)
}

/// Whether a value of the type `name` may be any JSON.
pub(crate) fn is_any_json(name: &str) -> bool {
    ANY_JSON.iter().any(|(package, short)| is(name, package, short))
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
    let find = |table: &'static [(&str, &str, &str, &'static str)]| {
        table.iter().find(|(p, t, f, _)| *f == field && is(name, p, t)).map(|(.., default)| *default)
    };
    let other = || find(OTHER_DEFAULTS).and_then(|text| serde_json::from_str(text).ok());
    find(DEFAULTS).map(Json::from).or_else(other)
}

/// Fields of a union, and what its discriminator is when they are set.
type Members = &'static [(&'static str, &'static str)];

/// Types of which one field at most is set, by the field that says which, if any does.
const UNIONS: &[(&str, &str, &str, Members)] = &[
    (CORE, "AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    (CORE, "PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    (CORE, "SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    (FLOW, "LimitResponse", "type", &[("queuing", "Queuing")]),
    (FLOW, "PriorityLevelConfigurationSpec", "type", &[("exempt", "Exempt"), ("limited", "Limited")]),
    (FLOW, "Subject", "kind", &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")]),
];

/// What `x-kubernetes-unions` says of a type.
pub(crate) fn unions(name: &str) -> Option<Json> {
    let (.., discriminator, fields) = UNIONS.iter().find(|(package, union, ..)| is(name, package, union))?;
    let fields: serde_json::Map<String, Json> =
        fields.iter().map(|(field, value)| ((*field).to_string(), Json::from(*value))).collect();
    let mut union = serde_json::Map::new();
    if !discriminator.is_empty() {
        union.insert("discriminator".into(), Json::from(*discriminator));
    }
    union.insert("fields-to-discriminateBy".into(), fields.into());
    Some(Json::Array(vec![union.into()]))
}

/// Every field that a table above speaks of.
#[cfg(test)]
pub(crate) fn all() -> Vec<(String, &'static str)> {
    let merged = MERGED.iter().map(|&(package, name, field, ..)| (package, name, field));
    let keyed = KEYED.iter().map(|&(package, name, field, _)| (package, name, field));
    let required = REQUIRED.iter().map(|&(package, name, field, _)| (package, name, field));
    let defaults = DEFAULTS.iter().chain(OTHER_DEFAULTS).map(|&(package, name, field, _)| (package, name, field));
    let plain =
        [RETAINED, REPLACED, SETS, WHOLE, UNTYPED, ATOMIC_BYTES, ATOMIC_MAPS, GRANULAR].into_iter().flatten().copied();
    let fields = merged.chain(keyed).chain(required).chain(defaults).chain(plain);
    fields.map(|(package, name, field)| (format!("{package}{name}"), field)).collect()
}
