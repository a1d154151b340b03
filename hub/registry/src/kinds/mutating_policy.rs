//! admissionregistration.k8s.io/v1 MutatingAdmissionPolicy and MutatingAdmissionPolicyBinding.

use super::admission_policy::{
    validate_basis, validate_matches, validate_params, validate_policy_name, validate_variables,
};
use super::rules::text;
use super::webhooks::{choice, default_policy, reserved_name, strings};
use crate::admission::dynamic::expressions::{Yields, checked, declarations_of_mutations};
use crate::strategy::Strategy;
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// What is to be made of writes.
pub(crate) struct Policy;

/// Where and with which parameters a policy mutates.
pub(crate) struct Binding;

/// A deletion has nothing to mutate.
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

impl Strategy for Policy {
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
        let scope = validate_basis(spec, &path, errors);
        if let Some(matches) = spec.get("matchConstraints") {
            validate_operations(matches, &path.child("matchConstraints"), errors);
        }
        let variables = validate_variables(spec, scope, &path, errors);
        let mutations = items_at(spec, &["mutations"]);
        if mutations.is_empty() {
            errors.required(&path.child("mutations"), "mutations must contain at least one item");
        }
        let declared = declarations_of_mutations(scope, &variables);
        for (index, mutation) in mutations.iter().enumerate() {
            let path = path.child("mutations").index(index);
            let (own, other, yields) = match text(mutation, "patchType") {
                "" => {
                    errors.required(&path.child("patchType"), "");
                    continue;
                }
                "JSONPatch" => ("jsonPatch", "applyConfiguration", Yields::Patches),
                "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Yields::Configuration),
                unknown => {
                    errors.not_supported(&path.child("patchType"), unknown, &["ApplyConfiguration", "JSONPatch"]);
                    continue;
                }
            };
            let sort = text(mutation, "patchType");
            let at_expression = path.child(own).child("expression");
            match mutation.get(own).filter(|own| !own.is_null()) {
                None => errors.required(&path.child(own), format!("must be specified when patchType is {sort}")),
                Some(patch) => match str_at(patch, &["expression"]).unwrap_or_default().trim() {
                    "" => errors.required(&at_expression, ""),
                    expression => {
                        if let Err(why) = checked(&declared, expression, yields) {
                            errors.invalid(&at_expression, expression, why);
                        }
                    }
                },
            }
            if mutation.get(other).is_some_and(|other| !other.is_null()) {
                let why = format!("must not be specified when patchType is {sort}");
                errors.invalid(&path.child(other), format!("{{{other}}}"), why);
            }
        }
        if text(spec, "reinvocationPolicy").is_empty() {
            errors.required(&path.child("reinvocationPolicy"), "");
        } else {
            choice(spec, "reinvocationPolicy", &["Never", "IfNeeded"], &path, errors);
        }
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
            validate_matches(matches, &path.child("matchResources"), errors);
            validate_operations(matches, &path.child("matchResources"), errors);
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        reserved_name(doc)
    }
}

/// Upstream's path names no rule.
fn validate_operations(matches: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("resourceRules").child("operations");
    for rule in items_at(matches, &["resourceRules"]) {
        for operation in strings(rule, "operations").into_iter().filter(|operation| !OPERATIONS.contains(operation)) {
            errors.not_supported(&path, operation, OPERATIONS);
        }
    }
}
