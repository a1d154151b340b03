//! Answers: objects, lists, statuses and documents to bytes, with their headers.

use super::accept::{Encoding, Negotiated, Shape};
use super::body::{Body, ListBody, gzip};
use super::protobuf::{self, ObjectWriter};
use super::table::{TableMaker, write_list, write_partial};
use crate::limits::GZIP_FROM;
use holdfast_core::{Json, Object, ObjectList, Status, Timestamp};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// The version of what metadata alone is shown as.
const META: &str = "meta.k8s.io/v1";
/// The kind of a list of it.
const PARTIAL_LIST: &str = "PartialObjectMetadataList";

/// How one answer is to be written.
#[derive(Clone, Copy)]
pub struct Encoder {
    /// What was agreed.
    pub negotiated: Negotiated,
    /// Whether the client reads gzip.
    pub gzip: bool,
    /// For tables.
    pub table: TableMaker,
    /// For ages in tables.
    pub now: Timestamp,
}

/// Bytes with a code and a type.
pub fn plain(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = response.body().exact_size() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// Plain text.
pub fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    plain(code, "text/plain; charset=utf-8", Body::full(text.into()))
}

/// A document as bytes. Only kinds that protobuf describes are written in it.
pub fn document_bytes(document: &Json, encoding: Encoding) -> Vec<u8> {
    let bytes = match encoding {
        Encoding::Json => serde_json::to_vec(document).map_err(|err| err.to_string()),
        Encoding::PrettyJson => serde_json::to_vec_pretty(document).map_err(|err| err.to_string()),
        Encoding::Yaml => serde_saphyr::to_string(document).map(String::into_bytes).map_err(|err| err.to_string()),
        Encoding::Protobuf => protobuf::document(document).map_err(|err| err.to_string()),
    };
    let mut bytes = bytes.unwrap_or_else(|err| format!("{{\"kind\":\"Status\",\"message\":{err:?}}}").into_bytes());
    if encoding != Encoding::Protobuf && !bytes.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    bytes
}

/// A document.
pub fn document(code: StatusCode, document: &Json, encoding: Encoding) -> Response<Body> {
    plain(code, encoding.content_type(), Body::full(document_bytes(document, encoding)))
}

/// A Status, with `Retry-After` where it names one.
pub fn status(status: &Status, encoding: Encoding) -> Response<Body> {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = serde_json::to_value(status).unwrap_or_default();
    let mut response = document(code, &json, encoding);
    if let Some(seconds) = status.details().and_then(|details| details.retry_after_seconds) {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

impl Encoder {
    /// One object.
    ///
    /// # Errors
    /// 500 when it cannot be written: what is stored was judged, so we have a bug.
    pub fn object(&self, code: StatusCode, object: &Object) -> Result<Response<Body>, Status> {
        let Negotiated { encoding, shape } = self.negotiated;
        let mut out = Vec::with_capacity(object.json_len() + 1);
        if encoding == Encoding::Protobuf {
            ObjectWriter::new(shape).write(object, &mut out)?;
            return Ok(self.compressed(plain(code, encoding.content_type(), Body::full(out))));
        }
        match shape {
            Shape::Whole => object.write_json(&mut out),
            Shape::Metadata => write_partial(object, &mut out),
            Shape::Table => {
                let metadata = json!({"resourceVersion": object.revision.to_string()});
                self.table.write([object], &metadata, true, self.now, &mut out);
            }
        }
        Ok(self.written(code, out))
    }

    /// What was written as JSON, in the encoding that was agreed.
    fn written(&self, code: StatusCode, mut json: Vec<u8>) -> Response<Body> {
        let encoding = self.negotiated.encoding;
        if encoding != Encoding::Json {
            let shown: Json = serde_json::from_slice(&json).unwrap_or_default();
            return self.compressed(document(code, &shown, encoding));
        }
        json.push(b'\n');
        self.compressed(plain(code, encoding.content_type(), Body::full(json)))
    }

    /// A list of objects; `kind` is what that is called.
    ///
    /// # Errors
    /// As [`Encoder::object`].
    pub async fn list(&self, list: ObjectList, api_version: &str, kind: &str) -> Result<Response<Body>, Status> {
        let Negotiated { encoding, shape } = self.negotiated;
        let mut metadata = json!({"resourceVersion": list.revision.to_string()});
        if let Some(token) = &list.continue_token {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = list.remaining.filter(|remaining| *remaining > 0) {
            metadata["remainingItemCount"] = remaining.into();
        }
        let head = |kind: String, api_version: &str| {
            let (kind, api_version) = (Json::from(kind), Json::from(api_version));
            format!("{{\"kind\":{kind},\"apiVersion\":{api_version},\"metadata\":{metadata},\"items\":").into_bytes()
        };
        if encoding == Encoding::Protobuf {
            let (api_version, kind) = match shape {
                Shape::Metadata => (META, PARTIAL_LIST),
                Shape::Whole | Shape::Table => (api_version, kind),
            };
            let list = ListBody::protobuf(api_version, kind, &metadata, list.items, shape).await?;
            return Ok(self.spliced(list));
        }
        if (encoding, shape) == (Encoding::Json, Shape::Whole) {
            let mut head = head(kind.to_string(), api_version);
            head.push(b'[');
            return Ok(self.spliced(ListBody::new(head, list.items)));
        }
        let items = list.items.iter().map(|item| item.as_ref());
        let mut out = Vec::new();
        match shape {
            Shape::Whole => {
                out = head(kind.to_string(), api_version);
                write_list(items, &mut out, Object::write_json);
                out.push(b'}');
            }
            Shape::Metadata => {
                out = head(PARTIAL_LIST.into(), META);
                write_list(items, &mut out, write_partial);
                out.push(b'}');
            }
            Shape::Table => self.table.write(items, &metadata, true, self.now, &mut out),
        }
        Ok(self.written(StatusCode::OK, out))
    }

    fn spliced(&self, list: ListBody) -> Response<Body> {
        let content_type = self.negotiated.encoding.content_type();
        if self.gzip && list.bytes() >= GZIP_FROM {
            let body = Body::List(Box::new(list.compressed()));
            return mark_gzip(plain(StatusCode::OK, content_type, body));
        }
        plain(StatusCode::OK, content_type, Body::List(Box::new(list)))
    }

    /// Compresses a whole answer when it is long and the client can read it.
    pub fn compressed(&self, mut response: Response<Body>) -> Response<Body> {
        if !self.gzip || response.body().exact_size().is_none_or(|size| size < GZIP_FROM) {
            return response;
        }
        let Body::Full(Some(bytes)) = response.body() else { return response };
        let Ok(shorter) = gzip(bytes) else { return response };
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(shorter.len()));
        *response.body_mut() = Body::full(shorter);
        mark_gzip(response)
    }
}

fn mark_gzip(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}
