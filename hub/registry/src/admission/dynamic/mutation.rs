//! MutatingAdmissionPolicies: changes that expressions make of what is written, put to use by their bindings. They come before
//! mutating webhooks.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>, and
//! `k8s.io/apiserver/pkg/admission/plugin/policy/mutating` for order and texts.)

use super::expressions::{Compiled, Evaluation, Input, Yields, declarations_of_mutations};
use super::policy::{Basis, Binding, Documents, kind_of, parameters, shown, text};
use super::{Asked, NULL};
use crate::generic::decode::Typed;
use holdfast_core::json::{items_at, set, str_at};
use holdfast_core::{Json, Reason, Status};
use holdfast_kinds::Kind;
use holdfast_schema::apply::{self, Structure, Typing};
use holdfast_schema::strict_texts;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A policy that mutates, compiled.
#[derive(Debug)]
pub(super) struct Mutations {
    pub(super) basis: Basis,
    mutations: Vec<Mutation>,
    /// Whether it wants to hear of what others changed after it.
    reinvoked: bool,
}

#[derive(Debug)]
enum Mutation {
    /// An object that is applied, without an owner.
    Apply(Compiled),
    /// A JSON patch.
    Patch(Compiled),
}

impl Mutations {
    pub(super) fn read(name: &str, spec: &Json) -> Mutations {
        let basis = Basis::read(name, spec);
        let declared = declarations_of_mutations(basis.scope, &basis.variables);
        let mutation = |mutation: &Json| {
            let source = |field: &str| str_at(mutation, &[field, "expression"]).unwrap_or_default().trim();
            match str_at(mutation, &["patchType"])? {
                "ApplyConfiguration" => {
                    let source = source("applyConfiguration");
                    Some(Mutation::Apply(Compiled::new(&declared, source, Yields::Configuration)))
                }
                "JSONPatch" => Some(Mutation::Patch(Compiled::new(&declared, source("jsonPatch"), Yields::Patches))),
                _ => None,
            }
        };
        Mutations {
            mutations: items_at(spec, &["mutations"]).iter().filter_map(mutation).collect(),
            reinvoked: text(spec, "reinvocationPolicy") == "IfNeeded",
            basis,
        }
    }
}

/// Policies with their bindings.
pub(super) type Bound = [(Arc<Mutations>, Vec<Arc<Binding>>)];

/// A policy that is about a request, by one of its bindings and with one of that one's parameters.
struct Invocation<'p> {
    policy: &'p Mutations,
    binding: &'p Binding,
    kind: &'static Kind,
    params: Json,
}

/// Names of a policy, of its binding, and of the namespace and name of the parameter.
type Key = [String; 4];

impl Invocation<'_> {
    fn key(&self) -> Key {
        let of = |field: &str| str_at(&self.params, &["metadata", field]).unwrap_or_default().to_string();
        [self.policy.basis.name.clone(), self.binding.name.clone(), of("namespace"), of("name")]
    }
}

/// Who has to be asked again.
#[derive(Default)]
pub(super) struct Rounds {
    earlier: BTreeSet<Key>,
    again: BTreeSet<Key>,
    /// What the first round left; `None` before it.
    left: Option<Json>,
}

impl Rounds {
    fn changed(&mut self) {
        self.again.append(&mut self.earlier);
    }
}

/// What a policy could not do. Only under `failurePolicy: Fail` it counts.
struct Failures {
    refusal: Option<Status>,
}

impl Failures {
    /// The first is the answer; the others are among its causes.
    fn add(&mut self, policy: &Mutations, binding: Option<&Binding>, reason: Reason, why: &str) {
        let Basis { name, fails, .. } = &policy.basis;
        if !fails {
            return;
        }
        let message = match binding {
            Some(binding) => format!("policy '{name}' with binding '{}' denied request: {why}", binding.name),
            None => format!("policy {name:?} denied request: {why}"),
        };
        let status = self.refusal.take().unwrap_or_else(|| Status::failure(403, reason, message.clone()));
        self.refusal = Some(status.with_cause("", message));
    }
}

/// One round of all policies that are about a request; in the second one, of those that want it. Returns whether the
/// document changed.
///
/// # Errors
/// 403 when a policy that must not fail does.
pub(super) async fn round(
    policies: &Bound,
    asked: &Asked<'_>,
    doc: &mut Json,
    old: Option<&Json>,
    rounds: &mut Rounds,
) -> Result<bool, Status> {
    if policies.is_empty() {
        return Ok(false);
    }
    let second = rounds.left.as_ref().map(|left| *left != *doc);
    if second == Some(true) {
        rounds.changed();
    }
    let mut failures = Failures { refusal: None };
    let mut changed = false;
    for invocation in invocations(policies, asked, doc, old, &mut failures).await? {
        let key = invocation.key();
        if second.is_some() && !rounds.again.contains(&key) {
            continue;
        }
        let Some(made) = invoke(&invocation, asked, doc, old, &mut failures).await? else { continue };
        if made != *doc {
            *doc = made;
            changed = true;
            rounds.changed();
        }
        if invocation.policy.reinvoked {
            rounds.earlier.insert(key);
        }
    }
    rounds.left = Some(doc.clone());
    failures.refusal.map_or(Ok(changed), Err)
}

/// Which policies a request is about, before any of them changes it.
async fn invocations<'p>(
    policies: &'p Bound,
    asked: &Asked<'_>,
    doc: &Json,
    old: Option<&Json>,
    failures: &mut Failures,
) -> Result<Vec<Invocation<'p>>, Status> {
    let mut found = Vec::new();
    for (policy, bindings) in policies {
        let basis = &policy.basis;
        let kind = match basis.criteria.matches(asked, Some(doc), old).await {
            Ok(Some(kind)) => kind,
            Ok(None) => continue,
            Err(status) => {
                let why = format!("failed to configure policy: {}", status.message());
                failures.add(policy, None, Reason::Forbidden, &why);
                continue;
            }
        };
        let params_kind = match &basis.param_kind {
            None => None,
            Some(gvk) => match kind_of(asked.engine, gvk) {
                Some(kind) => Some(kind),
                None => {
                    let why =
                        format!("failed to configure policy: failed to find resource referenced by paramKind: '{gvk}'");
                    failures.add(policy, None, Reason::Forbidden, &why);
                    continue;
                }
            },
        };
        for binding in bindings {
            let of_binding = async {
                if let Some(criteria) = &binding.criteria
                    && !criteria.narrows(asked, Some(doc), old).await?
                {
                    return Ok(Ok(Vec::new()));
                }
                parameters(asked, params_kind, binding.params.as_ref()).await
            };
            let why = match of_binding.await {
                Ok(Ok(params)) => {
                    found.extend(params.into_iter().map(|params| Invocation { policy, binding, kind, params }));
                    continue;
                }
                Ok(Err(why)) => why,
                Err(status) => Status::message(&status).to_string(),
            };
            let why = format!("failed to configure binding: {why}");
            failures.add(policy, Some(binding), Reason::Forbidden, &why);
        }
    }
    Ok(found)
}

/// What one policy makes of a document; `None` when its conditions do not hold, or have no value.
async fn invoke(
    invocation: &Invocation<'_>,
    asked: &Asked<'_>,
    doc: &Json,
    old: Option<&Json>,
    failures: &mut Failures,
) -> Result<Option<Json>, Status> {
    let Invocation { policy, binding, kind, params } = invocation;
    let kind: &'static Kind = kind;
    let namespace = if asked.is_namespace() { None } else { asked.namespace_object().await? };
    let mut documents = shown(asked, kind, Some(doc), old, namespace).await?;
    if !policy.basis.conditions.is_empty() {
        // Conditions see no namespace.
        let input = Input { namespace: &NULL, ..documents.input(params, asked) };
        match policy.basis.conditions.hold(input) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(why) => {
                failures.add(policy, Some(binding), Reason::Invalid, &why);
                return Ok(None);
            }
        }
    }
    let mut made = doc.clone();
    for mutation in &policy.mutations {
        let outcome = match mutated(policy, mutation, &documents, params, kind, asked) {
            Ok(object) if object == documents.object => continue,
            Ok(object) => asked.taken(kind, object).await.map_err(|status| status.message().to_string()),
            Err(why) => Err(why),
        };
        match outcome {
            Ok(doc) => {
                documents.object = asked.shown(kind, Some(&doc)).await?;
                made = doc;
            }
            Err(why) => failures.add(policy, Some(binding), Reason::Invalid, &why),
        }
    }
    Ok(Some(made))
}

/// The object after one mutation.
///
/// # Errors
/// Why there is none.
fn mutated(
    policy: &Mutations,
    mutation: &Mutation,
    documents: &Documents,
    params: &Json,
    kind: &'static Kind,
    asked: &Asked<'_>,
) -> Result<Json, String> {
    let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
    let mut evaluation = Evaluation::new(documents.input(params, asked), &policy.basis.variables);
    let value = evaluation.evaluate(expression).map_err(|failure| failure.to_string())?;
    // This bounds what comes after it.
    let json = value.to_json().map_err(|err| err.to_string())?;
    value.check_names().map_err(|why| format!("type mismatch: {why}"))?;
    match mutation {
        Mutation::Apply(_) => applied(&documents.object, json, kind, asked),
        Mutation::Patch(_) => patched(&documents.object, &json, kind, asked),
    }
}

/// The schema of the document of a request.
fn with_schema<T>(kind: &'static Kind, asked: &Asked<'_>, with: impl FnOnce(Option<Typed<'_>>) -> T) -> T {
    if !asked.is_own() {
        let part = kind.subresource(asked.subresource).map_or("", |part| part.kind);
        return with((part == "Scale").then_some(Typed::BuiltIn("io.k8s.api.autoscaling.v1.Scale")));
    }
    match kind.custom.and_then(|_| asked.engine.customs.by_gvr(&kind.gvr())) {
        Some(custom) => with(Some(Typed::Custom(&custom))),
        None => with(Some(Typed::BuiltIn(kind.schema))),
    }
}

fn applied(object: &Json, mut config: Json, kind: &'static Kind, asked: &Asked<'_>) -> Result<Json, String> {
    for field in ["apiVersion", "kind"] {
        set(&mut config, &[field], object.get(field).cloned().unwrap_or_default());
    }
    with_schema(kind, asked, |typed| {
        let place = typed.and_then(|typed| typed.place(asked.engine)).ok_or_else(|| {
            let late =
                "There can be a delay between when CustomResourceDefinitions are created and when they are available.";
            format!("Resource kind {} not found. {late}", asked.gvk(kind))
        })?;
        apply::check(&place, &config, false)
            .map_err(|why| format!("error applying patch: failed to convert patch object to typed object: {why}"))?;
        let mut found = Vec::new();
        atomics(&place, &config, String::new(), &mut found);
        if !found.is_empty() {
            let found = found.join(", ");
            return Err(format!(
                "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {found}"
            ));
        }
        apply::merge(&place, object, &config)
            .map_err(|why| format!("error applying patch: failed to merge patch: {why}"))
    })
}

/// The paths of what is one value: to set a part of it would drop the others.
fn atomics<T: Typing>(place: &T, value: &Json, path: String, found: &mut Vec<String>) {
    let structure = place.structure(Some(value));
    if matches!(structure, Structure::AtomicList | Structure::AtomicMap) && (value.is_array() || value.is_object()) {
        found.push(path.clone());
    }
    match value {
        Json::Object(map) => {
            for (key, value) in map {
                if let Some(below) = place.below(key).filter(|below| below.is_field) {
                    atomics(&below.place, value, format!("{path}.{key}"), found);
                }
            }
        }
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                atomics(&place.element(), item, format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

fn patched(object: &Json, patch: &Json, kind: &'static Kind, asked: &Asked<'_>) -> Result<Json, String> {
    let operations = patch.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut made = object.clone();
    for run in operations.chunk_by(|one, two| !is_test(one) && !is_test(two)) {
        match run {
            // A test that fails leaves everything as it was.
            [test] if is_test(test) => {
                let found = str_at(test, &["path"]).and_then(|path| made.pointer(path)).unwrap_or(&NULL);
                if found != test.get("value").unwrap_or(&NULL) {
                    return Ok(object.clone());
                }
            }
            run => {
                let run = Json::Array(run.to_vec());
                holdfast_schema::json_patch(&mut made, &run)
                    .map_err(|status| format!("JSON Patch: {}", status.message()))?;
            }
        }
    }
    if !made.is_object() {
        return Err("JSON Patch: it leaves no object".into());
    }
    if asked.is_own() && kind.custom.is_none() {
        let mut checked = made.clone();
        let unknown = Typed::BuiltIn(kind.schema)
            .drop_unknown(asked.engine, &mut checked)
            .map_err(|status| status.message().to_string())?;
        if !unknown.is_empty() {
            return Err(format!("strict decoding error: {}", strict_texts(&unknown, &[]).join(", ")));
        }
    }
    Ok(made)
}

fn is_test(operation: &Json) -> bool {
    str_at(operation, &["op"]) == Some("test")
}
