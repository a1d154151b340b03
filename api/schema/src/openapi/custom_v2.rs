//! Custom kinds in `/openapi/v2`. That version, and the kubectl that reads it, cannot say all that a schema says: what would
//! make it refuse good objects is left out, by upstream's rules (`ToStructuralOpenAPIV2`).

use super::dialect::Dialect;
use super::operations::META;
use holdfast_core::Json;
use holdfast_core::json::{bool_at, items_at, set};
use serde_json::{Map, json};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";

/// An `openAPIV3Schema` as a definition of version 2, without what every object has.
pub(super) fn converted(schema: &Json) -> Json {
    // With any property kubectl would take all others for unknown.
    if flag(schema, PRESERVE) || !schema.is_object() {
        return json!({"type": "object"});
    }
    node(schema)
}

fn flag(schema: &Json, key: &str) -> bool {
    bool_at(schema, &[key]).unwrap_or(false)
}

fn node(schema: &Json) -> Json {
    let Json::Object(fields) = schema else { return schema.clone() };
    let (nullable, preserves) = (flag(schema, "nullable"), flag(schema, PRESERVE));
    let untyped = nullable || preserves;
    let mut built = Map::new();
    for (key, value) in fields {
        let kept = match key.as_str() {
            "allOf" | "anyOf" | "oneOf" | "not" | "nullable" | "default" => continue,
            "items" | "properties" if untyped => continue,
            "type" if nullable => continue,
            "type" if preserves && (value == "object" || value == "array") => continue,
            "type" if value == "array" && !fields.contains_key("items") => continue,
            "items" => node(value),
            "additionalProperties" if value.is_object() => node(value),
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                properties.map(|(name, property)| (name.clone(), node(property))).collect::<Map<_, _>>().into()
            }
            "required" => match required(schema, untyped) {
                names if names.is_empty() => continue,
                names => names.into(),
            },
            _ => value.clone(),
        };
        built.insert(key.clone(), kept);
    }
    let mut built = Json::Object(built);
    if flag(schema, EMBEDDED) && !preserves {
        embed(&mut built);
    }
    built
}

/// The required fields, without those that may be null: version 2 has no null.
fn required(schema: &Json, untyped: bool) -> Vec<Json> {
    let nullable = |schema: Option<&Json>| schema.is_some_and(|schema| flag(schema, "nullable"));
    if nullable(schema.get("additionalProperties")) {
        return Vec::new();
    }
    let property = |name: &Json| schema.get("properties").and_then(|all| all.get(name.as_str()?));
    let names = items_at(schema, &["required"]).iter();
    names.filter(|name| untyped || !nullable(property(name))).cloned().collect()
}

/// What a whole object within an object has.
fn embed(built: &mut Json) {
    add_object_fields(built);
    let mut required = items_at(built, &["required"]).to_vec();
    for name in ["kind", "apiVersion"] {
        if !required.iter().any(|required| required == name) {
            required.push(name.into());
        }
    }
    set(built, &["required"], required);
}

/// `apiVersion`, `kind` and `metadata`.
pub(super) fn add_object_fields(schema: &mut Json) {
    let text = |of: &str| json!({"type": "string", "description": of});
    set(schema, &["properties", "apiVersion"], text("The version of this form of the object."));
    set(schema, &["properties", "kind"], text("What the object is."));
    let mut metadata = Dialect::V2.reference(&format!("{META}ObjectMeta"));
    set(&mut metadata, &["description"], "What every object has: name, labels, owners and the like.");
    set(schema, &["properties", "metadata"], metadata);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_two_cannot_say_is_left_out() {
        let schema = json!({
            "type": "object",
            "required": ["spec", "gone"],
            "x-kubernetes-validations": [{"rule": "true"}],
            "properties": {
                "spec": {
                    "type": "object", "description": "what is wanted", "default": {"a": 1},
                    "required": ["bare"],
                    "anyOf": [{"required": ["a"]}], "allOf": [{}], "oneOf": [{}], "not": {},
                    "properties": {
                        "bare": {"type": "string", "nullable": true, "maxLength": 3},
                        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                        "list": {"type": "array", "nullable": true, "items": {"type": "string"}},
                        "free": {"type": "object", PRESERVE: true, "properties": {"a": {"type": "string"}}},
                        "any": {"type": "array", PRESERVE: true, "items": {"type": "object"}},
                        "map": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer", "default": 1}}},
                        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                            "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}},
                    },
                },
                "gone": {"type": "object", "nullable": true, "properties": {"a": {"type": "string"}}},
            },
        });
        assert_eq!(
            converted(&schema),
            json!({
                "type": "object",
                "required": ["spec"],
                "x-kubernetes-validations": [{"rule": "true"}],
                "properties": {
                    "spec": {
                        "type": "object", "description": "what is wanted",
                        "properties": {
                            "bare": {"maxLength": 3},
                            "port": {"x-kubernetes-int-or-string": true},
                            "list": {},
                            "free": {PRESERVE: true},
                            "any": {PRESERVE: true},
                            "map": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}},
                            "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"],
                                "items": {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}},
                        },
                    },
                    "gone": {},
                },
            })
        );
        assert_eq!(
            converted(&json!({"type": "object", PRESERVE: true, "properties": {"a": {}}})),
            json!({"type": "object"})
        );
    }

    #[test]
    fn whole_objects_within_objects_have_their_fields() {
        let schema = json!({"type": "object", "properties": {
            "template": {"type": "object", EMBEDDED: true, "properties": {"spec": {"type": "object"}}},
            "open": {"type": "object", EMBEDDED: true, PRESERVE: true},
        }});
        let built = converted(&schema);
        let template = &built["properties"]["template"];
        assert_eq!(template["required"], json!(["kind", "apiVersion"]));
        let fields: Vec<&String> = template["properties"].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["spec", "apiVersion", "kind", "metadata"]);
        assert_eq!(built["properties"]["open"], json!({EMBEDDED: true, PRESERVE: true}));
    }
}
