//! admissionregistration.k8s.io/v1 MutatingWebhookConfiguration and ValidatingWebhookConfiguration; what the policies beside
//! them share with these.

use super::rules::text;
use super::selectors;
use crate::admission::dynamic::expressions::{Scope, Yields, checked};
use crate::strategy::Strategy;
use holdfast_core::json::{at_mut, default, i64_at, items_at, items_at_mut, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;
use std::collections::BTreeSet;

/// Both kinds of configurations.
pub(crate) struct WebhookConfiguration;

const ANY: &str = "*";
const MAX_MATCH_CONDITIONS: usize = 64;
const MAX_TIMEOUT_SECONDS: i64 = 30;
/// Versions of reviews that the server could send.
const REVIEWS: &[&str] = &["v1", "v1beta1"];
const REVIEWS_TEXT: &str = "v1, v1beta1";

impl Strategy for WebhookConfiguration {
    fn counts_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn default(&self, doc: &mut Json) {
        let mutates = str_at(doc, &["kind"]) == Some("MutatingWebhookConfiguration");
        for hook in items_at_mut(doc, &["webhooks"]) {
            default(hook, &["failurePolicy"], "Fail");
            default_match(hook, &["rules"]);
            default(hook, &["timeoutSeconds"], 10);
            if mutates {
                default(hook, &["reinvocationPolicy"], "Never");
            }
            if let Some(service) = at_mut(hook, &["clientConfig", "service"]) {
                default(service, &["port"], 443);
            }
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let mut seen = BTreeSet::new();
        for (index, hook) in items_at(doc, &["webhooks"]).iter().enumerate() {
            let (path, name) = (FieldPath::new("webhooks").index(index), text(hook, "name"));
            validate_hook(hook, &path, errors);
            let (path_of_versions, versions) =
                (path.child("admissionReviewVersions"), strings(hook, "admissionReviewVersions"));
            match &versions[..] {
                [] => errors.required(&path_of_versions, format!("must specify one of {REVIEWS_TEXT}")),
                versions => validate_review_versions(versions, &path_of_versions, errors),
            }
            if !name.is_empty() && !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        reserved_name(doc)
    }
}

/// Defaults of what a webhook or a policy matches.
fn default_match(of: &mut Json, lists: &[&str]) {
    default(of, &["matchPolicy"], "Equivalent");
    default(of, &["namespaceSelector"], json!({}));
    default(of, &["objectSelector"], json!({}));
    for list in lists {
        for rule in items_at_mut(of, &[*list]) {
            default(rule, &["scope"], ANY);
        }
    }
}

/// Defaults of a policy or of its binding.
pub(crate) fn default_policy(doc: &mut Json) {
    if !str_at(doc, &["kind"]).unwrap_or_default().ends_with("Binding") {
        default(doc, &["spec", "failurePolicy"], "Fail");
    }
    for field in ["matchConstraints", "matchResources"] {
        if let Some(matches) = at_mut(doc, &["spec", field]) {
            default_match(matches, &["resourceRules", "excludeResourceRules"]);
        }
    }
}

/// What is said of a name that upstream keeps for configurations in files.
pub(crate) fn reserved_name(doc: &Json) -> Vec<String> {
    const SUFFIX: &str = ".static.k8s.io";
    if !str_at(doc, &["metadata", "name"]).unwrap_or_default().ends_with(SUFFIX) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with {SUFFIX:?} are reserved for static manifest-based configurations and cannot \
         be managed via the API"
    )]
}

fn validate_hook(hook: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    qualified_name(text(hook, "name"), &path.child("name"), errors);
    for (index, rule) in items_at(hook, &["rules"]).iter().enumerate() {
        validate_rule(rule, &path.child("rules").index(index), errors);
    }
    choice(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    choice(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    if hook.get("sideEffects").is_none() {
        errors.required(&path.child("sideEffects"), "must specify one of None, NoneOnDryRun");
    }
    choice(hook, "sideEffects", &["None", "NoneOnDryRun"], path, errors);
    let timeout = i64_at(hook, &["timeoutSeconds"]);
    if let Some(seconds) = timeout.filter(|seconds| !(1..=MAX_TIMEOUT_SECONDS).contains(seconds)) {
        let text = "the timeout value must be between 1 and 30 seconds";
        errors.invalid(&path.child("timeoutSeconds"), seconds, text);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        if let Some(selector) = hook.get(field) {
            selectors::validate(selector, &path.child(field), errors);
        }
    }
    choice(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    validate_client(hook.get("clientConfig").unwrap_or(&Json::Null), &path.child("clientConfig"), errors);
    let scope = Scope { params: false, authorizer: true };
    validate_match_conditions(items_at(hook, &["matchConditions"]), scope, &path.child("matchConditions"), errors);
}

/// Problems of what says where a webhook is.
pub(super) fn validate_client(client: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    match (client.get("url").and_then(Json::as_str), client.get("service")) {
        (Some(url), None) => validate_url(url, &path.child("url"), errors),
        (None, Some(service)) => validate_service(service, &path.child("service"), errors),
        _ => errors.required(path, "exactly one of url or service is required"),
    }
}

/// Tells of a text that is there and none of `allowed`.
pub(super) fn choice(of: &Json, field: &str, allowed: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(value) = of.get(field).and_then(Json::as_str).filter(|value| !allowed.contains(value)) {
        errors.not_supported(&path.child(field), value, allowed);
    }
}

fn qualified_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    const SEGMENTS: usize = 3;
    let problems = names::dns_subdomain(name);
    if name.is_empty() {
        errors.required(path, "");
    } else if !problems.is_empty() {
        errors.invalid(path, name, problems.join(","));
    } else if name.split('.').count() < SEGMENTS {
        errors.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

pub(super) fn strings<'a>(of: &'a Json, field: &str) -> Vec<&'a str> {
    items_at(of, &[field]).iter().filter_map(Json::as_str).collect()
}

/// Problems of a rule about operations on resources.
pub(super) fn validate_rule(rule: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const OPERATIONS: &[&str] = &[ANY, "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (field, others) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")]
    {
        let (path, values) = (path.child(field), strings(rule, field));
        if values.is_empty() {
            errors.required(&path, "");
        }
        if values.len() > 1 && values.contains(&ANY) {
            errors.invalid(&path, values.clone(), format!("if '*' is present, must not specify other {others}"));
        }
        for (index, value) in values.into_iter().enumerate() {
            match field {
                "operations" if !OPERATIONS.contains(&value) => {
                    errors.not_supported(&path.index(index), value, OPERATIONS);
                }
                "apiVersions" if value.is_empty() => errors.required(&path.index(index), ""),
                _ => {}
            }
        }
    }
    validate_resources(&strings(rule, "resources"), &path.child("resources"), errors);
    choice(rule, "scope", &[ANY, "Cluster", "Namespaced"], path, errors);
}

fn validate_resources(resources: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    if resources.is_empty() {
        errors.required(path, "");
    }
    let (mut all_of, mut of_all) = (BTreeSet::new(), BTreeSet::new());
    // Upstream looks at the last one without a subresource only.
    let mut last_is_plain = false;
    for (index, resource) in resources.iter().enumerate() {
        let path = path.index(index);
        if resource.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let Some((name, part)) = resource.split_once('/') else {
            last_is_plain = *resource != ANY;
            continue;
        };
        if all_of.contains(name) {
            errors.invalid(&path, *resource, format!("if '{name}/*' is present, must not specify {resource}"));
        }
        if of_all.contains(part) {
            errors.invalid(&path, *resource, format!("if '*/{part}' is present, must not specify {resource}"));
        }
        if part == ANY {
            all_of.insert(name);
        }
        if name == ANY {
            of_all.insert(part);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        errors.invalid(path, resources.to_vec(), "if '*/*' is present, must not specify other resources");
    }
    if last_is_plain && resources.contains(&ANY) {
        let text = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(path, resources.to_vec(), text);
    }
}

fn validate_url(url: &str, path: &FieldPath, errors: &mut FieldErrors) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (before, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (before, query) = before.split_once('?').unwrap_or((before, ""));
    let (scheme, rest) = before.split_once(':').unwrap_or(("", before));
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if url.bytes().any(|byte| byte.is_ascii_control()) {
        let problem = format!("parse {url:?}: net/url: invalid control character in URL");
        return errors.required(path, format!("url must be a valid URL: {problem}{FORM}"));
    }
    if scheme != "https" {
        errors.invalid(path, scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        errors.invalid(path, host, format!("host must be specified{FORM}"));
    }
    if let Some(user) = user {
        errors.invalid(path, user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        errors.invalid(path, fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        errors.invalid(path, query, "query parameters are not permitted in the URL");
    }
}

fn validate_service(service: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    // Upstream names the two the wrong way round.
    for (field, told) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, field).is_empty() {
            errors.required(&path.child(told), "");
        }
    }
    let port = i64_at(service, &["port"]).unwrap_or_default();
    if !(1..=i64::from(u16::MAX)).contains(&port) {
        errors.invalid(&path.child("port"), port, "port is not valid: must be between 1 and 65535, inclusive");
    }
    let (url_path, path) = (text(service, "path"), path.child("path"));
    if matches!(url_path, "" | "/") {
        return;
    }
    if url_path == "//" {
        return errors.invalid(&path, url_path, "segment[0] may not be empty");
    }
    if !url_path.starts_with('/') {
        errors.invalid(&path, url_path, "must start with a '/'");
    }
    // Its first character is taken for the slash, whatever it is.
    let rest = url_path.char_indices().nth(1).map_or("", |(start, _)| &url_path[start..]);
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            errors.invalid(&path, url_path, format!("segment[{index}] may not be empty"));
            continue;
        }
        for problem in names::dns_subdomain(step) {
            errors.invalid(&path, url_path, format!("segment[{index}]: {problem}"));
        }
    }
}

/// Problems of conditions in expressions.
pub(super) fn validate_match_conditions(conditions: &[Json], scope: Scope, path: &FieldPath, errors: &mut FieldErrors) {
    let declarations = (!conditions.is_empty()).then(|| scope.declare());
    if conditions.len() > MAX_MATCH_CONDITIONS {
        errors.too_many(path, conditions.len(), MAX_MATCH_CONDITIONS);
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let (path, name) = (path.index(index), text(condition, "name"));
        let expression = text(condition, "expression").trim();
        if expression.is_empty() {
            errors.required(&path.child("expression"), "");
        } else if let Some(Err(why)) = declarations.as_ref().map(|known| checked(known, expression, Yields::Bool)) {
            errors.invalid(&path.child("expression"), expression, why);
        }
        if name.is_empty() {
            errors.required(&path.child("name"), "");
            continue;
        }
        errors.all_invalid(&path.child("name"), name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
    }
}

/// Problems of the versions in which a webhook takes reviews; of every sort of review we speak the same two.
pub(super) fn validate_review_versions(versions: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        if seen.insert(*version) {
            errors.all_invalid(&path.index(index), version, names::dns_label_1035(version));
        } else {
            errors.invalid(&path.index(index), *version, "duplicate version");
        }
    }
    if !versions.iter().any(|version| REVIEWS.contains(version)) {
        errors.invalid(path, versions.to_vec(), format!("must include at least one of {REVIEWS_TEXT}"));
    }
}
