use super::*;
use holdfast_core::json::at;

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
    let wanted = serde_json::json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a"}, "spec": {"replicas": 0}});
    assert_eq!(document, wanted);
}

/// What stands behind a pointer is written only where it is set: to zero, then.
#[test]
fn zeros_behind_pointers_stay() {
    let number = field(3, &[1 << 3, 0, 2 << 3, 0, 3 << 3 | 2, 0]);
    let raw = field(2, &number);
    let budget = decode(&object("policy/v1", "PodDisruptionBudget", &raw)).unwrap();
    assert_eq!(budget["spec"], serde_json::json!({"maxUnavailable": 0}));
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
    assert_eq!(document(&props(30, &[1 << 3, 0])), serde_json::json!({"additionalProperties": false}));
    let text = field(5, b"string");
    let either = [&[1 << 3, 1][..], &field(2, &text)].concat();
    assert_eq!(document(&props(30, &either)), serde_json::json!({"additionalProperties": {"type": "string"}}));
    // items: one schema, or several.
    assert_eq!(document(&props(24, &field(1, &text))), serde_json::json!({"items": {"type": "string"}}));
    assert_eq!(document(&props(24, &field(2, &text))), serde_json::json!({"items": [{"type": "string"}]}));
}

/// Upstream's own samples: a fully filled object of every kind, in both encodings.
#[test]
fn upstreams_samples_decode_to_their_json() {
    let Some(folder) = std::env::var_os("HOLDFAST_K8S_REFERENCE") else {
        eprintln!("skipped: HOLDFAST_K8S_REFERENCE is not set");
        return;
    };
    let folder = std::path::Path::new(&folder).join("serialization");
    let mut compared = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "pb") {
            continue;
        }
        let json: Json = serde_json::from_slice(&std::fs::read(path.with_extension("json")).unwrap()).unwrap();
        // A few samples are parts of objects, without a kind.
        let (Some(api_version), Some(kind)) = (json["apiVersion"].as_str(), json["kind"].as_str()) else { continue };
        if TABLE.kind(api_version, kind).is_none() || kind.ends_with("Options") {
            continue;
        }
        let decoded = decode(&std::fs::read(&path).unwrap()).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
        assert_eq!(decoded, json, "{}", path.display());
        compared += 1;
    }
    assert!(compared >= 40, "{compared}");
}
