//! `meta/v1 Condition`s of a status (`apimachinery/pkg/apis/meta/v1/validation` is the reference).

use super::rules::text;
use holdfast_core::json::{i64_at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::BTreeSet;

const REASON_BYTES: usize = 1024;
const MESSAGE_BYTES: usize = 32 * 1024;

/// Problems of `status.conditions`.
pub(crate) fn validate(doc: &Json, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, condition) in items_at(doc, &["status", "conditions"]).iter().enumerate() {
        let path = FieldPath::new("status.conditions").index(index);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        one(condition, kind, &path, errors);
    }
}

fn one(condition: &Json, kind: &str, path: &FieldPath, errors: &mut FieldErrors) {
    errors.all_invalid(&path.child("type"), kind, names::qualified_name(kind));
    let status = text(condition, "status");
    if !matches!(status, "False" | "True" | "Unknown") {
        errors.not_supported(&path.child("status"), status, &["False", "True", "Unknown"]);
    }
    if let Some(number) = i64_at(condition, &["observedGeneration"]).filter(|number| *number < 0) {
        errors.invalid(&path.child("observedGeneration"), number, "must be greater than or equal to zero");
    }
    if text(condition, "lastTransitionTime").is_empty() {
        errors.required(&path.child("lastTransitionTime"), "");
    }
    let (reason, message) = (text(condition, "reason"), text(condition, "message"));
    if reason.is_empty() {
        errors.required(&path.child("reason"), "");
    } else {
        if !is_reason(reason) {
            errors.invalid(
                &path.child("reason"),
                reason,
                "a condition reason must start with alphabetic character, optionally followed by a string of \
                 alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. \
                 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for \
                 validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')",
            );
        }
        if reason.len() > REASON_BYTES {
            errors.too_long(&path.child("reason"), REASON_BYTES);
        }
    }
    if message.len() > MESSAGE_BYTES {
        errors.too_long(&path.child("message"), MESSAGE_BYTES);
    }
}

fn is_reason(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_,:".contains(byte))
}
