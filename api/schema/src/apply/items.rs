//! The elements of sets and keyed lists as path elements.

use super::element::Element;
use super::typing::{Structure, Typing};
use holdfast_core::Json;

/// A list whose elements are owned one by one.
pub(super) struct Listing<'p, T> {
    place: &'p T,
    is_set: bool,
    keys: Vec<&'p str>,
}

impl<'p, T: Typing> Listing<'p, T> {
    /// `structure` is [`Structure::Set`] or [`Structure::Keyed`].
    pub(super) fn new(place: &'p T, structure: Structure) -> Listing<'p, T> {
        let is_set = structure == Structure::Set;
        let mut keys = if is_set { Vec::new() } else { place.keys() };
        // Paths have the fields of a key by name.
        keys.sort_unstable();
        Listing { place, is_set, keys }
    }

    /// How `item` is told from its neighbours.
    ///
    /// # Errors
    /// Why it cannot be, in upstream's words.
    pub(super) fn element<'a>(&self, item: &Json) -> Result<Element<'a>, String> {
        if self.is_set {
            return match item {
                Json::Object(_) => Err("associative list without keys has an element that's a map type".into()),
                Json::Array(_) => Err("not supported: associative list with lists as elements".into()),
                Json::Null => Err("associative list without keys has an element that's an explicit null".into()),
                value => Ok(Element::Value(value.clone())),
            };
        }
        let Json::Object(map) = item else {
            let what = if item.is_null() { "a null element" } else { "non-map elements" };
            return Err(format!("associative list with keys may not have {what}"));
        };
        let mut fields = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            if let Some(value) = map.get(*key).cloned().or_else(|| self.place.key_default(key)) {
                fields.push(((*key).to_string(), value));
            }
        }
        if fields.is_empty() {
            let keys: Vec<String> = self.place.keys().iter().map(|key| format!("{key:?}")).collect();
            return Err(format!(
                "associative list with keys has an element that omits all key fields [{}] (and doesn't have default \
                 values for any key fields)",
                keys.join(" ")
            ));
        }
        Ok(Element::Key(fields))
    }
}

/// The elements of a list; none when it is no list.
pub(super) fn items(value: Option<&Json>) -> &[Json] {
    value.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}
