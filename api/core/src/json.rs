//! Reading and writing paths of a JSON document without panics.

use crate::Json;
use serde_json::Map;

/// The value at `path`, if every step is there.
pub fn at<'a>(doc: &'a Json, path: &[&str]) -> Option<&'a Json> {
    path.iter().try_fold(doc, |value, key| value.get(key))
}

/// The string at `path`.
pub fn str_at<'a>(doc: &'a Json, path: &[&str]) -> Option<&'a str> {
    at(doc, path)?.as_str()
}

/// The integer at `path`.
pub fn i64_at(doc: &Json, path: &[&str]) -> Option<i64> {
    at(doc, path)?.as_i64()
}

/// The boolean at `path`.
pub fn bool_at(doc: &Json, path: &[&str]) -> Option<bool> {
    at(doc, path)?.as_bool()
}

/// The elements of the list at `path`; none when it is missing.
pub fn items_at<'a>(doc: &'a Json, path: &[&str]) -> &'a [Json] {
    at(doc, path).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// The value at `path` for change, if every step is there.
pub fn at_mut<'a>(doc: &'a mut Json, path: &[&str]) -> Option<&'a mut Json> {
    path.iter().try_fold(doc, |value, key| value.get_mut(key))
}

/// The elements of the list at `path` for change.
pub fn items_at_mut<'a>(doc: &'a mut Json, path: &[&str]) -> &'a mut [Json] {
    at_mut(doc, path).and_then(Json::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

/// The object at `path`, made where it is missing. A step that holds something else is replaced.
pub fn object_at<'a>(doc: &'a mut Json, path: &[&str]) -> &'a mut Map<String, Json> {
    let mut value = doc;
    for key in path {
        value = force_object(value).entry(*key).or_insert(Json::Null);
    }
    force_object(value)
}

fn force_object(value: &mut Json) -> &mut Map<String, Json> {
    if !value.is_object() {
        *value = Json::Object(Map::new());
    }
    match value {
        Json::Object(map) => map,
        _ => unreachable!("made an object just now"),
    }
}

/// Sets the value at `path`, making the objects on the way.
pub fn set(doc: &mut Json, path: &[&str], value: impl Into<Json>) {
    if let Some((last, parents)) = path.split_last() {
        object_at(doc, parents).insert((*last).to_string(), value.into());
    }
}

/// Sets the value at `path` when it is missing or null, as defaulting does.
pub fn default(doc: &mut Json, path: &[&str], value: impl Into<Json>) {
    if at(doc, path).is_none_or(Json::is_null) {
        set(doc, path, value);
    }
}

/// Removes the value at `path` and returns it. The order of the other keys stays.
pub fn remove(doc: &mut Json, path: &[&str]) -> Option<Json> {
    let (last, parents) = path.split_last()?;
    at_mut(doc, parents)?.as_object_mut()?.shift_remove(*last)
}

/// Copies the value at `path` from `from` to `to`, or removes it there when `from` has none.
pub fn copy(from: &Json, to: &mut Json, path: &[&str]) {
    match at(from, path) {
        Some(value) => set(to, path, value.clone()),
        None => {
            remove(to, path);
        }
    }
}
