//! Request bodies: reading them within bounds, and JSON or YAML to documents.

use super::accept::content_type;
use super::{protobuf, yaml};
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

/// A document, and the keys that stood twice.
pub struct Decoded {
    /// The document; of doubled keys the last value.
    pub document: Json,
    /// The keys.
    pub doubled: Doubled,
}

/// Keys that stood twice, as upstream's decoder of the format tells of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Doubled {
    /// JSON's: paths such as `spec.replicas`.
    Paths(Vec<String>),
    /// YAML's: `line 5: key "replicas" already set in map`.
    Lines(Vec<String>),
}

impl Doubled {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let (Doubled::Paths(list) | Doubled::Lines(list)) = self;
        list.is_empty()
    }

    /// What to warn of.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Doubled::Paths(paths) => strict_texts(&[], paths),
            Doubled::Lines(lines) => lines.clone(),
        }
    }

    /// What a strict reader says who found these `unknown` fields, too.
    pub fn strict(&self, unknown: &[String]) -> Vec<String> {
        match self {
            Doubled::Paths(paths) => strict_texts(unknown, paths),
            Doubled::Lines(lines) => {
                [yaml::unmarshal_errors(lines)].into_iter().chain(strict_texts(unknown, &[])).collect()
            }
        }
    }
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

/// A patch, and what a strict reader finds in its text.
pub struct ReadPatch {
    /// The patch.
    pub patch: Patch,
    /// What to warn of.
    pub warnings: Vec<String>,
    /// Why a strict reader refuses the text, if it does.
    pub refusal: Option<String>,
}

/// The body of a patch of this sort.
///
/// # Errors
/// 400 for what does not parse.
pub fn patch(patch_type: PatchType, body: &Bytes) -> Result<ReadPatch, Status> {
    let decoded = if patch_type == PatchType::Apply {
        parse_yaml(body).map_err(|err| format!("error converting YAML to JSON: {err}"))
    } else {
        parse_json(body)
    };
    let Decoded { document, doubled } =
        decoded.map_err(|err| Status::bad_request(format!("error decoding patch: {err}")))?;
    let mut warnings = doubled.warnings();
    if patch_type == PatchType::Json {
        let unknown = strict_texts(&unknown_of_operations(&document), &[]);
        warnings = warnings.into_iter().chain(unknown).map(|text| format!("json patch {text}")).collect();
    }
    let refusal = (!warnings.is_empty()).then(|| match &doubled {
        Doubled::Lines(lines) => format!("error converting YAML to JSON: {}", yaml::unmarshal_errors(lines)),
        Doubled::Paths(_) => format!("strict decoding error: {}", warnings.join(", ")),
    });
    Ok(ReadPatch { patch: Patch { patch_type, body: document }, warnings, refusal })
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
    let (document, paths) = holdfast_schema::parse_json(body).map_err(|status| status.message().to_string())?;
    Ok(Decoded { document, doubled: Doubled::Paths(paths) })
}

fn parse_protobuf(body: &Bytes) -> Result<Decoded, String> {
    let document = protobuf::decode(body)?;
    // Messages and the JSON in them are bounded each, not what they come to together.
    if depth(&document) > MAX_DEPTH {
        return Err("exceeded max depth".into());
    }
    Ok(Decoded { document, doubled: Doubled::Paths(Vec::new()) })
}

fn parse_yaml(body: &Bytes) -> Result<Decoded, String> {
    // JSON is YAML, and by far the quicker to read. Of doubled keys the lines are wanted, which only YAML's reader knows.
    let json = parse_json(body);
    if json.as_ref().is_ok_and(|decoded| decoded.doubled.is_empty()) {
        return json;
    }
    let text = std::str::from_utf8(body).map_err(|err| err.to_string())?;
    match yaml::parse(text) {
        Ok((document, lines)) => Ok(Decoded { document, doubled: Doubled::Lines(lines) }),
        // JSON that is no YAML: a surrogate pair, say.
        Err(err) => json.map_err(|_| err),
    }
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
