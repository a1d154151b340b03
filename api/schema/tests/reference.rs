//! The table and its documents against the published ones of Kubernetes 1.36, which stand outside of the
//! repository: `HOLDFAST_K8S_REFERENCE` says where. Without it these tests say that they were skipped.

#![allow(clippy::unwrap_used, reason = "a test may; its helpers are not seen as tests")]

use holdfast_core::Json;
use holdfast_schema::{builtin, openapi};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

const REFERENCE: &str = "HOLDFAST_K8S_REFERENCE";

fn reference(file: &str) -> Option<Json> {
    let Some(dir) = std::env::var_os(REFERENCE) else {
        eprintln!("skipped: {REFERENCE} is not set");
        return None;
    };
    let path = PathBuf::from(dir).join(file);
    let bytes = std::fs::read(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// What a schema says of structure; descriptions are not compared.
fn structure(schema: &Json) -> BTreeMap<&str, &Json> {
    const COMPARED: &[&str] = &[
        "$ref",
        "type",
        "format",
        "items",
        "additionalProperties",
        "allOf",
        "oneOf",
        "x-kubernetes-patch-strategy",
        "x-kubernetes-patch-merge-key",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-map-type",
    ];
    let Some(map) = schema.as_object() else { return BTreeMap::new() };
    map.iter().filter(|(key, _)| COMPARED.contains(&key.as_str())).map(|(key, value)| (key.as_str(), value)).collect()
}

fn without_defaults(schema: &Json) -> Json {
    match schema {
        Json::Object(map) => {
            map.iter().filter(|(key, _)| *key != "default").map(|(k, v)| (k.clone(), without_defaults(v))).collect()
        }
        // A type with a default is wrapped upstream; without the default the wrapping says nothing.
        other => other.clone(),
    }
}

fn required(schema: &Json) -> BTreeSet<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect()
}

/// Every difference of a type of ours from the published one.
fn differences(name: &str, ours: &Json, theirs: &Json, found: &mut Vec<String>) {
    let none = serde_json::Map::new();
    let fields = |schema: &'_ Json| -> BTreeSet<String> {
        schema["properties"].as_object().unwrap_or(&none).keys().cloned().collect()
    };
    let (our_fields, their_fields) = (fields(ours), fields(theirs));
    for field in our_fields.symmetric_difference(&their_fields) {
        found.push(format!("{name}.{field} is only on one side"));
    }
    if required(ours) != required(theirs) {
        found.push(format!("{name} requires {:?}, upstream {:?}", required(ours), required(theirs)));
    }
    if structure(ours) != structure(theirs) {
        found.push(format!("{name} is {:?}, upstream {:?}", structure(ours), structure(theirs)));
    }
    for field in our_fields.intersection(&their_fields) {
        let default = |schema: &Json| schema["properties"][field].get("default").cloned();
        // Upstream also shows the zero value of every Go field that is no pointer: that says nothing.
        let telling = |default: &Json| default.as_str().is_some_and(|text| !text.is_empty());
        if default(ours) != default(theirs).filter(telling) {
            found.push(format!("{name}.{field} has the default {:?}, upstream {:?}", default(ours), default(theirs)));
        }
        let ours = without_defaults(&ours["properties"][field]);
        let theirs = without_defaults(&theirs["properties"][field]);
        if structure(&ours) != structure(&theirs) {
            found.push(format!("{name}.{field} is {:?}, upstream {:?}", structure(&ours), structure(&theirs)));
        }
    }
}

/// Names of types that kube-apiserver does not have: our own, and metrics-server's.
const OWN: [&str; 2] = ["io.holdfast.", "io.k8s.metrics."];

fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| name.starts_with(own))
}

/// What upstream has, too.
fn published_groups() -> impl Iterator<Item = (&'static str, &'static str)> {
    openapi::groups().into_iter().filter(|(group, _)| !group.ends_with("holdfast.io") && *group != "metrics.k8s.io")
}

fn gvks(schema: &Json) -> BTreeSet<String> {
    let list = schema["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
    list.map(|gvk| format!("{}/{}/{}", gvk["group"], gvk["version"], gvk["kind"])).collect()
}

#[test]
fn definitions_of_v2_are_the_published_ones() {
    let Some(published) = reference("swagger.json") else { return };
    let ours = builtin().openapi_v2();
    let mut found = Vec::new();
    for (name, schema) in ours["definitions"].as_object().unwrap() {
        if is_own(name) {
            continue;
        }
        let Some(theirs) = published["definitions"].get(name) else {
            found.push(format!("{name} is not published"));
            continue;
        };
        differences(name, schema, theirs, &mut found);
        if !gvks(schema).is_subset(&gvks(theirs)) || gvks(schema).is_empty() != gvks(theirs).is_empty() {
            found.push(format!("{name} is {:?}, upstream {:?}", gvks(schema), gvks(theirs)));
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn components_of_v3_are_the_published_ones() {
    let mut found = Vec::new();
    for (group, version) in published_groups() {
        let file = openapi::path_of(group, version).replace('/', "__");
        let Some(published) = reference(&format!("openapi-v3/{file}_openapi.json")) else { return };
        let ours = builtin().openapi_v3(group, version);
        for (name, schema) in ours["components"]["schemas"].as_object().unwrap() {
            match published["components"]["schemas"].get(name) {
                Some(theirs) => differences(name, schema, theirs, &mut found),
                None => found.push(format!("{group}/{version}: {name} is not published")),
            }
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

/// Paths that Holdfast does not serve: the old ones of watches.
fn is_left_out(path: &str) -> bool {
    path.contains("/watch/")
}

fn parameters(item: &Json, operation: &Json) -> BTreeSet<String> {
    let lists = [&item["parameters"], &operation["parameters"]];
    let all = lists.into_iter().filter_map(Json::as_array).flatten();
    all.map(|p| format!("{} {} {}", p["in"], p["name"], p["schema"]["type"])).collect()
}

#[test]
fn paths_of_v3_are_the_published_ones() {
    let mut found = Vec::new();
    let plurals: BTreeSet<&str> = holdfast_kinds::all().iter().map(|kind| kind.plural).collect();
    for (group, version) in published_groups() {
        let file = openapi::path_of(group, version).replace('/', "__");
        let Some(published) = reference(&format!("openapi-v3/{file}_openapi.json")) else { return };
        let ours = builtin().openapi_v3(group, version);
        let (ours, theirs) = (ours["paths"].as_object().unwrap(), published["paths"].as_object().unwrap());
        for (path, item) in ours {
            let Some(their_item) = theirs.get(path) else {
                found.push(format!("{path} is not published"));
                continue;
            };
            for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                let their_operation = &their_item[method];
                for key in ["operationId", "tags", "x-kubernetes-action", "x-kubernetes-group-version-kind"] {
                    if operation[key] != their_operation[key] {
                        found.push(format!("{method} {path} {key}: {} {}", operation[key], their_operation[key]));
                    }
                }
                let (mine, other) = (parameters(item, operation), parameters(their_item, their_operation));
                let missing: Vec<_> = other.difference(&mine).filter(|p| !p.contains("shardSelector")).collect();
                let extra: Vec<_> = mine.difference(&other).collect();
                if !missing.is_empty() || !extra.is_empty() {
                    found.push(format!("{method} {path} parameters: missing {missing:?}, extra {extra:?}"));
                }
                let codes = |operation: &Json| -> Vec<String> {
                    let mut codes: Vec<_> = operation["responses"].as_object().unwrap().keys().cloned().collect();
                    codes.sort();
                    codes
                };
                if codes(operation) != codes(their_operation) {
                    found.push(format!("{method} {path}: {:?} {:?}", codes(operation), codes(their_operation)));
                }
                let schema = |operation: &Json| {
                    operation["responses"]["200"]["content"]["application/json"]["schema"].to_string()
                };
                if schema(operation) != schema(their_operation) {
                    found.push(format!("{method} {path}: {} {}", schema(operation), schema(their_operation)));
                }
            }
        }
        for (path, item) in theirs {
            let served = path.split('/').any(|part| plurals.contains(part)) && !is_left_out(path);
            let mut methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            if served && !ours.contains_key(path) {
                // Collections of other kinds stand below `namespaces` too.
                let of_another = path.contains("/namespaces/{namespace}/")
                    && !path.split('/').skip_while(|part| *part != "{namespace}").any(|part| plurals.contains(part));
                if !of_another {
                    found.push(format!("{path} is missing"));
                }
            } else if let Some(method) = methods.find(|method| served && ours[path].get(*method).is_none()) {
                found.push(format!("{method} {path} is missing"));
            }
        }
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

fn without_nulls(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            map.iter().filter(|(_, value)| !value.is_null()).map(|(k, v)| (k.clone(), without_nulls(v))).collect()
        }
        Json::Array(items) => items.iter().map(without_nulls).collect(),
        scalar => scalar.clone(),
    }
}

#[test]
fn full_objects_of_every_kind_decode_unchanged() {
    let mut compared = 0;
    for kind in holdfast_kinds::all().iter().filter(|kind| !is_own(kind.schema)) {
        // Upstream publishes samples of what its own server holds; these two come with other servers.
        if ["apiextensions.k8s.io", "apiregistration.k8s.io"].contains(&kind.group) {
            continue;
        }
        let group = if kind.group.is_empty() { "core" } else { kind.group };
        let Some(object) = reference(&format!("serialization/{group}.{}.{}.json", kind.version, kind.kind)) else {
            return;
        };
        let mut decoded = object.clone();
        let unknown = builtin().check(kind.schema, &mut decoded).unwrap();
        assert_eq!(unknown, Vec::<String>::new(), "{kind:?}");
        assert_eq!(decoded, object, "{kind:?}");
        let mut merged = object.clone();
        // Null in a patch would delete.
        builtin().strategic_merge(kind.schema, &mut merged, &without_nulls(&object)).unwrap();
        assert_eq!(merged, object, "{kind:?} merged with itself");
        compared += 1;
    }
    assert!(compared > 60, "only {compared} kinds were compared");
}

/// Upstream's documents show `{}` as the default of each struct that Go holds by value.
#[test]
fn structs_that_are_always_there_are_those_that_go_holds_by_value() {
    use holdfast_schema::apply::{Typing, Zero};
    let mut found = BTreeSet::new();
    for (group, version) in published_groups() {
        let file = openapi::path_of(group, version).replace('/', "__");
        let Some(published) = reference(&format!("openapi-v3/{file}_openapi.json")) else { return };
        for (name, theirs) in published["components"]["schemas"].as_object().unwrap() {
            let Some(place) = builtin().place(name) else { continue };
            let standing = |field: &str| place.standing().iter().find(|known| *known.name == *field);
            for (field, schema) in theirs["properties"].as_object().into_iter().flatten() {
                let is_struct = schema["default"] == serde_json::json!({}) && schema.get("allOf").is_some();
                let ours = standing(field).is_some_and(|known| known.value == Zero::Struct);
                if ours != is_struct {
                    found.insert(format!("{name}.{field} is always there: {ours}, upstream {is_struct}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
