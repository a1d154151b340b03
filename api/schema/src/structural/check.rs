//! Whether a schema is structural: upstream's rules and texts
//! (`k8s.io/apiextensions-apiserver/pkg/apiserver/schema`, and its API's validation).

use super::costs::Costs;
use super::{MAX_DEPTH, NodeType, Structural};
use holdfast_core::json::{at, bool_at, items_at, str_at};
use holdfast_core::{FieldError, FieldErrors, FieldPath, Json, Pattern};

/// Parts of JSON schema that a CustomResourceDefinition may not use at all.
const NEVER: [&str; 11] = [
    "$ref",
    "additionalItems",
    "definitions",
    "dependencies",
    "deprecated",
    "discriminator",
    "id",
    "patternProperties",
    "readOnly",
    "writeOnly",
    "xml",
];
/// What may only be said outside of `allOf`, `anyOf`, `oneOf` and `not`.
const OUTSIDE: [(&str, &str); 8] = [
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("title", "must be empty to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be undefined to be structural"),
];

/// Problems of an `openAPIV3Schema`.
pub fn check(schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    check_with(schema, path, Some(Costs::default()), errors);
}

/// Problems of one that stands already: what its rules cost is not held against it any more.
pub fn check_again(schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    check_with(schema, path, None, errors);
}

fn check_with(schema: &Json, path: &FieldPath, costs: Option<Costs>, errors: &mut FieldErrors) {
    match str_at(schema, &["type"]).unwrap_or_default() {
        "object" => {}
        "" => errors.required(&path.child("type"), "must not be empty at the root"),
        other => errors.invalid(&path.child("type"), other, "must be object at the root"),
    }
    for flag in ["nullable", "x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"] {
        if bool_at(schema, &[flag]) == Some(true) {
            errors.forbidden(&path.child(flag), "must be false at the root");
        }
    }
    let before = errors.0.len();
    node(schema, path, 0, true, errors);
    // Expressions are checked against types, so those must be right.
    if errors.0.len() == before {
        super::expressions::compile_all(&mut Structural::parse_node(schema), schema, path, costs, errors);
    }
}

fn node(schema: &Json, path: &FieldPath, depth: usize, whole: bool, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        errors.forbidden(path, format!("a schema may nest {MAX_DEPTH} deep"));
        return;
    }
    let before = errors.0.len();
    let flag = |key: &str| bool_at(schema, &[key]).unwrap_or(false);
    let has = |key: &str| schema.get(key).is_some_and(|value| !value.is_null());
    let kind = str_at(schema, &["type"]).unwrap_or_default();
    let preserves = flag("x-kubernetes-preserve-unknown-fields");
    never(schema, path, errors);
    if has("x-kubernetes-preserve-unknown-fields") && !preserves {
        errors.invalid(&path.child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
    if kind.is_empty() && depth > 0 && !preserves && !flag("x-kubernetes-int-or-string") {
        errors.required(&path.child("type"), "must not be empty for specified object fields");
    }
    if !kind.is_empty() && NodeType::parse(kind).is_none() {
        let known = ["array", "boolean", "integer", "number", "object", "string"];
        errors.not_supported(&path.child("type"), kind, &known);
    }
    if flag("x-kubernetes-int-or-string") && !kind.is_empty() {
        errors.forbidden(&path.child("type"), "must be empty if x-kubernetes-int-or-string is true");
    }
    let additional = schema.get("additionalProperties").filter(|value| !value.is_null());
    if additional.is_some() && at(schema, &["properties"]).and_then(Json::as_object).is_some_and(|map| !map.is_empty())
    {
        errors
            .forbidden(&path.child("additionalProperties"), "additionalProperties and properties are mutual exclusive");
    }
    if additional == Some(&Json::Bool(false)) {
        errors.forbidden(&path.child("additionalProperties"), "additionalProperties cannot be set to false");
    }
    if (additional.is_some() || has("properties")) && !matches!(kind, "" | "object") {
        errors.forbidden(path, format!("a schema of type {kind} has no properties"));
    }
    if kind == "array" && !schema.get("items").is_some_and(Json::is_object) {
        match schema.get("items") {
            Some(Json::Array(_)) => {
                errors.forbidden(&path.child("items"), "items must be a schema object and not an array")
            }
            _ => errors.required(&path.child("items"), "must be specified"),
        }
    }
    if flag("x-kubernetes-embedded-resource") {
        if kind != "object" && !kind.is_empty() {
            errors.invalid(&path.child("type"), kind, "must be object if x-kubernetes-embedded-resource is true");
        }
        if !preserves && !has("properties") {
            errors.required(&path.child("properties"), "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields");
        }
    }
    lists(schema, kind, path, errors);
    if let Some(map_type) = str_at(schema, &["x-kubernetes-map-type"]) {
        if !matches!(map_type, "granular" | "atomic") {
            errors.not_supported(&path.child("x-kubernetes-map-type"), map_type, &["granular", "atomic"]);
        } else if kind != "object" {
            errors.invalid(&path.child("type"), kind, "must be object if x-kubernetes-map-type is specified");
        }
    }
    values(schema, path, errors);
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, nested) in items_at(schema, &[key]).iter().enumerate() {
            inside(nested, schema, &path.child(key).index(index), depth + 1, errors);
        }
    }
    if let Some(not) = schema.get("not").filter(|not| not.is_object()) {
        inside(not, schema, &path.child("not"), depth + 1, errors);
    }
    if whole || flag("x-kubernetes-embedded-resource") {
        metadata(schema, path, errors);
    }
    for (name, child) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        node(child, &path.child("properties").key(name), depth + 1, false, errors);
    }
    if let Some(values) = additional.filter(|values| values.is_object()) {
        node(values, &path.child("additionalProperties"), depth + 1, false, errors);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        node(items, &path.child("items"), depth + 1, false, errors);
    }
    if errors.0.len() == before {
        default(schema, path, errors);
    }
}

fn never(schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for key in NEVER {
        if schema.get(key).is_some_and(|value| !value.is_null() && *value != Json::Bool(false)) {
            errors.forbidden(&path.child(key), format!("{key} is not supported"));
        }
    }
    if bool_at(schema, &["uniqueItems"]) == Some(true) {
        errors.forbidden(
            &path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
}

/// `x-kubernetes-list-type` and its keys.
fn lists(schema: &Json, kind: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let keys = items_at(schema, &["x-kubernetes-list-map-keys"]);
    let list = str_at(schema, &["x-kubernetes-list-type"]).unwrap_or_default();
    if !matches!(list, "" | "atomic" | "set" | "map") {
        errors.not_supported(&path.child("x-kubernetes-list-type"), list, &["atomic", "set", "map"]);
    }
    if !list.is_empty() && kind != "array" {
        errors.invalid(&path.child("type"), kind, "must be array if x-kubernetes-list-type is specified");
    }
    if list != "map" && !keys.is_empty() {
        errors
            .forbidden(&path.child("x-kubernetes-list-map-keys"), "must be empty if x-kubernetes-list-type is not map");
    }
    if list != "map" {
        return;
    }
    if keys.is_empty() {
        errors
            .required(&path.child("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map");
    }
    if str_at(schema, &["items", "type"]) != Some("object") {
        errors.invalid(
            &path.child("items").child("type"),
            str_at(schema, &["items", "type"]).unwrap_or_default(),
            "must be object if parent array's x-kubernetes-list-type is map",
        );
    }
    let required = items_at(schema, &["items", "required"]);
    let mut seen: Vec<&Json> = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let at = path.child("x-kubernetes-list-map-keys").index(index);
        let name = key.as_str().unwrap_or_default();
        if seen.contains(&key) {
            errors.duplicate(&at, name);
        }
        seen.push(key);
        let Some(property) = schema.get("items").and_then(|items| items.get("properties")?.get(name)) else {
            errors.invalid(&at, name, "entries must all be names of item properties");
            continue;
        };
        let field = path.child("items").child("properties").key(name);
        match str_at(property, &["type"]).unwrap_or_default() {
            "object" | "array" => {
                errors.invalid(
                    &field.child("type"),
                    str_at(property, &["type"]).unwrap_or_default(),
                    "must be a scalar type if parent array's x-kubernetes-list-type is map",
                );
            }
            _ => {}
        }
        if !required.contains(key) && property.get("default").is_none() {
            errors.required(
                &field.child("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            );
        }
    }
}

/// Patterns and bounds that make sense.
fn values(schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(pattern) = str_at(schema, &["pattern"])
        && let Err(why) = Pattern::new(pattern)
    {
        errors.invalid(
            &path.child("pattern"),
            pattern,
            format!("must be a valid regular expression, but isn't: {why}"),
        );
    }
}

/// A schema within `allOf` and its like names only values of fields that the schema outside has.
fn inside(nested: &Json, outside: &Json, path: &FieldPath, depth: usize, errors: &mut FieldErrors) {
    if depth > MAX_DEPTH {
        errors.forbidden(path, format!("a schema may nest {MAX_DEPTH} deep"));
        return;
    }
    never(nested, path, errors);
    let int_or_string = bool_at(outside, &["x-kubernetes-int-or-string"]) == Some(true);
    if let Some(kind) = str_at(nested, &["type"]).filter(|kind| !kind.is_empty())
        && !(int_or_string && matches!(kind, "integer" | "string"))
    {
        errors.forbidden(&path.child("type"), "must be empty to be structural");
    }
    for (key, why) in OUTSIDE {
        if nested.get(key).is_some_and(|value| !value.is_null() && *value != Json::Bool(false)) {
            errors.forbidden(&path.child(key), why);
        }
    }
    values(nested, path, errors);
    for (name, child) in nested.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let below = path.child("properties").key(name);
        let found = at(outside, &["properties", name]).or_else(|| at(outside, &["additionalProperties"]));
        match found.filter(|found| found.is_object()) {
            Some(found) => inside(child, found, &below, depth + 1, errors),
            None => errors
                .required(&below, "because it is defined in a value validation, it must be in the structural part"),
        }
    }
    if let Some(items) = nested.get("items").filter(|items| items.is_object()) {
        match outside.get("items").filter(|found| found.is_object()) {
            Some(found) => inside(items, found, &path.child("items"), depth + 1, errors),
            None => errors.required(
                &path.child("items"),
                "because it is defined in a value validation, it must be in the structural part",
            ),
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, deeper) in items_at(nested, &[key]).iter().enumerate() {
            inside(deeper, outside, &path.child(key).index(index), depth + 1, errors);
        }
    }
    if let Some(not) = nested.get("not").filter(|not| not.is_object()) {
        inside(not, outside, &path.child("not"), depth + 1, errors);
    }
}

/// Of `metadata` a schema may restrict the name alone.
fn metadata(schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(metadata) = at(schema, &["properties", "metadata"]) else { return };
    let path = path.child("properties").key("metadata");
    if str_at(metadata, &["type"]) != Some("object") {
        errors.invalid(&path.child("type"), str_at(metadata, &["type"]).unwrap_or_default(), "must be object");
    }
    let fields = metadata.get("properties").and_then(Json::as_object);
    let other = fields.is_some_and(|fields| fields.keys().any(|name| name != "name" && name != "generateName"));
    let more = metadata
        .as_object()
        .into_iter()
        .flatten()
        .any(|(key, value)| !matches!(key.as_str(), "type" | "properties" | "description") && !value.is_null());
    if other || more {
        errors.forbidden(
            &path,
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

/// A default is a value of its schema, and whole.
fn default(schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(value) = schema.get("default") else { return };
    let path = path.child("default");
    let structural = Structural::parse_node(schema);
    if value.is_null() && !structural.nullable {
        return;
    }
    if !structural.unknown_below(&mut value.clone()).is_empty() {
        errors.invalid(&path, value.clone(), "must not have unknown fields");
        return;
    }
    let mut found = FieldErrors::new();
    structural.validate_at(value, None, "", &mut found);
    errors.0.extend(found.0.into_iter().map(|problem| {
        let below = problem.path.to_string();
        let path = if below.is_empty() { path.clone() } else { path.child(&below) };
        FieldError { path, ..problem }
    }));
}
