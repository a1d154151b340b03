//! `/openapi/v2` and `/openapi/v3/…`, with hashes by which clients cache. The documents are the schema table's, as JSON and
//! as the messages that kubectl prefers.

use crate::codec::accept::{Encoding, clauses, reads_gzip};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::codec::protobuf::openapi::Version;
use crate::codec::query::Query;
use crate::served::Served;
use bytes::Bytes;
use holdfast_core::Status;
use holdfast_core::gvk::parse_api_version;
use holdfast_schema::openapi::{self, CustomDocument, Document, Packed};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::sync::Arc;

/// Answers `/openapi/…`; `None` for any other path.
///
/// # Errors
/// 404 for a document that is not there, 406 when the client reads none of its encodings.
pub async fn answer(
    served: &Arc<Served>,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Option<Result<Response<Body>, Status>> {
    let rest = path.trim_end_matches('/').strip_prefix("/openapi/")?.to_string();
    let form = match form(&rest, headers) {
        Ok(form) => form,
        Err(status) => return Some(Err(status)),
    };
    // The first call for a document makes it, which takes long enough to be kept off the request threads.
    let (served, zipped) = (served.clone(), reads_gzip(headers));
    let found = tokio::task::spawn_blocking(move || find(&served, &rest)?.bytes(form, zipped))
        .await
        .map_err(Status::internal)
        .and_then(|found| found);
    Some(found.map(|sent| sent.response(query, headers)))
}

/// How a document is to be written: as a message of this version, or else as JSON.
fn form(rest: &str, headers: &HeaderMap) -> Result<Option<Version>, Status> {
    // As upstream: the index is JSON for everybody.
    if rest == "v3" {
        return Ok(None);
    }
    let version = if rest == "v2" { Version::V2 } else { Version::V3 };
    let messages = version.media_types();
    let forms = clauses(headers).into_iter().find_map(|clause| match clause.media_type.as_str() {
        "*/*" | "application/*" | "application/json" => Some(None),
        other => messages.contains(&other).then_some(Some(version)),
    });
    forms.ok_or_else(|| Status::not_acceptable(&["application/json", messages[0]]))
}

enum Found {
    Index(Bytes),
    Document(&'static Document),
    V2(Arc<Served>),
    Custom(Arc<CustomDocument>),
}

fn find(served: &Arc<Served>, rest: &str) -> Result<Found, Status> {
    match rest {
        "v2" => Ok(Found::V2(served.clone())),
        "v3" => {
            let index = holdfast_schema::openapi_v3_index(served.documents());
            Ok(Found::Index(encode::document_bytes(&index, Encoding::Json).into()))
        }
        _ => {
            let name = rest.strip_prefix("v3/").unwrap_or_default();
            let (group, version) = match name.strip_prefix("api/") {
                Some(version) => ("", version),
                None => parse_api_version(name.strip_prefix("apis/").ok_or_else(Status::no_such_path)?),
            };
            let built_in = openapi::document(group, version).map(Found::Document);
            let other = || served.document(group, version).cloned().map(Found::Custom);
            built_in.or_else(other).ok_or_else(Status::no_such_path)
        }
    }
}

/// What is sent of a document.
struct Sent {
    bytes: Bytes,
    hash: String,
    zipped: bool,
    content_type: &'static str,
}

impl Found {
    fn bytes(self, form: Option<Version>, zipped: bool) -> Result<Sent, Status> {
        let of = |document: &Document| {
            let (packed, content_type): (&Packed, _) = match form {
                Some(version) => (document.protobuf(|json| version.encode(json))?, version.media_types()[0]),
                None => (document.json(), "application/json"),
            };
            let bytes = if zipped { packed.gzip().clone() } else { packed.bytes()? };
            Ok::<_, Status>(Sent { bytes, hash: document.hash().to_string(), zipped, content_type })
        };
        match self {
            Found::Index(bytes) => {
                let hash = super::discovery::hash(&bytes);
                Ok(Sent { bytes, hash, zipped: false, content_type: "application/json" })
            }
            Found::Document(document) => of(document),
            Found::V2(served) => of(served.openapi_v2()),
            Found::Custom(document) => of(document.get()),
        }
    }
}

impl Sent {
    fn response(self, query: &Query, headers: &HeaderMap) -> Response<Body> {
        let etag = format!("\"{}\"", self.hash);
        let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let (code, body) = match unchanged {
            true => (StatusCode::NOT_MODIFIED, Body::empty()),
            false => (StatusCode::OK, Body::full(self.bytes)),
        };
        let mut response = encode::plain(code, self.content_type, body);
        let head = response.headers_mut();
        if self.zipped && !unchanged {
            head.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        head.insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
        if let Ok(value) = HeaderValue::from_str(&etag) {
            head.insert(ETAG, value);
        }
        // A URL that carries the right hash never changes its content.
        let fixed = query.get("hash") == Some(self.hash.as_str());
        let cache = if fixed { "public, immutable" } else { "no-cache, private" };
        head.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}
