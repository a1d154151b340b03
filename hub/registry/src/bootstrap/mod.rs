//! Objects that every cluster has. Made at start where they are missing. Afterwards what an operator changed stays, with
//! upstream's exceptions: default roles and bindings get back what they lack (see `reconcile`), and flow control says itself
//! which of its objects are kept as they were made.

mod controllers;
mod flow_control;
mod namespaced;
mod objects;
mod reconcile;
mod roles;
mod service_cidr;

pub(crate) use flow_control::keep as keep_flow_control;

use crate::engine::Engine;
use crate::registry::HubRegistry;
use futures_util::future::try_join_all;
use holdfast_core::json::str_at;
use holdfast_core::user::MASTERS;
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Gvk, Json, Reason, Status, Target, UserInfo, WriteOptions};
use holdfast_server::{Registry, RequestContext};
use reconcile::Step;

/// Makes what is missing, and mends what upstream mends.
pub(crate) async fn ensure(registry: &HubRegistry, engine: &Engine, api_port: u16) -> Result<(), Status> {
    let cx = context();
    let service = objects::kubernetes_service(engine.services.first(), api_port);
    // Namespaces first; within a round all go at once, so that they share the store's syncs.
    let first = objects::namespaces();
    let range = service_cidr::object(engine.services.range());
    let second: Vec<Json> = objects::classes().into_iter().chain(roles::all()).chain([service, range]).collect();
    for round in [first, second] {
        try_join_all(round.into_iter().map(|doc| ensure_one(registry, &cx, doc))).await?;
    }
    flow_control::ensure(registry, engine, &cx).await?;
    service_cidr::tell(registry, engine, &cx, &options()).await
}

/// Who makes them.
fn context() -> RequestContext {
    RequestContext::new(UserInfo::new("system:apiserver", &[MASTERS]), "bootstrap")
}

fn options() -> WriteOptions {
    WriteOptions { field_manager: "holdfast-hub".into(), ..WriteOptions::default() }
}

/// How often an object is looked at again that another hub writes at the same time.
const TRIES: usize = 4;

/// Makes an object, or mends the one that stands.
async fn ensure_one(registry: &HubRegistry, cx: &RequestContext, doc: Json) -> Result<(), Status> {
    let text = |path: &[&str]| str_at(&doc, path).unwrap_or_default().to_string();
    let gvk = Gvk::new(&text(&["apiVersion"]), &text(&["kind"]));
    let kind = holdfast_kinds::by_gvk(&gvk.group, &gvk.version, &gvk.kind)
        .ok_or_else(|| Status::internal(format!("{gvk} is not served")))?;
    let at = Target::object(kind.gvr(), &text(&["metadata", "namespace"]), &text(&["metadata", "name"]));
    for _ in 1..TRIES {
        match mend(registry, cx, &at, &doc).await {
            // Another hub was faster.
            Err(status) if [Reason::Conflict, Reason::AlreadyExists, Reason::NotFound].contains(status.reason()) => {}
            other => return other,
        }
    }
    mend(registry, cx, &at, &doc).await
}

async fn mend(registry: &HubRegistry, cx: &RequestContext, at: &Target, doc: &Json) -> Result<(), Status> {
    let found = match registry.get(cx, at).await {
        Ok(found) => Some(found),
        Err(status) if status.is(Reason::NotFound) => None,
        Err(status) => return Err(status),
    };
    let step = match &found {
        None => Step::Recreate,
        Some(found) => match flow_control::renewed(found, doc) {
            Some(renewed) => Step::Update(renewed),
            None if found.gvk.kind == "ServiceCIDR" => service_cidr::step(found, doc),
            None => reconcile::step(found, doc),
        },
    };
    match (step, found) {
        (Step::Nothing, _) => Ok(()),
        (Step::Update(changed), _) => {
            registry.update(cx, at, changed, &options()).await?;
            tracing::info!(resource = %at.gvr, name = at.name(), "Gave a default object back what it lacked");
            Ok(())
        }
        (Step::Recreate, found) => {
            if let Some(found) = found {
                if let Some(released) = service_cidr::released(&found) {
                    registry.update(cx, at, released, &options()).await?;
                }
                let preconditions = Preconditions { uid: Some(found.meta.uid.clone()), ..Preconditions::default() };
                let options = DeleteOptions { preconditions: Some(preconditions), ..DeleteOptions::default() };
                registry.delete(cx, at, &options).await?;
            }
            let collection = Target::collection(at.gvr.clone(), at.namespace());
            registry.create(cx, &collection, doc.clone(), &options()).await.map(|_| ())
        }
    }
}
