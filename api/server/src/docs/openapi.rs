//! `/openapi/v2` and `/openapi/v3/…`, with hashes by which clients cache. The documents are the schema table's.

use crate::codec::accept::{Encoding, clauses, reads_gzip};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::codec::query::Query;
use crate::served::Served;
use bytes::Bytes;
use holdfast_core::Status;
use holdfast_core::gvk::parse_api_version;
use holdfast_schema::openapi::{self, CustomDocument, Document};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::sync::Arc;

/// Answers `/openapi/…`; `None` for any other path.
///
/// # Errors
/// 404 for a document that is not there, 406 when the client reads no JSON.
pub async fn answer(
    served: &Arc<Served>,
    path: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Option<Result<Response<Body>, Status>> {
    let rest = path.trim_end_matches('/').strip_prefix("/openapi/")?.to_string();
    let readable = ["*/*", "application/*", "application/json"];
    if !clauses(headers).iter().any(|clause| readable.contains(&clause.media_type.as_str())) {
        return Some(Err(Status::not_acceptable(&["application/json"])));
    }
    // The first call for a document makes it, which takes long enough to be kept off the request threads.
    let served = served.clone();
    let found = tokio::task::spawn_blocking(move || find(&served, &rest))
        .await
        .map_err(Status::internal)
        .and_then(|found| found);
    Some(found.and_then(|found| found.response(query, headers)))
}

enum Found {
    Index(Bytes),
    Document(&'static Document),
    V2(Arc<Served>),
    Custom(Arc<CustomDocument>),
}

fn find(served: &Arc<Served>, rest: &str) -> Result<Found, Status> {
    match rest {
        "v2" => {
            served.openapi_v2();
            Ok(Found::V2(served.clone()))
        }
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

impl Found {
    fn response(self, query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let of = |document: &Document| {
            let zipped = reads_gzip(headers);
            let bytes = if zipped { document.gzip().clone() } else { document.json()? };
            Ok::<_, Status>((bytes, document.hash().to_string(), zipped))
        };
        let (bytes, hash, zipped) = match self {
            Found::Index(bytes) => {
                let hash = super::discovery::hash(&bytes);
                (bytes, hash, false)
            }
            Found::Document(document) => of(document)?,
            Found::V2(served) => of(served.openapi_v2())?,
            Found::Custom(document) => of(document.get())?,
        };
        let etag = format!("\"{hash}\"");
        let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let (code, body) =
            if unchanged { (StatusCode::NOT_MODIFIED, Body::empty()) } else { (StatusCode::OK, Body::full(bytes)) };
        let mut response = encode::plain(code, "application/json", body);
        let head = response.headers_mut();
        if zipped && !unchanged {
            head.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        head.insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
        if let Ok(value) = HeaderValue::from_str(&etag) {
            head.insert(ETAG, value);
        }
        // A URL that carries the right hash never changes its content.
        let fixed = query.get("hash") == Some(hash.as_str());
        let cache = if fixed { "public, immutable" } else { "no-cache, private" };
        head.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        Ok(response)
    }
}
