use super::table::{Field, Shape, Sort, TABLE, Type};
use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::json::at;
use holdfast_core::{Json, Object, Revision};
use proptest::prelude::*;
use serde_json::{Map, json};

/// `{number: bytes}` as a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn object(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), field(1, &meta), field(2, raw)].concat()
}

#[test]
fn unset_fields_vanish_and_zeros_that_count_stay() {
    // metadata {name "a", generateName ""}, spec {replicas 0, paused false}
    let spec = [&[1 << 3, 0][..], &[7 << 3, 0]].concat();
    let raw = [field(1, &[field(1, b"a"), field(2, b"")].concat()), field(2, &spec)].concat();
    let document = decode(&object("apps/v1", "Deployment", &raw)).unwrap();
    let wanted = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a"}, "spec": {"replicas": 0}});
    assert_eq!(document, wanted);
}

/// What stands behind a pointer is written only where it is set: to zero, then.
#[test]
fn zeros_behind_pointers_stay() {
    let number = field(3, &[1 << 3, 0, 2 << 3, 0, 3 << 3 | 2, 0]);
    let raw = field(2, &number);
    let budget = decode(&object("policy/v1", "PodDisruptionBudget", &raw)).unwrap();
    assert_eq!(budget["spec"], json!({"maxUnavailable": 0}));
}

#[test]
fn broken_bytes_are_refused() {
    let good = object("v1", "Namespace", &field(1, &field(1, b"a")));
    assert_eq!(decode(&good).unwrap()["metadata"]["name"], "a");
    for cut in MAGIC.len() + 1..good.len() {
        // A cut between two fields leaves a whole message of another kind; anything else is an error.
        if let Ok(document) = decode(&good[..cut]) {
            assert!(at(&document, &["metadata", "name"]).is_none());
        }
    }
    assert!(decode(b"{}").unwrap_err().contains("expected prefix [107, 56, 115, 0]"));
    assert!(decode(&object("v1", "Nothing", b"")).unwrap_err().contains("no protobuf description of kind \"Nothing\""));
    let huge = [MAGIC, &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat();
    assert_eq!(decode(&huge).unwrap_err(), wire::TRUNCATED);
}

/// A message with fields of the name `|` is the value of the one that is set.
#[test]
fn a_schema_may_stand_where_a_boolean_may() {
    let props = |number: u8, value: &[u8]| {
        // Field numbers above 15 take two bytes.
        let tag = [0x80 | ((number & 0x0f) << 3) | 2, number >> 4];
        [&tag[..], &[u8::try_from(value.len()).unwrap()], value].concat()
    };
    let document = |schema: &[u8]| {
        let version = field(4, &field(1, schema));
        let raw = field(2, &field(7, &version));
        let document = decode(&object("apiextensions.k8s.io/v1", "CustomResourceDefinition", &raw)).unwrap();
        at(&document["spec"]["versions"][0], &["schema", "openAPIV3Schema"]).cloned().unwrap()
    };
    // additionalProperties: false, then: a schema of type string.
    assert_eq!(document(&props(30, &[1 << 3, 0])), json!({"additionalProperties": false}));
    let text = field(5, b"string");
    let either = [&[1 << 3, 1][..], &field(2, &text)].concat();
    assert_eq!(document(&props(30, &either)), json!({"additionalProperties": {"type": "string"}}));
    // items: one schema, or several.
    assert_eq!(document(&props(24, &field(1, &text))), json!({"items": {"type": "string"}}));
    assert_eq!(document(&props(24, &field(2, &text))), json!({"items": [{"type": "string"}]}));
}

/// Upstream's own samples: a fully filled object of every kind, in both encodings.
#[test]
fn upstreams_samples_decode_to_their_json_and_encode_to_their_bytes() {
    let Some(folder) = std::env::var_os("HOLDFAST_K8S_REFERENCE") else {
        eprintln!("skipped: HOLDFAST_K8S_REFERENCE is not set");
        return;
    };
    let folder = std::path::Path::new(&folder).join("serialization");
    let (mut compared, mut unequal, mut unknown) = (0, Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let json: Json = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        // A few samples are parts of objects, without a kind.
        let (Some(api_version), Some(kind)) = (json["apiVersion"].as_str(), json["kind"].as_str()) else { continue };
        if TABLE.kind(api_version, kind).is_none() || kind.ends_with("Options") {
            unknown.push(format!("{api_version}/{kind}"));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let decoded = decode(&bytes).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        assert_eq!(decoded, json, "{}", path.display());
        let encoded = document(&json).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        if encoded != bytes {
            unequal.push(path);
        }
        compared += 1;
    }
    assert_eq!(unequal, Vec::<std::path::PathBuf>::new(), "of {compared}");
    // What we do not serve: versions that are no longer or not yet stable, options, and types of other programs.
    unknown.retain(|kind| !kind.contains("alpha") && !kind.contains("beta") && !kind.ends_with("Options"));
    unknown.sort();
    let others = [
        "admission.k8s.io/v1/AdmissionReview",
        "apidiscovery.k8s.io/v2/APIGroupDiscovery",
        "v1/PodStatusResult",
        "v1/RangeAllocation",
        "v1/SerializedReference",
        "v1/WatchEvent",
    ];
    unknown.retain(|kind| !others.contains(&kind.as_str()));
    assert_eq!(unknown, Vec::<String>::new());
    assert!(compared >= 65, "{compared}");
}

/// What Go holds by value is written although nothing of it is set; the bytes are those of upstream's encoder.
#[test]
fn what_is_held_by_value_is_written_where_it_is_not_set() {
    let meta = [&[0x0a, 1, b'a'][..], &[0x12, 0, 0x1a, 0, 0x22, 0, 0x2a, 0, 0x32, 1, b'7', 0x38, 0, 0x42, 0]].concat();
    let namespace = Object::from_json(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    let namespace = namespace.unwrap().at_revision(Revision(7));
    let mut writer = ObjectWriter::new(crate::codec::accept::Shape::Whole);
    // Behind the metadata: an empty spec, and a status with an empty phase.
    let wanted = [field(1, &meta), vec![0x12, 0, 0x1a, 2, 0x0a, 0]].concat();
    assert_eq!(writer.bare(&namespace).unwrap(), wanted);
    let mut body = Vec::new();
    writer.write(&namespace, &mut body).unwrap();
    assert_eq!(body, [object("v1", "Namespace", &wanted), TAIL.to_vec()].concat());
    let mut partial = ObjectWriter::new(crate::codec::accept::Shape::Metadata);
    body.clear();
    partial.write(&namespace, &mut body).unwrap();
    let wanted = [object("meta.k8s.io/v1", "PartialObjectMetadata", &field(1, &meta)), TAIL.to_vec()].concat();
    assert_eq!(body, wanted);
}

#[test]
fn documents_that_are_not_what_they_say_are_refused() {
    for (spec, why) in [
        (json!({"replicas": "3"}), "a string in place of Integer"),
        (json!({"replicas": 1.5}), "a fraction in place of Integer"),
        (json!({"paused": 1}), "a number in place of Bool"),
        (json!({"template": []}), "a list in place of Message"),
        (json!({"template": {"spec": {"containers": {}}}}), "a map in place of a list as containers"),
        (json!({"template": {"metadata": {"labels": []}}}), "a list in place of a map as labels"),
        (json!({"template": {"metadata": {"creationTimestamp": "soon"}}}), "\"soon\" is no time"),
    ] {
        let status = document(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec})).unwrap_err();
        assert!(status.message().contains(why), "{status} for {spec}");
    }
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "%"}});
    assert!(document(&secret).unwrap_err().message().contains("no base64"));
    assert!(document(&json!({"apiVersion": "v1", "kind": "Nothing"})).unwrap_err().message().contains("not described"));
}

#[test]
fn nulls_are_what_go_reads_of_them() {
    let document = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": null,
        "creationTimestamp": null}, "immutable": null, "data": {"b": null, "a": "x"}, "binaryData": {"c": null, "d": "eA=="}});
    let bytes = super::document(&document).unwrap();
    let wanted = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x", "b": ""},
        "binaryData": {"c": "", "d": "eA=="}});
    assert_eq!(decode(&bytes).unwrap(), wanted);
    // Keys are in order: `a` before `b`.
    let entries = [[0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'x'].as_slice(), &[0x12, 5, 0x0a, 1, b'b', 0x12, 0]].concat();
    assert!(bytes.windows(entries.len()).any(|window| window == entries), "{bytes:?}");
}

#[test]
fn frames_of_events_are_taken_apart_as_they_were_put_together() {
    let mut frame = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"object");
        Ok(())
    };
    event("ADDED", &mut frame, write).unwrap();
    let failed = event("ADDED", &mut frame, |out| {
        out.extend_from_slice(b"half");
        Err(holdfast_core::Status::internal("no"))
    });
    assert!(failed.is_err());
    event("DELETED", &mut frame, |_| Ok(())).unwrap();
    let added = [field(1, b"ADDED"), field(2, &field(1, b"object"))].concat();
    let deleted = [field(1, b"DELETED"), field(2, &field(1, b""))].concat();
    assert_eq!(events(&frame), [&added[..], &deleted]);
    assert_eq!(frame[..4], [0, 0, 0, u8::try_from(added.len()).unwrap()]);
    assert_eq!(events(&frame[..frame.len() - 1]).len(), 1, "a frame that was cut");
}

/// Makes documents out of any bytes: each choice is the next of them, and 0 when they end.
struct Maker<'t>(std::slice::Iter<'t, u8>);

impl Maker<'_> {
    fn choose(&mut self, among: u8) -> u8 {
        self.0.next().copied().unwrap_or(0) % among
    }

    fn one_of(&mut self, values: &[Json]) -> Json {
        let at = self.choose(u8::try_from(values.len()).unwrap());
        values[usize::from(at)].clone()
    }

    fn message(&mut self, index: usize, depth: usize, into: &mut Map<String, Json>) {
        for field in &TABLE.messages[index].fields {
            match field.value {
                Type::Message(inner) if field.name == table::IN_PLACE => self.message(inner, depth, into),
                _ if depth > 7 || self.choose(3) == 0 => {}
                _ => {
                    let value = self.field(field, depth);
                    into.insert(field.name.into(), value);
                }
            }
        }
    }

    fn field(&mut self, field: &Field, depth: usize) -> Json {
        let count = self.choose(4);
        match field.shape {
            Shape::One => self.value(field.value, depth),
            Shape::List => (0..count).map(|_| self.value(field.value, depth)).collect(),
            // Not in the order in which they are written.
            Shape::Map => (0..count)
                .map(|at| (format!("k{}", (at + 2) % 4), self.value(field.value, depth)))
                .collect::<Map<String, Json>>()
                .into(),
        }
    }

    fn value(&mut self, of: Type, depth: usize) -> Json {
        match of {
            Type::Text => self.one_of(&[json!(""), json!("a"), json!("\u{e9}\"\n\u{1}"), "x".repeat(300).into()]),
            Type::Bool => self.one_of(&[json!(false), json!(true)]),
            Type::Integer => self.one_of(&[json!(0), json!(1), json!(-1), json!(300), json!(i32::MAX)]),
            Type::Float => self.one_of(&[json!(0.5), json!(-2.0)]),
            // Of empty ones decoders do not tell whether they are set.
            Type::Bytes => self.one_of(&[json!("eA=="), STANDARD.encode([0, 255, 7]).into()]),
            Type::Time => self.one_of(&[json!("2026-11-24T01:50:06Z"), json!("1969-12-31T23:59:58Z")]),
            Type::MicroTime => {
                self.one_of(&[json!("2026-11-24T01:50:06.250000Z"), json!("2026-11-24T01:50:06.000001Z")])
            }
            Type::Quantity => self.one_of(&[json!("1"), json!("250m")]),
            Type::IntOrString => self.one_of(&[json!(8080), json!("http")]),
            Type::RawExtension | Type::FieldsV1 => self.one_of(&[json!({"f:a": {}}), json!({"f:b": "\n"})]),
            Type::Texts => self.one_of(&[json!([]), json!(["a", "b"])]),
            Type::Yaml => unreachable!("kinds have no text of any value"),
            Type::Message(index) if TABLE.messages[index].sort == Sort::Plain => {
                let mut inner = Map::new();
                self.message(index, depth + 1, &mut inner);
                inner.into()
            }
            Type::Message(index) => {
                let fields = &TABLE.messages[index].fields;
                let chosen = &fields[usize::from(self.choose(u8::try_from(fields.len()).unwrap()))];
                let value = self.field(chosen, depth + 1);
                // Nothing in a message does not say of which sort it is.
                if value == json!([]) { json!([self.value(chosen.value, depth + 1)]) } else { value }
            }
        }
    }
}

/// Without what says no more than that nothing is there.
fn pruned(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let kept = map.into_iter().map(|(key, value)| (key, pruned(value))).filter(|(_, value)| !is_empty(value));
            kept.collect::<Map<String, Json>>().into()
        }
        Json::Array(items) => items.into_iter().map(pruned).collect(),
        other => other,
    }
}

fn is_empty(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Bool(value) => !value,
        Json::Number(number) => number.as_f64() == Some(0.0),
        // A quantity that is not set is 0.
        Json::String(text) => text.is_empty() || text == "0",
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
    }
}

fn reversed(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| (key, reversed(value))).collect();
            entries.reverse();
            entries.into_iter().collect::<Map<String, Json>>().into()
        }
        Json::Array(items) => items.into_iter().map(reversed).collect(),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// What is written is read as it was, whatever the order of its entries.
    #[test]
    fn what_is_encoded_decodes_to_the_same(kind in any::<prop::sample::Index>(), choices in prop::collection::vec(any::<u8>(), 0..400)) {
        let kinds: Vec<&str> = TABLE.kinds().collect();
        let (api_version, kind) = kind.get(&kinds).rsplit_once('/').unwrap();
        let message = TABLE.kind(api_version, kind).unwrap();
        let mut map = Map::new();
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
        Maker(choices.iter()).message(message, 0, &mut map);
        let given = Json::from(map);
        let bytes = document(&given).unwrap();
        prop_assert_eq!(&bytes, &document(&reversed(given.clone())).unwrap());
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(pruned(decoded.clone()), pruned(given));
        // What stands in the message although it was not given says nothing.
        prop_assert_eq!(document(&decoded).unwrap(), bytes);
    }
}
