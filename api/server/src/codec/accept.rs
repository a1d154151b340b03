//! What a client can read: `Accept` with its parameters, and the media types of bodies.

use holdfast_core::Status;
use http::HeaderMap;
use http::header::ACCEPT;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON in one line.
    Json,
    /// Indented JSON.
    PrettyJson,
    /// YAML.
    Yaml,
}

impl Encoding {
    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json | Encoding::PrettyJson => "application/json",
            Encoding::Yaml => "application/yaml",
        }
    }
}

/// The shape in which objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Whole,
    /// As rows of a `meta.k8s.io/v1 Table`.
    Table,
    /// As `PartialObjectMetadata` or its list.
    Metadata,
}

/// What was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// How bytes are written.
    pub encoding: Encoding,
    /// How objects are shown.
    pub shape: Shape,
}

/// What we write.
pub const OFFERED: &[&str] = &["application/json", "application/yaml"];

/// One clause of an `Accept` header.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// For example `application/json`.
    pub media_type: String,
    /// Parameters but for `q`, names in lower case.
    pub parameters: Vec<(String, String)>,
    quality: f32,
}

impl Clause {
    /// A parameter, or the empty string.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// The clauses of `Accept`, best first. A missing header accepts anything.
pub fn clauses(headers: &HeaderMap) -> Vec<Clause> {
    let text: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let text = text.join(",");
    let text = if text.trim().is_empty() { "*/*" } else { &text };
    let mut clauses: Vec<Clause> = text.split(',').filter_map(clause).filter(|clause| clause.quality > 0.0).collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    clauses
}

fn clause(text: &str) -> Option<Clause> {
    let mut parts = text.split(';').map(str::trim);
    let media_type = parts.next()?.to_ascii_lowercase();
    if media_type.is_empty() {
        return None;
    }
    let mut clause = Clause { media_type, parameters: Vec::new(), quality: 1.0 };
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match key.trim().to_ascii_lowercase().as_str() {
            "q" => clause.quality = value.parse().unwrap_or(0.0),
            key => clause.parameters.push((key.to_string(), value.to_string())),
        }
    }
    Some(clause)
}

/// Agrees on how to answer.
///
/// # Errors
/// 406 when nothing that the client accepts is offered.
pub fn negotiate(headers: &HeaderMap, pretty: bool) -> Result<Negotiated, Status> {
    negotiate_for(headers, pretty, true)
}

/// The same for what is never shown as a Table, unless `tables`.
///
/// # Errors
/// As [`negotiate`].
pub fn negotiate_for(headers: &HeaderMap, pretty: bool, tables: bool) -> Result<Negotiated, Status> {
    for clause in clauses(headers) {
        let encoding = match clause.media_type.as_str() {
            "*/*" | "application/*" | "application/json" if pretty => Encoding::PrettyJson,
            "*/*" | "application/*" | "application/json" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            _ => continue,
        };
        let shape = match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            ("", _, _) => Shape::Whole,
            ("Table", "meta.k8s.io", "v1") if tables => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::Metadata,
            _ => continue,
        };
        return Ok(Negotiated { encoding, shape });
    }
    Err(Status::not_acceptable(OFFERED))
}

/// Whether plain text is acceptable (logs, health).
pub fn wants_pretty(headers: &HeaderMap, parameter: Option<bool>) -> bool {
    let agent = headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    // People who look at an API with these want to read it.
    parameter.unwrap_or_else(|| ["curl", "Wget", "Mozilla/5.0"].iter().any(|name| agent.starts_with(name)))
}

/// Whether the client reads gzip.
pub fn reads_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(http::header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').any(|part| {
            let mut parts = part.split(';').map(str::trim);
            parts.next() == Some("gzip") && !parts.any(|p| p.replace(' ', "").trim_end_matches(['0', '.']) == "q=")
        })
    })
}

/// The media type of a body, without parameters; empty when the client did not say.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn ask(accept: &str) -> Result<Negotiated, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        negotiate(&headers, false)
    }

    #[test]
    fn the_best_clause_that_we_can_serve_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(ask(kubectl).unwrap().shape, Shape::Table);
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(ask(old).unwrap().shape, Shape::Whole);
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(ask(client_go).unwrap().encoding, Encoding::Json);
        assert_eq!(ask("application/json;q=0.5, application/yaml").unwrap().encoding, Encoding::Yaml);
        assert_eq!(ask("*/*").unwrap().encoding, Encoding::Json);
        let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        assert_eq!(ask(metadata).unwrap().shape, Shape::Metadata);
        for refused in ["application/vnd.kubernetes.protobuf", "application/cbor", "text/html", "application/json;q=0"]
        {
            let status = ask(refused).unwrap_err();
            assert_eq!(status.code(), 406, "{refused}");
            assert!(status.message().starts_with("only the following media types are accepted: application/json"));
        }
    }

    #[test]
    fn gzip_is_read_when_not_ruled_out() {
        for (value, reads) in [("gzip", true), ("deflate, gzip;q=1.0", true), ("gzip;q=0", false), ("br", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::ACCEPT_ENCODING, HeaderValue::from_str(value).unwrap());
            assert_eq!(reads_gzip(&headers), reads, "{value}");
        }
    }
}
