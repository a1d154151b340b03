//! Objects that every cluster has. Made at start where they are missing, never changed afterwards: what an
//! operator changed stays, as upstream does for all but its reconciled roles. Flow control says itself which of its objects
//! are kept as they were made.

mod controllers;
mod flow_control;
mod objects;
mod roles;

use crate::engine::Engine;
use crate::registry::HubRegistry;
use futures_util::future::try_join_all;
use holdfast_core::json::str_at;
use holdfast_core::user::MASTERS;
use holdfast_core::{Gvk, Json, Reason, Status, Target, UserInfo, WriteOptions};
use holdfast_server::{Registry, RequestContext};

/// Makes what is missing.
pub(crate) async fn ensure(registry: &HubRegistry, engine: &Engine, api_port: u16) -> Result<(), Status> {
    let cx = RequestContext::new(UserInfo::new("system:apiserver", &[MASTERS]), "bootstrap");
    let service = objects::kubernetes_service(engine.services.first(), api_port);
    // Namespaces first; within a round all go at once, so that they share the store's syncs.
    let first = objects::namespaces();
    let second: Vec<Json> = objects::classes().into_iter().chain(roles::all()).chain([service]).collect();
    for round in [first, second, flow_control::all()] {
        try_join_all(round.into_iter().map(|doc| create(registry, &cx, doc))).await?;
    }
    Ok(())
}

async fn create(registry: &HubRegistry, cx: &RequestContext, doc: Json) -> Result<(), Status> {
    let text = |path: &[&str]| str_at(&doc, path).unwrap_or_default().to_string();
    let gvk = Gvk::new(&text(&["apiVersion"]), &text(&["kind"]));
    let kind = holdfast_kinds::by_gvk(&gvk.group, &gvk.version, &gvk.kind)
        .ok_or_else(|| Status::internal(format!("{gvk} is not served")))?;
    let (namespace, name) = (text(&["metadata", "namespace"]), text(&["metadata", "name"]));
    let object = Target::object(kind.gvr(), &namespace, &name);
    let options = WriteOptions { field_manager: "holdfast-hub".into(), ..WriteOptions::default() };
    match registry.get(cx, &object).await {
        Ok(found) => {
            return match flow_control::renewed(&found, &doc) {
                Some(renewed) => registry.update(cx, &object, renewed, &options).await.map(|_| ()),
                None => Ok(()),
            };
        }
        Err(status) if status.is(Reason::NotFound) => {}
        Err(status) => return Err(status),
    }
    let collection = Target::collection(kind.gvr(), &namespace);
    match registry.create(cx, &collection, doc, &options).await {
        Err(status) if status.is(Reason::AlreadyExists) => Ok(()),
        other => other.map(|_| ()),
    }
}
