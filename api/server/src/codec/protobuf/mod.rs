//! Kubernetes' protobuf (`application/vnd.kubernetes.protobuf`), which typed Go clients send and prefer.
//!
//! Driven by tables, not by generated code; sans-IO. A message becomes the document that the same client would have sent
//! as JSON ([`decode`]), and the JSON of an object becomes the message that upstream's encoder would have made of it
//! ([`ObjectWriter`]): fields by number, map entries by key, and what Go holds by value written also where it is not set.
//! [`openapi`] writes OpenAPI documents by tables in the same language.

mod decode;
mod encode;
mod object;
pub mod openapi;
mod table;
mod wire;

pub use decode::decode;
pub use object::{ObjectWriter, TAIL, describes, document, event, events, list_head};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Appends an item of a list: `items` has this number in every kind of list.
pub(crate) fn put_item(out: &mut Vec<u8>, item: &[u8]) {
    wire::put_bytes(out, object::ITEMS, item);
}

#[cfg(test)]
mod tests;
