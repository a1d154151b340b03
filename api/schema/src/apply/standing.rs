//! Which fields upstream's Go types always have: structs that are held by value, what is required, and what `omitempty` does
//! not leave out.

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

/// Other fields that Go writes always although they are not required, by what it writes when nothing is said: those without
/// `omitempty`, and times, quantities and whatever else writes itself, held by value, which `omitempty` does not leave out.
const ALWAYS: &[(Zero, &[(&str, &str)])] = &[
    (
        Zero::Null,
        &[
            ("admissionregistration.v1.MutatingWebhook", "sideEffects"),
            ("admissionregistration.v1.ValidatingWebhook", "sideEffects"),
            ("apiextensions.v1.CustomResourceDefinitionCondition", "lastTransitionTime"),
            ("apiextensions.v1.CustomResourceDefinitionStatus", "conditions"),
            ("apiextensions.v1.CustomResourceDefinitionStatus", "storedVersions"),
            ("apps.v1.ControllerRevision", "data"),
            ("apps.v1.DaemonSetCondition", "lastTransitionTime"),
            ("apps.v1.DeploymentCondition", "lastTransitionTime"),
            ("apps.v1.DeploymentCondition", "lastUpdateTime"),
            ("apps.v1.ReplicaSetCondition", "lastTransitionTime"),
            ("apps.v1.StatefulSetCondition", "lastTransitionTime"),
            ("autoscaling.v2.HorizontalPodAutoscalerCondition", "lastTransitionTime"),
            ("autoscaling.v2.HorizontalPodAutoscalerStatus", "currentMetrics"),
            ("batch.v1.JobCondition", "lastProbeTime"),
            ("batch.v1.JobCondition", "lastTransitionTime"),
            ("certificates.v1.CertificateSigningRequestCondition", "lastTransitionTime"),
            ("certificates.v1.CertificateSigningRequestCondition", "lastUpdateTime"),
            ("core.v1.AzureFilePersistentVolumeSource", "secretNamespace"),
            ("core.v1.ContainerImage", "names"),
            ("core.v1.ContainerStateRunning", "startedAt"),
            ("core.v1.ContainerStateTerminated", "finishedAt"),
            ("core.v1.ContainerStateTerminated", "startedAt"),
            ("core.v1.Event", "eventTime"),
            ("core.v1.Event", "firstTimestamp"),
            ("core.v1.Event", "lastTimestamp"),
            ("core.v1.EventSeries", "lastObservedTime"),
            ("core.v1.GRPCAction", "service"),
            ("core.v1.NamespaceCondition", "lastTransitionTime"),
            ("core.v1.NodeCondition", "lastHeartbeatTime"),
            ("core.v1.NodeCondition", "lastTransitionTime"),
            ("core.v1.PersistentVolumeClaimCondition", "lastProbeTime"),
            ("core.v1.PersistentVolumeClaimCondition", "lastTransitionTime"),
            ("core.v1.PodCondition", "lastProbeTime"),
            ("core.v1.PodCondition", "lastTransitionTime"),
            ("core.v1.ProjectedVolumeSource", "sources"),
            ("core.v1.ReplicationControllerCondition", "lastTransitionTime"),
            ("core.v1.TypedLocalObjectReference", "apiGroup"),
            ("core.v1.TypedObjectReference", "apiGroup"),
            ("discovery.v1.EndpointSlice", "endpoints"),
            ("discovery.v1.EndpointSlice", "ports"),
            ("events.v1.Event", "deprecatedFirstTimestamp"),
            ("events.v1.Event", "deprecatedLastTimestamp"),
            ("flowcontrol.v1.FlowSchemaCondition", "lastTransitionTime"),
            ("flowcontrol.v1.LimitedPriorityLevelConfiguration", "nominalConcurrencyShares"),
            ("flowcontrol.v1.PriorityLevelConfigurationCondition", "lastTransitionTime"),
            ("flowcontrol.v1.ResourcePolicyRule", "namespaces"),
            ("networking.v1.HTTPIngressPath", "pathType"),
            ("networking.v1.IngressClassParametersReference", "scope"),
            ("rbac.v1.ClusterRole", "rules"),
            ("rbac.v1.Role", "rules"),
            ("resource.v1.AllocatedDeviceStatus", "conditions"),
            ("resource.v1.CapacityRequestPolicy", "default"),
            ("resource.v1.DeviceClaim", "requests"),
            ("storage.v1.CSINodeDriver", "topologyKeys"),
            ("storage.v1.VolumeError", "time"),
        ],
    ),
    (
        Zero::Text,
        &[
            ("apps.v1.StatefulSetSpec", "serviceName"),
            ("authentication.v1.TokenRequestStatus", "token"),
            ("batch.v1.PodFailurePolicyOnPodConditionsPattern", "status"),
            ("core.v1.Event", "reportingComponent"),
            ("core.v1.Event", "reportingInstance"),
            ("core.v1.NodeRuntimeHandler", "name"),
            ("rbac.v1.RoleRef", "apiGroup"),
        ],
    ),
    (
        Zero::Number,
        &[
            ("apps.v1.StatefulSetOrdinals", "start"),
            ("apps.v1.StatefulSetStatus", "availableReplicas"),
            ("core.v1.ServicePort", "targetPort"),
            ("flowcontrol.v1.FlowSchemaSpec", "matchingPrecedence"),
            ("flowcontrol.v1.QueuingConfiguration", "handSize"),
            ("flowcontrol.v1.QueuingConfiguration", "queueLengthLimit"),
            ("flowcontrol.v1.QueuingConfiguration", "queues"),
            ("policy.v1.PodDisruptionBudgetStatus", "currentHealthy"),
            ("policy.v1.PodDisruptionBudgetStatus", "desiredHealthy"),
            ("policy.v1.PodDisruptionBudgetStatus", "disruptionsAllowed"),
            ("policy.v1.PodDisruptionBudgetStatus", "expectedPods"),
            ("scheduling.v1.PriorityClass", "value"),
        ],
    ),
    (Zero::Quantity, &[("core.v1.ResourceFieldSelector", "divisor")]),
];

/// Fields that Go leaves out when they are empty although they are required.
const LEFT_OUT: &[(&str, &str)] = &[
    ("admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", "policyName"),
    ("authentication.v1.TokenReviewSpec", "token"),
    ("core.v1.ContainerRestartRule", "action"),
    ("core.v1.ContainerRestartRuleOnExitCodes", "operator"),
    ("core.v1.ImageVolumeStatus", "imageRef"),
    ("core.v1.PodCertificateProjection", "keyType"),
    ("core.v1.PodCertificateProjection", "signerName"),
    ("networking.v1.ParentReference", "name"),
    ("networking.v1.ParentReference", "resource"),
];

/// What the field `field` of the type `owner` is when nothing is said of it; `None` when it then is not there.
/// `is_struct` tells of a value that is one.
pub(crate) fn zero(owner: &str, field: &str, value: &Type, is_struct: bool, required: bool) -> Option<Zero> {
    let is_in = |table: &[(&str, &str)]| {
        table.iter().any(|(name, known)| {
            *known == field && owner.strip_suffix(name).is_some_and(|package| package.ends_with('.'))
        })
    };
    if is_in(LEFT_OUT) {
        return None;
    }
    if let Some((zero, _)) = ALWAYS.iter().find(|(_, fields)| is_in(fields)) {
        return Some(*zero);
    }
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
