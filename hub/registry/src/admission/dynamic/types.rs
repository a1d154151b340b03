//! Type checking of policies: what their expressions say of fields, held against the schemas of the kinds that they are about.
//! (`k8s.io/apiserver/pkg/admission/plugin/policy/validating/typechecking.go` is the reference.)
//!
//! It is done once a generation, when a policy is written; upstream's controller does it soon after. What it finds goes to the
//! status, and changes nothing of what the policy does. A kind that is defined only later was not there to be checked.

use super::expressions::{Documented, Scope, declarations_of_types};
use super::policy::{kind_of, text};
use crate::engine::Engine;
use holdfast_cel::{Declarations, ObjectTypes, Type, compile, display};
use holdfast_core::json::{at, i64_at, items_at, set, str_at};
use holdfast_core::{Gvk, Gvr, Json};
use holdfast_kinds::Kind;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Kinds that a policy is checked against, as upstream.
const MAX_KINDS: usize = 10;

/// Sets the status of a policy that validates to what its generation is found to be.
pub(crate) fn observe(engine: &Engine, kind: &Kind, doc: &mut Json) {
    if (kind.group, kind.kind) != (super::GROUP, "ValidatingAdmissionPolicy") {
        return;
    }
    let generation = i64_at(doc, &["metadata", "generation"]).unwrap_or_default();
    if i64_at(doc, &["status", "observedGeneration"]).is_some_and(|observed| observed >= generation) {
        return;
    }
    let warnings = check(engine, at(doc, &["spec"]).unwrap_or(&Json::Null));
    let found = if warnings.is_empty() { json!({}) } else { json!({ "expressionWarnings": warnings }) };
    set(doc, &["status", "observedGeneration"], generation);
    set(doc, &["status", "typeChecking"], found);
}

/// What is wrong with the expressions of a policy.
fn check(engine: &Engine, spec: &Json) -> Vec<Json> {
    let params = at(spec, &["paramKind"]).map(|kind| Gvk::new(&text(kind, "apiVersion"), &text(kind, "kind")));
    let scope = Scope { params: params.is_some(), authorizer: true };
    let params = params.and_then(|gvk| kind_of(engine, &gvk));
    let variables = items_at(spec, &["variables"]);
    let kinds: Vec<(Gvk, Arc<Declarations>)> = kinds(engine, spec)
        .into_iter()
        .map(|(gvk, kind)| {
            let mut types = ObjectTypes::default();
            let object = declare(engine, kind, "object", &mut types);
            let params = params.map_or(Type::Dyn, |kind| declare(engine, kind, "params", &mut types));
            let documented = Documented { object, params, types: Arc::new(types) };
            (gvk, declarations_of_types(scope, variables, &documented))
        })
        .collect();
    let mut warnings = Vec::new();
    for (index, validation) in items_at(spec, &["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let Some(source) = str_at(validation, &[field]).filter(|source| !source.is_empty()) else { continue };
            let wrong = kinds.iter().filter_map(|(gvk, declarations)| {
                let issues = compile(declarations, source).err()?;
                let Gvk { group, version, kind } = gvk;
                Some(format!("{group}/{version}, Kind={kind}: {}\n", display(&issues)))
            });
            let wrong: Vec<String> = wrong.collect();
            if !wrong.is_empty() {
                let place = format!("spec.validations[{index}].{field}");
                warnings.push(json!({ "fieldRef": place, "warning": wrong.join("\n") }));
            }
        }
    }
    warnings
}

/// The kinds that the rules name, without those that they mean by a star; by group, version and kind.
fn kinds(engine: &Engine, spec: &Json) -> BTreeMap<Gvk, &'static Kind> {
    let mut found = BTreeMap::new();
    for rule in items_at(spec, &["matchConstraints", "resourceRules"]) {
        let (groups, versions) = (sorted(rule, "apiGroups"), sorted(rule, "apiVersions"));
        if [&groups, &versions].iter().any(|list| list.iter().any(|name| name.contains('*'))) {
            continue;
        }
        let resources: Vec<&str> =
            sorted(rule, "resources").into_iter().filter(|name| !name.contains(['*', '/'])).collect();
        let mut count = 0;
        for group in &groups {
            for version in &versions {
                for resource in &resources {
                    let gvr = Gvr::new(group, version, resource);
                    let Some((kind, _)) = engine.find_kind(&gvr) else { continue };
                    found.insert(kind.gvk(), kind);
                    count += 1;
                    if count == MAX_KINDS {
                        return found;
                    }
                }
            }
        }
    }
    found
}

fn sorted<'r>(rule: &'r Json, field: &str) -> Vec<&'r str> {
    let mut names: Vec<&str> = items_at(rule, &[field]).iter().filter_map(Json::as_str).collect();
    names.sort_unstable();
    names
}

/// The type of a kind's documents; `name` is what those of a custom kind are called.
fn declare(engine: &Engine, kind: &Kind, name: &str, types: &mut ObjectTypes) -> Type {
    match kind.custom.and_then(|_| engine.customs.by_gvr(&kind.gvr())) {
        Some(custom) => custom.schema.declare(name, types),
        None => engine.schema.declare(kind.schema, types),
    }
}
