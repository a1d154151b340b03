//! Upstream's own samples, a fully filled object of every kind in JSON, YAML and protobuf, which stand outside of the
//! repository: `HOLDFAST_K8S_REFERENCE` says where. Without it these tests say that they were skipped.

use super::decode::object;
use super::protobuf;
use bytes::Bytes;
use holdfast_core::Json;
use holdfast_kinds::Kind;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use std::path::{Path, PathBuf};

const REFERENCE: &str = "HOLDFAST_K8S_REFERENCE";

/// Endings of the samples and the media types of what they hold.
const FORMATS: &[(&str, &str)] =
    &[("json", "application/json"), ("yaml", "application/yaml"), ("pb", protobuf::MEDIA_TYPE)];

fn folder() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(REFERENCE) else {
        eprintln!("skipped: {REFERENCE} is not set");
        return None;
    };
    Some(Path::new(&folder).join("serialization"))
}

fn sample(folder: &Path, kind: &Kind, ending: &str) -> (PathBuf, Vec<u8>) {
    let group = if kind.group.is_empty() { "core" } else { kind.group };
    let path = folder.join(format!("{group}.{}.{}.{ending}", kind.version, kind.kind));
    let body = std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    (path, body)
}

/// The sample as a client would send it, decoded against the kind's schema.
fn decoded(folder: &Path, kind: &Kind, ending: &str, media_type: &'static str) -> Json {
    let (path, body) = sample(folder, kind, ending);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(media_type));
    let read =
        object(&headers, &Bytes::from(body), kind.kind).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    assert!(read.doubled.is_empty(), "{}", path.display());
    let mut document = read.document;
    let unknown = holdfast_schema::builtin().check(kind.schema, &mut document).unwrap();
    assert_eq!(unknown, Vec::<String>::new(), "{}", path.display());
    document
}

#[test]
fn every_served_kind_reads_its_sample_in_each_format() {
    let Some(folder) = folder() else { return };
    let mut compared = 0;
    for kind in holdfast_kinds::all() {
        // Upstream publishes samples of what its own server holds; these come with other servers, and one is ours.
        if ["apiextensions.k8s.io", "apiregistration.k8s.io", "edge.holdfast.io", "metrics.k8s.io"]
            .contains(&kind.group)
        {
            continue;
        }
        let published: Json = serde_json::from_slice(&sample(&folder, kind, "json").1).unwrap();
        for (ending, media_type) in FORMATS {
            assert_eq!(decoded(&folder, kind, ending, media_type), published, "{kind:?} as {ending}");
        }
        compared += 1;
    }
    assert!(compared > 60, "only {compared} kinds were compared");
}
