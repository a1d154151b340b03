//! Affinity, node selectors and topology spread.

use crate::kinds::rules::text;
use crate::kinds::selectors;
use holdfast_core::json::{at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Problems of `affinity`.
pub(crate) fn validate(affinity: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(node) = at(affinity, &["nodeAffinity"]) {
        let path = path.child("nodeAffinity");
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        if let Some(selector) = node.get(required) {
            let path = path.child(required).child("nodeSelectorTerms");
            let terms = items_at(selector, &["nodeSelectorTerms"]);
            if terms.is_empty() {
                errors.required(&path, "must have at least one node selector term");
            }
            for (index, term) in terms.iter().enumerate() {
                node_term(term, &path.index(index), errors);
            }
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in items_at(node, &[preferred]).iter().enumerate() {
            let path = path.child(preferred).index(index);
            weight(term, &path, errors);
            node_term(term.get("preference").unwrap_or(&Json::Null), &path.child("preference"), errors);
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = at(affinity, &[kind]) else { continue };
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in items_at(pods, &[required]).iter().enumerate() {
            pod_term(term, &path.child(kind).child(required).index(index), errors);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in items_at(pods, &[preferred]).iter().enumerate() {
            let path = path.child(kind).child(preferred).index(index);
            weight(term, &path, errors);
            pod_term(term.get("podAffinityTerm").unwrap_or(&Json::Null), &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let weight = term.get("weight").and_then(Json::as_i64).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn pod_term(term: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.get(field) {
            selectors::validate(selector, &path.child(field), errors);
        }
    }
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    } else {
        errors.all_invalid(&path.child("topologyKey"), key, names::qualified_name(key));
    }
}

/// Problems of a selector of nodes.
pub(crate) fn node_selector(selector: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (terms, path) = (items_at(selector, &["nodeSelectorTerms"]), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, &path.index(index), errors);
    }
}

fn node_term(term: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["matchExpressions", "matchFields"] {
        for (index, requirement) in items_at(term, &[field]).iter().enumerate() {
            let path = path.child(field).index(index);
            let values = items_at(requirement, &["values"]);
            match text(requirement, "operator") {
                "In" | "NotIn" => {
                    if values.is_empty() {
                        errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                    }
                }
                "Exists" | "DoesNotExist" => {
                    if !values.is_empty() {
                        errors.forbidden(
                            &path.child("values"),
                            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                        );
                    }
                }
                "Gt" | "Lt" => {
                    if values.len() != 1 {
                        errors.required(
                            &path.child("values"),
                            "must be specified single value when `operator` is 'Lt' or 'Gt'",
                        );
                    }
                }
                other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
            }
            let key = text(requirement, "key");
            if field == "matchFields" {
                if key != "metadata.name" {
                    errors.invalid(&path.child("key"), key, "not a valid field selector key");
                }
            } else {
                errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
            }
        }
    }
}

/// Problems of `topologySpreadConstraints`.
pub(crate) fn topology_spread(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, constraint) in items_at(spec, &["topologySpreadConstraints"]).iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let skew = constraint.get("maxSkew").and_then(Json::as_i64).unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than 0");
        }
        let (key, unsatisfiable) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        } else {
            errors.all_invalid(&path.child("topologyKey"), key, names::qualified_name(key));
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&unsatisfiable) {
            errors.not_supported(&path.child("whenUnsatisfiable"), unsatisfiable, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        if !seen.insert((key, unsatisfiable)) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {unsatisfiable}}}"));
        }
        if let Some(domains) = constraint.get("minDomains").and_then(Json::as_i64) {
            if domains <= 0 {
                errors.invalid(&path.child("minDomains"), domains, "must be greater than 0");
            }
            if unsatisfiable != "DoNotSchedule" {
                errors.invalid(
                    &path.child("minDomains"),
                    domains,
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                );
            }
        }
        if let Some(selector) = constraint.get("labelSelector") {
            selectors::validate(selector, &path.child("labelSelector"), errors);
        }
    }
}
