//! Between the form in which objects are stored and the one in which a client asked for them. Built-in kinds are converted
//! here and now; of a custom kind a webhook may have to be asked.

use crate::custom::CustomKind;
use crate::engine::{Engine, Resource};
use holdfast_core::json::remove;
use holdfast_core::{Json, Object, Status};
use holdfast_kinds::{Kind, convert};
use std::sync::Arc;

/// An object of the store, in the version that was asked for.
///
/// # Errors
/// 500 when it cannot be converted.
pub(crate) async fn shown(
    engine: &Engine,
    resource: &Resource<'_>,
    object: Arc<Object>,
) -> Result<Arc<Object>, Status> {
    match resource.strategy.custom() {
        Some(custom) => custom.show_one(engine, object).await,
        None => convert::shown(resource.kind, object),
    }
}

/// Objects of the store, in the version that was asked for.
///
/// # Errors
/// 500 when one of them cannot be converted.
pub(crate) async fn shown_all(
    engine: &Engine,
    resource: &Resource<'_>,
    objects: Vec<Arc<Object>>,
) -> Result<Vec<Arc<Object>>, Status> {
    match resource.strategy.custom() {
        Some(custom) => custom.show(engine, objects).await,
        None => objects.into_iter().map(|object| convert::shown(resource.kind, object)).collect(),
    }
}

/// What a write, or a dry run of one, left, in the version that was asked for.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn written(
    engine: &Engine,
    resource: &Resource<'_>,
    object: Arc<Object>,
) -> Result<Arc<Object>, Status> {
    match resource.strategy.custom() {
        Some(custom) => custom.show_unstored(engine, object).await,
        None => convert::shown(resource.kind, object),
    }
}

/// Documents of an object before a change.
pub(crate) struct Before {
    /// As the client sees it.
    pub(crate) shown: Json,
    /// In the form in which writes are judged, without its `resourceVersion`: the stored one of a built-in kind, that of the
    /// client for a custom kind.
    pub(crate) judged: Json,
}

/// What a change begins from.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn before(engine: &Engine, resource: &Resource<'_>, object: &Arc<Object>) -> Result<Before, Status> {
    let shown = match resource.strategy.custom() {
        Some(custom) => custom.show_one(engine, object.clone()).await?.to_json(),
        None => convert::shown_document(resource.kind, object),
    };
    let is_judged_as_shown = resource.strategy.custom().is_some() || !convert::is_converted(resource.kind, object);
    let mut judged = if is_judged_as_shown { shown.clone() } else { object.to_json() };
    remove(&mut judged, &["metadata", "resourceVersion"]);
    Ok(Before { shown, judged })
}

/// A judged document as it is stored.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn to_stored(engine: &Engine, resource: &Resource<'_>, doc: Json) -> Result<Json, Status> {
    match resource.strategy.custom() {
        Some(custom) => custom.conversion.to_stored(engine, doc).await,
        None => Ok(doc),
    }
}

/// A judged document in another version of its kind, for those who asked for that.
///
/// # Errors
/// As [`shown`].
pub(crate) async fn in_version(
    engine: &Engine,
    custom: Option<&Arc<CustomKind>>,
    kind: &Kind,
    doc: &Json,
) -> Result<Json, Status> {
    match custom {
        Some(custom) => custom.conversion.convert_one(engine, doc.clone(), kind.version).await,
        None => Ok(convert::requested(kind, doc).into_owned()),
    }
}

/// An object of the store as the document of a kind, which may have been defined by users.
///
/// # Errors
/// As [`shown`]; 404 for a kind that is not served any more.
pub(crate) async fn document(engine: &Engine, kind: &Kind, object: Arc<Object>) -> Result<Json, Status> {
    if kind.custom.is_none() {
        return Ok(convert::shown_document(kind, &object));
    }
    let custom = engine.customs.by_gvr(&kind.gvr()).ok_or_else(Status::no_such_path)?;
    Ok(custom.show_one(engine, object).await?.to_json())
}
