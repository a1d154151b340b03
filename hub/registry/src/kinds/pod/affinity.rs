//! Affinity, node selectors and topology spread.

use crate::kinds::rules::{one_of, text};
use crate::kinds::selectors;
use holdfast_core::json::{at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Problems of `affinity`.
pub(crate) fn validate(affinity: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(node) = at(affinity, &["nodeAffinity"]) {
        let path = path.child("nodeAffinity");
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        if let Some(selector) = node.get(required) {
            node_selector(selector, &path.child(required), errors);
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in items_at(node, &[preferred]).iter().enumerate() {
            let path = path.child(preferred).index(index);
            weight(term, &path, errors);
            // Values that no label has are taken here, as upstream does: they prefer nothing.
            node_term(term.get("preference").unwrap_or(&Json::Null), false, &path.child("preference"), errors);
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
    for name in items_at(term, &["namespaces"]).iter().filter_map(Json::as_str) {
        errors.all_invalid(&path.child("namespace"), name, names::dns_label(name));
    }
    label_keys(term, path, errors);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    errors.all_invalid(&path.child("topologyKey"), key, names::qualified_name(key));
}

/// Problems of `matchLabelKeys` and `mismatchLabelKeys`.
fn label_keys(term: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let selector = term.get("labelSelector");
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let (keys, path) = (items_at(term, &[field]), path.child(field));
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&path, "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().filter_map(Json::as_str).enumerate() {
            errors.all_invalid(&path.index(index), key, names::qualified_name(key));
        }
    }
    let (wanted, unwanted) = (items_at(term, &["matchLabelKeys"]), items_at(term, &["mismatchLabelKeys"]));
    let labels = selector.and_then(|selector| selector.get("matchLabels")).and_then(Json::as_object);
    let mut seen: std::collections::BTreeSet<&str> =
        labels.into_iter().flat_map(|labels| labels.keys().map(String::as_str)).collect();
    // One of the two may stand there already: it comes of the key itself when the pod is made.
    for expression in selector.map(|selector| items_at(selector, &["matchExpressions"])).unwrap_or_default() {
        let key = text(expression, "key");
        if let Some(index) = wanted.iter().position(|wanted| wanted == key)
            && seen.contains(key)
        {
            errors.invalid(&path.index(index), key, "exists in both matchLabelKeys and labelSelector");
        }
        seen.insert(key);
    }
    for (index, key) in wanted.iter().enumerate().filter(|(_, key)| unwanted.contains(key)) {
        let path = path.child("matchLabelKeys").index(index);
        errors.invalid(&path, key.clone(), "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// Problems of a selector of nodes.
pub(crate) fn node_selector(selector: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (terms, path) = (items_at(selector, &["nodeSelectorTerms"]), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(index), errors);
    }
}

fn node_term(term: &Json, judges_values: bool, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, requirement) in items_at(term, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = items_at(requirement, &["values"]);
        {
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
            errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
            for (index, value) in values.iter().filter_map(Json::as_str).enumerate().filter(|_| judges_values) {
                errors.all_invalid(&path.child("values").index(index), value, names::label_value(value));
            }
        }
    }
    for (index, requirement) in items_at(term, &["matchFields"]).iter().enumerate() {
        let path = path.child("matchFields").index(index);
        let values = items_at(requirement, &["values"]);
        match text(requirement, "operator") {
            "In" | "NotIn" if values.len() != 1 => {
                let text = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.required(&path.child("values"), text);
            }
            "In" | "NotIn" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "key");
        if key != "metadata.name" {
            errors.invalid(&path.child("key"), key, "not a valid field selector key");
            continue;
        }
        for (index, value) in values.iter().filter_map(Json::as_str).enumerate() {
            errors.all_invalid(&path.child("values").index(index), value, names::dns_subdomain(value));
        }
    }
}

/// Problems of a changed `nodeAffinity` of a pod behind a gate: what it requires may only become more.
pub(super) fn validate_change(now: Option<&Json>, old: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |affinity: Option<&Json>| {
        affinity.map(|affinity| items_at(affinity, &[REQUIRED, "nodeSelectorTerms"]).to_vec()).unwrap_or_default()
    };
    let (now, old) = (terms(now), terms(old));
    let path = path.child(REQUIRED).child("nodeSelectorTerms");
    if !old.is_empty() && old.len() != now.len() {
        let text = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        return errors.invalid(&path, now, text);
    }
    let grew = |now: &Json, old: &Json| {
        let lists = ["matchExpressions", "matchFields"];
        let is_empty = |term: &Json| lists.iter().all(|list| items_at(term, &[list]).is_empty());
        // A term of nothing selects nothing: it would select more.
        (!is_empty(old) || is_empty(now))
            && lists.iter().all(|list| items_at(now, &[list]).starts_with(items_at(old, &[list])))
    };
    for (index, (now, _)) in now.iter().zip(&old).enumerate().filter(|(_, (now, old))| !grew(now, old)) {
        errors.invalid(&path.index(index), now.clone(), "only additions are allowed (no mutations or deletions)");
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
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            one_of(constraint, field, &["Honor", "Ignore"], false, &path, errors);
        }
        let selector = constraint.get("labelSelector");
        let (keys, at_keys) = (items_at(constraint, &["matchLabelKeys"]), path.child("matchLabelKeys"));
        if !keys.is_empty() && selector.is_none() {
            errors.forbidden(&at_keys, "must not be specified when labelSelector is not set");
        }
        for (index, key) in keys.iter().filter_map(Json::as_str).enumerate() {
            errors.all_invalid(&at_keys.index(index), key, names::qualified_name(key));
            let selects = |selector: &Json| {
                at(selector, &["matchLabels", key]).is_some()
                    || items_at(selector, &["matchExpressions"]).iter().any(|one| text(one, "key") == key)
            };
            if selector.is_some_and(selects) {
                errors.invalid(&at_keys.index(index), key, "exists in both matchLabelKeys and labelSelector");
            }
        }
        if let Some(selector) = selector {
            selectors::validate(selector, &path.child("labelSelector"), errors);
        }
    }
}
