//! flowcontrol.apiserver.k8s.io/v1 FlowSchema and PriorityLevelConfiguration.

use super::rules::text;
use crate::strategy::{Strategy, keep_all_but_status};
use holdfast_core::json::{at, at_mut, copy, default, i64_at, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;
use std::collections::BTreeSet;

/// flowcontrol.apiserver.k8s.io/v1 FlowSchema.
pub(crate) struct FlowSchema;

/// flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration.
pub(crate) struct PriorityLevelConfiguration;

const ALL: &str = "*";
/// The schema and the level of what is never held up.
pub(crate) const EXEMPT: &str = "exempt";
/// The schema and the level of what matches nothing else.
pub(crate) const CATCH_ALL: &str = "catch-all";
const DEFAULT_PRECEDENCE: i64 = 1000;
const MAX_PRECEDENCE: i64 = 10_000;
const MAX_QUEUES: i64 = 10_000_000;
/// Bits of a hash from which a flow's queues are drawn.
const MAX_HASH_BITS: i64 = 60;
const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

impl Strategy for FlowSchema {
    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn default(&self, doc: &mut Json) {
        default_number(doc, &["spec", "matchingPrecedence"], DEFAULT_PRECEDENCE);
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({}));
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        restore_all_but_status(doc, old);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, name) = (FieldPath::new("spec"), str_at(doc, &["metadata", "name"]).unwrap_or_default());
        let precedence = i64_at(doc, &["spec", "matchingPrecedence"]).unwrap_or_default();
        let problem = match precedence {
            ..=0 => Some("must be a positive value".to_string()),
            1 if name != EXEMPT => Some("only the schema named 'exempt' may have matchingPrecedence 1".to_string()),
            number if number > MAX_PRECEDENCE => Some(format!("must not be greater than {MAX_PRECEDENCE}")),
            _ => None,
        };
        if let Some(problem) = problem {
            errors.invalid(&path.child("matchingPrecedence"), precedence, problem);
        }
        if let Some(method) = at(doc, &["spec", "distinguisherMethod"])
            && !matches!(text(method, "type"), "ByNamespace" | "ByUser")
        {
            let path = path.child("distinguisherMethod").child("type");
            errors.not_supported(&path, method.clone(), &["ByNamespace", "ByUser"]);
        }
        let level = str_at(doc, &["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default();
        let level_path = path.child("priorityLevelConfiguration").child("name");
        if level.is_empty() {
            errors.required(&level_path, "must reference a priority level");
        } else {
            errors.all_invalid(&level_path, level, names::dns_subdomain(level));
        }
        for (index, rule) in items_at(doc, &["spec", "rules"]).iter().enumerate() {
            validate_rule(rule, &path.child("rules").index(index), errors);
        }
        let fixed = match name {
            EXEMPT => fixed_schema(EXEMPT, 1, None, &["system:masters"]),
            CATCH_ALL => fixed_schema(
                CATCH_ALL,
                MAX_PRECEDENCE,
                Some("ByUser"),
                &["system:unauthenticated", "system:authenticated"],
            ),
            _ => return,
        };
        let spec = doc.get("spec").cloned().unwrap_or_default();
        if spec != fixed {
            errors.invalid(&path, spec, format!("spec of '{name}' must equal the fixed value"));
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        validate_conditions(doc, errors);
    }
}

impl Strategy for PriorityLevelConfiguration {
    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn default(&self, doc: &mut Json) {
        if let Some(exempt) = at_mut(doc, &["spec", "exempt"]) {
            default(exempt, &["nominalConcurrencyShares"], 0);
            default(exempt, &["lendablePercent"], 0);
        }
        if let Some(limited) = at_mut(doc, &["spec", "limited"]) {
            default(limited, &["nominalConcurrencyShares"], 30);
            default(limited, &["lendablePercent"], 0);
        }
        if let Some(queuing) = at_mut(doc, &["spec", "limited", "limitResponse", "queuing"]) {
            for (field, number) in [("handSize", 8), ("queues", 64), ("queueLengthLimit", 50)] {
                default_number(queuing, &[field], number);
            }
        }
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({}));
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        restore_all_but_status(doc, old);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        const ONLY_BEFORE_V1: &str = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares";
        if at(doc, &["metadata", "annotations", ONLY_BEFORE_V1]).is_some() {
            let path = FieldPath::new("metadata.annotations");
            errors.forbidden(&path, format!("annotation '{ONLY_BEFORE_V1}' is forbidden"));
        }
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let (name, kind) = (str_at(doc, &["metadata", "name"]).unwrap_or_default(), text(spec, "type"));
        let (exempt, limited) = (spec.get("exempt"), spec.get("limited"));
        if (name == EXEMPT) != (kind == "Exempt") {
            errors.invalid(&path.child("type"), kind, "must be 'Exempt' if and only if `name` is 'exempt'");
        }
        match kind {
            "Exempt" => {
                if limited.is_some() {
                    errors.forbidden(&path.child("limited"), "must be nil if the type is not Limited");
                }
                if let Some(exempt) = exempt {
                    let path = path.child("exempt");
                    not_negative(exempt, "nominalConcurrencyShares", "must be a non-negative integer", &path, errors);
                    lendable(exempt, &path, errors);
                }
            }
            "Limited" => {
                if exempt.is_some() {
                    errors.forbidden(&path.child("exempt"), "must be nil if the type is Limited");
                }
                match limited {
                    None => errors.required(&path.child("limited"), "must not be empty when type is Limited"),
                    Some(limited) => validate_limited(limited, &path.child("limited"), errors),
                }
            }
            other => errors.not_supported(&path.child("type"), other, &["Exempt", "Limited"]),
        }
        if name == EXEMPT && (kind != "Exempt" || limited.is_some()) {
            let text = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value";
            errors.invalid(&path, spec.clone(), text);
        }
        let catch_all = json!({
            "type": "Limited",
            "limited": { "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": { "type": "Reject" } },
        });
        if name == CATCH_ALL && *spec != catch_all {
            errors.invalid(&path, spec.clone(), "spec of 'catch-all' must equal the fixed value");
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        validate_conditions(doc, errors);
    }
}

/// Go defaults these numbers where they are 0 too: they are no pointers there.
fn default_number(doc: &mut Json, path: &[&str], value: i64) {
    if i64_at(doc, path) == Some(0) {
        remove(doc, path);
    }
    default(doc, path, value);
}

/// A new status brings nothing else with it.
fn restore_all_but_status(doc: &mut Json, old: &Json) {
    keep_all_but_status(doc, old);
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        copy(old, doc, &["metadata", field]);
    }
}

/// The spec of a schema that nobody may change.
fn fixed_schema(level: &str, precedence: i64, method: Option<&str>, names: &[&str]) -> Json {
    schema_of_all(level, precedence, method, groups(names))
}

/// Subjects of a rule: groups.
pub(crate) fn groups(names: &[&str]) -> Vec<Json> {
    names.iter().map(|name| json!({ "kind": "Group", "group": { "name": name } })).collect()
}

/// The spec of a schema of all requests of its subjects.
pub(crate) fn schema_of_all(level: &str, precedence: i64, method: Option<&str>, subjects: Vec<Json>) -> Json {
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level },
        "matchingPrecedence": precedence,
        "rules": [{
            "subjects": subjects,
            "resourceRules": [{
                "verbs": [ALL], "apiGroups": [ALL], "resources": [ALL], "clusterScope": true, "namespaces": [ALL],
            }],
            "nonResourceRules": [{ "verbs": [ALL], "nonResourceURLs": [ALL] }],
        }],
    });
    if let Some(method) = method {
        set(&mut spec, &["distinguisherMethod"], json!({ "type": method }));
    }
    spec
}

fn validate_rule(rule: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let subjects = items_at(rule, &["subjects"]);
    if subjects.is_empty() {
        errors.required(&path.child("subjects"), "subjects must contain at least one value");
    }
    for (index, subject) in subjects.iter().enumerate() {
        validate_subject(subject, &path.child("subjects").index(index), errors);
    }
    let (resources, others) = (items_at(rule, &["resourceRules"]), items_at(rule, &["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (index, rule) in resources.iter().enumerate() {
        validate_resource_rule(rule, &path.child("resourceRules").index(index), errors);
    }
    for (index, rule) in others.iter().enumerate() {
        validate_other_rule(rule, &path.child("nonResourceRules").index(index), errors);
    }
}

fn validate_subject(subject: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const KINDS: &[(&str, &str)] = &[("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        return errors.not_supported(&path.child("kind"), kind, &["Group", "ServiceAccount", "User"]);
    };
    let own_path = path.child(own);
    match subject.get(*own) {
        None => errors.required(&own_path, format!("{own} is required when subject kind is '{kind}'")),
        Some(named) => {
            let name = text(named, "name");
            if name.is_empty() {
                errors.required(&own_path.child("name"), "");
            }
            if kind == "ServiceAccount" {
                if !name.is_empty() && name != ALL {
                    errors.all_invalid(&own_path.child("name"), name, names::dns_subdomain(name));
                }
                match text(named, "namespace") {
                    "" => {
                        errors.required(&own_path.child("namespace"), "must specify namespace for service account");
                    }
                    namespace => {
                        errors.all_invalid(&own_path.child("namespace"), namespace, names::dns_label(namespace));
                    }
                }
            }
        }
    }
    // Upstream looks at the others in this order.
    for field in ["serviceAccount", "user", "group"].iter().filter(|field| *field != own) {
        if subject.get(*field).is_some()
            && let Some((other, _)) = KINDS.iter().find(|(_, of)| of == field)
        {
            errors.forbidden(&path.child(field), format!("{field} is forbidden when subject kind is not '{other}'"));
        }
    }
}

fn strings<'a>(doc: &'a Json, field: &str) -> Vec<&'a str> {
    items_at(doc, &[field]).iter().filter_map(Json::as_str).collect()
}

fn validate_verbs(rule: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (path, verbs) = (path.child("verbs"), strings(rule, "verbs"));
    if verbs.is_empty() {
        errors.required(&path, "verbs must contain at least one value");
    } else if verbs.contains(&ALL) {
        if verbs.len() > 1 {
            errors.invalid(&path, verbs, "if '*' is present, must not specify other verbs");
        }
    } else if verbs.iter().any(|verb| !VERBS.contains(verb)) {
        errors.not_supported(&path, verbs, VERBS);
    }
}

fn validate_resource_rule(rule: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    validate_verbs(rule, path, errors);
    for (field, missing, others) in [
        ("apiGroups", "resource rules must supply at least one api group", "api groups"),
        ("resources", "resource rules must supply at least one resource", "resources"),
    ] {
        let (path, values) = (path.child(field), strings(rule, field));
        if values.is_empty() {
            errors.required(&path, missing);
        } else if values.len() > 1 && values.contains(&ALL) {
            errors.invalid(&path, values, format!("if '*' is present, must not specify other {others}"));
        }
    }
    let (path, namespaces) = (path.child("namespaces"), strings(rule, "namespaces"));
    if namespaces.is_empty() && rule.get("clusterScope") != Some(&Json::Bool(true)) {
        let text = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.required(&path, text);
    } else if namespaces.contains(&ALL) {
        if namespaces.len() > 1 {
            errors.invalid(&path, namespaces, "if '*' is present, must not specify other namespaces");
        }
    } else {
        for (index, namespace) in namespaces.into_iter().enumerate() {
            for problem in names::dns_label(namespace) {
                let text = format!("each member of this list must be '*' or a DNS-1123 label; {problem}");
                errors.invalid(&path.index(index), namespace, text);
            }
        }
    }
}

fn validate_other_rule(rule: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    validate_verbs(rule, path, errors);
    let (path, urls) = (path.child("nonResourceURLs"), strings(rule, "nonResourceURLs"));
    if urls.is_empty() {
        errors.required(&path, "nonResourceURLs must contain at least one value");
    } else if urls.contains(&ALL) {
        if urls.len() > 1 {
            errors.invalid(&path, urls, "if '*' is present, must not specify other non-resource URLs");
        }
    } else {
        for (index, url) in urls.into_iter().enumerate() {
            if let Some(problem) = url_problem(url) {
                errors.invalid(&path.index(index), url, problem);
            }
        }
    }
}

fn url_problem(url: &str) -> Option<&'static str> {
    let wildcards = url.matches('*').count();
    if url.is_empty() {
        Some("must not be empty")
    } else if !url.starts_with('/') {
        Some("must start with slash")
    } else if url.contains(' ') {
        Some("must not contain white-space")
    } else if url.contains("//") {
        Some("must not contain double slash")
    } else if wildcards > 1 || (wildcards == 1 && !url.ends_with("/*")) {
        Some("wildcard can only do suffix matching")
    } else {
        None
    }
}

fn validate_limited(limited: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    not_negative(limited, "nominalConcurrencyShares", "must be a non-negative integer", path, errors);
    let response = limited.get("limitResponse").unwrap_or(&Json::Null);
    let (response_path, queuing) = (path.child("limitResponse"), response.get("queuing"));
    let queuing_path = response_path.child("queuing");
    match (text(response, "type"), queuing) {
        ("Reject", None) => {}
        ("Reject", Some(_)) => {
            errors.forbidden(&queuing_path, "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Queue", None) => {
            errors.required(&queuing_path, "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(queuing)) => validate_queuing(queuing, &queuing_path, errors),
        (other, _) => errors.not_supported(&response_path.child("type"), other, &["Queue", "Reject"]),
    }
    lendable(limited, path, errors);
    let text = "if specified, must be a non-negative integer";
    not_negative(limited, "borrowingLimitPercent", text, path, errors);
}

fn validate_queuing(queuing: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let number = |field: &str| i64_at(queuing, &[field]).unwrap_or_default();
    let (limit, queues, hand) = (number("queueLengthLimit"), number("queues"), number("handSize"));
    if limit <= 0 {
        errors.invalid(&path.child("queueLengthLimit"), limit, "must be positive");
    }
    if queues <= 0 {
        errors.invalid(&path.child("queues"), queues, "must be positive");
    } else if queues > MAX_QUEUES {
        errors.invalid(&path.child("queues"), queues, format!("must not be greater than {MAX_QUEUES}"));
    }
    let path = path.child("handSize");
    if hand <= 0 {
        errors.invalid(&path, hand, "must be positive");
    } else if hand > queues {
        errors.invalid(&path, hand, format!("should not be greater than queues ({queues})"));
    } else if ((queues as f64).log2() * hand as f64).ceil() as i64 > MAX_HASH_BITS {
        let text = format!(
            "required entropy bits of deckSize {queues} and handSize {hand} should not be greater than {MAX_HASH_BITS}"
        );
        errors.invalid(&path, hand, text);
    }
}

fn not_negative(doc: &Json, field: &str, problem: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(number) = i64_at(doc, &[field]).filter(|number| *number < 0) {
        errors.invalid(&path.child(field), number, problem);
    }
}

fn lendable(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(percent) = i64_at(doc, &["lendablePercent"]).filter(|percent| !(0..=100).contains(percent)) {
        errors.invalid(&path.child("lendablePercent"), percent, "must be between 0 and 100, inclusive");
    }
}

fn validate_conditions(doc: &Json, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, condition) in items_at(doc, &["status", "conditions"]).iter().enumerate() {
        let (path, kind) = (FieldPath::new("status.conditions").index(index).child("type"), text(condition, "type"));
        if !seen.insert(kind) {
            errors.duplicate(&path, kind);
        }
        if kind.is_empty() {
            errors.required(&path, "");
        }
    }
}
