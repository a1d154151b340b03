//! Paths of fields and what is wrong there, in upstream's words
//! (`k8s.io/apimachinery/pkg/util/validation/field` is the reference for the texts).

use crate::Json;
use std::fmt;

/// A path such as `spec.containers[0].image` or `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(String);

impl FieldPath {
    /// A path of one field; dots in `root` are steps.
    pub fn new(root: &str) -> FieldPath {
        FieldPath(root.to_string())
    }

    /// The field `name` below this path.
    #[must_use]
    pub fn child(&self, name: &str) -> FieldPath {
        if self.0.is_empty() { FieldPath(name.to_string()) } else { FieldPath(format!("{}.{name}", self.0)) }
    }

    /// The element `index` of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> FieldPath {
        FieldPath(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of the map here.
    #[must_use]
    pub fn key(&self, key: &str) -> FieldPath {
        FieldPath(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The sort of a field error; `reason` of a cause in a Status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// A value that must be there is missing.
    Required,
    /// The value is malformed.
    Invalid,
    /// The value is none of the allowed ones.
    NotSupported,
    /// The value is well formed but not allowed here.
    Forbidden,
    /// The value stands twice in a set.
    Duplicate,
    /// The value is too long (bytes).
    TooLong,
    /// The list is too long.
    TooMany,
    /// The named thing does not exist.
    NotFound,
    /// The value is of another type than the schema says.
    TypeInvalid,
}

impl FieldErrorKind {
    /// The `reason` of a `StatusCause`.
    pub fn cause(self) -> &'static str {
        match self {
            FieldErrorKind::Required => "FieldValueRequired",
            FieldErrorKind::Invalid => "FieldValueInvalid",
            FieldErrorKind::NotSupported => "FieldValueNotSupported",
            FieldErrorKind::Forbidden => "FieldValueForbidden",
            FieldErrorKind::Duplicate => "FieldValueDuplicate",
            FieldErrorKind::TooLong => "FieldValueTooLong",
            FieldErrorKind::TooMany => "FieldValueTooMany",
            FieldErrorKind::NotFound => "FieldValueNotFound",
            FieldErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn words(self) -> &'static str {
        match self {
            FieldErrorKind::Required => "Required value",
            FieldErrorKind::Invalid | FieldErrorKind::TypeInvalid => "Invalid value",
            FieldErrorKind::NotSupported => "Unsupported value",
            FieldErrorKind::Forbidden => "Forbidden",
            FieldErrorKind::Duplicate => "Duplicate value",
            FieldErrorKind::TooLong => "Too long",
            FieldErrorKind::TooMany => "Too many",
            FieldErrorKind::NotFound => "Not found",
        }
    }
}

/// One problem of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// Where.
    pub path: FieldPath,
    /// What sort.
    pub kind: FieldErrorKind,
    /// The offending value, where the sort shows it.
    pub value: Option<Json>,
    /// Upstream's explanation.
    pub detail: String,
}

impl FieldError {
    /// The text without the path, as a `StatusCause` shows it.
    pub fn body(&self) -> String {
        let words = self.kind.words();
        let shown = match &self.value {
            None => String::new(),
            Some(Json::Object(_)) | Some(Json::Array(_)) => {
                format!(": {}", self.value.as_ref().map(Json::to_string).unwrap_or_default())
            }
            Some(Json::Null) => ": null".to_string(),
            Some(value) => format!(": {value}"),
        };
        if self.detail.is_empty() { format!("{words}{shown}") } else { format!("{words}{shown}: {}", self.detail) }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.0.is_empty() { f.write_str(&self.body()) } else { write!(f, "{}: {}", self.path, self.body()) }
    }
}

/// Collects every problem of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldErrors(pub Vec<FieldError>);

impl FieldErrors {
    /// An empty list.
    pub fn new() -> FieldErrors {
        FieldErrors::default()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, path: &FieldPath, kind: FieldErrorKind, value: Option<Json>, detail: impl Into<String>) {
        self.0.push(FieldError { path: path.clone(), kind, value, detail: detail.into() });
    }

    /// `path: Required value: detail`
    pub fn required(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::Required, None, detail);
    }

    /// `path: Invalid value: "value": detail`
    pub fn invalid(&mut self, path: &FieldPath, value: impl Into<Json>, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::Invalid, Some(value.into()), detail);
    }

    /// `path: Invalid value: "integer": detail`, where the value is what was found.
    pub fn type_invalid(&mut self, path: &FieldPath, value: impl Into<Json>, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::TypeInvalid, Some(value.into()), detail);
    }

    /// `path: Invalid value: detail`, for values that would say nothing.
    pub fn invalid_part(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::Invalid, None, detail);
    }

    /// `path: Unsupported value: "value": supported values: "A", "B"`
    pub fn not_supported(&mut self, path: &FieldPath, value: impl Into<Json>, supported: &[&str]) {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        self.push(path, FieldErrorKind::NotSupported, Some(value.into()), detail);
    }

    /// `path: Forbidden: detail`
    pub fn forbidden(&mut self, path: &FieldPath, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::Forbidden, None, detail);
    }

    /// `path: Duplicate value: "value"`
    pub fn duplicate(&mut self, path: &FieldPath, value: impl Into<Json>) {
        self.push(path, FieldErrorKind::Duplicate, Some(value.into()), "");
    }

    /// `path: Too long: may not be more than N bytes`
    pub fn too_long(&mut self, path: &FieldPath, max_bytes: usize) {
        self.push(path, FieldErrorKind::TooLong, None, format!("may not be more than {max_bytes} bytes"));
    }

    /// `path: Too many: N: must have at most M items`
    pub fn too_many(&mut self, path: &FieldPath, actual: usize, max: usize) {
        self.push(path, FieldErrorKind::TooMany, Some(actual.into()), format!("must have at most {max} items"));
    }

    /// `path: Not found: "value"`
    pub fn not_found(&mut self, path: &FieldPath, value: impl Into<Json>) {
        self.push(path, FieldErrorKind::NotFound, Some(value.into()), "");
    }

    /// `path: Not found: "value": detail`
    pub fn not_found_because(&mut self, path: &FieldPath, value: impl Into<Json>, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::NotFound, Some(value.into()), detail);
    }

    /// `path: Duplicate value: "value": detail`
    pub fn duplicate_because(&mut self, path: &FieldPath, value: impl Into<Json>, detail: impl Into<String>) {
        self.push(path, FieldErrorKind::Duplicate, Some(value.into()), detail);
    }

    /// Adds `path: Invalid value: "value": detail` for each detail.
    pub fn all_invalid(&mut self, path: &FieldPath, value: &str, details: Vec<String>) {
        for detail in details {
            self.invalid(path, value, detail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let mut errors = FieldErrors::new();
        let path = FieldPath::new("spec").child("containers").index(0).child("image");
        errors.required(&path, "");
        errors.invalid(&FieldPath::new("metadata").child("labels").key("a"), "b c", "bad");
        errors.not_supported(&FieldPath::new("spec.restartPolicy"), "Sometimes", &["Always", "Never"]);
        let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "spec.containers[0].image: Required value",
                "metadata.labels[a]: Invalid value: \"b c\": bad",
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\"",
            ]
        );
    }
}
