//! What a document says: the set of its fields, and whether lists can be told apart in it.

use super::element::Element;
use super::items::Listing;
use super::set::{Branch, FieldSet};
use super::typing::{Structure, Typing};
use holdfast_core::Json;
use std::collections::BTreeSet;

/// Every field and list element that a document mentions, as its applier owns them.
///
/// # Errors
/// When elements of a list cannot be told apart ([`check`] says which).
pub fn set_of<'a, T: Typing>(place: &T, doc: &'a Json) -> Result<FieldSet<'a>, String> {
    Ok(branch(place, doc)?.below)
}

fn branch<'a, T: Typing>(place: &T, value: &'a Json) -> Result<Branch<'a>, String> {
    let structure = place.structure(Some(value));
    match (structure, value) {
        (Structure::Scalar | Structure::AtomicList | Structure::AtomicMap, _) => Ok(Branch::leaf()),
        (Structure::Set | Structure::Keyed, Json::Array(items)) => {
            let listing = Listing::new(place, structure);
            let element_place = place.element();
            let elements = items.iter().map(|item| listing.element(item)).collect::<Result<Vec<Element<'a>>, _>>()?;
            let (mut seen, mut doubled) = (BTreeSet::new(), BTreeSet::new());
            for element in &elements {
                if !seen.insert(element) {
                    doubled.insert(element);
                }
            }
            let mut below = FieldSet::default();
            for (element, item) in elements.iter().zip(items) {
                // Of elements that stand twice only the element itself is owned.
                let found = if doubled.contains(element) { Branch::leaf() } else { branch(&element_place, item)? };
                below.push(element.clone(), Branch { is_member: true, ..found });
            }
            below.seal();
            Ok(Branch { is_member: false, below })
        }
        (Structure::Map, Json::Object(map)) => {
            let mut below = FieldSet::default();
            for (key, value) in map {
                let Some(child) = place.below(key) else { return Err(format!(".{key}: field not declared in schema")) };
                let mut found = branch(&child.place, value)?;
                found.is_member |= value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
                found.is_member |= !child.is_field;
                below.push(Element::field(key.as_str()), found);
            }
            below.seal();
            Ok(Branch { is_member: false, below })
        }
        // Null: whoever is above says what it means. Anything else would not have passed the schema.
        _ => Ok(Branch { is_member: !value.is_null(), below: FieldSet::default() }),
    }
}

/// Whether the elements of all lists of a document can be told apart, and stand once each unless that is `lenient`.
///
/// # Errors
/// What cannot, as upstream says it: `.spec.containers: duplicate entries for key [name="a"]`.
pub fn check<T: Typing>(place: &T, doc: &Json, lenient: bool) -> Result<(), String> {
    let structure = place.structure(Some(doc));
    match (structure, doc) {
        (Structure::Set | Structure::Keyed, Json::Array(items)) => {
            let listing = Listing::new(place, structure);
            let element_place = place.element();
            let mut seen = BTreeSet::new();
            for (at, item) in items.iter().enumerate() {
                let element: Element<'_> = listing.element(item).map_err(|err| format!(": element {at}: {err}"))?;
                check(&element_place, item, lenient).map_err(|err| format!("{element}{err}"))?;
                let text = element.to_string();
                if !seen.insert(element) && !lenient {
                    return Err(format!(": duplicate entries for key {text}"));
                }
            }
            Ok(())
        }
        (Structure::Map, Json::Object(map)) => {
            for (key, value) in map {
                let child = place.below(key).ok_or_else(|| format!(".{key}: field not declared in schema"))?;
                check(&child.place, value, lenient).map_err(|err| format!(".{key}{err}"))?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}
