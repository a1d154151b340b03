//! ValidatingAdmissionPolicies: rules in expressions, put to use by their bindings.
//! (<https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>, and
//! `k8s.io/apiserver/pkg/admission/plugin/policy/validating` for order and texts.)

use super::expressions::{
    Compiled, Conditions, Evaluation, Failure, Input, Scope, Variable, Yields, declarations, variables,
};
use super::rules::Criteria;
use super::{Asked, NULL};
use crate::engine::{Engine, decode, store_error};
use crate::generic::view;
use crate::keys;
use holdfast_cel::Value;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Gvk, Json, LabelSelector, Object, Reason, Status};
use holdfast_kinds::Kind;
use holdfast_store::RangeRequest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest text of a `messageExpression`, as upstream.
const MESSAGE_BYTES: usize = 5 << 10;
/// Longest value of an audit annotation, as upstream.
const ANNOTATION_BYTES: usize = 10 << 10;
/// Failures of validations that the audit log is told of at most, as upstream.
const AUDITED_FAILURES: usize = 50;

/// What policies of both sorts have.
#[derive(Debug)]
pub(super) struct Basis {
    pub(super) name: String,
    pub(super) param_kind: Option<Gvk>,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    /// Whether a request fails when the policy cannot be put to use.
    pub(super) fails: bool,
    pub(super) variables: Vec<Variable>,
    /// What expressions may name beside the variables.
    pub(super) scope: Scope,
}

/// A policy, compiled.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) basis: Basis,
    validations: Vec<Validation>,
    annotations: Vec<(String, Compiled)>,
}

#[derive(Debug)]
struct Validation {
    expression: Compiled,
    message: String,
    message_expression: Option<Compiled>,
    reason: Reason,
}

/// A binding, read.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) params: Option<ParamRef>,
    pub(super) criteria: Option<Criteria>,
    /// What one of a policy that validates wants done.
    actions: Vec<Action>,
}

/// What a binding wants done with what fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Deny,
    Warn,
    Audit,
}

impl Action {
    const ALL: [(&'static str, Action); 3] = [("Deny", Action::Deny), ("Warn", Action::Warn), ("Audit", Action::Audit)];

    fn parse(text: &str) -> Option<Action> {
        Action::ALL.into_iter().find(|(name, _)| *name == text).map(|(_, action)| action)
    }

    fn as_str(self) -> &'static str {
        Action::ALL.into_iter().find(|(_, action)| *action == self).map_or("", |(name, _)| name)
    }
}

#[derive(Debug)]
pub(super) struct ParamRef {
    name: String,
    namespace: String,
    selector: Option<LabelSelector>,
    /// Whether a request fails when there are none.
    required: bool,
}

pub(super) fn text(of: &Json, field: &str) -> String {
    str_at(of, &[field]).unwrap_or_default().to_string()
}

impl Basis {
    pub(super) fn read(name: &str, spec: &Json) -> Basis {
        let param_kind = at(spec, &["paramKind"]).map(|kind| Gvk::new(&text(kind, "apiVersion"), &text(kind, "kind")));
        let scope = Scope { params: param_kind.is_some(), authorizer: true };
        Basis {
            name: name.to_string(),
            criteria: Criteria::read(at(spec, &["matchConstraints"]).unwrap_or(&NULL), "resourceRules"),
            conditions: Conditions::new(spec, scope),
            fails: text(spec, "failurePolicy") != "Ignore",
            // What does not compile was refused when it was written, or fails whoever needs it.
            variables: variables(items_at(spec, &["variables"]), scope, |_, _| {}),
            param_kind,
            scope,
        }
    }
}

impl Policy {
    pub(super) fn read(name: &str, spec: &Json) -> Policy {
        let basis = Basis::read(name, spec);
        let declared = declarations(basis.scope, &basis.variables);
        let of_messages = declarations(Scope { authorizer: false, ..basis.scope }, &basis.variables);
        let validation = |validation: &Json| Validation {
            expression: Compiled::new(&declared, &text(validation, "expression"), Yields::Bool),
            message: text(validation, "message").trim().to_string(),
            message_expression: Some(text(validation, "messageExpression"))
                .filter(|source| !source.trim().is_empty())
                .map(|source| Compiled::new(&of_messages, &source, Yields::String)),
            reason: Reason::from(str_at(validation, &["reason"]).unwrap_or("Invalid").to_string()),
        };
        let annotation = |annotation: &Json| {
            let source = text(annotation, "valueExpression");
            (text(annotation, "key"), Compiled::new(&declared, source.trim(), Yields::StringOrNull))
        };
        Policy {
            validations: items_at(spec, &["validations"]).iter().map(validation).collect(),
            annotations: items_at(spec, &["auditAnnotations"]).iter().map(annotation).collect(),
            basis,
        }
    }
}

impl Binding {
    pub(super) fn read(name: &str, spec: &Json) -> Binding {
        let actions = items_at(spec, &["validationActions"]).iter().filter_map(Json::as_str).filter_map(Action::parse);
        let params = at(spec, &["paramRef"]).map(|of| ParamRef {
            name: text(of, "name"),
            namespace: text(of, "namespace"),
            selector: of.get("selector").map(|spec| LabelSelector::from_spec(spec).unwrap_or_default()),
            required: text(of, "parameterNotFoundAction") == "Deny",
        });
        Binding {
            name: name.to_string(),
            policy: text(spec, "policyName"),
            criteria: at(spec, &["matchResources"]).map(|matches| Criteria::read(matches, "resourceRules")),
            params,
            actions: actions.collect(),
        }
    }
}

/// Why a policy says no.
#[derive(Clone, Debug, PartialEq)]
struct Denial {
    message: String,
    reason: Reason,
    /// The number of the validation.
    index: usize,
}

impl Denial {
    fn error(message: impl Into<String>) -> Denial {
        Denial { message: message.into(), reason: Reason::Invalid, index: 0 }
    }
}

/// What the expressions of a policy say.
#[derive(Default)]
struct Verdict {
    denials: Vec<Denial>,
    /// Annotations of the audit log, by their keys.
    annotations: Vec<(String, String)>,
    /// Annotations without a value deny whatever the binding's actions are.
    broken: Vec<Denial>,
}

/// The documents of a request, for one policy.
pub(super) struct Documents {
    pub(super) object: Json,
    pub(super) old: Json,
    pub(super) request: Json,
    pub(super) namespace: Json,
}

impl Documents {
    /// What expressions are evaluated on.
    pub(super) fn input<'d>(&'d self, params: &'d Json, asked: &'d Asked<'_>) -> Input<'d> {
        let Documents { object, old, request, namespace } = self;
        Input { object, old, request, namespace, params, asker: asked.asker.as_ref() }
    }
}

/// The annotation of the audit log that says which validations failed under bindings that audit
/// (<https://kubernetes.io/docs/reference/labels-annotations-taints/audit-annotations/>).
const AUDITED: &str = "validation.policy.admission.k8s.io/validation_failure";

/// Judges a request by all policies. The first that denies is told of; all warn and audit.
pub(super) async fn judge(
    policies: &[(Arc<Policy>, Vec<Arc<Binding>>)],
    asked: &Asked<'_>,
    object: Option<&Json>,
    old: Option<&Json>,
) -> Result<(), Status> {
    let mut refusal = None;
    let mut audited = Vec::new();
    for (policy, bindings) in policies {
        let kind = match policy.basis.criteria.matches(asked, object, old).await {
            Ok(Some(kind)) => kind,
            Ok(None) => continue,
            Err(status) => {
                misconfigured(&mut refusal, asked, policy, None, status.message());
                continue;
            }
        };
        let params = match &policy.basis.param_kind {
            None => None,
            Some(gvk) => match kind_of(asked.engine, gvk) {
                Some(kind) => Some(kind),
                None => {
                    let why = format!("failed to find resource referenced by paramKind: '{gvk}'");
                    misconfigured(&mut refusal, asked, policy, None, &why);
                    continue;
                }
            },
        };
        let mut documents = None;
        let mut annotations = Annotations::default();
        for binding in bindings {
            let of_binding = async {
                if let Some(criteria) = &binding.criteria
                    && !criteria.narrows(asked, object, old).await?
                {
                    return Ok(None);
                }
                parameters(asked, params, binding.params.as_ref()).await.map(Some)
            };
            let params = match of_binding.await {
                Ok(None) => continue,
                Ok(Some(Err(why))) => {
                    misconfigured(&mut refusal, asked, policy, Some(binding), &why);
                    continue;
                }
                Ok(Some(Ok(params))) => params,
                Err(status) => {
                    misconfigured(&mut refusal, asked, policy, Some(binding), Status::message(&status));
                    continue;
                }
            };
            if documents.is_none() && !params.is_empty() {
                let namespace = if asked.is_namespace() { None } else { asked.namespace_object().await? };
                match shown(asked, kind, object, old, namespace).await {
                    Ok(shown) => documents = Some(shown),
                    Err(status) => {
                        let why = format!("failed to convert object version: {}", status.message());
                        misconfigured(&mut refusal, asked, policy, Some(binding), &why);
                        continue;
                    }
                }
            }
            let Some(documents) = &documents else { continue };
            for param in &params {
                let mut verdict = policy.judge(documents, param, asked);
                annotations.take(&mut verdict);
                enforce(&mut refusal, &mut audited, asked, policy, binding, verdict);
            }
        }
        annotations.publish(asked, &policy.basis.name);
    }
    audited.truncate(AUDITED_FAILURES);
    if !audited.is_empty() {
        asked.cx.annotate(AUDITED, &Json::Array(audited).to_string());
    }
    refusal.map_or(Ok(()), Err)
}

/// What the bindings of a policy, with all their parameters, add to the audit log.
#[derive(Default)]
struct Annotations(BTreeMap<String, Vec<String>>);

impl Annotations {
    /// What differs between parameters is told of each.
    fn take(&mut self, verdict: &mut Verdict) {
        for (key, mut value) in verdict.annotations.drain(..) {
            value.truncate(value.floor_char_boundary(ANNOTATION_BYTES));
            let values = self.0.entry(key).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    fn publish(self, asked: &Asked<'_>, policy: &str) {
        for (key, values) in self.0 {
            asked.cx.annotate(&format!("{policy}/{key}"), &values.join(", "));
        }
    }
}

pub(super) async fn shown(
    asked: &Asked<'_>,
    kind: &'static Kind,
    object: Option<&Json>,
    old: Option<&Json>,
    namespace: Option<&Arc<Object>>,
) -> Result<Documents, Status> {
    Ok(Documents {
        object: asked.shown(kind, object).await?,
        old: asked.shown(kind, old).await?,
        request: asked.request(kind),
        namespace: namespace.map_or(Json::Null, |namespace| namespace.to_json()),
    })
}

/// The first denial is the answer.
fn deny(refusal: &mut Option<Status>, asked: &Asked<'_>, by: &str, denial: Denial) {
    let code = match denial.reason {
        Reason::Forbidden => 403,
        Reason::Unauthorized => 401,
        Reason::RequestEntityTooLarge => 413,
        _ => 422,
    };
    let text = format!("{by} denied request: {}", denial.message);
    refusal.get_or_insert_with(|| Status::refused(code, denial.reason, asked.resource.gvr, &asked.name, text));
}

fn by(policy: &Policy, binding: Option<&Binding>) -> String {
    match binding {
        Some(binding) => format!("ValidatingAdmissionPolicy '{}' with binding '{}'", policy.basis.name, binding.name),
        None => format!("ValidatingAdmissionPolicy '{}'", policy.basis.name),
    }
}

/// What cannot be put to use fails the request, unless the policy says that failures are nothing.
fn misconfigured(
    refusal: &mut Option<Status>,
    asked: &Asked<'_>,
    policy: &Policy,
    binding: Option<&Binding>,
    why: &str,
) {
    if policy.basis.fails {
        let what = if binding.is_some() { "binding" } else { "policy" };
        deny(refusal, asked, &by(policy, binding), Denial::error(format!("failed to configure {what}: {why}")));
    }
}

/// Does what a binding wants done with a verdict.
fn enforce(
    refusal: &mut Option<Status>,
    audited: &mut Vec<Json>,
    asked: &Asked<'_>,
    policy: &Policy,
    binding: &Binding,
    verdict: Verdict,
) {
    let actions: Vec<&str> = binding.actions.iter().map(|action| action.as_str()).collect();
    for denial in verdict.denials {
        for action in &binding.actions {
            match action {
                Action::Audit => audited.push(serde_json::json!({
                    "message": denial.message,
                    "policy": policy.basis.name,
                    "binding": binding.name,
                    "expressionIndex": denial.index,
                    "validationActions": actions,
                })),
                Action::Warn => {
                    let (policy, binding) = (&policy.basis.name, &binding.name);
                    asked.cx.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {}",
                        denial.message
                    ));
                }
                Action::Deny => deny(refusal, asked, &by(policy, Some(binding)), denial.clone()),
            }
        }
    }
    for denial in verdict.broken {
        deny(refusal, asked, &by(policy, Some(binding)), denial);
    }
}

impl Policy {
    fn judge(&self, documents: &Documents, params: &Json, asked: &Asked<'_>) -> Verdict {
        let input = documents.input(params, asked);
        let mut verdict = Verdict::default();
        let error = |message: String| self.basis.fails.then(|| Denial::error(message));
        if !self.basis.conditions.is_empty() {
            // Conditions see no namespace.
            match self.basis.conditions.hold(Input { namespace: &NULL, ..input }) {
                Ok(true) => {}
                Ok(false) => return verdict,
                Err(why) => {
                    verdict.denials.extend(error(why));
                    return verdict;
                }
            }
        }
        let mut evaluation = Evaluation::new(input, &self.basis.variables);
        for (index, validation) in self.validations.iter().enumerate() {
            match evaluation.evaluate(&validation.expression) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => {
                    let message = message(validation, &mut evaluation);
                    verdict.denials.push(Denial { message, reason: validation.reason.clone(), index });
                }
                Err(failure @ Failure::Expression(_)) => {
                    verdict.denials.extend(error(failure.to_string()).map(|denial| Denial { index, ..denial }));
                }
                Err(failure @ Failure::OutOfBudget) => {
                    // Nothing that was found before counts, as upstream has it.
                    verdict.denials = error(failure.to_string()).into_iter().collect();
                    return verdict;
                }
            }
        }
        evaluation.renew_budget();
        for (key, expression) in &self.annotations {
            match evaluation.evaluate(expression) {
                Ok(Value::String(value)) if !value.trim().is_empty() => {
                    verdict.annotations.push((key.clone(), value.trim().to_string()));
                }
                Ok(_) => {}
                Err(failure) => verdict.broken.extend(error(failure.to_string())),
            }
        }
        verdict
    }
}

/// What is told of a validation that failed.
fn message<'a>(validation: &'a Validation, evaluation: &mut Evaluation<'a>) -> String {
    let made = validation.message_expression.as_ref().and_then(|expression| match evaluation.evaluate(expression) {
        Ok(Value::String(text)) => {
            Some(text.trim().to_string()).filter(|text| text.len() <= MESSAGE_BYTES && !text.contains('\n'))
        }
        _ => None,
    });
    match made.filter(|text| !text.is_empty()) {
        Some(text) => text,
        None if !validation.message.is_empty() => validation.message.clone(),
        None => format!("failed expression: {}", validation.expression.source.trim()),
    }
}

/// A served kind by its name.
pub(crate) fn kind_of(engine: &Engine, gvk: &Gvk) -> Option<&'static Kind> {
    let built_in = holdfast_kinds::by_gvk(&gvk.group, &gvk.version, &gvk.kind).filter(|kind| kind.is_stored());
    built_in.or_else(|| engine.customs.by_gvk(gvk).map(|custom| custom.kind))
}

/// The parameters of a binding, null for none at all.
///
/// # Errors
/// The inner one: what is wrong with the binding, or that there are none where there have to be some.
pub(super) async fn parameters(
    asked: &Asked<'_>,
    kind: Option<&'static Kind>,
    of: Option<&ParamRef>,
) -> Result<Result<Vec<Json>, String>, Status> {
    let (Some(kind), Some(of)) = (kind, of) else { return Ok(Ok(vec![Json::Null])) };
    let namespace = match (kind.namespaced, of.namespace.as_str(), asked.namespace.as_str()) {
        (false, "", _) => "",
        (false, ..) => {
            return Ok(Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()));
        }
        (true, "", "") => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Ok(Err(why.into()));
        }
        (true, "", own) => own,
        (true, named, _) => named,
    };
    let store = &asked.engine.store;
    let mut params = Vec::new();
    match &of.selector {
        None => {
            if let Some(record) = store.get(&keys::object(kind, namespace, &of.name)).await.map_err(store_error)? {
                params.push(view::document(asked.engine, kind, decode(&record)?).await?);
            }
        }
        Some(selector) => {
            let request = RangeRequest { prefix: keys::scope(kind, namespace), ..RangeRequest::default() };
            for record in store.range(request).await.map_err(store_error)?.records {
                let object = decode(&record)?;
                if selector.matches(&object.meta.labels) {
                    params.push(view::document(asked.engine, kind, object).await?);
                }
            }
        }
    }
    if params.is_empty() && of.required {
        return Ok(Err("no params found for policy binding with `Deny` parameterNotFoundAction".into()));
    }
    Ok(Ok(params))
}
