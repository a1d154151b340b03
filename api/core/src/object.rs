//! An object as it is stored and served: JSON bytes and parsed metadata.

use crate::{Gvk, Json, ObjectMeta, Revision, Status};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

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
    /// Where the value of `metadata.managedFields` is; empty when there is none.
    managed: Range<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

/// `metadata`, and the text of its `managedFields`: most readers never look at these, and a tree of them is as big
/// as the rest of the object.
#[derive(Default)]
struct Metadata<'a> {
    meta: ObjectMeta,
    managed: Option<&'a RawValue>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Metadata<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Metadata<'de>, A::Error> {
        let mut managed = None;
        let others = Others { entries, managed: &mut managed };
        let meta = ObjectMeta::deserialize(MapAccessDeserializer::new(others))?;
        Ok(Metadata { meta, managed })
    }
}

/// The entries of `metadata` but for `managedFields`, which it keeps aside.
struct Others<'m, 'de, A> {
    entries: A,
    managed: &'m mut Option<&'de RawValue>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        loop {
            match self.entries.next_key::<Key<'de>>()? {
                None => return Ok(None),
                Some(Key(name)) if name == MANAGED => *self.managed = Some(self.entries.next_value()?),
                Some(Key(Cow::Borrowed(name))) => {
                    return seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some);
                }
                Some(Key(Cow::Owned(name))) => return seed.deserialize(StringDeserializer::new(name)).map(Some),
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.entries.next_value_seed(seed)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// One step down a path.
struct Step<'p, 'f> {
    path: &'p [&'p str],
    found: &'f mut Option<Json>,
}

impl<'de> DeserializeSeed<'de> for Step<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            *self.found = Some(Json::deserialize(deserializer)?);
            return Err(serde::de::Error::custom("found"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Step<'_, '_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(Key(name)) = entries.next_key()? {
            match self.path.split_first() {
                Some((first, path)) if *first == name => {
                    return entries.next_value_seed(Step { path, found: self.found });
                }
                _ => entries.next_value::<IgnoredAny>()?,
            };
        }
        Ok(())
    }
}

const MANAGED: &str = "managedFields";

/// Every stored body begins with `apiVersion`, `kind`, `metadata` in this order, so that the splice offset
/// is found without a parser.
const METADATA: &str = "\"metadata\":{";

impl Object {
    /// From a document. `apiVersion` and `kind` are put first, `resourceVersion` is taken out and
    /// becomes the revision when it is a number.
    ///
    /// # Errors
    /// 400 when `metadata` is malformed.
    pub fn from_json(doc: Json) -> Result<Object, Status> {
        Object::with_managed_fields(doc, "")
    }

    /// From a document without `managedFields`, and these as JSON; the empty text is none.
    ///
    /// # Errors
    /// As [`Object::from_json`].
    pub fn with_managed_fields(mut doc: Json, managed: &str) -> Result<Object, Status> {
        let mut revision = Revision(0);
        if let Some(version) = crate::json::remove(&mut doc, &["metadata", "resourceVersion"]) {
            revision = Revision(version.as_str().and_then(|text| text.parse().ok()).unwrap_or(0));
        }
        let Json::Object(mut map) = doc else {
            return Err(Status::bad_request("the object is no JSON object"));
        };
        let mut take = |key: &str, empty: Json| map.shift_remove(key).filter(|value| !value.is_null()).unwrap_or(empty);
        let mut body = b"{\"apiVersion\":".to_vec();
        write(&mut body, &take("apiVersion", Json::from("")))?;
        body.extend_from_slice(b",\"kind\":");
        write(&mut body, &take("kind", Json::from("")))?;
        body.extend_from_slice(b",\"metadata\":");
        let metadata = take("metadata", Json::Object(serde_json::Map::new()));
        write(&mut body, &metadata)?;
        if !managed.is_empty() && body.pop_if(|last| *last == b'}').is_some() {
            // The last of the metadata, where it is cheap to put and to cut off.
            let comma = if metadata.as_object().is_some_and(|map| map.is_empty()) { "" } else { "," };
            body.extend_from_slice(format!("{comma}\"{MANAGED}\":").as_bytes());
            body.extend_from_slice(managed.as_bytes());
            body.push(b'}');
        }
        for (key, value) in map {
            body.push(b',');
            write(&mut body, &Json::from(key))?;
            body.push(b':');
            write(&mut body, &value)?;
        }
        body.push(b'}');
        Object::from_stored(Bytes::from(body), revision)
    }

    /// From bytes that [`Object::body`] once gave.
    ///
    /// # Errors
    /// 400 when the bytes are no object with metadata.
    pub fn from_stored(body: Bytes, revision: Revision) -> Result<Object, Status> {
        let head: Head<'_> = serde_json::from_slice(&body)
            .map_err(|err| Status::bad_request(format!("the object could not be decoded: {err}")))?;
        let splice = find(&body, METADATA.as_bytes())
            .map(|at| at + METADATA.len())
            .ok_or_else(|| Status::bad_request("the object has no metadata"))?;
        let gvk = Gvk::new(&head.api_version, &head.kind);
        let managed = head.metadata.managed.map(RawValue::get).filter(|text| *text != "null").map_or(0..0, |text| {
            let start = text.as_ptr() as usize - body.as_ptr() as usize;
            start..start + text.len()
        });
        let meta = head.metadata.meta;
        Ok(Object { gvk, meta, revision, body, splice, managed })
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
        out.reserve(self.body.len() + 48);
        out.extend_from_slice(&self.body[..self.splice]);
        self.write_from_splice(out, self.body.len());
    }

    /// Appends `metadata` as JSON, with its `resourceVersion` and its `managedFields`.
    pub fn write_metadata(&self, out: &mut Vec<u8>) {
        let start = self.splice - 1;
        let metadata = serde_json::Deserializer::from_slice(&self.body[start..]).into_iter::<&RawValue>().next();
        // It was read as an object when this was made.
        let end = metadata.and_then(Result::ok).map_or(self.splice, |metadata| start + metadata.get().len());
        out.push(b'{');
        self.write_from_splice(out, end);
    }

    fn write_from_splice(&self, out: &mut Vec<u8>, end: usize) {
        if self.revision != Revision(0) {
            out.extend_from_slice(format!("\"resourceVersion\":\"{}\"", self.revision).as_bytes());
            if self.body.get(self.splice) != Some(&b'}') {
                out.push(b',');
            }
        }
        out.extend_from_slice(&self.body[self.splice..end]);
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

    /// `metadata.managedFields` as JSON; the empty text when there are none.
    pub fn managed_fields(&self) -> &str {
        std::str::from_utf8(&self.body[self.managed.clone()]).unwrap_or_default()
    }

    /// The document, with its `resourceVersion` and without `managedFields`, of which most readers know nothing: an
    /// update that leaves them out keeps them.
    pub fn to_json(&self) -> Json {
        let Some(cut) = self.managed_entry() else { return self.to_json_whole() };
        let mut body = Vec::with_capacity(self.body.len() - cut.len());
        body.extend_from_slice(&self.body[..cut.start]);
        body.extend_from_slice(&self.body[cut.end..]);
        self.document(&body)
    }

    /// The document, with its `resourceVersion` and its `managedFields`.
    pub fn to_json_whole(&self) -> Json {
        self.document(&self.body)
    }

    /// Where `managedFields` stand with their name and a comma, if they do.
    fn managed_entry(&self) -> Option<Range<usize>> {
        let name = format!("\"{MANAGED}\":");
        let start = self.body[..self.managed.start].strip_suffix(name.as_bytes())?.len();
        match (self.body.get(start.checked_sub(1)?), self.body.get(self.managed.end)) {
            (Some(b','), _) => Some(start - 1..self.managed.end),
            (_, Some(b',')) => Some(start..self.managed.end + 1),
            _ => Some(start..self.managed.end),
        }
    }

    fn document(&self, body: &[u8]) -> Json {
        let mut doc: Json = serde_json::from_slice(body).unwrap_or_default();
        if self.revision != Revision(0) {
            crate::json::set(&mut doc, &["metadata", "resourceVersion"], self.revision.to_string());
        }
        doc
    }

    /// The value at `path`, read without the rest of the document; `None` where a step is missing.
    ///
    /// For a look at one field of many objects: [`Object::to_json`] makes a tree of everything.
    pub fn skim(&self, path: &[&str]) -> Option<Json> {
        let mut found = None;
        // What is found ends the reading, as an error would.
        let _ = Step { path, found: &mut found }.deserialize(&mut serde_json::Deserializer::from_slice(&self.body));
        found
    }

    /// The string at `path`, read as [`Object::skim`] does.
    pub fn skim_str(&self, path: &[&str]) -> Option<String> {
        match self.skim(path)? {
            Json::String(text) => Some(text),
            _ => None,
        }
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

fn write(out: &mut Vec<u8>, value: &Json) -> Result<(), Status> {
    serde_json::to_writer(out, value).map_err(Status::internal)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metadata_is_written_by_itself() {
        for metadata in [json!({}), json!({"name": "a", "labels": {"x": "}{"}})] {
            let doc = json!({"metadata": metadata, "spec": {"metadata": {"name": "no"}}});
            for (managed, revision) in [("", 0), ("", 7), ("[{\"manager\":\"m\"}]", 7)] {
                let object = Object::with_managed_fields(doc.clone(), managed).unwrap().at_revision(Revision(revision));
                let mut out = Vec::new();
                object.write_metadata(&mut out);
                let written: Json = serde_json::from_slice(&out).unwrap();
                assert_eq!(written, object.to_json_whole()["metadata"], "{metadata} {managed} {revision}");
            }
        }
    }

    #[test]
    fn one_field_is_read_without_the_rest() {
        let doc = json!({"spec": {"other": [{"nodeName": "no"}], "nodeName": "a \"b\"", "deep": {"x": [1, {"y": 2}]}}});
        let object = Object::from_json(doc.clone()).unwrap();
        for path in [&["spec", "nodeName"][..], &["spec", "deep"], &["spec", "deep", "x"], &["metadata"], &["spec"]] {
            assert_eq!(object.skim(path).as_ref(), crate::json::at(&object.to_json(), path), "{path:?}");
        }
        assert_eq!(object.skim_str(&["spec", "nodeName"]).as_deref(), Some("a \"b\""));
        for path in
            [&["spec", "missing"][..], &["spec", "nodeName", "x"], &["status", "phase"], &["spec", "other", "0"]]
        {
            assert_eq!(object.skim(path), None, "{path:?}");
        }
        assert_eq!(object.skim_str(&["spec", "deep"]), None, "no string");
    }

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

    #[test]
    fn managed_fields_are_kept_aside() {
        let managed = r#"[{"manager":"a,\"managedFields\":[]}","fieldsV1":{"f:x":{}}}]"#;
        let bare = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
            "spec": {"template": {"metadata": {"managedFields": [1]}}}});
        for doc in [bare.clone(), json!({"kind": "Pod", "spec": {}}), json!({"metadata": null})] {
            let object = Object::with_managed_fields(doc.clone(), managed).unwrap().at_revision(Revision(7));
            assert_eq!(object.managed_fields(), managed);
            let mut whole = object.to_json();
            assert_eq!(whole, Object::from_json(doc).unwrap().at_revision(Revision(7)).to_json());
            assert_ne!(whole, object.to_json_whole());
            whole["metadata"]["managedFields"] = serde_json::from_str(managed).unwrap();
            assert_eq!(whole, object.to_json_whole());
            let mut shown = Vec::new();
            object.write_json(&mut shown);
            assert_eq!(serde_json::from_slice::<Json>(&shown).unwrap(), whole);
        }
        assert_eq!(Object::from_json(bare.clone()).unwrap().managed_fields(), "");
        // Wherever others put them, and whatever they put there.
        for managed in [json!([]), json!([{"manager": "b"}]), json!(null)] {
            let mut doc = bare.clone();
            doc["metadata"] = json!({"managedFields": managed, "name": "a"});
            let object = Object::from_json(doc).unwrap();
            assert_eq!(object.managed_fields().is_empty(), managed.is_null());
            if !managed.is_null() {
                assert_eq!(object.to_json(), bare);
            }
        }
    }
}
