//! Taking fields out of a document.

use super::element::Element;
use super::items::Listing;
use super::set::FieldSet;
use super::typing::{Structure, Typing};
use holdfast_core::Json;
use serde_json::Map;

/// `doc` without the members of `fields`. A map or list that loses all that it had becomes null, which says that
/// nothing is left of it but the name.
pub fn remove<T: Typing>(place: &T, doc: &Json, fields: &FieldSet<'_>) -> Json {
    let structure = place.structure(Some(doc));
    match (structure, doc) {
        (Structure::Map, Json::Object(map)) => {
            let mut out = Map::with_capacity(map.len());
            for (key, value) in map {
                let Some(node) = fields.node(&Element::field(key.as_str())) else {
                    out.insert(key.clone(), value.clone());
                    continue;
                };
                if node.is_member {
                    continue;
                }
                let left = match place.below(key) {
                    Some(child) => remove(&child.place, value, &node.below),
                    None => value.clone(),
                };
                out.insert(key.clone(), left);
            }
            if out.is_empty() { Json::Null } else { Json::Object(out) }
        }
        (Structure::Set | Structure::Keyed, Json::Array(items)) => {
            let listing = Listing::new(place, structure);
            let element_place = place.element();
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let node = listing.element(item).ok().and_then(|element| fields.node(&element));
                match node {
                    None => out.push(item.clone()),
                    Some(node) if node.is_member => {}
                    Some(node) => out.push(remove(&element_place, item, &node.below)),
                }
            }
            if out.is_empty() { Json::Null } else { Json::Array(out) }
        }
        (Structure::Scalar, value) => value.clone(),
        // Paths into one value were written when it was several.
        _ => Json::Null,
    }
}
