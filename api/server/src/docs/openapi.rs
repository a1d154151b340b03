//! `/openapi/v2` and `/openapi/v3/…`, with hashes by which clients cache.

use super::discovery::hash;
use crate::codec::accept::{Encoding, clauses};
use crate::codec::body::Body;
use crate::codec::encode;
use crate::codec::query::Query;
use holdfast_core::gvk::parse_api_version;
use holdfast_core::{Json, Status};
use http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Where the documents come from. Building one takes milliseconds; callers cache what they need.
pub trait OpenApiSource: Send + Sync {
    /// The whole in OpenAPI 2.
    fn v2(&self) -> Json;
    /// Group and version of each document of OpenAPI 3; the core group is empty.
    fn v3_versions(&self) -> Vec<(String, String)>;
    /// The document of a group and version.
    fn v3(&self, group: &str, version: &str) -> Option<Json>;
}

/// Answers for OpenAPI documents. Only hashes are kept: the documents are asked for rarely, and are long.
pub struct OpenApi {
    source: Box<dyn OpenApiSource>,
    hashes: Mutex<BTreeMap<String, String>>,
}

impl OpenApi {
    /// Over this source.
    pub fn new(source: impl OpenApiSource + 'static) -> OpenApi {
        OpenApi { source: Box::new(source), hashes: Mutex::default() }
    }

    /// Answers `/openapi/…`; `None` for any other path.
    ///
    /// # Errors
    /// 404 for a document that is not there, 406 when the client reads no JSON.
    pub fn answer(&self, path: &str, query: &Query, headers: &HeaderMap) -> Option<Result<Response<Body>, Status>> {
        let rest = path.trim_end_matches('/').strip_prefix("/openapi/")?;
        Some(self.document(rest, query, headers))
    }

    fn document(&self, rest: &str, query: &Query, headers: &HeaderMap) -> Result<Response<Body>, Status> {
        let readable = ["*/*", "application/*", "application/json"];
        if !clauses(headers).iter().any(|clause| readable.contains(&clause.media_type.as_str())) {
            return Err(Status::not_acceptable(&["application/json"]));
        }
        match rest {
            "v2" => Ok(self.cached("v2", &self.source.v2(), None, headers)),
            "v3" => Ok(self.cached("v3", &self.index(), None, headers)),
            _ => {
                let name = rest.strip_prefix("v3/").ok_or_else(Status::no_such_path)?;
                let document = self.named(name).ok_or_else(Status::no_such_path)?;
                Ok(self.cached(name, &document, query.get("hash"), headers))
            }
        }
    }

    fn named(&self, name: &str) -> Option<Json> {
        let version = name.strip_prefix("apis/").or_else(|| name.strip_prefix("api/").filter(|v| !v.contains('/')))?;
        let (group, version) = parse_api_version(version);
        if group.is_empty() != name.starts_with("api/") {
            return None;
        }
        self.source.v3(group, version)
    }

    fn index(&self) -> Json {
        let mut paths = serde_json::Map::new();
        for (group, version) in self.source.v3_versions() {
            let name = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let hash = self.hash_of(&name, || self.source.v3(&group, &version).unwrap_or_default());
            let url = format!("/openapi/v3/{name}?hash={hash}");
            paths.insert(name, json!({"serverRelativeURL": url}));
        }
        json!({"paths": paths})
    }

    fn hash_of(&self, name: &str, document: impl FnOnce() -> Json) -> String {
        if let Some(known) = self.hashes.lock().ok().and_then(|hashes| hashes.get(name).cloned()) {
            return known;
        }
        let hash = hash(&encode::document_bytes(&document(), Encoding::Json));
        if let Ok(mut hashes) = self.hashes.lock() {
            hashes.insert(name.to_string(), hash.clone());
        }
        hash
    }

    fn cached(&self, name: &str, document: &Json, asked: Option<&str>, headers: &HeaderMap) -> Response<Body> {
        let bytes = encode::document_bytes(document, Encoding::Json);
        let hash = hash(&bytes);
        if name.starts_with("api")
            && let Ok(mut hashes) = self.hashes.lock()
        {
            hashes.insert(name.to_string(), hash.clone());
        }
        let etag = format!("\"{hash}\"");
        let unchanged = headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes());
        let (code, body) =
            if unchanged { (StatusCode::NOT_MODIFIED, Body::empty()) } else { (StatusCode::OK, Body::full(bytes)) };
        let mut response = encode::plain(code, "application/json", body);
        let head = response.headers_mut();
        head.insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
        if let Ok(value) = HeaderValue::from_str(&etag) {
            head.insert(ETAG, value);
        }
        // A URL that carries the right hash never changes its content.
        let cache = if asked == Some(hash.as_str()) { "public, immutable" } else { "no-cache, private" };
        head.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        response
    }
}
