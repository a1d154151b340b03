//! admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy and ValidatingAdmissionPolicyBinding.

use super::rules::text;
use super::webhooks::{choice, default_policy, reserved_name, strings, validate_match_conditions, validate_rule};
use super::{conditions, selectors};
use crate::admission::dynamic::expressions::{Scope, Variable, Yields, checked, declarations, variables};
use crate::strategy::Strategy;
use holdfast_cel::names::RESERVED;
use holdfast_core::json::{at, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;
use std::collections::BTreeSet;

/// What is to hold of writes.
pub(crate) struct Policy;

/// Where and with which parameters a policy holds.
pub(crate) struct Binding;

const MAX_ANNOTATIONS: usize = 20;
/// Bytes of the expression of an annotation.
const MAX_VALUE_EXPRESSION: usize = 5 * 1024;
const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge"];
const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

impl Strategy for Policy {
    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn default(&self, doc: &mut Json) {
        default_policy(doc);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({}));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
        validate_policy(name, at(doc, &["spec"]).unwrap_or(&Json::Null), &FieldPath::new("spec"), errors);
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("status.typeChecking.expressionWarnings");
        for (index, warning) in items_at(doc, &["status", "typeChecking", "expressionWarnings"]).iter().enumerate() {
            for field in ["warning", "fieldRef"] {
                if text(warning, field).trim().is_empty() {
                    errors.required(&path.index(index).child(field), "");
                }
            }
        }
        conditions::validate(doc, errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        reserved_name(doc)
    }
}

impl Strategy for Binding {
    fn default(&self, doc: &mut Json) {
        default_policy(doc);
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (spec, path) = (at(doc, &["spec"]).unwrap_or(&Json::Null), FieldPath::new("spec"));
        validate_policy_name(spec, &path.child("policyName"), errors);
        if let Some(params) = spec.get("paramRef") {
            validate_params(params, &path.child("paramRef"), errors);
        }
        if let Some(matches) = spec.get("matchResources") {
            // Upstream's path lacks the letter.
            validate_matches(matches, &path.child("matchResouces"), errors);
        }
        validate_actions(spec, &path.child("validationActions"), errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        reserved_name(doc)
    }
}

/// Problems of the name of the policy that is bound.
pub(super) fn validate_policy_name(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    match text(spec, "policyName") {
        "" => errors.required(path, ""),
        policy => errors.all_invalid(path, policy, names::dns_subdomain(policy)),
    }
}

fn validate_policy(name: &str, spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let scope = validate_basis(spec, path, errors);
    validate_expressions(name, spec, scope, path, errors);
}

/// Problems of what policies of both sorts have; returns what their expressions may name.
pub(super) fn validate_basis(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) -> Scope {
    if spec.get("failurePolicy").is_none() {
        errors.required(&path.child("failurePolicy"), "");
    }
    choice(spec, "failurePolicy", &["Fail", "Ignore"], path, errors);
    if let Some(kind) = spec.get("paramKind") {
        validate_param_kind(kind, &path.child("paramKind"), errors);
    }
    let matches_path = path.child("matchConstraints");
    match spec.get("matchConstraints") {
        None => errors.required(&matches_path, ""),
        Some(matches) => {
            validate_matches(matches, &matches_path, errors);
            if items_at(matches, &["resourceRules"]).is_empty() {
                errors.required(&matches_path.child("resourceRules"), "");
            }
        }
    }
    let scope = Scope { params: spec.get("paramKind").is_some(), authorizer: true };
    let conditions = items_at(spec, &["matchConditions"]);
    validate_match_conditions(conditions, scope, &path.child("matchConditions"), errors);
    scope
}

/// Problems of variables; returns them compiled.
pub(super) fn validate_variables(
    spec: &Json,
    scope: Scope,
    path: &FieldPath,
    errors: &mut FieldErrors,
) -> Vec<Variable> {
    let list = items_at(spec, &["variables"]);
    let mut wrong = Vec::new();
    let known = variables(list, scope, |index, why| wrong.push((index, why)));
    for (index, variable) in list.iter().enumerate() {
        let (path, expression) = (path.child("variables").index(index), text(variable, "expression"));
        let name = text(variable, "name");
        if name.trim().is_empty() {
            errors.required(&path.child("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&path.child("name"), name, "name is not a valid CEL identifier");
        }
        if expression.trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        } else if let Some((_, why)) = wrong.iter().find(|(of, _)| *of == index) {
            errors.invalid(&path.child("expression"), expression, why.as_str());
        }
    }
    known
}

/// Variables, validations and annotations.
fn validate_expressions(name: &str, spec: &Json, scope: Scope, path: &FieldPath, errors: &mut FieldErrors) {
    let known = validate_variables(spec, scope, path, errors);
    let (validations, annotations) = (items_at(spec, &["validations"]), items_at(spec, &["auditAnnotations"]));
    if validations.is_empty() && annotations.is_empty() {
        let text = "validations or auditAnnotations must contain at least one item";
        errors.required(&path.child("validations"), text);
        return errors.required(&path.child("auditAnnotations"), text);
    }
    let (all, of_messages) = (declarations(scope, &known), declarations(Scope { authorizer: false, ..scope }, &known));
    for (index, validation) in validations.iter().enumerate() {
        let path = path.child("validations").index(index);
        let (expression, message) = (text(validation, "expression"), text(validation, "message"));
        if expression.trim().is_empty() {
            errors.required(&path.child("expression"), "expression is not specified");
        } else if let Err(why) = checked(&all, expression, Yields::Bool) {
            errors.invalid(&path.child("expression"), expression, why);
        }
        let made = text(validation, "messageExpression");
        if !made.is_empty() && made.trim().is_empty() {
            errors.invalid(&path.child("messageExpression"), made, "must be non-empty if specified");
        } else if !made.is_empty()
            && let Err(why) = checked(&of_messages, made, Yields::String)
        {
            errors.invalid(&path.child("messageExpression"), made, why);
        }
        if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(&path.child("message"), message, "message must be non-empty if specified");
        } else if message.trim().contains(['\n', '\r']) {
            errors.invalid(&path.child("message"), message, "message must not contain line breaks");
        }
        choice(validation, "reason", REASONS, &path, errors);
    }
    let path = path.child("auditAnnotations");
    if annotations.len() > MAX_ANNOTATIONS {
        let text = format!("must not have more than {MAX_ANNOTATIONS} auditAnnotations");
        errors.invalid(&path, annotations.to_vec(), text);
    }
    let mut seen = BTreeSet::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let (path, key) = (path.index(index), text(annotation, "key"));
        if name.is_empty() {
            errors.invalid(&path.child("key"), key, "requires metadata.name be non-empty");
        } else {
            let qualified = format!("{name}/{key}");
            errors.all_invalid(&path.child("key"), &qualified, names::qualified_name(&qualified));
        }
        let expression = text(annotation, "valueExpression").trim();
        if expression.is_empty() {
            errors.required(&path.child("valueExpression"), "valueExpression is not specified");
        } else if expression.len() > MAX_VALUE_EXPRESSION {
            let text = format!("must not exceed {MAX_VALUE_EXPRESSION} bytes in length");
            errors.required(&path.child("valueExpression"), text);
        } else if let Err(why) = checked(&all, expression, Yields::StringOrNull) {
            errors.invalid(&path.child("valueExpression"), text(annotation, "valueExpression"), why);
        }
        if !seen.insert(key) {
            errors.duplicate(&path.child("key"), key);
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    first && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) && !RESERVED.contains(&name)
}

fn validate_param_kind(of: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (api_version, kind) = (text(of, "apiVersion"), text(of, "kind"));
    let version_path = path.child("apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api_version.is_empty() {
        errors.required(&version_path, "");
    } else if version.contains('/') {
        errors.invalid(&version_path, api_version, format!("unexpected GroupVersion string: {api_version}"));
    } else {
        let problems = names::dns_subdomain(group);
        if !group.is_empty() && !problems.is_empty() {
            errors.invalid(&version_path, group, problems.join(","));
        }
        let problems = names::dns_label_1035(version);
        if version.is_empty() {
            errors.invalid(&version_path, api_version, "version must be specified");
        } else if !problems.is_empty() {
            errors.invalid(&version_path, version, problems.join(","));
        }
    }
    let problems = names::dns_label_1035(&kind.to_lowercase());
    if kind.is_empty() {
        errors.required(&path.child("kind"), "");
    } else if !problems.is_empty() {
        let text = format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        errors.invalid(&path.child("kind"), kind, text);
    }
}

pub(super) fn validate_matches(matches: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    choice(matches, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    for field in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = matches.get(field) {
            selectors::validate(selector, &path.child(field), errors);
        }
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in items_at(matches, &[list]).iter().enumerate() {
            let path = path.child(list).index(index);
            let mut seen = BTreeSet::new();
            for (index, name) in strings(rule, "resourceNames").into_iter().enumerate() {
                let path = path.child("resourceNames").index(index);
                errors.all_invalid(&path, name, names::path_segment(name));
                if !seen.insert(name) {
                    errors.duplicate(&path, name);
                }
            }
            validate_rule(rule, &path, errors);
        }
    }
}

pub(super) fn validate_params(params: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let (name, selector) = (text(params, "name"), params.get("selector"));
    if !name.is_empty() {
        errors.all_invalid(&path.child("name"), name, names::path_segment(name));
        if selector.is_some() {
            errors.forbidden(&path.child("name"), EXCLUSIVE);
        }
    }
    if let Some(selector) = selector {
        selectors::validate(selector, &path.child("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&path.child("selector"), EXCLUSIVE);
        }
    }
    if name.is_empty() && selector.is_none() {
        errors.required(path, "one of name or selector must be specified");
    }
    if text(params, "parameterNotFoundAction").is_empty() {
        errors.required(&path.child("parameterNotFoundAction"), "");
    } else {
        choice(params, "parameterNotFoundAction", &["Deny", "Allow"], path, errors);
    }
}

fn validate_actions(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let actions = strings(spec, "validationActions");
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.not_supported(&path.index(index), *action, ACTIONS);
        }
        if !seen.insert(*action) {
            errors.duplicate(&path.index(index), *action);
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let text = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
             response and headers serves no purpose)";
        errors.invalid(path, actions, text);
    }
    if seen.is_empty() {
        errors.required(path, "at least one validation action is required");
    }
}
