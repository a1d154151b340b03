//! Kubernetes' `jsonpatch` library.

use super::{Library, made_text};
use crate::types::Type;

/// The type of an operation of a JSON patch.
pub(crate) const PATCH: &str = "JSONPatch";

/// Whether a function is declared only where patches can be made.
pub(crate) fn is_of_patches(function: &str) -> bool {
    function == "jsonpatch.escapeKey"
}

pub(super) fn declare(library: &mut Library) {
    let id = "string_jsonpatch_escapeKey_string";
    library.global("jsonpatch.escapeKey", id, &[Type::String], Type::String, |args| {
        made_text(args.text(0)?.replace('~', "~0").replace('/', "~1"))
    });
}
