//! Values of an object of a custom kind, with upstream's texts (`k8s.io/kube-openapi/pkg/validation`).

use super::formats::fits_format;
use super::{Nested, NodeList, NodeType, Rules, Structural, expressions};
use holdfast_core::field::FieldErrorKind;
use holdfast_core::{FieldError, FieldErrors, FieldPath, Json};
use std::collections::{BTreeMap, HashSet};

/// Problems beyond so many are not told: a body of megabytes could have one an element.
const MAX_ERRORS: usize = 1_000;
/// Where upstream says that a combination of schemas failed: it has lost the path by then.
const NOWHERE: &str = "<nil>";

impl Structural {
    /// Problems of a whole object. What is as it was in `old` is no problem: an object that a newer schema would refuse may
    /// still be changed elsewhere (upstream calls this ratcheting).
    pub fn validate(&self, doc: &Json, old: Option<&Json>, errors: &mut FieldErrors) {
        let before = errors.0.len();
        self.validate_at(doc, old, "", errors);
        self.unique(doc, old, &FieldPath::default(), errors);
        let blocks = |problem: &FieldError| {
            use FieldErrorKind::{Required, TooLong, TooMany, TypeInvalid};
            matches!(problem.kind, Required | TooLong | TooMany | TypeInvalid)
        };
        if !errors.0[before..].iter().any(blocks) {
            expressions::run(self, doc, old, errors);
        } else if self.has_checks() {
            let text = "some validation rules were not checked because the object was invalid; correct the existing errors \
                        to complete validation";
            errors.invalid(&FieldPath::new(NOWHERE), Json::Null, text);
        }
    }

    fn has_checks(&self) -> bool {
        let mut below = self.properties.values().chain(self.values()).chain(self.items.as_deref());
        self.checks.is_some() || below.any(Structural::has_checks)
    }

    /// Problems of a part of an object, such as a default.
    pub(super) fn validate_at(&self, value: &Json, old: Option<&Json>, path: &str, errors: &mut FieldErrors) {
        if errors.0.len() >= MAX_ERRORS || old == Some(value) {
            return;
        }
        if value.is_null() && self.nullable {
            return;
        }
        if let Some(wanted) = self.type_mismatch(value) {
            wrong_type(path, &wanted, value, errors);
            return;
        }
        self.rules.validate(value, path, errors);
        match value {
            Json::Object(map) => {
                if self.embedded {
                    for field in ["apiVersion", "kind"] {
                        if map.get(field).and_then(Json::as_str).is_none_or(str::is_empty) {
                            errors.required(&at(&below(path, field)), "must not be empty");
                        }
                    }
                }
                for (key, value) in map {
                    if let Some(schema) = self.field(key) {
                        schema.validate_at(value, old.and_then(|old| old.get(key)), &below(path, key), errors);
                    }
                }
            }
            Json::Array(items) => {
                let Some(schema) = &self.items else { return };
                for (index, item) in items.iter().enumerate() {
                    let before = old.and_then(|old| self.counterpart(item, old));
                    schema.validate_at(item, before, &format!("{path}[{index}]"), errors);
                }
            }
            _ => {}
        }
    }

    /// The type that was wanted, when `value` is of none.
    fn type_mismatch(&self, value: &Json) -> Option<String> {
        match self.node_type {
            Some(wanted) => (!is_of(value, wanted)).then(|| wanted.as_str().to_string()),
            None if self.int_or_string => {
                let fits = is_of(value, NodeType::Integer) || value.is_string();
                (!fits).then(|| "integer,string".to_string())
            }
            None => None,
        }
    }

    /// Elements of sets and keyed lists stand once.
    fn unique(&self, value: &Json, old: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
        if old == Some(value) {
            return;
        }
        match value {
            Json::Array(items) => {
                let Some(schema) = &self.items else { return };
                let mut seen = HashSet::new();
                for (index, item) in items.iter().enumerate() {
                    let path = path.index(index);
                    let identity = match &self.list {
                        NodeList::Atomic => None,
                        NodeList::Set => Some(item.clone()),
                        NodeList::Map(keys) => Some(identity(schema, keys, item)),
                    };
                    if let Some(identity) = identity
                        && !seen.insert(canonical(&identity))
                        && errors.0.len() < MAX_ERRORS
                    {
                        errors.duplicate(&path, identity);
                    }
                    schema.unique(item, old.and_then(|old| self.counterpart(item, old)), &path, errors);
                }
            }
            Json::Object(map) => {
                for (key, value) in map {
                    let before = old.and_then(|old| old.get(key));
                    if let Some(schema) = self.field(key) {
                        schema.unique(value, before, &self.path_of(path, key), errors);
                    }
                }
            }
            _ => {}
        }
    }
}

/// What tells an element of a keyed list apart.
pub(super) fn identity(schema: &Structural, keys: &[String], item: &Json) -> Json {
    let value = |key: &String| {
        let default = || schema.properties.get(key).and_then(|field| field.default.clone());
        item.get(key).cloned().or_else(default)
    };
    keys.iter().filter_map(|key| value(key).map(|value| (key.clone(), value))).collect::<serde_json::Map<_, _>>().into()
}

/// Equal for equal values, whatever the order of their fields.
fn canonical(value: &Json) -> String {
    fn sorted(value: &Json) -> Json {
        match value {
            Json::Object(map) => {
                let fields: BTreeMap<&String, Json> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
                fields.into_iter().map(|(key, value)| (key.clone(), value)).collect::<serde_json::Map<_, _>>().into()
            }
            Json::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

impl Rules {
    fn validate(&self, value: &Json, path: &str, errors: &mut FieldErrors) {
        self.enumerated(value, path, errors);
        match value {
            Json::String(text) => self.text(text, path, errors),
            Json::Number(number) => self.number(number, path, errors),
            Json::Array(items) => {
                if let Some(least) = self.min_items.filter(|least| (items.len() as u64) < *least) {
                    invalid(path, items.len().into(), &format!("should have at least {least} items"), errors);
                }
                if let Some(most) = self.max_items.filter(|most| items.len() as u64 > *most) {
                    errors.too_many(&at(path), items.len(), usize::try_from(most).unwrap_or(usize::MAX));
                }
            }
            Json::Object(map) => {
                if let Some(least) = self.min_properties.filter(|least| (map.len() as u64) < *least) {
                    invalid(path, map.len().into(), &format!("should have at least {least} properties"), errors);
                }
                if let Some(most) = self.max_properties.filter(|most| map.len() as u64 > *most) {
                    errors.too_many(&at(path), map.len(), usize::try_from(most).unwrap_or(usize::MAX));
                }
                for name in self.required.iter().filter(|name| !map.contains_key(*name)) {
                    errors.required(&at(&below(path, name)), "");
                }
            }
            _ => {}
        }
        self.combined(value, path, errors);
    }

    fn enumerated(&self, value: &Json, path: &str, errors: &mut FieldErrors) {
        let Some(allowed) = self.allowed.as_ref().filter(|allowed| !allowed.contains(value)) else { return };
        let texts: Vec<String> =
            allowed.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), str::to_string)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        errors.not_supported(&at(path), value.clone(), &texts);
    }

    fn text(&self, text: &str, path: &str, errors: &mut FieldErrors) {
        let length = text.chars().count() as u64;
        if let Some(most) = self.max_length.filter(|most| length > *most) {
            errors.too_long(&at(path), usize::try_from(most).unwrap_or(usize::MAX));
        }
        if let Some(least) = self.min_length.filter(|least| length < *least) {
            invalid(path, text.into(), &format!("should be at least {least} chars long"), errors);
        }
        if let Some(pattern) = self.pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
            invalid(path, text.into(), &format!("should match '{}'", pattern.source()), errors);
        }
        if !fits_format(&self.format, text) {
            invalid(path, text.into(), &format!("must be of type {}: {text:?}", self.format), errors);
        }
    }

    fn number(&self, number: &serde_json::Number, path: &str, errors: &mut FieldErrors) {
        let Some(value) = number.as_f64() else { return };
        let mut wrong = |what: String| invalid(path, Json::Number(number.clone()), &what, errors);
        match self.maximum {
            Some(most) if self.exclusive_maximum && value >= most => wrong(format!("should be less than {most}")),
            Some(most) if !self.exclusive_maximum && value > most => {
                wrong(format!("should be less than or equal to {most}"));
            }
            _ => {}
        }
        match self.minimum {
            Some(least) if self.exclusive_minimum && value <= least => wrong(format!("should be greater than {least}")),
            Some(least) if !self.exclusive_minimum && value < least => {
                wrong(format!("should be greater than or equal to {least}"));
            }
            _ => {}
        }
        if let Some(factor) = self.multiple_of.filter(|factor| *factor > 0.0) {
            let times = value / factor;
            if (times - times.round()).abs() > 1e-9 {
                wrong(format!("should be a multiple of {factor}"));
            }
        }
        let fits = match self.format.as_str() {
            "int32" => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            "int64" => number.as_i64().is_some() || value.fract() == 0.0 && value.abs() < 9.2e18,
            _ => true,
        };
        if !fits {
            wrong(format!("must be of type {}: {:?}", self.format, number.to_string()));
        }
    }

    fn combined(&self, value: &Json, path: &str, errors: &mut FieldErrors) {
        let problems = |nested: &Nested| {
            let mut found = FieldErrors::new();
            nested.validate(value, path, &mut found);
            found
        };
        let mut failed = |text: String| errors.invalid(&FieldPath::new(NOWHERE), "", text);
        let mut details = Vec::new();
        if !self.any_of.is_empty() {
            let tried: Vec<FieldErrors> = self.any_of.iter().map(problems).collect();
            if tried.iter().all(|found| !found.is_empty()) {
                failed(format!("{path:?} must validate at least one schema (anyOf)"));
                details.extend(nearest(tried));
            }
        }
        if !self.one_of.is_empty() {
            let tried: Vec<FieldErrors> = self.one_of.iter().map(problems).collect();
            match tried.iter().filter(|found| found.is_empty()).count() {
                1 => {}
                0 => {
                    failed(format!("{path:?} must validate one and only one schema (oneOf). Found none valid"));
                    details.extend(nearest(tried));
                }
                many => failed(format!(
                    "{path:?} must validate one and only one schema (oneOf). Found {many} valid alternatives"
                )),
            }
        }
        if !self.all_of.is_empty() {
            let tried: Vec<FieldErrors> = self.all_of.iter().map(problems).collect();
            let valid = tried.iter().filter(|found| found.is_empty()).count();
            if valid != tried.len() {
                let none = if valid == 0 { ". None validated" } else { "" };
                failed(format!("{path:?} must validate all the schemas (allOf){none}"));
                details.extend(tried.into_iter().flat_map(|found| found.0));
            }
        }
        if self.not.as_ref().is_some_and(|not| problems(not).is_empty()) {
            failed(format!("{path:?} must not validate the schema (not)"));
        }
        errors.0.extend(details);
    }
}

/// The problems of the alternative that was missed least.
fn nearest(tried: Vec<FieldErrors>) -> Vec<holdfast_core::FieldError> {
    tried.into_iter().min_by_key(|found| found.0.len()).map(|found| found.0).unwrap_or_default()
}

impl Nested {
    fn validate(&self, value: &Json, path: &str, errors: &mut FieldErrors) {
        if errors.0.len() >= MAX_ERRORS {
            return;
        }
        if let Some(wanted) = self.node_type.filter(|wanted| !is_of(value, *wanted)) {
            wrong_type(path, wanted.as_str(), value, errors);
            return;
        }
        self.rules.validate(value, path, errors);
        match value {
            Json::Object(map) => {
                for (key, value) in map {
                    if let Some(nested) = self.properties.get(key).or(self.additional.as_deref()) {
                        nested.validate(value, &below(path, key), errors);
                    }
                }
            }
            Json::Array(items) => {
                let Some(nested) = &self.items else { return };
                for (index, item) in items.iter().enumerate() {
                    nested.validate(item, &format!("{path}[{index}]"), errors);
                }
            }
            _ => {}
        }
    }
}

fn is_of(value: &Json, wanted: NodeType) -> bool {
    match (wanted, value) {
        (NodeType::Object, Json::Object(_))
        | (NodeType::Array, Json::Array(_))
        | (NodeType::String, Json::String(_))
        | (NodeType::Number, Json::Number(_))
        | (NodeType::Boolean, Json::Bool(_)) => true,
        (NodeType::Integer, Json::Number(number)) => {
            number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        _ => false,
    }
}

fn type_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "number",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    }
}

fn wrong_type(path: &str, wanted: &str, value: &Json, errors: &mut FieldErrors) {
    let found = type_of(value);
    errors.type_invalid(&at(path), found, said(path, &format!("must be of type {wanted}: {found:?}")));
}

fn invalid(path: &str, value: Json, what: &str, errors: &mut FieldErrors) {
    errors.invalid(&at(path), value, said(path, what));
}

fn said(path: &str, what: &str) -> String {
    format!("{path} in body {what}").trim_start().to_string()
}

fn at(path: &str) -> FieldPath {
    FieldPath::new(path)
}

fn below(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_string() } else { format!("{path}.{field}") }
}
