//! Patch: the three ways to change a document that is read first.

use super::update::{Part, change};
use crate::engine::{Engine, Resource};
use holdfast_core::json::{set, str_at};
use holdfast_core::{Json, Object, Patch, PatchType, Status, WriteOptions};
use holdfast_server::RequestContext;
use std::sync::Arc;

/// Patches an object.
///
/// # Errors
/// As update; 501 for apply patches, which are not built yet.
pub(crate) async fn patch(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    patch: &Patch,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    if patch.patch_type == PatchType::Apply {
        return Err(Status::not_implemented("server-side apply; use kubectl apply without --server-side"));
    }
    let apply = |current: Json| patched(engine, resource.kind.schema, current, patch);
    change(engine, cx, resource, part, &apply, options).await
}

/// `current` with the patch applied. A patch that leaves the version alone does not depend on it.
pub(crate) fn patched(engine: &Engine, schema: &str, current: Json, patch: &Patch) -> Result<Json, Status> {
    let mut doc = current;
    let before = str_at(&doc, &["metadata", "resourceVersion"]).unwrap_or_default().to_string();
    match patch.patch_type {
        PatchType::Json => holdfast_schema::json_patch(&mut doc, &patch.body)?,
        PatchType::Merge => holdfast_schema::merge_patch(&mut doc, &patch.body)?,
        PatchType::Strategic if !engine.schema.contains(schema) => {
            return Err(Status::unsupported_media_type(&[
                "application/json-patch+json",
                "application/merge-patch+json",
            ]));
        }
        PatchType::Strategic => engine.schema.strategic_merge(schema, &mut doc, &patch.body)?,
        PatchType::Apply => return Err(Status::not_implemented("server-side apply")),
    }
    if !doc.is_object() {
        return Err(Status::bad_request("the patch does not leave an object"));
    }
    if str_at(&doc, &["metadata", "resourceVersion"]).is_none_or(str::is_empty) && !before.is_empty() {
        set(&mut doc, &["metadata", "resourceVersion"], before);
    }
    Ok(doc)
}
