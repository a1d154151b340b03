//! JSON patch (RFC 6902) and JSON merge patch (RFC 7386), within bounds.

use holdfast_core::{Json, Reason, Status};
use json_patch::{Patch, PatchOperation};

/// How many operations a JSON patch may have, as upstream.
const MAX_OPERATIONS: usize = 10_000;
/// By how many bytes the copies of one JSON patch may grow a document: each can double it.
const MAX_COPIED_BYTES: usize = 3 << 20;

/// Applies a JSON patch. `current` is unchanged when it fails.
///
/// # Errors
/// 400 when the patch is malformed, 413 when it is too large, 422 when it does not fit the document.
pub fn json_patch(current: &mut Json, patch: &Json) -> Result<(), Status> {
    if let Some(operations) = patch.as_array().map(Vec::len).filter(|len| *len > MAX_OPERATIONS) {
        let text = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {operations}");
        return Err(Status::failure(413, Reason::RequestEntityTooLarge, text));
    }
    let Patch(operations) = serde::Deserialize::deserialize(patch)
        .map_err(|err| Status::bad_request(format!("error decoding patch: {err}")))?;
    let mut patched = current.clone();
    let mut copied = 0;
    for operation in &operations {
        if let PatchOperation::Copy(copy) = operation {
            copied += copy.from.resolve(&patched).map_or(0, encoded_len);
            if copied > MAX_COPIED_BYTES {
                let text = format!(
                    "Unable to complete the copy operation, the accumulated size increase of copies is {copied}, \
                     exceeding the limit {MAX_COPIED_BYTES}"
                );
                return Err(Status::failure(413, Reason::RequestEntityTooLarge, text));
            }
        }
        // One by one, so that each copy is measured against the document as it then is.
        json_patch::patch_unsafe(&mut patched, std::slice::from_ref(operation)).map_err(|err| {
            let text = format!("the server rejected our request due to an error in our request: {err}");
            Status::failure(422, Reason::Invalid, text)
        })?;
    }
    *current = patched;
    Ok(())
}

/// Applies a JSON merge patch.
///
/// # Errors
/// 400 when the patch is no object.
pub fn merge_patch(current: &mut Json, patch: &Json) -> Result<(), Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("error decoding patch: a merge patch must be a JSON object"));
    }
    json_patch::merge(current, patch);
    Ok(())
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

    #[test]
    fn a_json_patch_applies_or_changes_nothing() {
        let start = json!({"a": [1], "b": "x"});
        let mut doc = start.clone();
        let patch = json!([{"op": "test", "path": "/b", "value": "x"}, {"op": "add", "path": "/a/-", "value": 2}]);
        json_patch(&mut doc, &patch).unwrap();
        assert_eq!(doc, json!({"a": [1, 2], "b": "x"}));
        for (patch, code) in [
            (json!([{"op": "remove", "path": "/b"}, {"op": "remove", "path": "/none"}]), 422),
            (json!([{"op": "replace", "path": "/b", "value": 1}, {"op": "test", "path": "/b", "value": 2}]), 422),
            (json!([{"op": "frobnicate", "path": "/b"}]), 400),
            (json!({"a": 1}), 400),
            (json!(vec![json!({"op": "remove", "path": "/b"}); MAX_OPERATIONS + 1]), 413),
        ] {
            let mut doc = start.clone();
            let status = json_patch(&mut doc, &patch).unwrap_err();
            assert_eq!((status.code(), &doc), (code, &start), "{status}");
        }
    }

    #[test]
    fn copies_cannot_blow_a_document_up() {
        let mut doc = json!({"a": ["x".repeat(1000)]});
        let doubling = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let status = json_patch(&mut doc, &json!(vec![doubling; 100])).unwrap_err();
        assert_eq!(status.code(), 413, "{status}");
    }

    #[test]
    fn a_merge_patch_merges_maps_and_replaces_lists() {
        let mut doc = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        merge_patch(&mut doc, &json!({"a": {"b": null}, "l": [3]})).unwrap();
        assert_eq!(doc, json!({"a": {"c": 2}, "l": [3]}));
        assert_eq!(merge_patch(&mut doc, &json!([1])).unwrap_err().code(), 400);
    }
}
