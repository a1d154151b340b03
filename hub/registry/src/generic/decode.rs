//! From a client's document to one of the kind's schema, in its storage version.

use crate::custom;
use crate::engine::Engine;
use holdfast_core::json::{set, str_at};
use holdfast_core::verbs::FieldValidation;
use holdfast_core::{Gvk, Json, Status};
use holdfast_kinds::Kind;
pub(crate) use holdfast_kinds::convert::{shown, shown_document, to_storage};
use holdfast_schema::{strict_error, strict_texts};
use holdfast_server::RequestContext;

/// Checks type and fields of a document. Nulls and unknown fields are dropped, as Go's decoder drops them.
///
/// # Errors
/// 400 for another type, a field of another type, and under `Strict` for unknown fields.
pub(crate) fn decode(
    engine: &Engine,
    cx: &RequestContext,
    kind: &Kind,
    doc: &mut Json,
    validation: FieldValidation,
) -> Result<(), Status> {
    check_type(&kind.gvk(), doc)?;
    if kind.custom.is_some() {
        let custom = engine.customs.behind(kind)?;
        let mut unknown = custom::check_metadata(doc)?;
        unknown.extend(custom.schema.prune(doc));
        judge_unknown(cx, &kind.gvk(), &unknown, validation)?;
    } else {
        check_fields(engine, cx, kind.schema, &kind.gvk(), doc, validation)?;
    }
    to_storage(kind, doc);
    Ok(())
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
    let unknown = engine.schema.check(schema, doc)?;
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
