//! Reviews: questions that are answered by create and never stored.

use crate::engine::Engine;
use crate::generic::decode::{check_fields, check_type};
use crate::rbac::rules;
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
    match kind.kind {
        "SelfSubjectAccessReview" => access(engine, kind, &mut body, cx.user.clone()).await?,
        "SubjectAccessReview" => {
            let user = subject(kind, &body)?;
            access(engine, kind, &mut body, user).await?;
        }
        "LocalSubjectAccessReview" => {
            let asked = str_at(&body, &["spec", "resourceAttributes", "namespace"]).unwrap_or_default();
            if asked != at.namespace() {
                return Err(Status::bad_request(format!(
                    "spec.resourceAttributes.namespace must match namespace: {}",
                    at.namespace()
                )));
            }
            let user = subject(kind, &body)?;
            access(engine, kind, &mut body, user).await?;
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
            let status = match auth::check(engine, &token, &audiences).await {
                Ok((user, audiences)) => {
                    json!({ "authenticated": true, "user": user_json(&user), "audiences": audiences })
                }
                Err(status) => json!({ "authenticated": false, "error": status.message() }),
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

fn subject(kind: &Kind, body: &Json) -> Result<UserInfo, Status> {
    let name = str_at(body, &["spec", "user"]).unwrap_or_default();
    let groups: Vec<String> =
        items_at(body, &["spec", "groups"]).iter().filter_map(Json::as_str).map(str::to_string).collect();
    if name.is_empty() && groups.is_empty() {
        let mut errors = FieldErrors::new();
        errors.invalid(&FieldPath::new("spec.user"), name, "at least one of user or group must be specified");
        return Err(Status::invalid(&kind.gvk(), "", &errors));
    }
    let uid = str_at(body, &["spec", "uid"]).unwrap_or_default().to_string();
    Ok(UserInfo { name: name.to_string(), uid, groups, ..UserInfo::default() })
}

async fn access(engine: &Engine, kind: &Kind, body: &mut Json, user: UserInfo) -> Result<(), Status> {
    let Some(authorizer) = engine.authorizer.get() else {
        return Err(Status::unavailable("the authorizer is not up yet", 1));
    };
    let resource = at(body, &["spec", "resourceAttributes"]);
    let path = at(body, &["spec", "nonResourceAttributes"]);
    let target;
    let attributes = match (resource, path) {
        (Some(asked), None) => {
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
        (None, Some(asked)) => Attributes {
            user: &user,
            verb: str_at(asked, &["verb"]).unwrap_or_default(),
            target: None,
            path: str_at(asked, &["path"]).unwrap_or_default(),
        },
        _ => {
            let mut errors = FieldErrors::new();
            let text = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.invalid(&FieldPath::new("spec.resourceAttributes"), Json::Null, text);
            return Err(Status::invalid(&kind.gvk(), "", &errors));
        }
    };
    let status = match authorizer.authorize(&attributes).await {
        Decision::Allow => json!({ "allowed": true }),
        Decision::Deny(reason) => json!({ "allowed": false, "denied": true, "reason": reason }),
        Decision::NoOpinion(reason) if reason.is_empty() => json!({ "allowed": false }),
        Decision::NoOpinion(reason) => json!({ "allowed": false, "reason": reason }),
    };
    set(body, &["status"], status);
    Ok(())
}
