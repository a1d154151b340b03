//! Small rules that many kinds share.

use holdfast_core::json::{default, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};
use std::str::FromStr;

/// Sets a string where it is missing or empty, as Go's defaulting of enums does.
pub(crate) fn default_text(doc: &mut Json, path: &[&str], value: &str) {
    if str_at(doc, path) == Some("") {
        holdfast_core::json::remove(doc, path);
    }
    default(doc, path, value);
}

/// The text at a field, empty when it is missing.
pub(crate) fn text<'a>(doc: &'a Json, field: &str) -> &'a str {
    doc.get(field).and_then(Json::as_str).unwrap_or_default()
}

/// Tells of a text that is none of `allowed`. `required` says whether empty is wrong too.
pub(crate) fn one_of(
    doc: &Json,
    field: &str,
    allowed: &[&str],
    required: bool,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let value = text(doc, field);
    if value.is_empty() {
        if required {
            errors.required(&path.child(field), "");
        }
    } else if !allowed.contains(&value) {
        errors.not_supported(&path.child(field), value, allowed);
    }
}

/// Tells of a negative number.
pub(crate) fn not_negative(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(number) = doc.get(field).and_then(Json::as_i64).filter(|number| *number < 0) {
        errors.invalid(&path.child(field), number, "must be greater than or equal to 0");
    }
}

/// Tells of a number that is not positive.
pub(crate) fn positive(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(number) = doc.get(field).and_then(Json::as_i64).filter(|number| *number <= 0) {
        errors.invalid(&path.child(field), number, "must be greater than 0");
    }
}

/// Tells of a port number out of range.
pub(crate) fn port_number(number: i64, path: &FieldPath, errors: &mut FieldErrors) {
    if !(1..=65_535).contains(&number) {
        errors.invalid(path, number, "must be between 1 and 65535, inclusive");
    }
}

/// A port that is a number or a name (`IntOrString`).
pub(crate) fn port_number_or_name(value: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    match value {
        Some(Json::String(name)) => errors.all_invalid(path, name, holdfast_core::names::port_name(name)),
        other => port_number(other.and_then(Json::as_i64).unwrap_or(0), path, errors),
    }
}

/// Tells of an address that is none.
pub(crate) fn ip_address(address: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if std::net::IpAddr::from_str(address).is_err() {
        errors.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}
