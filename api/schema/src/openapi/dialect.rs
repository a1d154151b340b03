//! Where the two versions of OpenAPI say the same thing differently.

use super::object;
use holdfast_core::Json;
use serde_json::{Map, json};

/// Media types of answers.
pub(super) const ENCODINGS: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
/// Media types of answers that may be watches.
pub(super) const WATCH_ENCODINGS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];
/// Those of custom kinds, which no message describes.
pub(super) const CUSTOM_ENCODINGS: &[&str] = &["application/json", "application/yaml"];
/// The same of answers that may be watches.
pub(super) const CUSTOM_WATCH_ENCODINGS: &[&str] =
    &["application/json", "application/yaml", "application/json;stream=watch"];
/// Media types of patches.
pub(super) const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// Those of custom kinds, whose lists say themselves how they merge.
pub(super) const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

/// A version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `/openapi/v2`.
    V2,
    /// `/openapi/v3`.
    V3,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Path,
    Query,
}

impl Dialect {
    /// A reference to a type.
    pub(super) fn reference(self, name: &str) -> Json {
        match self {
            Dialect::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Dialect::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }

    /// A parameter.
    pub(super) fn parameter(self, name: &str, at: In, value_type: &str, description: &str) -> Json {
        let place = match at {
            In::Path => "path",
            In::Query => "query",
        };
        let mut parameter = object([("name", name.into()), ("in", place.into()), ("description", description.into())]);
        if at == In::Path {
            parameter.insert("required".into(), true.into());
        }
        match self {
            Dialect::V2 => {
                parameter.insert("type".into(), value_type.into());
                parameter.insert("uniqueItems".into(), true.into());
            }
            Dialect::V3 => {
                parameter.insert("schema".into(), json!({"type": value_type, "uniqueItems": true}));
            }
        }
        Json::Object(parameter)
    }

    /// Puts the body that an operation takes into it.
    pub(super) fn add_body(self, operation: &mut Map<String, Json>, schema: &str, media: &[&str], required: bool) {
        match self {
            Dialect::V2 => {
                let mut body = object([("name", "body".into()), ("in", "body".into())]);
                body.insert("schema".into(), self.reference(schema));
                if required {
                    body.insert("required".into(), true.into());
                }
                if let Some(parameters) = operation.get_mut("parameters").and_then(Json::as_array_mut) {
                    parameters.insert(0, Json::Object(body));
                }
                operation.insert("consumes".into(), media.into());
            }
            Dialect::V3 => {
                let mut body = object([("content", self.content(&self.reference(schema), media))]);
                if required {
                    body.insert("required".into(), true.into());
                }
                operation.insert("requestBody".into(), Json::Object(body));
            }
        }
    }

    /// The answers of an operation: each code with its text, all with the same schema, and 401.
    pub(super) fn add_answers(
        self,
        operation: &mut Map<String, Json>,
        schema: &Json,
        codes: &[(&str, &str)],
        media: &[&str],
    ) {
        let mut answers = Map::new();
        for (code, description) in codes {
            let answer = match self {
                Dialect::V2 => json!({"description": description, "schema": schema}),
                Dialect::V3 => json!({"description": description, "content": self.content(schema, media)}),
            };
            answers.insert((*code).into(), answer);
        }
        answers.insert("401".into(), json!({"description": "Unauthorized"}));
        operation.insert("responses".into(), Json::Object(answers));
        if self == Dialect::V2 {
            operation.entry("consumes").or_insert_with(|| json!(["*/*"]));
            operation.insert("produces".into(), media.into());
            operation.insert("schemes".into(), json!(["https"]));
        }
    }

    fn content(self, schema: &Json, media: &[&str]) -> Json {
        media.iter().map(|media| ((*media).to_string(), json!({"schema": schema}))).collect::<Map<_, _>>().into()
    }
}
