//! Strategic merge patch: maps merge, lists merge by key where the table says so, and directives in the patch
//! replace, delete, order and retain (`k8s.io/apimachinery/pkg/util/strategicpatch` is the reference).

mod directives;
mod lists;

use crate::facts::Patching;
use crate::table::{Field, Named, Schema, Shape, Type};
use directives::{PATCH, without_directives};
use holdfast_core::{Json, Status};
use serde_json::Map;
use std::collections::BTreeSet;

impl Schema {
    /// Merges `patch` into `current`, a document of the type `schema_name`. Fields that the type does not have
    /// merge as plain JSON: [`Schema::check`] tells of them afterwards. `current` is unchanged when it fails.
    ///
    /// # Errors
    /// 400 when a directive is malformed, 422 when an element lacks its merge key, 500 when there is no such type.
    pub fn strategic_merge(&self, schema_name: &str, current: &mut Json, patch: &Json) -> Result<(), Status> {
        let Some(root) = self.find(schema_name) else {
            return Err(Status::internal(format!("no schema {schema_name}")));
        };
        let Json::Object(patch) = patch else {
            return Err(Status::bad_request("error decoding patch: a strategic merge patch must be a JSON object"));
        };
        let original = current.as_object().cloned().unwrap_or_default();
        *current = Json::Object(merge_maps(Place::of(self, root), original, patch.clone())?);
        Ok(())
    }
}

/// Where in the table a map of the document stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    schema: &'a Schema,
    /// The struct, or `None` for maps without fixed fields and for what the table does not know.
    named: Option<&'a Named>,
    /// The type of the values of a map.
    values: Option<&'a Type>,
}

impl<'a> Place<'a> {
    fn of(schema: &'a Schema, named: &'a Named) -> Place<'a> {
        let named = matches!(named.shape, Shape::Struct(_)).then_some(named);
        Place { schema, named, values: None }
    }

    fn unknown(schema: &'a Schema) -> Place<'a> {
        Place { schema, named: None, values: None }
    }

    fn at(schema: &'a Schema, value: &'a Type) -> Place<'a> {
        match value {
            Type::Named(at) => Place::of(schema, schema.named(*at)),
            Type::Map(values) => Place { values: Some(values), ..Place::unknown(schema) },
            _ => Place::unknown(schema),
        }
    }

    fn field(&self, name: &str) -> Option<&'a Field> {
        self.named?.field(name)
    }

    /// The place of the map under `name`.
    fn below(&self, name: &str) -> Place<'a> {
        match (self.field(name), self.values) {
            (Some(field), _) => Place::at(self.schema, &field.value),
            (None, Some(values)) => Place::at(self.schema, values),
            (None, None) => Place::unknown(self.schema),
        }
    }

    /// Whether the map under `name` is replaced as a whole.
    fn replaces(&self, name: &str) -> bool {
        self.field(name).is_some_and(|field| field.patching.replace)
    }

    /// How the list under `name` merges, and the place of its elements.
    fn list(&self, name: &str) -> (Patching, Place<'a>) {
        let Some(field) = self.field(name) else { return (Patching::default(), Place::unknown(self.schema)) };
        let element = match &field.value {
            Type::List(element) => Place::at(self.schema, element),
            _ => Place::unknown(self.schema),
        };
        (field.patching, element)
    }
}

/// Merges `patch` into `original`.
fn merge_maps(
    place: Place<'_>,
    mut original: Map<String, Json>,
    mut patch: Map<String, Json>,
) -> Result<Map<String, Json>, Status> {
    match directives::take_patch(&mut patch)? {
        Some(directives::Patch::Replace) => return Ok(without_directives(patch)),
        Some(directives::Patch::Delete) => return Ok(Map::new()),
        Some(directives::Patch::Merge) | None => {}
    }
    directives::retain_keys(&mut original, &mut patch)?;
    for (field, order) in directives::take_orders(&mut patch)? {
        lists::merge_in_order(place, &field, &order, &mut original, &mut patch)?;
    }
    for (field, gone) in directives::take_deletions(&mut patch)? {
        if let Some(Json::Array(items)) = original.get_mut(&field) {
            let gone: BTreeSet<String> = gone.iter().map(ToString::to_string).collect();
            items.retain(|item| !gone.contains(&item.to_string()));
        }
    }
    let is_deleted = |name: &str| patch.get(name).is_some_and(Json::is_null);
    original.retain(|name, _| !is_deleted(name));
    for (name, value) in patch.into_iter().filter(|(_, value)| !value.is_null()) {
        let merged = match (original.get_mut(&name).map(Json::take), value) {
            (Some(Json::Object(_)), Json::Object(new)) if place.replaces(&name) => {
                Some(Json::Object(without_directives(new)))
            }
            (Some(Json::Object(old)), Json::Object(new)) => {
                Some(Json::Object(merge_maps(place.below(&name), old, new)?))
            }
            (Some(Json::Array(old)), Json::Array(new)) => {
                let (patching, element) = place.list(&name);
                Some(Json::Array(lists::merge(element, patching, old, new)?))
            }
            // What is new, or of another type than before, is taken as it is.
            (_, new) => fresh(new),
        };
        match merged {
            Some(merged) => original.insert(name, merged),
            None => original.shift_remove(&name),
        };
    }
    Ok(original)
}

/// A value that stands in the patch only: its nulls have nothing to act on, nor has a directive. A map that says what is to
/// become of the one that is not there says nothing else, whatever else stands in it.
fn fresh(value: Json) -> Option<Json> {
    match value {
        Json::Object(map) if map.contains_key(PATCH) => None,
        Json::Object(map) => Some(Json::Object(without_directives(map))),
        Json::Array(items) => Some(Json::Array(items.into_iter().filter_map(fresh).collect())),
        scalar => Some(scalar),
    }
}

#[cfg(test)]
mod tests;
