//! Admission: plug-ins in upstream's order, a file each. Mutating ones run before validation, validating ones
//! after it. They judge content and identity; rights only where upstream's plug-ins do. What users configure ([`dynamic`])
//! comes after the built-in ones of either sort. ResourceQuota comes last of all, where a write is put together, as what it
//! charges commits with the write.

pub(crate) mod certificate_approval;
pub(crate) mod certificate_requester;
pub(crate) mod certificate_signing;
pub(crate) mod certificate_subject;
pub(crate) mod default_ingress_class;
pub(crate) mod default_tolerations;
pub(crate) mod dynamic;
pub(crate) mod limit_ranger;
pub(crate) mod mountable_secrets;
pub(crate) mod namespace_lifecycle;
pub(crate) mod node_restriction;
pub(crate) mod node_taint;
pub(crate) mod offline_policy;
pub(crate) mod pod_security;
pub(crate) mod policy_params;
pub(crate) mod priority;
pub(crate) mod rbac_escalation;
pub(crate) mod resource_quota;
pub(crate) mod runtime_class;
pub(crate) mod service_account;
mod signers;
pub(crate) mod storage;
pub(crate) mod timing;
pub(crate) mod topology_labels;

use crate::engine::Engine;
use crate::generic::update::Part;
use dynamic::Operation;
use holdfast_core::json::at;
use holdfast_core::{Gvr, Json, Object, Status};
use holdfast_kinds::Kind;
use holdfast_server::RequestContext;
use std::sync::Arc;
use timing::{Half, Plugin};

/// What plug-ins look at.
pub(crate) struct Admission<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) cx: &'a RequestContext,
    pub(crate) kind: &'static Kind,
    pub(crate) gvr: &'a Gvr,
    pub(crate) namespace: &'a str,
}

impl Admission<'_> {
    fn is_core(&self, kind: &str) -> bool {
        self.kind.group.is_empty() && self.kind.kind == kind
    }

    /// What runs the plug-ins of a half of admission, and counts them.
    fn half(&self, half: Half, operation: Operation) -> Run<'_> {
        Run { engine: self.engine, half, operation }
    }

    /// 403 about the object.
    fn forbidden(&self, doc: &Json, why: impl std::fmt::Display) -> Status {
        Status::forbidden(self.gvr, holdfast_core::json::str_at(doc, &["metadata", "name"]).unwrap_or_default(), why)
    }
}

/// See [`Admission::half`].
struct Run<'a> {
    engine: &'a Engine,
    half: Half,
    operation: Operation,
}

impl Run<'_> {
    async fn of<T>(&self, plugin: Plugin, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let of = (plugin, self.half, self.operation);
        self.engine.timing.plugin(&self.engine.env, of, work).await
    }
}

/// The name of the class that an annotation calls the default; of several the newest, then the first by name.
async fn newest_default(cx: &Admission<'_>, classes: &Gvr, annotations: &[&str]) -> Result<Option<String>, Status> {
    let all = cx.engine.find_all(classes, "").await?;
    let is_default = |class: &&Arc<Object>| {
        annotations.iter().any(|name| class.meta.annotations.get(*name).is_some_and(|value| value == "true"))
    };
    let newest = all
        .iter()
        .filter(is_default)
        .min_by_key(|class| (std::cmp::Reverse(class.meta.creation_timestamp), class.meta.name.clone()));
    Ok(newest.map(|class| class.meta.name.clone()))
}

/// Mutating plug-ins of a create.
pub(crate) async fn mutate_create(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let run = cx.half(Half::Admit, Operation::Create);
    if cx.kind.namespaced {
        let name = holdfast_core::json::str_at(doc, &["metadata", "name"]).unwrap_or_default().to_string();
        let open = namespace_lifecycle::open(cx.engine, cx.gvr, cx.namespace, &name);
        run.of(Plugin::NamespaceLifecycle, open).await?;
    }
    if cx.is_core("PersistentVolumeClaim") {
        run.of(Plugin::DefaultStorageClass, storage::default_class(cx, doc)).await?;
        storage::protect(doc, storage::CLAIM_PROTECTION);
    }
    if cx.is_core("PersistentVolume") {
        storage::protect(doc, storage::VOLUME_PROTECTION);
    }
    if cx.is_core("Node") {
        node_taint::mutate(doc);
    }
    if cx.kind.group == "networking.k8s.io" && cx.kind.kind == "Ingress" {
        run.of(Plugin::DefaultIngressClass, default_ingress_class::mutate(cx, doc)).await?;
    }
    if cx.is_core("Pod") {
        run.of(Plugin::LimitRanger, limit_ranger::mutate(cx, doc)).await?;
        run.of(Plugin::Priority, priority::mutate(cx, doc)).await?;
        run.of(Plugin::ServiceAccount, service_account::mutate(cx, doc)).await?;
        run.of(Plugin::RuntimeClass, runtime_class::mutate(cx, doc)).await?;
        // Tolerations follow from the mode.
        run.of(Plugin::OfflinePolicy, offline_policy::mutate(cx, doc)).await?;
        default_tolerations::mutate(cx, doc);
        run.of(Plugin::PodTopologyLabels, topology_labels::mutate(cx, doc)).await?;
    }
    if cx.kind.kind == "CertificateSigningRequest" {
        certificate_requester::mutate(cx, doc);
    }
    Ok(())
}

/// Validating plug-ins of a create.
pub(crate) async fn validate_create(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    let run = cx.half(Half::Validate, Operation::Create);
    if cx.is_core("Pod") || cx.is_core("PersistentVolumeClaim") {
        run.of(Plugin::LimitRanger, limit_ranger::validate(cx, doc)).await?;
    }
    if cx.kind.kind == "PriorityClass" {
        run.of(Plugin::Priority, priority::only_default(cx, doc)).await?;
    }
    if cx.is_core("Pod") {
        run.of(Plugin::ServiceAccount, mountable_secrets::validate(cx, doc)).await?;
    }
    run.of(Plugin::PodSecurity, pod_security::validate(cx, doc)).await?;
    run.of(Plugin::NodeRestriction, node_restriction::create(cx, doc)).await?;
    if cx.kind.kind == "CertificateSigningRequest" {
        run.of(Plugin::CertificateSubjectRestriction, async { certificate_subject::validate(cx, doc) }).await?;
    }
    policy_params::validate(cx, doc, None).await?;
    rbac_escalation::validate(cx, doc, None).await
}

/// Mutating plug-ins of an update.
pub(crate) async fn mutate_update(cx: &Admission<'_>, doc: &mut Json, _old: &Json) -> Result<(), Status> {
    if cx.is_core("Pod") {
        default_tolerations::mutate(cx, doc);
    }
    Ok(())
}

/// Validating plug-ins of an update.
pub(crate) async fn validate_update(cx: &Admission<'_>, part: Part, doc: &Json, old: &Json) -> Result<(), Status> {
    let run = cx.half(Half::Validate, Operation::Update);
    if part == Part::Main && cx.is_core("PersistentVolumeClaim") {
        run.of(Plugin::PersistentVolumeClaimResize, storage::resize(cx, doc, old)).await?;
    }
    if part == Part::Main && cx.kind.kind == "PriorityClass" {
        run.of(Plugin::Priority, priority::only_default(cx, doc)).await?;
    }
    let is_claim = part == Part::Main && cx.is_core("PersistentVolumeClaim");
    let stays = at(old, &["metadata", "deletionTimestamp"]).is_none();
    if stays && (is_claim || part == Part::Resize) {
        run.of(Plugin::LimitRanger, limit_ranger::validate(cx, doc)).await?;
    }
    if part == Part::EphemeralContainers {
        run.of(Plugin::ServiceAccount, mountable_secrets::validate_ephemeral(cx, doc)).await?;
    }
    run.of(Plugin::PodSecurity, pod_security::validate_update(cx, part, doc, old)).await?;
    run.of(Plugin::NodeRestriction, async { node_restriction::update(cx, part, doc, old) }).await?;
    if cx.kind.kind == "CertificateSigningRequest" {
        run.of(Plugin::CertificateApproval, certificate_approval::validate(cx, part, old)).await?;
        run.of(Plugin::CertificateSigning, certificate_signing::validate(cx, part, doc, old)).await?;
    }
    if part == Part::Main {
        policy_params::validate(cx, doc, Some(old)).await?;
    }
    rbac_escalation::validate(cx, doc, Some(old)).await
}

/// Validating plug-ins of a deletion.
pub(crate) async fn validate_delete(cx: &Admission<'_>, name: &str, old: &Json) -> Result<(), Status> {
    let run = cx.half(Half::Validate, Operation::Delete);
    if cx.is_core("Namespace") {
        let judge = async { namespace_lifecycle::validate_delete(cx, name) };
        run.of(Plugin::NamespaceLifecycle, judge).await?;
    }
    run.of(Plugin::NodeRestriction, async { node_restriction::delete(cx, old) }).await
}
