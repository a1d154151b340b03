//! From a client's document to one of the kind's schema; of a built-in kind, in its storage version.

use crate::custom::CustomKind;
use crate::engine::{Engine, Resource};
use holdfast_core::json::{set, str_at};
use holdfast_core::verbs::FieldValidation;
use holdfast_core::{Gvk, Json, Status};
pub(crate) use holdfast_kinds::convert::to_storage;
use holdfast_schema::structural::AnyPlace;
use holdfast_schema::{strict_error, strict_texts};
use holdfast_server::RequestContext;

/// Checks type and fields of a document. Nulls and unknown fields are dropped, as Go's decoder drops them.
///
/// # Errors
/// 400 for another type, a field of another type, and under `Strict` for unknown fields.
pub(crate) fn decode(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    doc: &mut Json,
    validation: FieldValidation,
) -> Result<(), Status> {
    let gvk = resource.kind.gvk();
    check_type(&gvk, doc)?;
    let unknown = Typed::of(resource).drop_unknown(engine, doc)?;
    judge_unknown(cx, &gvk, &unknown, validation)?;
    to_storage(resource.kind, doc);
    Ok(())
}

/// What says which fields a document has.
pub(crate) enum Typed<'t> {
    /// A type of the table.
    BuiltIn(&'t str),
    /// The schema of a definition.
    Custom(&'t CustomKind),
}

impl<'t> Typed<'t> {
    pub(crate) fn of(resource: &'t Resource<'_>) -> Typed<'t> {
        resource.strategy.custom().map_or(Typed::BuiltIn(resource.kind.schema), |custom| Typed::Custom(custom))
    }

    /// Drops nulls and unknown fields; returns the paths of these.
    ///
    /// # Errors
    /// 400 for a field of another type.
    pub(crate) fn drop_unknown(&self, engine: &Engine, doc: &mut Json) -> Result<Vec<String>, Status> {
        match self {
            Typed::BuiltIn(schema) => engine.schema.check(schema, doc),
            Typed::Custom(custom) => custom.drop_unknown(doc),
        }
    }

    /// The root of a document, for server-side apply.
    pub(crate) fn place(&self, engine: &Engine) -> Option<AnyPlace<'t>> {
        match self {
            Typed::BuiltIn(schema) => engine.schema.place(schema).map(AnyPlace::BuiltIn),
            Typed::Custom(custom) => Some(AnyPlace::Object(&custom.schema)),
        }
    }
}

/// The fields of a document against a schema.
pub(crate) fn check_fields(
    engine: &Engine,
    cx: &RequestContext,
    schema: &str,
    gvk: &Gvk,
    doc: &mut Json,
    validation: FieldValidation,
) -> Result<(), Status> {
    let unknown = Typed::BuiltIn(schema).drop_unknown(engine, doc)?;
    judge_unknown(cx, gvk, &unknown, validation)
}

/// What becomes of fields that no schema knows.
fn judge_unknown(
    cx: &RequestContext,
    gvk: &Gvk,
    unknown: &[String],
    validation: FieldValidation,
) -> Result<(), Status> {
    if unknown.is_empty() {
        return Ok(());
    }
    let texts = strict_texts(unknown, &[]);
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => texts.into_iter().for_each(|text| cx.warn(text)),
        FieldValidation::Strict => {
            return Err(strict_error(gvk, &texts));
        }
    }
    Ok(())
}

/// `apiVersion` and `kind` against the path; filled in where they are missing.
pub(crate) fn check_type(gvk: &Gvk, doc: &mut Json) -> Result<(), Status> {
    if !doc.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             json: cannot unmarshal into Go value of type struct",
            gvk.kind
        )));
    }
    let api_version = str_at(doc, &["apiVersion"]).unwrap_or_default();
    let found = str_at(doc, &["kind"]).unwrap_or_default();
    if !api_version.is_empty() && api_version != gvk.api_version() {
        return Err(Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            gvk.api_version()
        )));
    }
    if !found.is_empty() && found != gvk.kind {
        return Err(Status::bad_request(format!(
            "{found} in version {version:?} cannot be handled as a {kind}: no kind {found:?} is registered for \
             version {api:?} as a {kind}",
            version = gvk.version,
            kind = gvk.kind,
            api = gvk.api_version(),
        )));
    }
    set(doc, &["apiVersion"], gvk.api_version());
    set(doc, &["kind"], gvk.kind.as_str());
    Ok(())
}
