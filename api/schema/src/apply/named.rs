//! Sets brought to what the schema says: named fields as members, and what has become one value since as one path.

use super::element::Element;
use super::set::{Branch, FieldSet};
use super::typing::{Structure, Typing};

/// The same set, and each field of a struct that has members below. Nobody owns those: they are owned by their
/// content; but to be removed they have to be named.
pub(super) fn with_named_fields<'a, T: Typing>(set: &FieldSet<'a>, place: Option<&T>) -> FieldSet<'a> {
    let mut out = FieldSet::default();
    for node in &set.nodes {
        let child = place.and_then(|place| match &node.element {
            Element::Field(name) => place.below(name),
            _ => None,
        });
        let is_field = child.as_ref().is_some_and(|child| child.is_field);
        let is_member = node.is_member || (is_field && !node.below.is_empty());
        let below_place = match (&node.element, place) {
            (Element::Key(_), Some(place)) if place.structure(None) == Structure::Keyed => Some(place.element()),
            _ => child.map(|child| child.place),
        };
        let below = with_named_fields(&node.below, below_place.as_ref());
        out.push(node.element.clone(), Branch { is_member, below });
    }
    out
}

/// The set of a manager that wrote when the schema was another: of what is one value by now only the path of that
/// value is left. The other way round nothing has to be done.
pub(super) fn reconciled<'a, T: Typing>(set: &FieldSet<'a>, place: &T) -> FieldSet<'a> {
    let mut out = FieldSet::default();
    for node in &set.nodes {
        let child = match (&node.element, place.structure(None)) {
            (Element::Field(name), _) => place.below(name).map(|child| child.place),
            (_, Structure::Set | Structure::Keyed) => Some(place.element()),
            _ => None,
        };
        let mut found = Branch { is_member: node.is_member, below: node.below.clone() };
        if let Some(child) = child.filter(|_| !found.below.is_empty()) {
            found = match child.structure(None) {
                Structure::AtomicList | Structure::AtomicMap => Branch::leaf(),
                Structure::Scalar => found,
                _ => Branch { below: reconciled(&found.below, &child), ..found },
            };
        }
        out.push(node.element.clone(), found);
    }
    out
}
