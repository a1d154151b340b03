//! What a kind brings to the generic engine.
//!
//! `default`, `prepare_*` and `canonicalise` may change the document; `validate_*` and `warnings` never do.

use crate::custom::{CustomKind, CustomStrategy};
use crate::generic::update::Part;
use holdfast_core::json::{at, remove};
use holdfast_core::names;
use holdfast_core::{FieldErrors, Json, Timestamp};
use holdfast_kinds::Kind;
use std::ops::Deref;
use std::sync::Arc;

/// The rules of a kind. Documents are decoded: each field has the type that the schema says.
pub(crate) trait Strategy: Send + Sync {
    /// Fills what upstream's `SetDefaults_*` fill. Idempotent.
    fn default(&self, _doc: &mut Json) {}

    /// Whether `status` is a part of its own: dropped on create, kept on update.
    fn has_status(&self) -> bool {
        false
    }

    /// Whether `metadata.generation` counts changes of the desired state.
    fn counts_generation(&self) -> bool {
        false
    }

    /// Whether the status counts as desired state, where it is no part of its own.
    fn status_is_desired(&self) -> bool {
        false
    }

    /// Whether an update of a missing object creates it.
    fn creates_on_update(&self) -> bool {
        false
    }

    /// Whether an update needs no `resourceVersion`.
    fn unconditional_update(&self) -> bool {
        true
    }

    /// What is wrong with a name.
    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns_subdomain(name)
    }

    /// Sets what only the server may set.
    fn prepare_for_create(&self, _doc: &mut Json) {}

    /// Restores what a client may not change silently.
    fn prepare_for_update(&self, _doc: &mut Json, _old: &Json) {}

    /// The fields of `metadata` that a write of the status does not change, whatever it says; `None`: all of them.
    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        Some(&["labels", "ownerReferences"])
    }

    /// Restores all but the status; a kind may let more or less through.
    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        keep_all_but_status(doc, old);
        let all = &["labels", "annotations", "finalizers", "ownerReferences"];
        for field in self.kept_by_status().unwrap_or(all) {
            holdfast_core::json::copy(old, doc, &["metadata", field]);
        }
    }

    /// Restores all but what a write to a part of the kind's own may change.
    fn prepare_part(&self, _part: Part, _doc: &mut Json, _old: &Json) {}

    /// Sets the times of what a write to a part changed, where the client left them to the server.
    fn stamp(&self, _doc: &mut Json, _old: &Json, _now: Timestamp) {}

    /// Problems of a new object, and of one as an update leaves it.
    fn validate(&self, _doc: &Json, _errors: &mut FieldErrors) {}

    /// Further problems of a new object, of what an update cannot change or leaves as it was.
    fn validate_new(&self, _doc: &Json, _errors: &mut FieldErrors) {}

    /// Whether [`Strategy::validate_update`] judges all of a changed object, so that [`Strategy::validate`] is for new ones.
    fn judges_changes_whole(&self) -> bool {
        false
    }

    /// Problems of a change; [`Strategy::validate`] is called beside it, unless [`Strategy::judges_changes_whole`].
    fn validate_update(&self, _doc: &Json, _old: &Json, _errors: &mut FieldErrors) {}

    /// Problems of a new status.
    fn validate_status(&self, _doc: &Json, _old: &Json, _errors: &mut FieldErrors) {}

    /// Problems of a change of a part of the kind's own.
    fn validate_part(&self, _part: Part, _doc: &Json, _old: &Json, _errors: &mut FieldErrors) {}

    /// Warnings for the client.
    fn warnings(&self, _doc: &Json) -> Vec<String> {
        Vec::new()
    }

    /// The last change before the commit; changes the form, never the meaning.
    fn canonicalise(&self, _doc: &mut Json) {}

    /// Whether dependents stay when a deletion does not say what becomes of them.
    fn orphans_by_default(&self) -> bool {
        false
    }

    /// Seconds of grace that deletion gives; `None` for kinds that go at once.
    fn grace_seconds(&self, _doc: &Json, _asked: Option<i64>) -> Option<i64> {
        None
    }
}

/// Puts everything but `metadata` and `status` back to what it was.
pub(crate) fn keep_all_but_status(doc: &mut Json, old: &Json) {
    let (Some(new_map), Some(old_map)) = (doc.as_object_mut(), old.as_object()) else { return };
    new_map.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
    for (key, value) in old_map {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status") {
            new_map.insert(key.clone(), value.clone());
        }
    }
}

/// Whether anything but metadata differs, and but the status unless that is desired state too.
pub(crate) fn desired_state_differs(strategy: &dyn Strategy, doc: &Json, old: &Json) -> bool {
    let is_status = |key: &str| key == "status" && !strategy.status_is_desired();
    let keys = |json: &Json| -> Vec<String> {
        json.as_object()
            .map(|map| map.keys().filter(|key| *key != "metadata" && !is_status(key)).cloned().collect())
            .unwrap_or_default()
    };
    let (new_keys, old_keys) = (keys(doc), keys(old));
    new_keys.len() != old_keys.len() || new_keys.iter().any(|key| at(doc, &[key]) != at(old, &[key]))
}

/// Drops the status of a new object.
pub(crate) fn drop_status(doc: &mut Json) {
    remove(doc, &["status"]);
}

/// The rules of a kind, whichever way it came to be served.
#[derive(Clone)]
pub(crate) enum Rules {
    BuiltIn(&'static dyn Strategy),
    Custom(CustomStrategy),
}

impl Rules {
    /// What a definition gave, for a custom kind.
    pub(crate) fn custom(&self) -> Option<&Arc<CustomKind>> {
        match self {
            Rules::BuiltIn(_) => None,
            Rules::Custom(strategy) => Some(&strategy.0),
        }
    }
}

impl Deref for Rules {
    type Target = dyn Strategy;

    fn deref(&self) -> &Self::Target {
        match self {
            Rules::BuiltIn(strategy) => *strategy,
            Rules::Custom(strategy) => strategy,
        }
    }
}

/// The strategy of a built-in kind. All versions of a kind share one, but for Events.
pub(crate) fn strategy_of(kind: &Kind) -> &'static dyn Strategy {
    use crate::kinds;
    match (kind.group, kind.kind) {
        ("", "Namespace") => &kinds::namespace::Namespace,
        ("", "Node") => &kinds::node::Node,
        ("", "Pod") => &kinds::pod::Pod,
        ("", "Service") => &kinds::service::Service,
        ("", "ConfigMap") => &kinds::config_map::ConfigMap,
        ("", "Secret") => &kinds::secret::Secret,
        ("", "ServiceAccount") => &kinds::service_account::ServiceAccount,
        ("", "Event") => &kinds::event::CORE,
        ("events.k8s.io", "Event") => &kinds::event::EVENTS,
        ("discovery.k8s.io", "EndpointSlice") => &kinds::endpoint_slice::EndpointSlice,
        ("coordination.k8s.io", "Lease") => &kinds::lease::Lease,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            &kinds::custom_resource_definition::CustomResourceDefinition
        }
        ("", "Endpoints") => &kinds::endpoints::Endpoints,
        ("", "LimitRange") => &kinds::limit_range::LimitRange,
        ("", "PersistentVolume") => &kinds::persistent_volume::PersistentVolume,
        ("", "PersistentVolumeClaim") => &kinds::persistent_volume_claim::PersistentVolumeClaim,
        ("", "PodTemplate") => &kinds::replication_controller::PodTemplate,
        ("", "ReplicationController") => &kinds::replication_controller::ReplicationController,
        ("", "ResourceQuota") => &kinds::resource_quota::ResourceQuota,
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            &kinds::webhooks::WebhookConfiguration
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => &kinds::admission_policy::Policy,
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => &kinds::admission_policy::Binding,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => &kinds::mutating_policy::Policy,
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding") => &kinds::mutating_policy::Binding,
        ("apps", "ControllerRevision") => &kinds::controller_revision::ControllerRevision,
        ("apps", "DaemonSet") => &kinds::daemon_set::DaemonSet,
        ("apps", "StatefulSet") => &kinds::stateful_set::StatefulSet,
        ("autoscaling", "HorizontalPodAutoscaler") => &kinds::horizontal_pod_autoscaler::HorizontalPodAutoscaler,
        ("batch", "CronJob") => &kinds::cron_job::CronJob,
        ("batch", "Job") => &kinds::job::Job,
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            &kinds::certificate_signing_request::CertificateSigningRequest
        }
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &kinds::flow_control::FlowSchema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            &kinds::flow_control::PriorityLevelConfiguration
        }
        ("networking.k8s.io", "Ingress") => &kinds::ingress::Ingress,
        ("networking.k8s.io", "IngressClass") => &kinds::ingress::IngressClass,
        ("networking.k8s.io", "IPAddress") => &kinds::service_cidr::IpAddress,
        ("networking.k8s.io", "ServiceCIDR") => &kinds::service_cidr::ServiceCidr,
        ("networking.k8s.io", "NetworkPolicy") => &kinds::network_policy::NetworkPolicy,
        ("policy", "PodDisruptionBudget") => &kinds::pod_disruption_budget::PodDisruptionBudget,
        ("storage.k8s.io", "CSIDriver") => &kinds::storage::CsiDriver,
        ("storage.k8s.io", "CSINode") => &kinds::storage::CsiNode,
        ("storage.k8s.io", "CSIStorageCapacity") => &kinds::storage::CsiStorageCapacity,
        ("storage.k8s.io", "StorageClass") => &kinds::storage::StorageClass,
        ("storage.k8s.io", "VolumeAttachment") => &kinds::storage::VolumeAttachment,
        ("storage.k8s.io", "VolumeAttributesClass") => &kinds::storage::VolumeAttributesClass,
        ("apps", "Deployment") => &kinds::deployment::Deployment,
        ("apps", "ReplicaSet") => &kinds::replica_set::ReplicaSet,
        ("edge.holdfast.io", "OfflinePolicy") => &kinds::offline_policy::OfflinePolicy,
        ("node.k8s.io", "RuntimeClass") => &kinds::runtime_class::RuntimeClass,
        ("scheduling.k8s.io", "PriorityClass") => &kinds::priority_class::PriorityClass,
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => &kinds::rbac::Role,
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &kinds::rbac::Binding,
        _ => kinds::stored::of(kind),
    }
}
