use super::*;
use holdfast_core::{FieldErrors, FieldPath};
use serde_json::json;

fn schema() -> Json {
    json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10, "format": "int32"},
        "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
        "name": {"type": "string", "minLength": 2, "maxLength": 4, "pattern": "^[a-z]+$"},
        "port": {"x-kubernetes-int-or-string": true},
        "maybe": {"type": "string", "nullable": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"known": {"type": "object"}}},
        "parts": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "zone"],
            "items": {"type": "object", "required": ["name"], "properties": {
                "name": {"type": "string"}, "zone": {"type": "string", "default": "a"}, "count": {"type": "integer", "default": 1}}}},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}},
        "choice": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
    }}}})
}

fn structural() -> Structural {
    let mut errors = FieldErrors::new();
    check(&schema(), &FieldPath::new("spec"), &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    Structural::parse(&schema())
}

fn problems(spec: Json) -> Vec<String> {
    let mut errors = FieldErrors::new();
    structural().validate(&json!({ "spec": spec }), None, &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn unknown_fields_go_and_are_told() {
    let mut doc = json!({"apiVersion": "a/v1", "kind": "A", "metadata": {"x": 1}, "other": 1, "spec": {
        "sise": 1, "labels": {"a": "b"}, "any": {"free": 1, "known": {"gone": 1}},
        "parts": [{"name": "a", "nome": 1}], "template": {"apiVersion": "v1", "kind": "B", "metadata": {}, "gone": 1}}});
    assert_eq!(
        structural().prune(&mut doc),
        ["other", "spec.sise", "spec.any.known.gone", "spec.parts[0].nome", "spec.template.gone"]
    );
    assert_eq!(doc["spec"]["any"], json!({"free": 1, "known": {}}));
    assert_eq!(doc["metadata"], json!({"x": 1}));
}

#[test]
fn defaults_fill_what_is_missing_and_nulls_go() {
    let mut doc = json!({"spec": {"size": 1, "name": null, "maybe": null, "color": null, "parts": [{"name": "a"}]}});
    structural().default(&mut doc);
    assert_eq!(
        doc,
        json!({"spec": {"size": 1, "maybe": null, "color": "red", "parts": [{"name": "a", "zone": "a", "count": 1}]}})
    );
    let mut bare = json!({});
    structural().default(&mut bare);
    assert_eq!(bare, json!({}), "nothing is made for what is not there");
}

#[test]
fn problems_of_values_are_told_as_upstream_tells_them() {
    for (spec, expected) in [
        (json!({"size": 1, "maybe": null, "port": "http", "labels": {}}), vec![]),
        (json!({}), vec!["spec.size: Required value"]),
        (
            json!({"size": "1"}),
            vec!["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""],
        ),
        (
            json!({"size": 0}),
            vec!["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"],
        ),
        (
            json!({"size": 11}),
            vec!["spec.size: Invalid value: 11: spec.size in body should be less than or equal to 10"],
        ),
        (
            json!({"size": 1, "color": "green"}),
            vec!["spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\""],
        ),
        (
            json!({"size": 1, "name": "A"}),
            vec![
                "spec.name: Invalid value: \"A\": spec.name in body should be at least 2 chars long",
                "spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'",
            ],
        ),
        (json!({"size": 1, "name": "abcde"}), vec!["spec.name: Too long: may not be more than 4 bytes"]),
        (
            json!({"size": 1, "name": null}),
            vec!["spec.name: Invalid value: \"null\": spec.name in body must be of type string: \"null\""],
        ),
        (
            json!({"size": 1, "port": true}),
            vec![
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ],
        ),
        (
            json!({"size": 1, "labels": {"a": 1}}),
            vec![
                "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
            ],
        ),
        (
            json!({"size": 1, "parts": [{"name": "a"}, {"name": "a", "zone": "a"}]}),
            vec!["spec.parts[1]: Duplicate value: {\"name\":\"a\",\"zone\":\"a\"}"],
        ),
        (json!({"size": 1, "tags": ["a", "b", "a"]}), vec!["spec.tags[2]: Duplicate value: \"a\""]),
        (
            json!({"size": 1, "parts": [{}, {}, {}, {}]}),
            vec![
                "spec.parts: Too many: 4: must have at most 3 items",
                "spec.parts[0].name: Required value",
                "spec.parts[1].name: Required value",
                "spec.parts[2].name: Required value",
                "spec.parts[3].name: Required value",
                "spec.parts[1]: Duplicate value: {\"zone\":\"a\"}",
                "spec.parts[2]: Duplicate value: {\"zone\":\"a\"}",
                "spec.parts[3]: Duplicate value: {\"zone\":\"a\"}",
            ],
        ),
        (
            json!({"size": 1, "template": {"kind": "A"}}),
            vec!["spec.template.apiVersion: Required value: must not be empty"],
        ),
        (
            json!({"size": 1, "choice": {"a": 1, "b": 1}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.choice\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
    ] {
        assert_eq!(problems(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let refused = |schema: Json| {
        let mut errors = FieldErrors::new();
        check(&schema, &FieldPath::new("schema"), &mut errors);
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for (schema, expected) in [
        (json!({}), "schema.type: Required value: must not be empty at the root"),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            "schema.type: Invalid value: \"array\": must be object at the root",
        ),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "schema.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": true}}}),
            "schema.properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            "schema.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer"}}, "anyOf": [{"properties": {"a": {"type": "integer"}}}]}),
            "schema.anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "schema.anyOf[0].properties[a]: Required value: because it is defined in a value validation, it must be in the structural part",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "schema.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            "schema.properties[a].default: Invalid value: \"string\": in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "schema.properties[a].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: unclosed group",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {"k": {"type": "string"}}}, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}}}),
            "schema.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
    ] {
        assert_eq!(refused(schema.clone()), [expected], "{schema}");
    }
}

fn ruled() -> Structural {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object",
    "x-kubernetes-validations": [
        {"rule": "self.least <= self.most", "message": "least may not be more than most"},
        {"rule": "self.fixed == oldSelf.fixed", "messageExpression": "'fixed was %d'.format([oldSelf.fixed])", "fieldPath": ".fixed"},
        {"rule": "!has(self.secret)", "reason": "FieldValueForbidden", "fieldPath": ".secret", "message": "no secrets"},
    ],
    "properties": {
        "least": {"type": "integer"}, "most": {"type": "integer"}, "fixed": {"type": "integer"}, "secret": {"type": "string"},
        "old": {"type": "integer", "maximum": 5},
        "ports": {"type": "array", "maxItems": 10, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "required": ["name"],
                "x-kubernetes-validations": [{"rule": "self.number >= oldSelf.number", "message": "may only grow"}],
                "properties": {"name": {"type": "string"}, "number": {"type": "integer"}}}},
    }}}});
    let mut errors = FieldErrors::new();
    check(&schema, &FieldPath::new("schema"), &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
    Structural::parse(&schema)
}

#[test]
fn rules_judge_objects_and_their_changes() {
    let problems = |spec: Json, old: Option<Json>| {
        let mut errors = FieldErrors::new();
        let old = old.map(|spec| json!({ "spec": spec }));
        ruled().validate(&json!({ "spec": spec }), old.as_ref(), &mut errors);
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let good = json!({"least": 1, "most": 2, "fixed": 1});
    assert_eq!(problems(good.clone(), None), Vec::<String>::new());
    let with = |changes: Json| {
        let mut spec = good.clone();
        spec.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        spec
    };
    for (spec, old, expected) in [
        (with(json!({"least": 3})), None, vec!["spec: Invalid value: \"object\": least may not be more than most"]),
        (with(json!({"fixed": 2})), Some(good.clone()), vec!["spec.fixed: Invalid value: \"object\": fixed was 1"]),
        (with(json!({"secret": "x"})), None, vec!["spec.secret: Forbidden: no secrets"]),
        (
            json!({"most": 1}),
            None,
            vec![
                "spec: Invalid value: \"object\": no such key: least evaluating rule: least may not be more than most",
            ],
        ),
        (
            with(json!({"ports": [{"name": "a", "number": 1}, {"name": "b", "number": 9}]})),
            Some(with(json!({"ports": [{"name": "b", "number": 5}, {"name": "a", "number": 3}]}))),
            vec!["spec.ports[0]: Invalid value: \"object\": may only grow"],
        ),
        // A value of before the schema forbade it may stay, and not come.
        (with(json!({"old": 7, "most": 3})), Some(with(json!({"old": 7}))), vec![]),
        (
            with(json!({"old": 8})),
            Some(with(json!({"old": 7}))),
            vec!["spec.old: Invalid value: 8: spec.old in body should be less than or equal to 5"],
        ),
        (
            with(json!({"least": "x"})),
            None,
            vec![
                "spec.least: Invalid value: \"string\": spec.least in body must be of type integer: \"string\"",
                "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; \
                 correct the existing errors to complete validation",
            ],
        ),
    ] {
        assert_eq!(problems(spec.clone(), old), expected, "{spec}");
    }
}

#[test]
fn rules_that_do_not_compile_are_refused_at_their_place() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "x-kubernetes-validations": [
        {"rule": "self.size() > 1"}, {"rule": "self + 1"}, {"rule": " "}]}}});
    let mut errors = FieldErrors::new();
    check(&schema, &FieldPath::new("schema"), &mut errors);
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    let at = "schema.properties[a].x-kubernetes-validations";
    assert!(
        texts[0].starts_with(&format!(
            "{at}[0].rule: Invalid value: \"self.size() > 1\": compilation failed: ERROR: <input>:1:10: found no matching overload for 'size'"
        )),
        "{texts:?}"
    );
    assert!(texts[1].ends_with("cel expression must evaluate to a bool"), "{texts:?}");
    assert_eq!(texts[2], format!("{at}[2].rule: Required value: rule is not specified"));
}

/// A schema with one property `a`, and what is wrong with its rules.
fn costly(a: Json) -> Vec<String> {
    let mut errors = FieldErrors::new();
    check(&json!({"type": "object", "properties": {"a": a}}), &FieldPath::new("schema"), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

fn with_rule(mut schema: Json, rule: &str) -> Json {
    schema["x-kubernetes-validations"] = json!([{ "rule": rule }]);
    schema
}

const HINT: &str = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and \
                    strings are declared)";

#[test]
fn rules_that_may_cost_too_much_are_refused() {
    let at = "schema.properties[a].x-kubernetes-validations[0]";
    let texts = |bounds: Json| {
        let mut schema = json!({"type": "array", "items": {"type": "string"}});
        schema.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
        with_rule(schema, "self.all(x, self.all(y, x == y))")
    };
    // Nothing bounds the list.
    let text = format!("{at}.rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {HINT}");
    assert_eq!(costly(texts(json!({})))[0], text);
    let bound = texts(json!({"maxItems": 10, "items": {"type": "string", "maxLength": 10}}));
    assert_eq!(costly(bound), [""; 0]);
    // The bound of the text counts as well as that of the list.
    let long = costly(texts(json!({"maxItems": 100, "items": {"type": "string", "maxLength": 100_000}}))).remove(0);
    assert!(
        long.starts_with(&format!("{at}.rule: Forbidden: estimated rule cost exceeds budget by factor of ")),
        "{long}"
    );

    // Names are short, whatever the schema says of them.
    let named = with_rule(json!({"type": "object"}), "self.metadata.name.contains(self.metadata.generateName)");
    let mut errors = FieldErrors::new();
    check(&named, &FieldPath::new("schema"), &mut errors);
    assert!(errors.is_empty(), "{errors:?}");

    // A message that is made counts too.
    let schema = json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-validations": [
        {"rule": "true", "messageExpression": "self.filter(x, self.exists(y, x + 'a' == y)).join(',')"}]});
    let told = costly(schema);
    let text = "estimated messageExpression cost exceeds budget by factor of more than 100x";
    assert!(told[0].starts_with(&format!("{at}.messageExpression: Forbidden: {text}")), "{told:?}");
}

#[test]
fn a_rule_costs_as_often_as_it_may_run() {
    // One evaluation is cheap; nobody says how many there are.
    let element = with_rule(json!({"type": "string", "maxLength": 1000}), "self.contains('abcdef')");
    let unbounded = json!({"type": "array", "items": element});
    let told = costly(unbounded.clone());
    let at = "schema.properties[a].items.x-kubernetes-validations[0].rule";
    assert!(
        told[0].starts_with(&format!("{at}: Forbidden: estimated rule cost exceeds budget by factor of ")),
        "{told:?}"
    );
    let mut bounded = unbounded;
    bounded["maxItems"] = json!(100);
    assert_eq!(costly(bounded), [""; 0]);
    let map = |most: Option<u64>| {
        let mut map = json!({"type": "object", "additionalProperties": element});
        if let Some(most) = most {
            map["maxProperties"] = json!(most);
        }
        map
    };
    assert_eq!((costly(map(None)).is_empty(), costly(map(Some(100)))), (false, vec![]));
    // What is bounded within what is not is not bounded.
    let nested = json!({"type": "array", "items": map(Some(100))});
    assert!(!costly(nested).is_empty());
}

#[test]
fn the_rules_of_a_schema_have_a_budget_together() {
    // Each is within its limit, and all are not.
    let expensive = with_rule(
        json!({"type": "array", "maxItems": 1000, "items": {"type": "integer"}}),
        "self.all(x, self.all(y, x + y > 0))",
    );
    let properties: serde_json::Map<String, Json> = (0..20).map(|n| (format!("p{n:02}"), expensive.clone())).collect();
    let schema = json!({"type": "object", "properties": properties});
    let mut errors = FieldErrors::new();
    check(&schema, &FieldPath::new("schema"), &mut errors);
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 5, "{texts:#?}");
    let part = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
    let [dearest @ .., total] = &texts[..] else { panic!("{texts:?}") };
    assert!(dearest.iter().all(|text| text.ends_with(part)), "{texts:#?}");
    let what = "schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
    assert!(total.starts_with(&format!("{what} exceeds budget by factor of 1.")) && total.ends_with(HINT), "{total}");

    let mut errors = FieldErrors::new();
    check_again(&schema, &FieldPath::new("schema"), &mut errors);
    assert!(errors.is_empty(), "what stands may stay: {errors:?}");
}
