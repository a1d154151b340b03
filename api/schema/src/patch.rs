//! JSON patch (RFC 6902, as upstream's library has it) and JSON merge patch (RFC 7386), within bounds.
//!
//! Upstream's library (`gopkg.in/evanphx/json-patch.v4`) is laxer than the standard, and clients live with that:
//! `replace` adds a field that is not there, a field that is not there passes a test for null, an index may count from
//! the end of its list (`-1` is the last), and what stands before the first slash of a path does not count.

use crate::parse::{MAX_DEPTH, depth};
use holdfast_core::{Json, Reason, Status};
use serde_json::Map;

/// How many operations a JSON patch may have, as upstream.
const MAX_OPERATIONS: usize = 10_000;
/// By how many bytes the copies of one JSON patch may grow a document, as upstream: each can double it.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// Applies a JSON patch. `current` is unchanged when it fails.
///
/// # Errors
/// 400 when the patch is malformed, 413 when it has too many operations, 422 when it does not fit the document.
pub fn json_patch(current: &mut Json, patch: &Json) -> Result<(), Status> {
    let operations = match patch {
        Json::Array(operations) => operations.as_slice(),
        Json::Null => &[],
        _ => return Err(Status::bad_request("error decoding patch: a JSON patch must be a list of operations")),
    };
    if operations.len() > MAX_OPERATIONS {
        let text =
            format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
        return Err(Status::failure(413, Reason::RequestEntityTooLarge, text));
    }
    let operations = operations.iter().enumerate().map(|(at, operation)| Operation::read(at, operation));
    let operations = operations.collect::<Result<Vec<_>, _>>().map_err(Status::bad_request)?;
    let mut patched = current.clone();
    let mut copied = 0;
    for operation in &operations {
        operation.apply(&mut patched, &mut copied).map_err(|err| {
            let text = format!("the server rejected our request due to an error in our request: {err}");
            Status::failure(422, Reason::Invalid, text)
        })?;
    }
    *current = patched;
    Ok(())
}

/// One operation, as far as its fields have the right types.
struct Operation<'p> {
    op: &'p str,
    path: Option<&'p str>,
    from: Option<&'p str>,
    /// `None`: it is not there, which most operations take for null.
    value: Option<&'p Json>,
}

impl<'p> Operation<'p> {
    fn read(at: usize, operation: &'p Json) -> Result<Operation<'p>, String> {
        let Json::Object(fields) = operation else {
            return Err(format!("error decoding patch: operation {at} is no object"));
        };
        let text = |name: &str| match fields.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(format!("error decoding patch: the {name:?} of operation {at} is no string")),
        };
        let op = text("op")?.unwrap_or("unknown");
        Ok(Operation { op, path: text("path")?, from: text("from")?, value: fields.get("value") })
    }

    fn apply(&self, doc: &mut Json, copied: &mut usize) -> Result<(), String> {
        let op = self.op;
        let path = || self.path.ok_or_else(|| format!("{op} operation failed to decode path: missing value"));
        let from = || self.from.ok_or_else(|| format!("{op} operation failed to decode from: missing value"));
        match op {
            "add" => add(doc, op, path()?, self.value.cloned().unwrap_or_default()),
            "remove" => {
                let path = path()?;
                let (container, key) = container(doc, path).ok_or_else(|| missing(op, "path", path))?;
                take(container, &key).map(drop).map_err(|err| format!("error in remove for path: '{path}': {err}"))
            }
            "replace" => self.replace(doc, path()?),
            "test" => self.test(doc, path()?),
            "move" => {
                let from = from()?;
                let (container, key) = container(doc, from).ok_or_else(|| missing(op, "from path", from))?;
                let value = take(container, &key).map_err(|err| format!("error in move for path: '{key}': {err}"))?;
                add(doc, op, path()?, value)
            }
            "copy" => {
                let from = from()?;
                let (container, key) = container(doc, from).ok_or_else(|| missing(op, "from path", from))?;
                let value = find(container, &key).map_err(|err| format!("error in copy for from: '{from}': {err}"))?;
                *copied += value.map_or(0, encoded_len);
                if *copied > MAX_COPIED_BYTES {
                    return Err(format!(
                        "Unable to complete the copy operation, the accumulated size increase of copy is {copied}, \
                         exceeding the limit {MAX_COPIED_BYTES}"
                    ));
                }
                let value = value.cloned().unwrap_or_default();
                add(doc, op, path()?, value)
            }
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn replace(&self, doc: &mut Json, path: &str) -> Result<(), String> {
        let value = self.value.cloned().unwrap_or_default();
        if path.is_empty() {
            if !(value.is_object() || value.is_array()) {
                return Err("replace operation value must be object or array".into());
            }
            *doc = value;
            return Ok(());
        }
        check_depth(path, &value)?;
        let (container, key) = container(doc, path).ok_or_else(|| missing(self.op, "path", path))?;
        match container {
            Json::Array(items) => {
                let at = index(&key, items.len()).map_err(|_| {
                    format!("replace operation does not apply: doc is missing key: {path}: missing value")
                })?;
                items[at] = value;
            }
            Json::Object(fields) => {
                fields.insert(key, value);
            }
            _ => return Err(missing(self.op, "path", path)),
        }
        Ok(())
    }

    fn test(&self, doc: &mut Json, path: &str) -> Result<(), String> {
        let found = if path.is_empty() {
            Some(&*doc)
        } else {
            let (container, key) = container(doc, path)
                .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: missing value"))?;
            find(container, &key).map_err(|err| format!("error in test for path: '{path}': {err}"))?
        };
        let wanted = self.value.unwrap_or(&Json::Null);
        if found.unwrap_or(&Json::Null) == wanted {
            Ok(())
        } else {
            Err(format!("testing value {path} failed: test failed"))
        }
    }
}

fn missing(op: &str, what: &str, path: &str) -> String {
    format!("{op} operation does not apply: doc is missing {what}: {path:?}: missing value")
}

/// Puts a value where `path` says: into an object in place of what is there, into a list before it.
fn add(doc: &mut Json, op: &str, path: &str, value: Json) -> Result<(), String> {
    check_depth(path, &value)?;
    let (container, key) = container(doc, path).ok_or_else(|| missing(op, "path", path))?;
    match container {
        Json::Array(items) if key == "-" => items.push(value),
        Json::Array(items) => {
            let at = index(&key, items.len() + 1).map_err(|err| format!("error in {op} for path: '{path}': {err}"))?;
            items.insert(at, value);
        }
        Json::Object(fields) => {
            fields.insert(key, value);
        }
        _ => return Err(missing(op, "path", path)),
    }
    Ok(())
}

/// Copies double the depth of a document, and whatever walks it afterwards does so on a stack.
fn check_depth(path: &str, value: &Json) -> Result<(), String> {
    let above = path.bytes().filter(|byte| *byte == b'/').count();
    if above + depth(value) > MAX_DEPTH { Err("exceeded max depth".into()) } else { Ok(()) }
}

/// The map or list that `path` ends in, and the key or index in it.
fn container<'d>(doc: &'d mut Json, path: &str) -> Option<(&'d mut Json, String)> {
    let (_, steps) = path.split_once('/')?;
    let (steps, last) = steps.rsplit_once('/').map_or((None, steps), |(steps, last)| (Some(steps), last));
    let mut at = doc;
    for step in steps.into_iter().flat_map(|steps| steps.split('/')) {
        let key = unescaped(step);
        at = match at {
            Json::Object(fields) => fields.get_mut(&key)?,
            Json::Array(items) => {
                let at = index(&key, items.len()).ok()?;
                &mut items[at]
            }
            _ => return None,
        };
    }
    (at.is_object() || at.is_array()).then(|| (at, unescaped(last)))
}

fn unescaped(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// What stands at a key, nothing where a map has no such key.
fn find<'d>(container: &'d Json, key: &str) -> Result<Option<&'d Json>, String> {
    match container {
        Json::Array(items) => Ok(items.get(index(key, items.len())?)),
        container => Ok(container.get(key)),
    }
}

/// Takes out what stands at a key.
fn take(container: &mut Json, key: &str) -> Result<Json, String> {
    match container {
        Json::Array(items) => Ok(items.remove(index(key, items.len())?)),
        Json::Object(fields) => {
            fields.shift_remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        _ => Err("invalid state detected".into()),
    }
}

/// An index below `len`; negative ones count from the end.
fn index(key: &str, len: usize) -> Result<usize, String> {
    let number: i64 = key.parse().map_err(|_| format!("value was not a proper array index: '{key}'"))?;
    let at = if number < 0 { i64::try_from(len).map_or(-1, |len| len + number) } else { number };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < len)
        .ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

/// Applies a JSON merge patch.
///
/// # Errors
/// 400 when the patch is no object.
pub fn merge_patch(current: &mut Json, patch: &Json) -> Result<(), Status> {
    let Json::Object(patch) = patch else {
        return Err(Status::bad_request("error decoding patch: a merge patch must be a JSON object"));
    };
    match current {
        Json::Object(current) => merge(current, patch),
        other => *other = without_nulls(&Json::Object(patch.clone())),
    }
    Ok(())
}

fn merge(current: &mut Map<String, Json>, patch: &Map<String, Json>) {
    for (key, value) in patch {
        match (current.get_mut(key), value) {
            (_, Json::Null) => {
                current.shift_remove(key);
            }
            (Some(Json::Object(below)), Json::Object(value)) => merge(below, value),
            (_, value) => {
                current.insert(key.clone(), without_nulls(value));
            }
        }
    }
}

/// What is new has nothing that a null could take away, in lists neither.
fn without_nulls(value: &Json) -> Json {
    match value {
        Json::Object(fields) => {
            let left = fields.iter().filter(|(_, value)| !value.is_null());
            Json::Object(left.map(|(key, value)| (key.clone(), without_nulls(value))).collect())
        }
        Json::Array(items) => Json::Array(items.iter().map(without_nulls).collect()),
        scalar => scalar.clone(),
    }
}

fn encoded_len(value: &Json) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing into a counter cannot fail; a value that would not encode counts as too large.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX / 2, |()| count.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(doc: &Json, patch: &Json) -> Result<Json, (u16, String)> {
        let mut made = doc.clone();
        match json_patch(&mut made, patch) {
            Ok(()) => Ok(made),
            Err(status) => {
                assert_eq!(made, *doc, "a failed patch changed the document");
                Err((status.code(), status.message().to_string()))
            }
        }
    }

    #[test]
    fn a_json_patch_applies_or_changes_nothing() {
        let start = json!({"a": [1], "b": "x"});
        let patch = json!([{"op": "test", "path": "/b", "value": "x"}, {"op": "add", "path": "/a/-", "value": 2}]);
        assert_eq!(patched(&start, &patch), Ok(json!({"a": [1, 2], "b": "x"})));
        assert_eq!(patched(&start, &json!([])), Ok(start.clone()));
        for (patch, code, text) in [
            (json!([{"op": "remove", "path": "/b"}, {"op": "remove", "path": "/none"}]), 422, "nonexistent key: none"),
            (
                json!([{"op": "replace", "path": "/b", "value": 1}, {"op": "test", "path": "/b", "value": 2}]),
                422,
                "testing value /b failed",
            ),
            (json!([{"op": "frobnicate", "path": "/b"}]), 422, "Unexpected kind: frobnicate"),
            (json!([{"path": "/b"}]), 422, "Unexpected kind: unknown"),
            (json!([{"op": "add", "value": 1}]), 422, "failed to decode path"),
            (json!([{"op": "move", "path": "/c"}]), 422, "failed to decode from"),
            (json!([{"op": "add", "path": 7}]), 400, "the \"path\" of operation 0 is no string"),
            (json!([7]), 400, "operation 0 is no object"),
            (json!({"a": 1}), 400, "must be a list of operations"),
            (json!(vec![json!({"op": "remove", "path": "/b"}); MAX_OPERATIONS + 1]), 413, "is 10000, got 10001"),
        ] {
            let (found, message) = patched(&start, &patch).unwrap_err();
            assert!(found == code && message.contains(text), "{found} {message}");
        }
    }

    /// What upstream's library does (`patch_test.go` of gopkg.in/evanphx/json-patch.v4), beside the standard or beyond it.
    #[test]
    fn operations_mean_what_they_mean_to_upstream() {
        let start = json!({"o": {"a": 1, "n": null}, "l": ["x", "y", "z"], "a/b": {"m~n": 1}, "s": "t"});
        let op = |op: &str, path: &str, value: Json| json!([{"op": op, "path": path, "value": value}]);
        let changed = |pointer: &str, value: Json| {
            let mut doc = start.clone();
            *doc.pointer_mut(pointer).unwrap() = value;
            Ok(doc)
        };
        let list = |list: Json| changed("/l", list);
        let object = |object: Json| changed("/o", object);
        for (patch, expected) in [
            // A field that is not there is replaced all the same.
            (op("replace", "/o/new", json!(2)), object(json!({"a": 1, "n": null, "new": 2}))),
            (op("add", "/o/a", json!(2)), object(json!({"a": 2, "n": null}))),
            (json!([{"op": "add", "path": "/o/v"}]), object(json!({"a": 1, "n": null, "v": null}))),
            // Lists: before an index, at the end, from the end.
            (op("add", "/l/1", json!("n")), list(json!(["x", "n", "y", "z"]))),
            (op("add", "/l/3", json!("n")), list(json!(["x", "y", "z", "n"]))),
            (op("add", "/l/-1", json!("n")), list(json!(["x", "y", "z", "n"]))),
            (op("replace", "/l/-1", json!("n")), list(json!(["x", "y", "n"]))),
            (op("remove", "/l/-3", json!(null)), list(json!(["y", "z"]))),
            (json!([{"op": "move", "from": "/l/0", "path": "/l/-"}]), list(json!(["y", "z", "x"]))),
            (json!([{"op": "copy", "from": "/l/2", "path": "/l/0"}]), list(json!(["z", "x", "y", "z"]))),
            // A field that is not there is null to tests and copies.
            (op("test", "/o/none", json!(null)), Ok(start.clone())),
            (json!([{"op": "test", "path": "/o/n"}]), Ok(start.clone())),
            (json!([{"op": "copy", "from": "/o/none", "path": "/o/a"}]), object(json!({"a": null, "n": null}))),
            // Escapes, and what stands before the first slash.
            (op("replace", "/a~1b/m~0n", json!(2)), changed("/a~1b", json!({"m~n": 2}))),
            (op("replace", "x/s", json!("u")), changed("/s", json!("u"))),
            (op("replace", "", json!({"all": 1})), Ok(json!({"all": 1}))),
            (op("test", "", start.clone()), Ok(start.clone())),
        ] {
            assert_eq!(patched(&start, &patch), expected, "{patch}");
        }
        for patch in [
            op("replace", "/l/3", json!(1)),
            op("replace", "/l/-", json!(1)),
            op("add", "/l/4", json!(1)),
            op("add", "/l/-5", json!(1)),
            op("add", "/l/x", json!(1)),
            op("remove", "/l/3", json!(1)),
            op("add", "/s/x", json!(1)),
            op("add", "/none/x", json!(1)),
            op("add", "/o/n/x", json!(1)),
            op("add", "", json!({})),
            op("add", "s", json!({})),
            op("remove", "", json!(null)),
            op("replace", "", json!("text")),
            op("test", "/o/a", json!(null)),
            op("test", "/o/a", json!("1")),
            op("test", "/l/9", json!(null)),
            json!([{"op": "move", "from": "/o/none", "path": "/o/a"}]),
            // What is moved is gone before it is put anywhere.
            json!([{"op": "move", "from": "/o", "path": "/o/a"}]),
        ] {
            assert_eq!(patched(&start, &patch).unwrap_err().0, 422, "{patch}");
        }
    }

    #[test]
    fn copies_cannot_blow_a_document_up() {
        let doubling = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let (code, text) = patched(&json!({"a": ["x".repeat(1000)]}), &json!(vec![doubling; 100])).unwrap_err();
        assert!(code == 422 && text.contains("exceeding the limit 3145728"), "{code} {text}");
    }

    /// A document as deep as a patch can make it would end the process, in whatever walks it next.
    #[test]
    fn what_a_patch_makes_cannot_nest_without_end() {
        let mut operations = vec![json!({"op": "add", "path": "/x", "value": {}})];
        for round in 0..18 {
            let leaf = "/x".repeat(1 << round);
            operations.push(json!({"op": "copy", "from": "/x", "path": format!("{leaf}/x")}));
        }
        let (code, text) = patched(&json!({}), &json!(operations)).unwrap_err();
        assert!(code == 422 && text.contains("exceeded max depth"), "{code} {text}");
        let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(patched(&json!({}), &json!([{"op": "add", "path": "/a", "value": nested(MAX_DEPTH - 1)}])).is_ok());
        for op in ["add", "replace"] {
            let patch = json!([{"op": op, "path": "/a", "value": nested(MAX_DEPTH)}]);
            assert_eq!(patched(&json!({}), &patch).unwrap_err().0, 422);
        }
        let moved = json!([{"op": "move", "from": "/a", "path": "/b/b/b/b"}]);
        let doc = json!({"a": nested(MAX_DEPTH - 3), "b": {"b": {"b": {}}}});
        assert_eq!(patched(&doc, &moved).unwrap_err().0, 422);
    }

    #[test]
    fn a_merge_patch_merges_maps_and_replaces_lists() {
        let mut doc = json!({"a": {"b": 1, "c": 2}, "l": [1, 2], "s": 1});
        let patch =
            json!({"a": {"b": null}, "l": [{"x": null, "y": 1}, null], "s": {"n": null}, "new": {"n": null, "m": {}}});
        merge_patch(&mut doc, &patch).unwrap();
        assert_eq!(doc, json!({"a": {"c": 2}, "l": [{"y": 1}, null], "s": {}, "new": {"m": {}}}));
        assert_eq!(merge_patch(&mut doc, &json!([1])).unwrap_err().code(), 400);
    }
}
