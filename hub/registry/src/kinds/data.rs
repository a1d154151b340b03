//! What ConfigMap and Secret share: keys, sizes, immutability.

use crate::limits::DATA_BYTES;
use holdfast_core::json::{at, bool_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Problems of the keys of `fields`, which must not meet, and of the size of all values.
pub(crate) fn validate(doc: &Json, fields: &[&str], errors: &mut FieldErrors) {
    let mut total = 0;
    for (index, field) in fields.iter().enumerate() {
        for (key, value) in doc.get(*field).and_then(Json::as_object).into_iter().flatten() {
            let path = FieldPath::new(field).key(key);
            errors.all_invalid(&path, key, names::config_key(key));
            if fields[..index].iter().any(|other| at(doc, &[other, key]).is_some()) {
                errors.invalid(&path, key.as_str(), format!("duplicate of key present in {}", fields[0]));
            }
            let length = value.as_str().map_or(0, str::len);
            // Binary values are base64: three bytes in four letters.
            total += if *field == "data" && fields.len() == 2 { length } else { length / 4 * 3 };
        }
    }
    if total > DATA_BYTES {
        errors.too_long(&FieldPath::default(), DATA_BYTES);
    }
}

/// Problems of a change of something that was marked immutable.
pub(crate) fn validate_immutable(doc: &Json, old: &Json, fields: &[&str], errors: &mut FieldErrors) {
    if bool_at(old, &["immutable"]) != Some(true) {
        return;
    }
    if bool_at(doc, &["immutable"]) != Some(true) {
        errors.forbidden(&FieldPath::new("immutable"), "field is immutable when `immutable` is set");
    }
    for field in fields {
        if doc.get(*field) != old.get(*field) {
            errors.forbidden(&FieldPath::new(field), "field is immutable when `immutable` is set");
        }
    }
}
