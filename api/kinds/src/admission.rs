//! admissionregistration.k8s.io: who else has a say in writes.

use crate::show::{AGE, NAME, UNSET, age, column, name, text};
use crate::{Column, Kind, Subresource, Support};
use holdfast_core::json::{at, items_at};
use holdfast_core::{Json, Timestamp};

const GROUP: &str = "admissionregistration.k8s.io";

const COMMON: Kind = Kind {
    group: GROUP,
    categories: &["api-extensions"],
    namespaced: false,
    support: Support::StoredOnly,
    ..Kind::BASE
};

const WEBHOOKS: &[Column] = &[NAME, column("Webhooks", "integer", "How many webhooks it has."), AGE];
const PARAM_KIND: Column = column("ParamKind", "string", "The kind of its parameters.");
const BINDING: &[Column] = &[
    NAME,
    column("PolicyName", "string", "The policy that it binds."),
    column("ParamRef", "string", "The parameters that the policy gets."),
    AGE,
];

/// admissionregistration.k8s.io/v1 MutatingWebhookConfiguration.
pub(crate) const MUTATING_WEBHOOK_CONFIGURATION: Kind = Kind {
    kind: "MutatingWebhookConfiguration",
    plural: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    schema: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration",
    columns: WEBHOOKS,
    row: webhooks_row,
    support: Support::Full,
    ..COMMON
};

/// admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration.
pub(crate) const VALIDATING_WEBHOOK_CONFIGURATION: Kind = Kind {
    kind: "ValidatingWebhookConfiguration",
    plural: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    schema: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration",
    columns: WEBHOOKS,
    row: webhooks_row,
    support: Support::Full,
    ..COMMON
};

/// admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy.
pub(crate) const VALIDATING_ADMISSION_POLICY: Kind = Kind {
    kind: "ValidatingAdmissionPolicy",
    plural: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    subresources: &[Subresource::status(GROUP, "ValidatingAdmissionPolicy")],
    schema: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy",
    columns: &[NAME, column("Validations", "integer", "How many validations it has."), PARAM_KIND, AGE],
    row: |doc, now| policy_row(doc, now, "validations"),
    support: Support::Full,
    ..COMMON
};

/// admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding.
pub(crate) const VALIDATING_ADMISSION_POLICY_BINDING: Kind = Kind {
    kind: "ValidatingAdmissionPolicyBinding",
    plural: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    schema: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    columns: BINDING,
    row: binding_row,
    support: Support::Full,
    ..COMMON
};

/// admissionregistration.k8s.io/v1 MutatingAdmissionPolicy.
pub(crate) const MUTATING_ADMISSION_POLICY: Kind = Kind {
    kind: "MutatingAdmissionPolicy",
    plural: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    schema: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    columns: &[NAME, column("Mutations", "integer", "How many mutations it has."), PARAM_KIND, AGE],
    row: |doc, now| policy_row(doc, now, "mutations"),
    support: Support::Full,
    ..COMMON
};

/// admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding.
pub(crate) const MUTATING_ADMISSION_POLICY_BINDING: Kind = Kind {
    kind: "MutatingAdmissionPolicyBinding",
    plural: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    schema: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    columns: BINDING,
    row: binding_row,
    support: Support::Full,
    ..COMMON
};

fn webhooks_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    vec![name(doc), items_at(doc, &["webhooks"]).len().into(), age(doc, now)]
}

fn policy_row(doc: &Json, now: Timestamp, list: &str) -> Vec<Json> {
    let kind = at(doc, &["spec", "paramKind"])
        .map_or_else(|| UNSET.to_string(), |kind| format!("{}/{}", text(kind, &["apiVersion"]), text(kind, &["kind"])));
    vec![name(doc), items_at(doc, &["spec", list]).len().into(), kind.into(), age(doc, now)]
}

fn binding_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    vec![name(doc), text(doc, &["spec", "policyName"]).into(), parameters(doc).into(), age(doc, now)]
}

/// The object that a binding names. Whether the kind lives in namespaces is not known here.
fn parameters(doc: &Json) -> String {
    let Some(of) = at(doc, &["spec", "paramRef"]) else { return UNSET.to_string() };
    match (text(of, &["namespace"]), text(of, &["name"]), of.get("selector")) {
        ("", "", Some(selector)) => crate::show::selector_or_none(Some(selector)),
        (_, "", _) => UNSET.to_string(),
        ("", name, _) => format!("*/{name}"),
        (namespace, name, _) => format!("{namespace}/{name}"),
    }
}
