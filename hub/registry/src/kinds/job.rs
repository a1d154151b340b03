//! batch/v1 Job.

use super::job_status;
use super::rules::{default_text, not_negative, text};
use super::selectors;
use super::workload::{default_template, name_warnings, template_warnings, validate_match, validate_template};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, bool_at, default, i64_at, items_at, items_at_mut, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, LabelSelector, names};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// batch/v1 Job.
pub(crate) struct Job;

/// Labels of a Job's pods, with and without a domain.
const NAME_LABELS: [&str; 2] = ["job-name", "batch.kubernetes.io/job-name"];
const UID_LABELS: [&str; 2] = ["controller-uid", "batch.kubernetes.io/controller-uid"];

const MANAGED_BY_MAX: usize = 63;
const INDEXED_MAX: i64 = 100_000;
/// Beyond so many completions an indexed Job with a limit a pod index is bounded tighter.
const SOFT_COMPLETIONS: i64 = 100_000;
const SOFT_PARALLELISM: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const INDEXES_BYTES: usize = 64 * 1024;

/// Defaults of the spec at `path`, which a Job and a CronJob's template share.
pub(crate) fn default_pods(doc: &mut Json, path: &[&str]) {
    let below = |names: &[&'static str]| path.iter().copied().chain(names.iter().copied()).collect::<Vec<_>>();
    default_template(doc, &below(&["template"]));
    for rule in items_at_mut(doc, &below(&["podFailurePolicy", "rules"])) {
        for pattern in items_at_mut(rule, &["onPodConditions"]) {
            default_text(pattern, &["status"], "True");
        }
    }
}

impl Strategy for Job {
    fn default(&self, doc: &mut Json) {
        if at(doc, &["spec"]).is_none() {
            return;
        }
        if at(doc, &["spec", "completions"]).is_none() && at(doc, &["spec", "parallelism"]).is_none() {
            default(doc, &["spec", "completions"], 1);
        }
        default(doc, &["spec", "parallelism"], 1);
        let each = at(doc, &["spec", "backoffLimitPerIndex"]).is_some();
        default(doc, &["spec", "backoffLimit"], if each { i64::from(i32::MAX) } else { 6 });
        let labels = at(doc, &["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels
            && at(doc, &["metadata", "labels"]).and_then(Json::as_object).is_none_or(serde_json::Map::is_empty)
        {
            set(doc, &["metadata", "labels"], labels);
        }
        default(doc, &["spec", "completionMode"], "NonIndexed");
        default(doc, &["spec", "suspend"], false);
        let policy = if at(doc, &["spec", "podFailurePolicy"]).is_some() { "Failed" } else { "TerminatingOrFailed" };
        default(doc, &["spec", "podReplacementPolicy"], policy);
        default(doc, &["spec", "manualSelector"], false);
        default_pods(doc, &["spec"]);
    }

    /// As in the versions in which there was no garbage collector.
    fn orphans_by_default(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({}));
        if bool_at(doc, &["spec", "manualSelector"]) == Some(true) {
            return;
        }
        // A wrong label or selector of the client is told of by the validation.
        let meta = |doc: &Json, field: &str| str_at(doc, &["metadata", field]).unwrap_or_default().to_string();
        let (name, uid) = (meta(doc, "name"), meta(doc, "uid"));
        for (labels, value) in [(NAME_LABELS, &name), (UID_LABELS, &uid)] {
            for label in labels {
                default(doc, &["spec", "template", "metadata", "labels", label], value.as_str());
            }
        }
        default(doc, &["spec", "selector", "matchLabels", UID_LABELS[1]], uid);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        generated_selector(doc, errors);
        validate_spec(spec, &path, errors);
        match spec.get("selector") {
            None => errors.required(&path.child("selector"), ""),
            Some(selector) => selectors::validate(selector, &path.child("selector"), errors),
        }
        let template = spec.get("template").unwrap_or(&Json::Null);
        validate_match(spec.get("selector"), template, &path.child("template"), errors);
        let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
        if let Some(completions) = i64_at(spec, &["completions"]).filter(|count| *count > 0)
            && is_indexed(spec)
        {
            let host = format!("{name}-{}", completions - 1);
            if !names::dns_label(&host).is_empty() {
                let text = format!("will not able to create pod with invalid DNS label: {host}");
                errors.invalid(&FieldPath::new("metadata.name"), name, text);
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        let spec = doc.get("spec").unwrap_or(&Json::Null);
        let same = |field: &str| at(doc, &["spec", field]) == at(old, &["spec", field]);
        if !same("completions") {
            let shown = spec.get("completions").cloned().unwrap_or_default();
            if !is_indexed(spec) {
                errors.invalid(&path.child("completions"), shown, "field is immutable");
            } else if spec.get("completions").is_some() && spec.get("completions") != spec.get("parallelism") {
                let text = "can only be modified in tandem with spec.parallelism";
                errors.invalid(&path.child("completions"), shown, text);
            }
        }
        immutable(doc, old, &["spec", "selector"], &path.child("selector"), errors);
        template_update(doc, old, &path, errors);
        for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
            immutable(doc, old, &["spec", field], &path.child(field), errors);
        }
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        job_status::validate(doc, old, errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        warnings.extend(spec_warnings(doc, &["spec"]));
        warnings
    }
}

/// Warnings of the spec at `path`.
pub(crate) fn spec_warnings(doc: &Json, path: &[&str]) -> Vec<String> {
    let mut warnings = Vec::new();
    let spec = at(doc, path).unwrap_or(&Json::Null);
    let (completions, parallelism) = (i64_at(spec, &["completions"]), i64_at(spec, &["parallelism"]));
    if completions.is_some_and(|count| count > SOFT_COMPLETIONS)
        && parallelism.is_some_and(|count| count > SOFT_PARALLELISM)
        && is_indexed(spec)
    {
        let path = path.join(".");
        warnings.push(format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        ));
    }
    let template: Vec<&str> = path.iter().copied().chain(["template"]).collect();
    warnings.extend(template_warnings(doc, &template));
    warnings
}

pub(crate) fn is_indexed(spec: &Json) -> bool {
    text(spec, "completionMode") == "Indexed"
}

/// The labels that the server puts on pods, unless the client chose a selector itself.
fn generated_selector(doc: &Json, errors: &mut FieldErrors) {
    let selector = at(doc, &["spec", "selector"]);
    if bool_at(doc, &["spec", "manualSelector"]) == Some(true) || selector.is_none() {
        return;
    }
    let meta = |field: &str| str_at(doc, &["metadata", field]).unwrap_or_default().to_string();
    let labels = at(doc, &["spec", "template", "metadata", "labels"]);
    let path = FieldPath::new("spec.template.metadata.labels");
    let mut expected = BTreeMap::new();
    for (label, value) in [
        (UID_LABELS[0], meta("uid")),
        (NAME_LABELS[0], meta("name")),
        (UID_LABELS[1], meta("uid")),
        (NAME_LABELS[1], meta("name")),
    ] {
        match labels.and_then(|labels| labels.get(label)).and_then(Json::as_str) {
            None => errors.required(&path.key(label), format!("must be '{value}'")),
            Some(found) if found != value => {
                let shown = labels.cloned().unwrap_or_default();
                errors.invalid(&path.key(label), shown, format!("must be '{value}'"));
            }
            Some(_) => {}
        }
        expected.insert(label.to_string(), value);
    }
    if let Some(Ok(parsed)) = selector.map(LabelSelector::from_spec)
        && !parsed.matches(&expected)
    {
        let shown = selector.cloned().unwrap_or_default();
        errors.invalid(&FieldPath::new("spec.selector"), shown, "`selector` not auto-generated");
    }
}

/// Problems of a Job's spec but for its selector.
pub(crate) fn validate_spec(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        not_negative(spec, field, path, errors);
    }
    if spec.get("maxFailedIndexes").is_some() && spec.get("backoffLimitPerIndex").is_none() {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.get("managedBy").and_then(Json::as_str) {
        super::rules::domain_path(manager, &path.child("managedBy"), errors);
        if manager.len() > MANAGED_BY_MAX {
            errors.too_long(&path.child("managedBy"), MANAGED_BY_MAX);
        }
    }
    let mode = text(spec, "completionMode");
    if !matches!(mode, "" | "NonIndexed" | "Indexed") {
        errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    match mode {
        "Indexed" => indexed(spec, path, errors),
        "" | "NonIndexed" => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(count) = i64_at(spec, &[field]) {
                    errors.invalid(&path.child(field), count, "requires indexed completion mode");
                }
            }
        }
        _ => {}
    }
    failure_policy(spec, &path.child("podFailurePolicy"), errors);
    if let Some(policy) = spec.get("successPolicy") {
        let path = path.child("successPolicy");
        if is_indexed(spec) {
            success_policy(spec, policy, &path, errors);
        } else {
            errors.invalid(&path, policy.clone(), "requires indexed completion mode");
        }
    }
    replacement_policy(spec, &path.child("podReplacementPolicy"), errors);
    let template = spec.get("template").unwrap_or(&Json::Null);
    validate_template(template, &path.child("template"), errors);
    restart_policy(spec, template, &path.child("template").child("spec").child("restartPolicy"), errors);
}

fn restart_policy(spec: &Json, template: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    match str_at(template, &["spec", "restartPolicy"]).unwrap_or_default() {
        "" | "Always" => errors.required(path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.get("podFailurePolicy").is_some() => {
            errors.invalid(path, "OnFailure", "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(path, other, &["OnFailure", "Never"]),
    }
}

fn indexed(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let number = |field: &str| i64_at(spec, &[field]);
    let (completions, parallelism, failed) = (number("completions"), number("parallelism"), number("maxFailedIndexes"));
    if completions.is_none() {
        errors.required(&path.child("completions"), "when completion mode is Indexed");
    }
    let mut bounded = |field: &str, count: Option<i64>, most: i64, text: String| {
        if let Some(count) = count.filter(|count| *count > most) {
            errors.invalid(&path.child(field), count, text);
        }
    };
    bounded(
        "parallelism",
        parallelism,
        INDEXED_MAX,
        format!("must be less than or equal to {INDEXED_MAX} when completion mode is Indexed"),
    );
    if let Some(completions) = completions {
        let text = "must be less than or equal to completions".to_string();
        bounded("maxFailedIndexes", failed, completions, text);
    }
    bounded("maxFailedIndexes", failed, INDEXED_MAX, format!("must be less than or equal to {INDEXED_MAX}"));
    if completions.is_some_and(|count| count > SOFT_COMPLETIONS) && number("backoffLimitPerIndex").is_some() {
        let text = || {
            format!(
                "must be less than or equal to {SOFT_PARALLELISM} when completions are above {SOFT_COMPLETIONS} and \
                 used with backoff limit per index"
            )
        };
        bounded("parallelism", parallelism, SOFT_PARALLELISM, text());
        bounded("maxFailedIndexes", failed, SOFT_PARALLELISM, text());
        if failed.is_none() {
            let text = format!("must be specified when completions is above {SOFT_COMPLETIONS}");
            errors.required(&path.child("maxFailedIndexes"), text);
        }
    }
}

fn failure_policy(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let Some(policy) = spec.get("podFailurePolicy") else { return };
    let rules = items_at(policy, &["rules"]);
    let path = path.child("rules");
    if rules.len() > RULES_MAX {
        errors.too_many(&path, rules.len(), RULES_MAX);
    }
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| items_at(spec, &["template", "spec", list]))
        .map(|container| text(container, "name"))
        .collect();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        match text(rule, "action") {
            "" => errors.required(&path.child("action"), format!("valid values: {}", quoted(ACTIONS))),
            "FailIndex" if spec.get("backoffLimitPerIndex").is_none() => {
                errors.invalid(&path.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
            }
            action if !ACTIONS.contains(&action) => errors.not_supported(&path.child("action"), action, ACTIONS),
            _ => {}
        }
        let (codes, conditions) = (rule.get("onExitCodes"), items_at(rule, &["onPodConditions"]));
        if let Some(codes) = codes {
            exit_codes(codes, &containers, &path.child("onExitCodes"), errors);
        }
        pod_conditions(conditions, &path.child("onPodConditions"), errors);
        match (codes.is_some(), conditions.is_empty()) {
            (true, false) => {
                errors.invalid_part(&path, "specifying both OnExitCodes and OnPodConditions is not supported");
            }
            (false, true) => {
                errors.invalid_part(&path, "specifying one of OnExitCodes and OnPodConditions is required");
            }
            _ => {}
        }
    }
}

/// `["a" "b"]`, as Go writes a list of strings.
fn quoted(list: &[&str]) -> String {
    format!("[{}]", list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(" "))
}

fn exit_codes(codes: &Json, containers: &BTreeSet<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    const OPERATORS: &[&str] = &["In", "NotIn"];
    let operator = text(codes, "operator");
    if operator.is_empty() {
        errors.required(&path.child("operator"), format!("valid values: {}", quoted(OPERATORS)));
    } else if !OPERATORS.contains(&operator) {
        errors.not_supported(&path.child("operator"), operator, OPERATORS);
    }
    if let Some(name) = codes.get("containerName").and_then(Json::as_str).filter(|name| !containers.contains(name)) {
        let text = "must be one of the container or initContainer names in the pod template";
        errors.invalid(&path.child("containerName"), name, text);
    }
    let values: Vec<i64> = items_at(codes, &["values"]).iter().filter_map(Json::as_i64).collect();
    let path = path.child("values");
    let shown = || codes.get("values").cloned().unwrap_or_default();
    if values.is_empty() {
        errors.invalid(&path, shown(), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&path, values.len(), EXIT_CODES_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            errors.invalid(&path.index(index), 0, "must not be 0 for the In operator");
        }
        if !seen.insert(value) {
            errors.duplicate(&path.index(index), *value);
        }
    }
    if !values.is_sorted() {
        errors.invalid(&path, shown(), "must be ordered");
    }
}

fn pod_conditions(patterns: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    const STATES: &[&str] = &["False", "True", "Unknown"];
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(path, patterns.len(), PATTERNS_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        let kind = text(pattern, "type");
        errors.all_invalid(&path.child("type"), kind, names::qualified_name(kind));
        match text(pattern, "status") {
            "" => errors.required(&path.child("status"), format!("valid values: {}", quoted(STATES))),
            state if !STATES.contains(&state) => errors.not_supported(&path.child("status"), state, STATES),
            _ => {}
        }
    }
}

fn success_policy(spec: &Json, policy: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let rules = items_at(policy, &["rules"]);
    let path = path.child("rules");
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > RULES_MAX {
        errors.too_many(&path, rules.len(), RULES_MAX);
    }
    // Without completions the Job is wrong anyway, and told so.
    let completions = i64_at(spec, &["completions"]).unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let (count, indexes) = (i64_at(rule, &["succeededCount"]), rule.get("succeededIndexes").and_then(Json::as_str));
        if count.is_none() && indexes.is_none() {
            errors.required(&path, "at least one of succeededCount or succeededIndexes must be specified");
        }
        let mut total = 0;
        if let Some(indexes) = indexes {
            let path = path.child("succeededIndexes");
            if indexes.len() > INDEXES_BYTES {
                errors.too_long(&path, INDEXES_BYTES);
            }
            match job_status::count_indexes(indexes, completions) {
                Ok(count) => total = count,
                Err(err) => errors.invalid(&path, indexes, format!("error parsing succeededIndexes: {err}")),
            }
        }
        let Some(count) = count else { continue };
        not_negative(rule, "succeededCount", &path, errors);
        let path = path.child("succeededCount");
        if count > completions {
            let text = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(&path, count, text);
        }
        if indexes.is_some() && count > total {
            let text = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(&path, count, text);
        }
    }
}

fn replacement_policy(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(policy) = spec.get("podReplacementPolicy").and_then(Json::as_str) else { return };
    let allowed: &[&str] =
        if spec.get("podFailurePolicy").is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if !allowed.contains(&policy) {
        errors.not_supported(path, policy, allowed);
    }
}

/// A template may change while the Job is suspended and runs nothing: where its pods may run, and what they need.
fn template_update(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let template = |doc: &Json| at(doc, &["spec", "template"]).cloned().unwrap_or_default();
    let suspended = bool_at(old, &["spec", "suspend"]) == Some(true);
    let idle = suspended && job_status::holds(old, "Suspended") && i64_at(old, &["status", "active"]).unwrap_or(0) == 0;
    let (mut now, mut before) = (template(doc), template(old));
    if idle {
        for place in [
            &["spec", "affinity", "nodeAffinity"][..],
            &["spec", "nodeSelector"],
            &["spec", "tolerations"],
            &["metadata", "annotations"],
            &["metadata", "labels"],
            &["spec", "schedulingGates"],
        ] {
            remove(&mut now, place);
            remove(&mut before, place);
        }
        for template in [&mut now, &mut before] {
            if at(template, &["spec", "affinity"]) == Some(&json!({})) {
                remove(template, &["spec", "affinity"]);
            }
            for list in ["containers", "initContainers"] {
                for container in items_at_mut(template, &["spec", list]) {
                    remove(container, &["resources"]);
                }
            }
        }
    }
    if now != before {
        let (path, shown) = if idle {
            (path.child("template.spec"), at(doc, &["spec", "template", "spec"]).cloned())
        } else {
            (path.child("template"), at(doc, &["spec", "template"]).cloned())
        };
        errors.invalid(&path, shown.unwrap_or_default(), "field is immutable");
    }
}
