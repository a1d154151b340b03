//! Nobody reads through a policy what he may not read: its expressions see parameters, and its messages can tell of
//! them.
//! (Upstream does this in the storage of the group admissionregistration.k8s.io.)

use super::{Admission, dynamic};
use holdfast_core::json::{at, str_at};
use holdfast_core::user::MASTERS;
use holdfast_core::{FieldErrors, FieldPath, Gvk, Gvr, Json, Status, Target};
use holdfast_server::{Attributes, Decision};

const GROUP: &str = "admissionregistration.k8s.io";

/// Judges who writes a policy with parameters, or binds one to some.
pub(crate) async fn validate(cx: &Admission<'_>, doc: &Json, old: Option<&Json>) -> Result<(), Status> {
    if cx.kind.group != GROUP || cx.cx.user.is_in(MASTERS) {
        return Ok(());
    }
    let same = |path: &[&str]| old.is_some_and(|old| at(old, path) == at(doc, path));
    match cx.kind.kind {
        "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy" => {
            let Some(kind) = at(doc, &["spec", "paramKind"]).filter(|_| !same(&["spec", "paramKind"])) else {
                return Ok(());
            };
            if may(cx, "get", resource(cx, kind), "*", "*").await? {
                return Ok(());
            }
            let text = |field: &str| str_at(kind, &[field]).unwrap_or_default();
            let why = format!(
                "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
                cx.cx.user.name,
                text("kind"),
                text("apiVersion")
            );
            refuse(cx, doc, "spec.paramKind", why)
        }
        "ValidatingAdmissionPolicyBinding" | "MutatingAdmissionPolicyBinding" => {
            let unchanged = same(&["spec", "paramRef"]) && same(&["spec", "policyName"]);
            let Some(params) = at(doc, &["spec", "paramRef"]).filter(|_| !unchanged) else { return Ok(()) };
            let policies = match cx.kind.kind {
                "ValidatingAdmissionPolicyBinding" => "validatingadmissionpolicies",
                _ => "mutatingadmissionpolicies",
            };
            let policy = str_at(doc, &["spec", "policyName"]).unwrap_or_default();
            let policy = cx.engine.find(&Gvr::new(GROUP, "v1", policies), "", policy).await?;
            let policy = policy.map(|policy| policy.to_json());
            // Of a policy that is not there yet any kind may be meant.
            let kind = policy.as_ref().and_then(|policy| at(policy, &["spec", "paramKind"]));
            if policy.is_some() && kind.is_none() {
                return Ok(());
            }
            let asked = kind.map_or_else(|| Gvr::new("*", "*", "*"), |kind| resource(cx, kind));
            let text = |field: &str| str_at(params, &[field]).filter(|text| !text.is_empty()).unwrap_or("*");
            let (name, namespace) = (text("name"), text("namespace"));
            let verb = if name == "*" { "list" } else { "get" };
            if may(cx, verb, asked, namespace, name).await? {
                return Ok(());
            }
            let why = format!(
                "user {} does not have {verb:?} permission on the objects referenced by paramRef (name={name}, \
                 namespace={namespace})",
                cx.cx.user.name
            );
            refuse(cx, doc, "spec.paramRef", why)
        }
        _ => Ok(()),
    }
}

/// What a `paramKind` is served as; of a kind that is not served, any resource of its group.
fn resource(cx: &Admission<'_>, kind: &Json) -> Gvr {
    let text = |field: &str| str_at(kind, &[field]).unwrap_or_default();
    let gvk = Gvk::new(text("apiVersion"), text("kind"));
    dynamic::kind_of(cx.engine, &gvk).map_or_else(|| Gvr::new(&gvk.group, &gvk.version, "*"), |kind| kind.gvr())
}

async fn may(cx: &Admission<'_>, verb: &str, gvr: Gvr, namespace: &str, name: &str) -> Result<bool, Status> {
    let Some(authorizer) = cx.engine.authorizer.get() else {
        return Err(Status::unavailable("the authorizer is not up yet", 1));
    };
    let target = Target::object(gvr, namespace, name);
    let attributes = Attributes { user: &cx.cx.user, verb, target: Some(&target), path: "" };
    Ok(authorizer.authorize(&attributes).await == Decision::Allow)
}

fn refuse(cx: &Admission<'_>, doc: &Json, field: &str, why: String) -> Result<(), Status> {
    let mut errors = FieldErrors::new();
    errors.forbidden(&FieldPath::new(field), why);
    let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
    Err(Status::invalid(&cx.kind.gvk(), name, &errors))
}
