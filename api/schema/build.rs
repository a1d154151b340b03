//! Writes down the schemas of all types that the served kinds reach: as `k8s-openapi` knows them, and our own (`own.json`).
//!
//! Two files in `OUT_DIR`, both JSON under zstd: `types` (structure; read into the table at first use) and
//! `docs` (descriptions; read only while an OpenAPI document is made).

use k8s_openapi::api::{
    admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
    authorization::v1 as authorization, autoscaling::v1 as autoscaling, autoscaling::v2 as autoscaling_v2,
    batch::v1 as batch, certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
    discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol, networking::v1 as networking,
    node::v1 as node, policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource, scheduling::v1 as scheduling,
    storage::v1 as storage,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};
use std::error::Error;
use std::path::Path;

macro_rules! register {
    ($generator:ident, $($root:ty),* $(,)?) => { $( let _ = $generator.subschema_for::<$root>(); )* };
}

fn roots(generator: &mut SchemaGenerator) {
    register!(
        generator,
        admission::MutatingAdmissionPolicy,
        admission::MutatingAdmissionPolicyBinding,
        admission::MutatingWebhookConfiguration,
        admission::ValidatingAdmissionPolicy,
        admission::ValidatingAdmissionPolicyBinding,
        admission::ValidatingWebhookConfiguration,
        apiextensions::CustomResourceDefinition,
        apiregistration::APIService,
        apps::ControllerRevision,
        apps::DaemonSet,
        apps::Deployment,
        apps::ReplicaSet,
        apps::StatefulSet,
        authentication::SelfSubjectReview,
        authentication::TokenRequest,
        authentication::TokenReview,
        authorization::LocalSubjectAccessReview,
        authorization::SelfSubjectAccessReview,
        authorization::SelfSubjectRulesReview,
        authorization::SubjectAccessReview,
        autoscaling::HorizontalPodAutoscaler,
        autoscaling::Scale,
        autoscaling_v2::HorizontalPodAutoscaler,
        batch::CronJob,
        batch::Job,
        certificates::CertificateSigningRequest,
        coordination::Lease,
        core::Binding,
        core::ComponentStatus,
        core::ConfigMap,
        core::Endpoints,
        core::Event,
        core::LimitRange,
        core::Namespace,
        core::Node,
        core::PersistentVolume,
        core::PersistentVolumeClaim,
        core::Pod,
        core::PodTemplate,
        core::ReplicationController,
        core::ResourceQuota,
        core::Secret,
        core::Service,
        core::ServiceAccount,
        discovery::EndpointSlice,
        events::Event,
        flowcontrol::FlowSchema,
        flowcontrol::PriorityLevelConfiguration,
        networking::IPAddress,
        networking::Ingress,
        networking::IngressClass,
        networking::NetworkPolicy,
        networking::ServiceCIDR,
        node::RuntimeClass,
        policy::Eviction,
        policy::PodDisruptionBudget,
        rbac::ClusterRole,
        rbac::ClusterRoleBinding,
        rbac::Role,
        rbac::RoleBinding,
        resource::DeviceClass,
        resource::ResourceClaim,
        resource::ResourceClaimTemplate,
        resource::ResourceSlice,
        scheduling::PriorityClass,
        storage::CSIDriver,
        storage::CSINode,
        storage::CSIStorageCapacity,
        storage::StorageClass,
        storage::VolumeAttachment,
        storage::VolumeAttributesClass,
        meta::APIGroup,
        meta::APIGroupList,
        meta::APIResourceList,
        meta::APIVersions,
        meta::DeleteOptions,
        meta::ListMeta,
        meta::Patch,
        meta::Status,
        meta::WatchEvent<()>,
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=own.json");
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    roots(&mut generator);
    let mut definitions = generator.take_definitions(true);
    assert!(definitions.len() > 150, "k8s-openapi gave only {} schemas", definitions.len());

    let own: Map<String, Value> = serde_json::from_str(include_str!("own.json"))?;
    definitions.extend(own);

    let (mut types, mut docs) = (Map::new(), Map::new());
    let mut sorted: Vec<(String, Value)> = definitions.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    for (name, mut schema) in sorted {
        docs.insert(name.clone(), Value::Object(take_descriptions(&mut schema)));
        types.insert(name, schema);
    }
    let out = std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    write(Path::new(&out), "types.json.zst", &Value::Object(types))?;
    write(Path::new(&out), "docs.json.zst", &Value::Object(docs))
}

/// Takes the descriptions of a type (under the empty name) and of its fields.
fn take_descriptions(schema: &mut Value) -> Map<String, Value> {
    let mut found = Map::new();
    if let Some(text) = schema.as_object_mut().and_then(|map| map.remove("description")) {
        found.insert(String::new(), text);
    }
    let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, field) in fields.into_iter().flatten() {
        if let Some(text) = field.as_object_mut().and_then(|map| map.remove("description")) {
            found.insert(name.clone(), text);
        }
    }
    found
}

fn write(dir: &Path, name: &str, value: &Value) -> Result<(), Box<dyn Error>> {
    let packed = zstd::bulk::compress(&serde_json::to_vec(value)?, 19)?;
    Ok(std::fs::write(dir.join(name), packed)?)
}
