//! The schema table of the served kinds, and what it drives: strict decoding, patches, OpenAPI.
//!
//! The table is made at build time from `k8s-openapi` (fields, types, required) and completed by tables written
//! by hand (patch strategies, list types, defaults), which a test compares with the published documents. It says
//! nothing of defaulting or validation: those are `hub/registry`'s.
//!
//! - [`parse_json`]: bytes of a client to a document, with duplicates noted and depth bounded.
//! - [`Schema::check`]: a document against its type, as the strict decoder of upstream does.
//! - [`Schema::strategic_merge`], [`json_patch`], [`merge_patch`]: the three patches.
//! - [`structural`]: the schemas of custom kinds, for decoding, defaults and values.
//! - [`apply`]: server-side apply, and who owns which fields.
//! - [`openapi`]: what the hub tells clients of all this.

pub mod apply;
pub mod check;
mod declared;
mod facts;
mod merge;
pub mod openapi;
mod parse;
mod patch;
pub mod structural;
mod table;

pub use check::{strict_error, strict_texts};
pub use openapi::{Document, openapi_v2, openapi_v3_index};
pub use parse::{MAX_DEPTH, depth, parse_json};
pub use patch::{json_patch, merge_patch};
pub use table::Schema;

/// The schemas of the built-in kinds. Read at first use, then kept.
pub fn builtin() -> &'static Schema {
    static BUILTIN: std::sync::LazyLock<Schema> = std::sync::LazyLock::new(Schema::embedded);
    &BUILTIN
}
