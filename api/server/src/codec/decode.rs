//! Request bodies: reading them within bounds, and JSON or YAML to documents.

use super::accept::content_type;
use super::protobuf;
use crate::limits::{BODY_BYTES, STRICT_TEXTS};
use bytes::Bytes;
use holdfast_core::{Json, Patch, PatchType, Status};
use holdfast_schema::{MAX_DEPTH, depth, strict_texts};
use http::HeaderMap;
use http_body_util::{BodyExt, LengthLimitError, Limited};

/// Media types of a whole object.
const OBJECT_TYPES: &[&str] = &["application/json", "application/yaml", protobuf::MEDIA_TYPE];
/// Media types of a patch.
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Reads a body.
///
/// # Errors
/// 413 when it is longer than [`BODY_BYTES`], 400 when the client broke off.
pub async fn read_body<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return Err(Status::too_large(BODY_BYTES));
    }
    match Limited::new(body, BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(err) if err.downcast_ref::<LengthLimitError>().is_some() => Err(Status::too_large(BODY_BYTES)),
        Err(err) => Err(Status::bad_request(format!("the request's body broke off: {err}"))),
    }
}

/// A document, and the paths of keys that stood twice.
pub struct Decoded {
    /// The document; of doubled keys the last value.
    pub document: Json,
    /// Paths such as `spec.replicas`.
    pub duplicates: Vec<String>,
}

/// A whole object.
///
/// # Errors
/// 415 for a media type that is not read, 400 for what does not parse.
pub fn object(headers: &HeaderMap, body: &Bytes, kind: &str) -> Result<Decoded, Status> {
    let read: fn(&Bytes) -> Result<Decoded, String> = match content_type(headers).as_str() {
        "" | "application/json" => parse_json,
        "application/yaml" | "application/x-yaml" | "text/yaml" => parse_yaml,
        protobuf::MEDIA_TYPE => parse_protobuf,
        _ => return Err(Status::unsupported_media_type(OBJECT_TYPES)),
    };
    let unread = |err: String| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {err}"))
    };
    let decoded = read(body).map_err(unread)?;
    if !decoded.document.is_object() {
        return Err(unread("the body is no object".into()));
    }
    Ok(decoded)
}

/// The options of a delete; `None` when the body is empty.
///
/// # Errors
/// As [`object`].
pub fn optional_object(headers: &HeaderMap, body: &Bytes, kind: &str) -> Result<Option<Json>, Status> {
    if body.is_empty() {
        return Ok(None);
    }
    Ok(Some(object(headers, body, kind)?.document))
}

/// A patch.
///
/// # Errors
/// 415 for a media type that is no patch, 400 for what does not parse.
pub fn patch_type(headers: &HeaderMap) -> Result<PatchType, Status> {
    match content_type(headers).as_str() {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(Status::unsupported_media_type(PATCH_TYPES)),
    }
}

/// The body of a patch of this sort, and what a strict reader finds in it.
///
/// # Errors
/// 400 for what does not parse.
pub fn patch(patch_type: PatchType, body: &Bytes) -> Result<(Patch, Vec<String>), Status> {
    let decoded = if patch_type == PatchType::Apply { parse_yaml(body) } else { parse_json(body) };
    let decoded = decoded.map_err(|err| {
        let what = if patch_type == PatchType::Apply { "error decoding YAML" } else { "error decoding patch" };
        Status::bad_request(format!("{what}: {err}"))
    })?;
    let mut texts = strict_texts(&[], &decoded.duplicates);
    if patch_type == PatchType::Json {
        let unknown = strict_texts(&unknown_of_operations(&decoded.document), &[]);
        texts = texts.into_iter().chain(unknown).map(|text| format!("json patch {text}")).collect();
    }
    Ok((Patch { patch_type, body: decoded.document }, texts))
}

/// Fields that no operation of a JSON patch has.
fn unknown_of_operations(patch: &Json) -> Vec<String> {
    let operations = patch.as_array().into_iter().flatten().enumerate();
    let fields = operations.flat_map(|(at, operation)| {
        operation.as_object().into_iter().flatten().map(move |(name, _)| (at, name.as_str()))
    });
    let unknown = fields.filter(|(_, name)| !matches!(*name, "op" | "path" | "from" | "value"));
    unknown.map(|(at, name)| format!("[{at}].{name}")).take(STRICT_TEXTS).collect()
}

fn parse_json(body: &Bytes) -> Result<Decoded, String> {
    let (document, duplicates) = holdfast_schema::parse_json(body).map_err(|status| status.message().to_string())?;
    Ok(Decoded { document, duplicates })
}

fn parse_protobuf(body: &Bytes) -> Result<Decoded, String> {
    let document = protobuf::decode(body)?;
    // Messages and the JSON in them are bounded each, not what they come to together.
    if depth(&document) > MAX_DEPTH {
        return Err("exceeded max depth".into());
    }
    Ok(Decoded { document, duplicates: Vec::new() })
}

fn parse_yaml(body: &Bytes) -> Result<Decoded, String> {
    // JSON is YAML, and by far the quicker to read.
    if let Ok(decoded) = parse_json(body) {
        return Ok(decoded);
    }
    let text = std::str::from_utf8(body).map_err(|err| err.to_string())?;
    let document = serde_saphyr::from_str(text).map_err(|err| yaml_problem(&err))?;
    Ok(Decoded { document, duplicates: Vec::new() })
}

/// What is wrong with a text, in upstream's words where clients look for them.
fn yaml_problem(problem: &serde_saphyr::Error) -> String {
    let mut cause = problem;
    while let serde_saphyr::Error::WithSnippet { error, .. } = cause {
        cause = error;
    }
    match cause {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), location } => format!(
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line {}: key {key:?} already set in map",
            location.line()
        ),
        _ => format!("couldn't get version/kind; yaml parse error: {}", first_line(&problem.to_string())),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_TYPE;
    use http_body_util::Full;

    fn typed(media_type: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers
    }

    #[test]
    fn json_and_yaml_are_read_and_others_refused() {
        let json = Bytes::from_static(br#"{"kind":"Pod"}"#);
        let yaml = Bytes::from_static(b"kind: Pod\nspec:\n  replicas: 3\n");
        assert_eq!(object(&HeaderMap::new(), &json, "Pod").unwrap().document["kind"], "Pod");
        assert_eq!(object(&typed("application/json; charset=utf-8"), &json, "Pod").unwrap().document["kind"], "Pod");
        assert_eq!(object(&typed("application/yaml"), &yaml, "Pod").unwrap().document["spec"]["replicas"], 3);
        for media_type in ["application/cbor", "text/plain"] {
            assert_eq!(object(&typed(media_type), &json, "Pod").err().unwrap().code(), 415);
            assert_eq!(patch_type(&typed(media_type)).unwrap_err().code(), 415);
        }
        for bad in [&b"{"[..], b"[]", b"7", b"", b"\xff"] {
            let status = object(&typed("application/json"), &Bytes::from_static(bad), "Pod").err().unwrap();
            assert_eq!(status.code(), 400);
            assert!(status.message().starts_with("the object provided is unrecognized (must be of type Pod)"));
        }
        let bad = object(&typed("application/yaml"), &Bytes::from_static(b"a: [b"), "Pod").err().unwrap();
        assert_eq!(bad.code(), 400);
    }

    #[tokio::test]
    async fn long_bodies_are_refused() {
        let long = Full::new(Bytes::from(vec![b' '; BODY_BYTES + 1]));
        assert_eq!(read_body(long).await.unwrap_err().code(), 413);
        let fits = Full::new(Bytes::from(vec![b' '; BODY_BYTES]));
        assert_eq!(read_body(fits).await.unwrap().len(), BODY_BYTES);
    }
}
