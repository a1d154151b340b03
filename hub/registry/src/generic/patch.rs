//! Patch: the four ways to change a document that is read first.

use super::create::create_managed;
use super::decode::Typed;
use super::managers::{applied, check_config, speaks_of_managers, with_managers};
use super::update::{Change, Part, Wanted, change, may_create};
use crate::engine::{Engine, Resource};
use crate::limits::{CONFLICT_RETRIES, PATCH_SHOWN_BYTES};
use async_trait::async_trait;
use holdfast_core::json::{remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Json, Object, Patch, PatchType, Reason, Status, WriteOptions};
use holdfast_server::RequestContext;
use std::sync::Arc;

/// Patches an object; the flag says whether an apply created it.
///
/// # Errors
/// As update; an apply also as create, and 409 about fields that are other managers'.
pub(crate) async fn patch(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    patch: &Patch,
    options: &WriteOptions,
) -> Result<(Arc<Object>, bool), Status> {
    check_patch_type(resource, patch.patch_type)?;
    if patch.patch_type == PatchType::Apply {
        return apply(engine, cx, resource, part, &patch.body, options).await;
    }
    let object = change(engine, cx, resource, part, &Patching { engine, resource, patch }, options).await?;
    Ok((object, false))
}

/// Custom kinds say nothing of how lists merge.
///
/// # Errors
/// 415 for a strategic merge of a custom kind.
pub(crate) fn check_patch_type(resource: &Resource<'_>, patch_type: PatchType) -> Result<(), Status> {
    if patch_type == PatchType::Strategic && resource.kind.custom.is_some() {
        return Err(Status::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ]));
    }
    Ok(())
}

/// The change that any other patch is.
struct Patching<'a> {
    engine: &'a Engine,
    resource: &'a Resource<'a>,
    patch: &'a Patch,
}

#[async_trait]
impl Change for Patching<'_> {
    async fn make(&self, object: &Object, current: Json) -> Result<Wanted, Status> {
        let Patching { engine, resource, patch } = *self;
        let whole = patch.patch_type == PatchType::Json && speaks_of_managers(&patch.body);
        let current = if whole { with_managers(current, object) } else { current };
        patched(engine, resource.kind.schema, current, patch).map(Wanted::from)
    }

    /// 422 that shows what the patch made, or the patch itself where it merges by rules of the kind, as upstream does.
    fn undecodable(&self, doc: &Json, why: Status) -> Status {
        let shown = match self.patch.patch_type {
            PatchType::Strategic => go_text(&self.patch.body),
            _ => doc.to_string(),
        };
        let said = format!(" cannot be handled as a {}: ", self.resource.kind.kind);
        let why = why.message().split_once(&said).map_or(why.message(), |(_, why)| why);
        let mut errors = FieldErrors::new();
        errors.invalid(&FieldPath::new("patch"), cut(shown, PATCH_SHOWN_BYTES), why);
        Status::invalid(&Gvk::new("", ""), "", &errors)
    }
}

/// A value as Go prints it.
fn go_text(value: &Json) -> String {
    match value {
        Json::Null => "<nil>".into(),
        Json::String(text) => text.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Json::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", go_text(value))).collect();
            fields.sort();
            format!("map[{}]", fields.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push_str("...");
    }
    text
}

/// The change that an apply is.
struct Applying<'a> {
    engine: &'a Engine,
    resource: &'a Resource<'a>,
    part: Part,
    config: &'a Json,
    options: &'a WriteOptions,
}

#[async_trait]
impl Change for Applying<'_> {
    async fn make(&self, object: &Object, current: Json) -> Result<Wanted, Status> {
        let Applying { engine, resource, part, config, options } = *self;
        let (doc, managed) = applied(engine, resource, part, config, Some((object, &current)), options).await?;
        Ok(Wanted { doc, managed: Some(managed) })
    }
}

async fn apply(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    part: Part,
    config: &Json,
    options: &WriteOptions,
) -> Result<(Arc<Object>, bool), Status> {
    let config = check_config(engine, &Typed::of(resource), &resource.kind.gvk(), config)?;
    let name = str_at(&config, &["metadata", "name"]).unwrap_or_default();
    if !name.is_empty() && name != resource.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            resource.name
        )));
    }
    let merge = Applying { engine, resource, part, config: &config, options };
    for _ in 0..CONFLICT_RETRIES {
        match change(engine, cx, resource, part, &merge, options).await {
            Err(status) if status.is(Reason::NotFound) && part == Part::Main && is_free(engine, resource).await? => {}
            other => return other.map(|object| (object, false)),
        }
        may_create(engine, cx, resource).await?;
        if let Some(uid) = str_at(&config, &["metadata", "uid"]).filter(|uid| !uid.is_empty()) {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Status::conflict(resource.gvr, resource.name, why));
        }
        let (mut doc, managed) = applied(engine, resource, part, &config, None, options).await?;
        remove(&mut doc, &["metadata", "resourceVersion"]);
        match create_managed(engine, cx, resource, doc, Some(managed), options).await {
            // Somebody else was faster: then it is there to be applied to.
            Err(status) if status.is(Reason::AlreadyExists) => {}
            other => return other.map(|object| (object, true)),
        }
    }
    Err(Status::stale(resource.gvr, resource.name))
}

/// Whether there is no object of this name: a 404 may also speak of what the object names.
async fn is_free(engine: &Engine, resource: &Resource<'_>) -> Result<bool, Status> {
    let found = engine.store.get(&resource.key()).await.map_err(crate::engine::store_error)?;
    Ok(found.is_none())
}

/// `current` with the patch applied. A patch that leaves the version alone does not depend on it.
pub(crate) fn patched(engine: &Engine, schema: &str, current: Json, patch: &Patch) -> Result<Json, Status> {
    let mut doc = current;
    let before = str_at(&doc, &["metadata", "resourceVersion"]).unwrap_or_default().to_string();
    match patch.patch_type {
        PatchType::Json => holdfast_schema::json_patch(&mut doc, &patch.body)?,
        PatchType::Merge => holdfast_schema::merge_patch(&mut doc, &patch.body)?,
        PatchType::Strategic => engine.schema.strategic_merge(schema, &mut doc, &patch.body)?,
        PatchType::Apply => return Err(Status::internal("an apply patch is no change of a document alone")),
    }
    if !doc.is_object() {
        return Err(Status::bad_request("the patch does not leave an object"));
    }
    if str_at(&doc, &["metadata", "resourceVersion"]).is_none_or(str::is_empty) && !before.is_empty() {
        set(&mut doc, &["metadata", "resourceVersion"], before);
    }
    Ok(doc)
}
