//! What a client can read: `Accept` with its parameters, and the media types of bodies.

use super::protobuf;
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
    /// Kubernetes' protobuf.
    Protobuf,
}

impl Encoding {
    /// The `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Encoding::Json | Encoding::PrettyJson => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => protobuf::MEDIA_TYPE,
        }
    }

    /// The `Content-Type` of a watch. YAML has no watches.
    pub fn watch_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => WATCHES_OFFERED[1],
            Encoding::Json | Encoding::PrettyJson | Encoding::Yaml => "application/json",
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
pub const OFFERED: &[&str] = &["application/json", "application/yaml", protobuf::MEDIA_TYPE];
/// What we write of watches.
pub const WATCHES_OFFERED: &[&str] =
    &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

/// What can be had of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether it is also shown as a Table. Tables are no messages.
    pub tables: bool,
    /// Whether it is also shown by its metadata alone. These are a message whatever it is itself.
    pub metadata: bool,
    /// Whether it is a message as it is.
    pub protobuf: bool,
}

impl Offer {
    /// Of what is no object of the API, such as a Status.
    pub const PLAIN: Offer = Offer { tables: false, metadata: false, protobuf: true };
    /// Of what is JSON or YAML for everybody.
    pub const TEXT: Offer = Offer { tables: false, metadata: false, protobuf: false };

    fn has(self, encoding: Encoding, shape: Shape) -> bool {
        let message = encoding == Encoding::Protobuf;
        match shape {
            Shape::Whole => self.protobuf || !message,
            Shape::Table => self.tables && !message,
            Shape::Metadata => self.metadata,
        }
    }
}

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

/// Agrees on how to answer with what is offered.
///
/// # Errors
/// 406 when nothing that the client accepts is offered.
pub fn negotiate(headers: &HeaderMap, pretty: bool, offer: Offer) -> Result<Negotiated, Status> {
    let agreed = clauses(headers).iter().find_map(|clause| {
        let encoding = match clause.media_type.as_str() {
            "*/*" | "application/*" | "application/json" if pretty => Encoding::PrettyJson,
            "*/*" | "application/*" | "application/json" => Encoding::Json,
            "application/yaml" => Encoding::Yaml,
            protobuf::MEDIA_TYPE => Encoding::Protobuf,
            _ => return None,
        };
        let streams = match clause.parameter("stream") {
            "" => true,
            stream => stream == "watch" && encoding != Encoding::Yaml,
        };
        let shape = match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            ("", _, _) => Shape::Whole,
            ("Table", "meta.k8s.io", "v1") => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::Metadata,
            _ => return None,
        };
        (streams && offer.has(encoding, shape)).then_some(Negotiated { encoding, shape })
    });
    agreed.ok_or_else(|| Status::not_acceptable(OFFERED))
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

    const BUILT_IN: Offer = Offer { tables: true, metadata: true, protobuf: true };
    const CUSTOM: Offer = Offer { protobuf: false, ..BUILT_IN };

    fn ask(accept: &str, offer: Offer) -> Result<Negotiated, Status> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
        negotiate(&headers, false, offer)
    }

    fn agreed(accept: &str, offer: Offer) -> (Encoding, Shape) {
        let negotiated = ask(accept, offer).unwrap();
        (negotiated.encoding, negotiated.shape)
    }

    #[test]
    fn the_best_clause_that_we_can_serve_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(agreed(kubectl, BUILT_IN), (Encoding::Json, Shape::Table));
        let old = "application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(agreed(old, BUILT_IN), (Encoding::Json, Shape::Whole));
        assert_eq!(agreed("application/json;q=0.5, application/yaml", BUILT_IN), (Encoding::Yaml, Shape::Whole));
        assert_eq!(agreed("*/*", BUILT_IN), (Encoding::Json, Shape::Whole));
        let metadata = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        assert_eq!(agreed(metadata, BUILT_IN), (Encoding::Json, Shape::Metadata));
        for refused in ["application/cbor", "text/html", "application/json;q=0", "application/yaml;stream=watch"] {
            let status = ask(refused, BUILT_IN).unwrap_err();
            assert_eq!(status.code(), 406, "{refused}");
            assert_eq!(
                status.message(),
                "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
            );
        }
    }

    #[test]
    fn protobuf_is_agreed_on_where_there_is_a_message() {
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(agreed(client_go, BUILT_IN), (Encoding::Protobuf, Shape::Whole));
        assert_eq!(agreed(client_go, CUSTOM), (Encoding::Json, Shape::Whole));
        let watch = "application/vnd.kubernetes.protobuf;stream=watch";
        assert_eq!(agreed(watch, BUILT_IN), (Encoding::Protobuf, Shape::Whole));
        let weighed = "application/json;q=0.9, application/vnd.kubernetes.protobuf;q=0.8";
        assert_eq!(agreed(weighed, BUILT_IN), (Encoding::Json, Shape::Whole));
        assert_eq!(ask("application/vnd.kubernetes.protobuf", CUSTOM).unwrap_err().code(), 406);
        assert_eq!(ask("application/vnd.kubernetes.protobuf;stream=other", BUILT_IN).unwrap_err().code(), 406);
        // As upstream: metadata are a message of whatever kind, tables of none.
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(agreed(metadata, CUSTOM), (Encoding::Protobuf, Shape::Metadata));
        assert_eq!(ask(metadata, Offer::PLAIN).unwrap_err().code(), 406);
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        assert_eq!(ask(table, BUILT_IN).unwrap_err().code(), 406);
        let fallback = format!("{table},application/vnd.kubernetes.protobuf");
        assert_eq!(agreed(&fallback, BUILT_IN), (Encoding::Protobuf, Shape::Whole));
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
