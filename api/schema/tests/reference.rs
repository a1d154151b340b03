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

/// All that a schema says but for descriptions, which are our own, and the kinds that it is of, which are compared apart.
fn plain(schema: &Json) -> Json {
    let Some(map) = schema.as_object() else { return schema.clone() };
    let mut out = BTreeMap::new();
    for (key, value) in map {
        let value = match key.as_str() {
            "description" | "x-kubernetes-group-version-kind" => continue,
            "properties" => {
                let fields = value.as_object().unwrap().iter().map(|(name, field)| (name.clone(), plain(field)));
                fields.collect::<BTreeMap<_, _>>().into_iter().collect()
            }
            "items" | "additionalProperties" => plain(value),
            "allOf" | "oneOf" => value.as_array().unwrap().iter().map(plain).collect(),
            "required" => {
                let mut names: Vec<&str> = value.as_array().unwrap().iter().filter_map(Json::as_str).collect();
                names.sort_unstable();
                names.into()
            }
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    out.into_iter().collect()
}

/// Every difference of a type of ours from the published one.
fn differences(name: &str, ours: &Json, theirs: &Json, found: &mut Vec<String>) {
    let (mut ours, mut theirs) = (plain(ours), plain(theirs));
    if ours == theirs {
        return;
    }
    let take = |schema: &mut Json| schema.as_object_mut().unwrap().shift_remove("properties").unwrap_or_default();
    let (our_fields, their_fields) = (take(&mut ours), take(&mut theirs));
    if ours != theirs {
        found.push(format!("{name} is {ours}, upstream {theirs}"));
    }
    let names =
        |fields: &Json| fields.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    let all: BTreeSet<String> = names(&our_fields).into_iter().chain(names(&their_fields)).collect();
    for field in all {
        let (ours, theirs) = (&our_fields[&field], &their_fields[&field]);
        if ours != theirs {
            found.push(format!("{name}.{field} is {ours}, upstream {theirs}"));
        }
    }
}

/// Names of types that kube-apiserver does not have: our own, and metrics-server's.
const OWN: [&str; 2] = ["io.holdfast.", "io.k8s.metrics."];

/// Paths of what kube-apiserver does not serve.
const OWN_PATHS: [&str; 2] = ["holdfast.io/", "/metrics.k8s.io/"];

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

/// Sorted, without descriptions, and without CBOR, which is not built.
fn canonical(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let kept = map.iter().filter(|(key, _)| *key != "description" && !key.contains("cbor"));
            kept.map(|(key, value)| (key.clone(), canonical(value))).collect::<BTreeMap<_, _>>().into_iter().collect()
        }
        Json::Array(items) => {
            let mut items: Vec<Json> = items.iter().map(canonical).collect();
            items.retain(|item| !item.as_str().is_some_and(|text| text.contains("cbor")));
            items.sort_by_key(Json::to_string);
            items.into()
        }
        scalar => scalar.clone(),
    }
}

/// All that an operation says, with the parameters of its path, resolved.
fn signature(document: &Json, item: &Json, operation: &Json) -> BTreeMap<String, Json> {
    let lists = [&item["parameters"], &operation["parameters"]].into_iter().filter_map(Json::as_array).flatten();
    let resolved = lists.map(|parameter| match parameter["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => parameter,
    });
    // Lists and watches of a part of the objects, by their hash, are not built.
    let parameters: Vec<Json> = resolved.filter(|parameter| parameter["name"] != "shardSelector").cloned().collect();
    let mut all: BTreeMap<String, Json> =
        canonical(operation).as_object().unwrap().iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    all.insert("parameters".into(), canonical(&parameters.into()));
    all
}

fn compare_paths(ours: &Json, theirs: &Json, found: &mut Vec<String>) {
    let plurals: BTreeSet<&str> = holdfast_kinds::all().iter().map(|kind| kind.plural).collect();
    let (our_paths, their_paths) = (ours["paths"].as_object().unwrap(), theirs["paths"].as_object().unwrap());
    for (path, item) in our_paths.iter().filter(|(path, _)| !OWN_PATHS.iter().any(|own| path.contains(own))) {
        let Some(their_item) = their_paths.get(path) else {
            found.push(format!("{path} is not published"));
            continue;
        };
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let Some(their_operation) = their_item.get(method) else {
                found.push(format!("{method} {path} is not published"));
                continue;
            };
            let mut mine = signature(ours, item, operation);
            let mut other = signature(theirs, their_item, their_operation);
            let keys: BTreeSet<String> = mine.keys().chain(other.keys()).cloned().collect();
            for key in keys {
                let (mine, other) = (mine.remove(&key).unwrap_or_default(), other.remove(&key).unwrap_or_default());
                if mine != other {
                    found.push(format!("{method} {path} {key}:\n  {mine}\n  {other}"));
                }
            }
        }
    }
    for (path, item) in their_paths {
        let served = path.split('/').any(|part| plurals.contains(part));
        let mut methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        if served && !our_paths.contains_key(path) {
            // Collections of other kinds stand below `namespaces` too.
            let of_another = path.contains("/namespaces/{namespace}/")
                && !path.split('/').skip_while(|part| *part != "{namespace}").any(|part| plurals.contains(part));
            if !of_another {
                found.push(format!("{path} is missing"));
            }
        } else if let Some(method) = methods.find(|method| served && our_paths[path].get(*method).is_none()) {
            found.push(format!("{method} {path} is missing"));
        }
    }
}

#[test]
fn paths_of_v3_are_the_published_ones() {
    let mut found = Vec::new();
    for (group, version) in published_groups() {
        let file = openapi::path_of(group, version).replace('/', "__");
        let Some(published) = reference(&format!("openapi-v3/{file}_openapi.json")) else { return };
        compare_paths(&builtin().openapi_v3(group, version), &published, &mut found);
    }
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}

#[test]
fn paths_of_v2_are_the_published_ones() {
    let Some(mut published) = reference("swagger.json") else { return };
    // What is published also has the versions that are served only when somebody asks for them.
    let served: Vec<String> =
        published_groups().map(|(group, version)| format!("/{}/", openapi::path_of(group, version))).collect();
    published["paths"].as_object_mut().unwrap().retain(|path, _| served.iter().any(|group| path.starts_with(group)));
    let mut found = Vec::new();
    compare_paths(&builtin().openapi_v2(), &published, &mut found);
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

/// Upstream's documents show `{}` as the default of each struct that Go holds by value; the zero values of what else is always
/// written are compared with the types.
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
