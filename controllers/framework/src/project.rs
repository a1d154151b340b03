//! Projections: the small part of an object that a controller keeps.

use holdfast_core::{Json, Object};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What a [`crate::Cache`] keeps of each object.
pub trait Project: Send + Sync + 'static {
    /// Takes what is needed. Objects come from the API, so they were validated; what is missing is empty.
    fn project(object: &Arc<Object>) -> Self;

    /// The node that the object is bound to, for the index by node.
    fn node(&self) -> Option<&str> {
        None
    }
}

/// The whole object, for kinds of which there are few.
impl Project for Arc<Object> {
    fn project(object: &Arc<Object>) -> Self {
        object.clone()
    }
}

/// Nothing but the metadata that every [`crate::Item`] has.
impl Project for () {
    fn project(_: &Arc<Object>) -> Self {}
}

/// Decodes the fields that `T` names and skips the rest. Explicit nulls count as missing, as they do upstream.
/// An object that does not decode was not validated: that is logged, and the result is empty.
pub fn decode<T: DeserializeOwned + Default>(object: &Object) -> T {
    if let Ok(value) = serde_json::from_slice(object.body()) {
        return value;
    }
    let mut doc: Json = serde_json::from_slice(object.body()).unwrap_or_default();
    drop_nulls(&mut doc);
    serde_json::from_value(doc).unwrap_or_else(|err| {
        tracing::error!(kind = %object.gvk.kind, object = %object.key(), %err, "An object did not decode");
        T::default()
    })
}

fn drop_nulls(value: &mut Json) {
    match value {
        Json::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(serde::Deserialize, Default, Debug, PartialEq)]
    #[serde(default)]
    struct Small {
        a: Vec<u8>,
        b: String,
    }

    #[test]
    fn nulls_count_as_missing() {
        let object = Object::from_json(json!({"a": null, "b": "x", "c": {"d": null}})).unwrap();
        assert_eq!(decode::<Small>(&object), Small { a: vec![], b: "x".into() });
    }
}
