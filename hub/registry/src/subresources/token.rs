//! `serviceaccounts/token`: the TokenRequest API.

use crate::admission::dynamic::{Attempt, Operation, Options};
use crate::engine::{Engine, Resource};
use crate::generic::decode::{check_fields, check_type};
use crate::tokens::{Bound, TokenClaims};
use holdfast_core::json::{at, i64_at, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Gvr, Json, Object, Status, WriteOptions};
use holdfast_server::RequestContext;
use std::sync::Arc;

const DEFAULT_SECONDS: i64 = 3600;
const MIN_SECONDS: i64 = 600;

/// Issues a token for an account.
///
/// # Errors
/// 404 when account or bound object is missing, 409 when the bound UID differs, 422 for a bad spec, 403 for a node
/// that asks for pods of others.
pub(crate) async fn create(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    mut request: Json,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    let gvk = Gvk::new("authentication.k8s.io/v1", "TokenRequest");
    check_type(&gvk, &mut request)?;
    let schema = "io.k8s.api.authentication.v1.TokenRequest";
    check_fields(engine, cx, schema, &gvk, &mut request, options.field_validation)?;
    let account = engine.read(resource).await?;
    let attempt = Attempt {
        engine,
        cx,
        resource,
        operation: Operation::Create,
        subresource: "token",
        revision: None,
        options: Options::Write(options),
    };
    if let Some(again) = attempt.mutate(&mut request, None).await? {
        again.run(&mut request, None).await?;
        check_fields(engine, cx, schema, &gvk, &mut request, options.field_validation)?;
    }

    let seconds = i64_at(&request, &["spec", "expirationSeconds"]).unwrap_or(DEFAULT_SECONDS);
    let mut errors = FieldErrors::new();
    let path = FieldPath::new("spec.expirationSeconds");
    if seconds < MIN_SECONDS {
        errors.invalid(&path, seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > 1 << 32 {
        errors.invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds");
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&gvk, resource.name, &errors));
    }
    let mut audiences: Vec<String> =
        items_at(&request, &["spec", "audiences"]).iter().filter_map(Json::as_str).map(str::to_string).collect();
    if audiences.is_empty() {
        audiences = vec![engine.tokens.audience().to_string()];
    }
    let bound = match at(&request, &["spec", "boundObjectRef"]) {
        Some(reference) => bound(engine, resource, reference).await?,
        None => Bound::default(),
    };
    restrict_node(cx, resource, &bound, at(&request, &["spec", "boundObjectRef"]).is_some())?;
    attempt.validate(Some(&request), None).await?;
    let now = engine.now();
    let claims = TokenClaims {
        namespace: resource.namespace.to_string(),
        account: resource.name.to_string(),
        account_uid: account.meta.uid.clone(),
        bound,
        audiences: audiences.clone(),
        seconds: seconds.unsigned_abs(),
        id: engine.env.random_uuid(),
    };
    let token = engine.tokens.issue(&claims, now)?;
    let expires = now.after(std::time::Duration::from_secs(claims.seconds));
    set(&mut request, &["metadata", "name"], resource.name);
    set(&mut request, &["metadata", "namespace"], resource.namespace);
    set(&mut request, &["metadata", "creationTimestamp"], now.to_string());
    set(&mut request, &["spec", "audiences"], audiences);
    set(&mut request, &["spec", "expirationSeconds"], seconds);
    set(&mut request, &["status", "token"], token);
    set(&mut request, &["status", "expirationTimestamp"], expires.to_string());
    Object::from_json(request).map(Arc::new)
}

/// The object that a token dies with.
async fn bound(engine: &Engine, resource: &Resource<'_>, reference: &Json) -> Result<Bound, Status> {
    let text = |field: &str| str_at(reference, &[field]).unwrap_or_default();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let (gvr, namespace) = match (kind, text("apiVersion")) {
        ("Pod", "v1") => (Gvr::new("", "v1", "pods"), resource.namespace),
        ("Secret", "v1") => (Gvr::new("", "v1", "secrets"), resource.namespace),
        ("Node", "v1") => (Gvr::new("", "v1", "nodes"), ""),
        (kind, version) => {
            return Err(Status::bad_request(format!("cannot bind token to object of type {version}, Kind={kind}")));
        }
    };
    let object = engine.find(&gvr, namespace, name).await?.ok_or_else(|| Status::not_found(&gvr, name))?;
    if !uid.is_empty() && uid != object.meta.uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(Status::conflict(&gvr, name, why));
    }
    let mut bound = Bound::default();
    let own = Some((object.meta.name.clone(), object.meta.uid.clone()));
    match kind {
        "Pod" => {
            let doc = object.to_json();
            let used = str_at(&doc, &["spec", "serviceAccountName"]).unwrap_or_default();
            if used != resource.name {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    resource.name
                )));
            }
            let node = str_at(&doc, &["spec", "nodeName"]).unwrap_or_default();
            if !node.is_empty() {
                let found = engine.find(&Gvr::new("", "v1", "nodes"), "", node).await?;
                let uid = found.map(|node| node.meta.uid.clone()).unwrap_or_default();
                bound.node = Some((node.to_string(), uid));
            }
            bound.pod = own;
        }
        "Node" => bound.node = own,
        _ => bound.secret = own,
    }
    Ok(bound)
}

/// A node gets tokens of its own pods only.
fn restrict_node(
    cx: &RequestContext,
    resource: &Resource<'_>,
    bound: &Bound,
    has_reference: bool,
) -> Result<(), Status> {
    let Some(node) = cx.user.node_name() else { return Ok(()) };
    let refuse = |why: String| Err(Status::forbidden(resource.gvr, resource.name, why));
    if !has_reference {
        return refuse(format!("node {node:?} requested token not bound to a pod"));
    }
    match (&bound.pod, &bound.node) {
        (Some(_), Some((host, _))) if host == node => Ok(()),
        (Some((pod, _)), _) => {
            refuse(format!("node requested token bound to a pod scheduled on a different node ({pod})"))
        }
        _ => refuse(format!("node {node:?} requested token not bound to a pod")),
    }
}
