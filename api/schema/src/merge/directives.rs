//! The keys of a patch that are orders and not data.

use super::fresh;
use holdfast_core::{Json, Status};
use serde_json::Map;

/// Replaces, deletes or merges the map that holds it.
pub(super) const PATCH: &str = "$patch";
/// Lists the keys that stay.
const RETAIN_KEYS: &str = "$retainKeys";
/// Before the name of a list of scalars: what to take out of it.
const DELETE: &str = "$deleteFromPrimitiveList/";
/// Before the name of a list: its order.
const ORDER: &str = "$setElementOrder/";

/// The value of [`PATCH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    Replace,
    Delete,
    Merge,
}

/// Takes `$patch` out of a map.
pub(super) fn take_patch(map: &mut Map<String, Json>) -> Result<Option<Patch>, Status> {
    let Some(directive) = map.shift_remove(PATCH) else { return Ok(None) };
    match directive.as_str() {
        Some("replace") => Ok(Some(Patch::Replace)),
        Some("delete") => Ok(Some(Patch::Delete)),
        Some("merge") => Ok(Some(Patch::Merge)),
        _ => Err(Status::bad_request(format!("unknown patch type: {directive}"))),
    }
}

/// Takes `$retainKeys` and drops from the original what it does not list.
pub(super) fn retain_keys(original: &mut Map<String, Json>, patch: &mut Map<String, Json>) -> Result<(), Status> {
    let Some(directive) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let keys = strings(RETAIN_KEYS, &directive)?;
    let stray = patch.iter().find(|(key, value)| {
        !value.is_null() && !key.starts_with(DELETE) && !key.starts_with(ORDER) && !keys.contains(&key.as_str())
    });
    if let Some((key, _)) = stray {
        let text = format!("invalid patch format of retainKeys: {key:?} is in the patch but not in the list");
        return Err(Status::bad_request(text));
    }
    original.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

/// Takes every `$setElementOrder/…`: the list's name, and what its elements or their keys are.
pub(super) fn take_orders(patch: &mut Map<String, Json>) -> Result<Vec<(String, Vec<Json>)>, Status> {
    take_lists(patch, ORDER, "invalid patch format of setElementOrder list")
}

/// Takes every `$deleteFromPrimitiveList/…`: the list's name, and what goes.
pub(super) fn take_deletions(patch: &mut Map<String, Json>) -> Result<Vec<(String, Vec<Json>)>, Status> {
    take_lists(patch, DELETE, "invalid patch format of primitive list")
}

fn take_lists(patch: &mut Map<String, Json>, prefix: &str, bad: &str) -> Result<Vec<(String, Vec<Json>)>, Status> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
    let mut taken = Vec::new();
    for key in keys {
        match patch.shift_remove(&key) {
            Some(Json::Array(items)) => taken.push((key[prefix.len()..].to_string(), items)),
            _ => return Err(Status::bad_request(format!("{bad}: {key} is no list"))),
        }
    }
    Ok(taken)
}

fn strings<'a>(directive: &str, value: &'a Json) -> Result<Vec<&'a str>, Status> {
    let items = value.as_array().map(|items| items.iter().map(Json::as_str).collect::<Option<Vec<_>>>());
    items.flatten().ok_or_else(|| {
        Status::bad_request(format!("invalid patch format of retainKeys: {directive} is no list of strings"))
    })
}

/// A map of the patch as data.
pub(super) fn without_directives(map: Map<String, Json>) -> Map<String, Json> {
    let is_data = |key: &str| key != PATCH && key != RETAIN_KEYS && !key.starts_with(DELETE) && !key.starts_with(ORDER);
    map.into_iter()
        .filter(|(key, value)| is_data(key) && !value.is_null())
        .filter_map(|(key, value)| Some((key, fresh(value)?)))
        .collect()
}
