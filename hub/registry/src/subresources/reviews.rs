//! Reviews: questions that are answered by create and never stored.

use crate::engine::Engine;
use crate::generic::decode::{check_fields, check_type};
use crate::kinds::rules::text;
use crate::rbac::rules;
use crate::subresources::review_selectors;
use crate::tokens::auth;
use holdfast_core::json::{at, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvr, Json, Object, Status, Target, UserInfo, WriteOptions};
use holdfast_kinds::Kind;
use holdfast_server::{Attributes, Decision, RequestContext};
use serde_json::json;
use std::sync::Arc;

/// Whether a resource is a question.
pub(crate) fn is_review(gvr: &Gvr) -> bool {
    matches!(gvr.group.as_str(), "authorization.k8s.io")
        || (gvr.group == "authentication.k8s.io" && gvr.resource.ends_with("reviews"))
}

/// Answers a question.
///
/// # Errors
/// 400 and 422 for questions that make no sense.
pub(crate) async fn create(
    engine: &Engine,
    cx: &RequestContext,
    at: &Target,
    mut body: Json,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    let gvr = &at.gvr;
    let kind: &'static Kind =
        holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).ok_or_else(Status::no_such_path)?;
    check_type(&kind.gvk(), &mut body)?;
    check_fields(engine, cx, kind.schema, &kind.gvk(), &mut body, options.field_validation)?;
    if kind.namespaced {
        let own = str_at(&body, &["metadata", "namespace"]).filter(|own| !own.is_empty());
        if own.is_some_and(|own| own != at.namespace()) {
            let text = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(text));
        }
    }
    if kind.kind.ends_with("AccessReview") {
        let errors = problems(kind, &body, at.namespace());
        if !errors.is_empty() {
            return Err(Status::invalid(&kind.gvk(), "", &errors));
        }
    }
    match kind.kind {
        "SelfSubjectAccessReview" => access(engine, &mut body, cx.user.clone()).await?,
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            let user = subject(&body);
            access(engine, &mut body, user).await?;
        }
        "SelfSubjectRulesReview" => {
            let namespace = str_at(&body, &["spec", "namespace"]).unwrap_or_default().to_string();
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            let found = rules::of_user(engine, &cx.user, &namespace).await?;
            set(&mut body, &["status"], found);
        }
        "SelfSubjectReview" => set(&mut body, &["status"], json!({ "userInfo": user_json(&cx.user) })),
        "TokenReview" => {
            let token = str_at(&body, &["spec", "token"]).unwrap_or_default().to_string();
            if token.is_empty() {
                return Err(Status::bad_request("token is required for TokenReview in authentication"));
            }
            let audiences: Vec<String> =
                items_at(&body, &["spec", "audiences"]).iter().filter_map(Json::as_str).map(str::to_string).collect();
            let status = match auth::review(engine, &token, &audiences).await {
                Ok((user, audiences)) => {
                    json!({ "authenticated": true, "user": user_json(&user), "audiences": audiences })
                }
                Err(status) => json!({ "user": {}, "error": status.message() }),
            };
            set(&mut body, &["status"], status);
        }
        _ => return Err(Status::no_such_path()),
    }
    if holdfast_core::json::at(&body, &["metadata"]).is_none() {
        set(&mut body, &["metadata"], json!({}));
    }
    Object::from_json(body).map(Arc::new)
}

fn user_json(user: &UserInfo) -> Json {
    let mut doc = json!({ "username": user.name, "groups": user.groups });
    if !user.uid.is_empty() {
        set(&mut doc, &["uid"], user.uid.as_str());
    }
    if !user.extra.is_empty() {
        set(&mut doc, &["extra"], serde_json::to_value(&user.extra).unwrap_or_default());
    }
    doc
}

/// What is wrong with a question about access that is asked in `namespace`.
fn problems(kind: &Kind, body: &Json, namespace: &str) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = FieldPath::new("spec");
    let (resource, path) = (at(body, &["spec", "resourceAttributes"]), at(body, &["spec", "nonResourceAttributes"]));
    match (resource, path) {
        (Some(_), Some(path)) => {
            let text = "cannot be specified in combination with resourceAttributes";
            errors.invalid(&spec.child("nonResourceAttributes"), path.clone(), text);
        }
        (None, None) => {
            let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&spec.child("resourceAttributes"), Json::Null, text);
        }
        _ => {}
    }
    let nobody =
        str_at(body, &["spec", "user"]).is_none_or(str::is_empty) && items_at(body, &["spec", "groups"]).is_empty();
    if nobody && kind.kind != "SelfSubjectAccessReview" {
        errors.invalid(&spec.child("user"), "", "at least one of user or group must be specified");
    }
    if let Some(asked) = resource {
        review_selectors::validate(asked, &spec.child("resourceAttributes"), &mut errors);
    }
    let local = kind.kind == "LocalSubjectAccessReview";
    let is_set = |(name, value): (&String, &Json)| {
        let kept = name == "managedFields" || (local && name == "namespace");
        !kept && !value.is_null() && value.as_str() != Some("")
    };
    if let Some(metadata) = body.get("metadata").and_then(Json::as_object).filter(|all| all.iter().any(is_set)) {
        let detail = if local { "must be empty except for namespace" } else { "must be empty" };
        errors.invalid(&FieldPath::new("metadata"), Json::Object(metadata.clone()), detail);
    }
    if local {
        if let Some(asked) = resource {
            let named = text(asked, "namespace");
            if named != namespace {
                let path = spec.child("resourceAttributes").child("namespace");
                errors.invalid(&path, named, "must match metadata.namespace");
            }
        }
        if let Some(path) = path {
            let detail = "disallowed on this kind of request";
            errors.invalid(&spec.child("nonResourceAttributes"), path.clone(), detail);
        }
    }
    errors
}

fn subject(body: &Json) -> UserInfo {
    let text = |field: &str| str_at(body, &["spec", field]).unwrap_or_default().to_string();
    let texts = |list: &[Json]| list.iter().filter_map(Json::as_str).map(str::to_string).collect::<Vec<_>>();
    let extra = at(body, &["spec", "extra"]).and_then(Json::as_object).into_iter().flatten();
    UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: texts(items_at(body, &["spec", "groups"])),
        extra: extra
            .map(|(key, values)| (key.clone(), texts(values.as_array().map_or(&[][..], Vec::as_slice))))
            .collect(),
    }
}

async fn access(engine: &Engine, body: &mut Json, user: UserInfo) -> Result<(), Status> {
    let Some(authorizer) = engine.authorizer.get() else {
        return Err(Status::unavailable("the authorizer is not up yet", 1));
    };
    let resource = at(body, &["spec", "resourceAttributes"]);
    let path = at(body, &["spec", "nonResourceAttributes"]);
    let target;
    let (selected, problems) = resource.map(review_selectors::read).unwrap_or_default();
    let attributes = match (resource, path) {
        (Some(asked), _) => {
            let text = |field: &str| str_at(asked, &[field]).unwrap_or_default();
            let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
            target = Target {
                gvr: Gvr::new(text("group"), text("version"), text("resource")),
                namespace: some(text("namespace")),
                name: some(text("name")),
                subresource: some(text("subresource")),
            };
            Attributes { user: &user, verb: text("verb"), target: Some(&target), path: "" }
        }
        (_, asked) => {
            let text = |field: &str| asked.and_then(|asked| str_at(asked, &[field])).unwrap_or_default();
            Attributes { user: &user, verb: text("verb"), target: None, path: text("path") }
        }
    };
    let mut status = match authorizer.authorize_selected(&attributes, &selected).await {
        Decision::Allow => match authorizer.reason(&attributes).await {
            reason if reason.is_empty() => json!({ "allowed": true }),
            reason => json!({ "allowed": true, "reason": reason }),
        },
        Decision::Deny(reason) => json!({ "allowed": false, "denied": true, "reason": reason }),
        Decision::NoOpinion(reason) if reason.is_empty() => json!({ "allowed": false }),
        Decision::NoOpinion(reason) => json!({ "allowed": false, "reason": reason }),
    };
    if !problems.is_empty() {
        set(&mut status, &["evaluationError"], problems.join("; "));
    }
    set(body, &["status"], status);
    Ok(())
}
