//! An object as it is stored and served: JSON bytes and parsed metadata.

use crate::{Gvk, Json, ObjectMeta, Revision, Status};
use bytes::Bytes;
use serde::Deserialize;

/// JSON bytes plus what the machinery needs to know of them.
///
/// The body holds `apiVersion` and `kind` but no `resourceVersion`: that is known only at commit, and is
/// spliced in when the object is shown.
#[derive(Clone, Debug)]
pub struct Object {
    /// Group, version and kind of the body.
    pub gvk: Gvk,
    /// Parsed metadata; its `resource_version` is empty, see [`Object::revision`].
    pub meta: ObjectMeta,
    /// The revision of the last change; 0 when never stored.
    pub revision: Revision,
    /// JSON without `resourceVersion`.
    body: Bytes,
    /// Where `"resourceVersion":"N",` goes: just after the brace that opens `metadata`.
    splice: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ObjectMeta,
}

/// Every stored body begins with `apiVersion`, `kind`, `metadata` in this order, so that the splice offset
/// is found without a parser.
const METADATA: &str = "\"metadata\":{";

impl Object {
    /// From a document. `apiVersion` and `kind` are put first, `resourceVersion` is taken out and
    /// becomes the revision when it is a number.
    ///
    /// # Errors
    /// 400 when `metadata` is malformed.
    pub fn from_json(mut doc: Json) -> Result<Object, Status> {
        let mut revision = Revision(0);
        if let Some(version) = crate::json::remove(&mut doc, &["metadata", "resourceVersion"]) {
            revision = Revision(version.as_str().and_then(|text| text.parse().ok()).unwrap_or(0));
        }
        let Json::Object(mut map) = doc else {
            return Err(Status::bad_request("the object is no JSON object"));
        };
        let mut ordered = serde_json::Map::with_capacity(map.len());
        for key in ["apiVersion", "kind", "metadata"] {
            let empty = if key == "metadata" { Json::Object(serde_json::Map::new()) } else { Json::from("") };
            ordered.insert(key.to_string(), map.shift_remove(key).filter(|value| !value.is_null()).unwrap_or(empty));
        }
        ordered.extend(map);
        let body = serde_json::to_vec(&ordered).map_err(Status::internal)?;
        Object::from_stored(Bytes::from(body), revision)
    }

    /// From bytes that [`Object::body`] once gave.
    ///
    /// # Errors
    /// 400 when the bytes are no object with metadata.
    pub fn from_stored(body: Bytes, revision: Revision) -> Result<Object, Status> {
        let head: Head = serde_json::from_slice(&body)
            .map_err(|err| Status::bad_request(format!("the object could not be decoded: {err}")))?;
        let splice = find(&body, METADATA.as_bytes())
            .map(|at| at + METADATA.len())
            .ok_or_else(|| Status::bad_request("the object has no metadata"))?;
        let gvk = Gvk::new(&head.api_version, &head.kind);
        Ok(Object { gvk, meta: head.metadata, revision, body, splice })
    }

    /// The same object at another revision; shares the bytes.
    #[must_use]
    pub fn at_revision(&self, revision: Revision) -> Object {
        Object { revision, ..self.clone() }
    }

    /// The stored bytes, without `resourceVersion`.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Appends the object as JSON, with its `resourceVersion`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        if self.revision == Revision(0) {
            out.extend_from_slice(&self.body);
            return;
        }
        out.reserve(self.body.len() + 48);
        out.extend_from_slice(&self.body[..self.splice]);
        out.extend_from_slice(format!("\"resourceVersion\":\"{}\"", self.revision).as_bytes());
        if self.body.get(self.splice) != Some(&b'}') {
            out.push(b',');
        }
        out.extend_from_slice(&self.body[self.splice..]);
    }

    /// How many bytes [`Object::write_json`] appends.
    pub fn json_len(&self) -> usize {
        if self.revision == Revision(0) {
            return self.body.len();
        }
        let digits = self.revision.0.ilog10() as usize + 1;
        let comma = usize::from(self.body.get(self.splice) != Some(&b'}'));
        self.body.len() + "\"resourceVersion\":\"\"".len() + digits + comma
    }

    /// The document, with its `resourceVersion`.
    pub fn to_json(&self) -> Json {
        let mut doc: Json = serde_json::from_slice(&self.body).unwrap_or_default();
        if self.revision != Revision(0) {
            crate::json::set(&mut doc, &["metadata", "resourceVersion"], self.revision.to_string());
        }
        doc
    }

    /// The object as a typed struct, with its `resourceVersion`.
    ///
    /// # Errors
    /// 500 when the body does not fit the type: what is stored was validated, so we have a bug.
    pub fn to_typed<T: serde::de::DeserializeOwned>(&self) -> Result<T, Status> {
        let mut out = Vec::new();
        self.write_json(&mut out);
        serde_json::from_slice(&out)
            .map_err(|err| Status::internal(format!("{} {:?} does not decode: {err}", self.gvk.kind, self.meta.name)))
    }

    /// `namespace/name`, or the bare name of a cluster-scoped object.
    pub fn key(&self) -> String {
        if self.meta.namespace.is_empty() {
            self.meta.name.clone()
        } else {
            format!("{}/{}", self.meta.namespace, self.meta.name)
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resource_version_is_spliced_in() {
        let doc = json!({"spec": {"x": 1}, "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "a", "resourceVersion": "7"}});
        let object = Object::from_json(doc).unwrap();
        assert_eq!(object.revision, Revision(7));
        let mut out = Vec::new();
        object.at_revision(Revision(9)).write_json(&mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"9","name":"a"},"spec":{"x":1}}"#
        );
        let bare = Object::from_json(json!({"metadata": null})).unwrap();
        let mut out = Vec::new();
        bare.at_revision(Revision(1)).write_json(&mut out);
        serde_json::from_slice::<Json>(&out).unwrap();
        for (object, revision) in [(&object, 9), (&object, 10), (&bare, 1), (&bare, 0), (&bare, u64::MAX)] {
            let mut out = Vec::new();
            let object = object.at_revision(Revision(revision));
            object.write_json(&mut out);
            assert_eq!(out.len(), object.json_len());
        }
    }
}
