//! CustomResourceDefinition (`k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation` is the reference for texts).

use super::webhooks::{validate_client, validate_review_versions};
use crate::custom::FINALIZER;
use crate::custom::definition::{bundle_problem, condition, storage_version};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, bool_at, default, items_at, items_at_mut, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use holdfast_kinds::jsonpath::JsonPath;
use holdfast_schema::structural;
use serde_json::json;
use std::collections::BTreeSet;

const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const NO_DOT: &str = "must be a simple json path starting with .";
const MAX_SELECTABLE_FIELDS: usize = 8;

/// The rules of definitions.
pub(crate) struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn default(&self, doc: &mut Json) {
        let kind = str_at(doc, &["spec", "names", "kind"]).unwrap_or_default().to_string();
        for (field, value) in [("singular", kind.to_lowercase()), ("listKind", format!("{kind}List"))] {
            if !kind.is_empty() && str_at(doc, &["spec", "names", field]).is_none_or(str::is_empty) {
                set(doc, &["spec", "names", field], value);
            }
        }
        if at(doc, &["spec"]).is_some() {
            default(doc, &["spec", "conversion"], json!({"strategy": "None"}));
        }
        let service = ["spec", "conversion", "webhook", "clientConfig", "service"];
        if at(doc, &service).is_some() {
            default(doc, &[&service[..], &["port"]].concat(), 443);
        }
        for version in items_at_mut(doc, &["spec", "versions"]) {
            default(version, &["served"], false);
            default(version, &["storage"], false);
        }
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
        let stored: Vec<Json> = storage_version(doc).map(Json::from).into_iter().collect();
        set(
            doc,
            &["status"],
            json!({"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}),
        );
        // A definition has objects as soon as it is served: it is held from its first moment.
        let mut finalizers = items_at(doc, &["metadata", "finalizers"]).to_vec();
        if !finalizers.iter().any(|name| name.as_str() == Some(FINALIZER)) {
            finalizers.push(FINALIZER.into());
            set(doc, &["metadata", "finalizers"], finalizers);
        }
    }

    fn judges_changes_whole(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        judge(doc, &Json::Null, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        judge(doc, old, errors);
        judge_change(doc, old, errors);
    }
}

/// Problems of a definition, as a change leaves it of `old`.
fn judge(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let spec = FieldPath::new("spec");
    let text = |field: &str| str_at(doc, &["spec", field]).unwrap_or_default();
    let (group, name) = (text("group"), str_at(doc, &["metadata", "name"]).unwrap_or_default());
    let plural = str_at(doc, &["spec", "names", "plural"]).unwrap_or_default();
    if name != format!("{plural}.{group}") {
        errors.invalid(&FieldPath::new("metadata.name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
    validate_group(doc, group, &spec.child("group"), errors);
    match text("scope") {
        "Cluster" | "Namespaced" => {}
        "" => errors.required(&spec.child("scope"), ""),
        other => errors.not_supported(&spec.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    if bool_at(doc, &["spec", "preserveUnknownFields"]) == Some(true) {
        errors.invalid(
            &spec.child("preserveUnknownFields"),
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
    validate_names(doc, &spec.child("names"), errors);
    validate_versions(doc, old, &spec.child("versions"), errors);
    if let Some(conversion) = at(doc, &["spec", "conversion"]) {
        validate_conversion(conversion, &spec.child("conversion"), errors);
    }
    // One that is not served yet is not served for it; what was wrong before may stay.
    let established = condition(items_at(old, &["status", "conditions"]), "Established") == Some("True");
    if established
        && bundle_problem(old).is_none()
        && let Some(problem) = bundle_problem(doc)
    {
        let bundle = ["spec", "conversion", "webhook", "clientConfig", "caBundle"];
        let path = spec.child("conversion").child("webhookClientConfig").child("caBundle");
        errors.invalid(&path, str_at(doc, &bundle).unwrap_or_default(), problem);
    }
}

/// Problems of the change itself.
fn judge_change(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let established = condition(items_at(old, &["status", "conditions"]), "Established") == Some("True");
    let mut fixed = vec![("group", vec!["spec", "group"]), ("names.plural", vec!["spec", "names", "plural"])];
    if established {
        fixed.extend([("scope", vec!["spec", "scope"]), ("names.kind", vec!["spec", "names", "kind"])]);
    }
    for (name, path) in fixed {
        immutable(doc, old, &path, &FieldPath::new(&format!("spec.{name}")), errors);
    }
    let names: Vec<&str> =
        items_at(doc, &["spec", "versions"]).iter().filter_map(|version| str_at(version, &["name"])).collect();
    for (index, stored) in items_at(old, &["status", "storedVersions"]).iter().enumerate() {
        let stored = stored.as_str().unwrap_or_default();
        if !names.contains(&stored) {
            errors.invalid(
                &FieldPath::new("status.storedVersions").index(index),
                stored,
                format!(
                    "missing from spec.versions; {stored} was previously a storage version, and must remain in \
                         spec.versions until a storage migration ensures no data remains persisted in {stored} and \
                         removes {stored} from status.storedVersions"
                ),
            );
        }
    }
}

fn validate_group(doc: &Json, group: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if group.is_empty() {
        errors.required(path, "");
        return;
    }
    let problems = names::dns_subdomain(group);
    if !problems.is_empty() {
        errors.invalid(path, group, problems.join(","));
    } else if !group.contains('.') {
        errors.invalid(path, group, "should be a domain with at least one dot");
    }
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|end| group.strip_suffix(end).is_some_and(|before| before.is_empty() || before.ends_with('.')));
    if protected && str_at(doc, &["metadata", "annotations", APPROVAL]).is_none_or(str::is_empty) {
        errors.required(
            &FieldPath::new("metadata.annotations").key(APPROVAL),
            format!(
                "protected groups must have approval annotation {APPROVAL:?}, see \
                 https://github.com/kubernetes/enhancements/pull/1111"
            ),
        );
    }
}

fn validate_names(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let text = |field: &str| str_at(doc, &["spec", "names", field]).unwrap_or_default();
    for field in ["plural", "singular", "kind", "listKind"] {
        let (value, path) = (text(field), path.child(field));
        if value.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let mixed = field.ends_with("ind");
        let problems = names::dns_label_1035(&value.to_lowercase());
        let problems = problems.into_iter().map(|why| match mixed {
            true => format!("may have mixed case, but should otherwise match: {why}"),
            false => why,
        });
        errors.all_invalid(&path, value, problems.collect());
        if !mixed && value.chars().any(char::is_uppercase) {
            errors.all_invalid(&path, value, names::dns_label_1035(value));
        }
    }
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        errors.invalid(&path.child("listKind"), text("listKind"), "kind and listKind may not be the same");
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in items_at(doc, &["spec", "names", field]).iter().enumerate() {
            let name = name.as_str().unwrap_or_default();
            errors.all_invalid(&path.child(field).index(index), name, names::dns_label_1035(name));
        }
    }
}

/// Problems of a conversion. Upstream names its fields as they were in an older version.
fn validate_conversion(conversion: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const STRATEGIES: [&str; 2] = ["None", "Webhook"];
    const UNWANTED: &str = "should not be set when strategy is not set to Webhook";
    let strategy = str_at(conversion, &["strategy"]).unwrap_or_default();
    match strategy {
        "" => errors.required(&path.child("strategy"), ""),
        known if STRATEGIES.contains(&known) => {}
        other => errors.not_supported(&path.child("strategy"), other, &STRATEGIES),
    }
    let (at_client, at_versions) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let client = at(conversion, &["webhook", "clientConfig"]).filter(|client| !client.is_null());
    let versions = items_at(conversion, &["webhook", "conversionReviewVersions"]);
    if strategy != "Webhook" {
        if client.is_some() {
            errors.forbidden(&at_client, UNWANTED);
        }
        if !versions.is_empty() {
            errors.forbidden(&at_versions, UNWANTED);
        }
        return;
    }
    match client {
        Some(client) => validate_client(client, &at_client, errors),
        None => errors.required(&at_client, "required when strategy is set to Webhook"),
    }
    let versions: Vec<&str> = versions.iter().filter_map(Json::as_str).collect();
    if versions.is_empty() {
        return errors.required(&at_versions, "");
    }
    validate_review_versions(&versions, &at_versions, errors);
}

fn validate_versions(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let versions = items_at(doc, &["spec", "versions"]);
    let mut seen = Vec::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = str_at(version, &["name"]).unwrap_or_default();
        let problems = names::dns_label_1035(name);
        if !problems.is_empty() {
            errors.invalid(&path.child("name"), name, problems.join(","));
        }
        validate_deprecation(version, &path.child("deprecationWarning"), errors);
        unique &= !seen.contains(&name);
        seen.push(name);
        match at(version, &["schema", "openAPIV3Schema"]) {
            Some(schema) => {
                let mut before = items_at(old, &["spec", "versions"]).iter();
                let before = before.find(|version| str_at(version, &["name"]) == Some(name));
                let stood = before.and_then(|version| at(version, &["schema", "openAPIV3Schema"])) == Some(schema);
                let check = if stood { structural::check_again } else { structural::check };
                check(schema, &path.child("schema").child("openAPIV3Schema"), errors);
            }
            None => errors.required(&path.child("schema").child("openAPIV3Schema"), ""),
        }
        validate_scale(version, &path.child("subresources").child("scale"), errors);
        validate_columns(version, &path.child("additionalPrinterColumns"), errors);
        let mut before = items_at(old, &["spec", "versions"]).iter();
        let before = before.find(|version| str_at(version, &["name"]) == Some(name));
        validate_selectable(version, before, &path.child("selectableFields"), errors);
    }
    if !unique {
        errors.invalid(
            path,
            versions.iter().filter_map(|v| v.get("name").cloned()).collect::<Json>(),
            "must contain unique version names",
        );
    }
    let stored = versions.iter().filter(|version| bool_at(version, &["storage"]) == Some(true)).count();
    if stored != 1 {
        errors.invalid(
            path,
            versions.iter().filter_map(|v| v.get("name").cloned()).collect::<Json>(),
            "must have exactly one version marked as storage version",
        );
    }
}

fn validate_deprecation(version: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const CHARACTERS: usize = 256;
    let Some(text) = str_at(version, &["deprecationWarning"]) else { return };
    if bool_at(version, &["deprecated"]) != Some(true) {
        return errors.invalid(path, text, "can only be set for deprecated versions");
    }
    if text.len() > CHARACTERS {
        errors.invalid(path, text, format!("must be <= {CHARACTERS} characters long"));
    }
    if text.is_empty() {
        errors.invalid(path, text, "must not be an empty string");
    }
    if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
        let why = "must only contain printable UTF-8 characters; non-printable character found at index";
        errors.invalid(path, text, format!("{why} {at}"));
    }
}

/// Problems of selectable fields. Too many that were there before may stay.
fn validate_selectable(version: &Json, before: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    let fields = items_at(version, &["selectableFields"]);
    let mut seen = BTreeSet::new();
    for (index, field) in fields.iter().enumerate() {
        let path = path.index(index).child("jsonPath");
        let text = str_at(field, &["jsonPath"]).unwrap_or_default();
        if text.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let steps = match JsonPath::parse(text) {
            Ok(parsed) if parsed.is_simple() => parsed.fields().map(str::to_string).collect::<Vec<_>>(),
            Ok(_) => {
                errors.invalid(&path, text, "is an invalid path: it must not lead through lists");
                continue;
            }
            Err(why) => {
                errors.invalid(&path, text, format!("is an invalid path: {why}"));
                continue;
            }
        };
        let mut schema = at(version, &["schema", "openAPIV3Schema"]);
        for step in &steps {
            schema = schema.and_then(|schema| {
                at(schema, &["properties", step.as_str()]).or_else(|| at(schema, &["additionalProperties"]))
            });
        }
        let in_metadata = steps.first().is_some_and(|step| step == "metadata");
        if in_metadata {
            errors.invalid(&path, text, "must not point to fields in metadata");
        } else if schema.is_none() {
            errors.invalid(&path, text, "is an invalid path: does not refer to a valid field");
            continue;
        }
        let kind = schema.and_then(|schema| str_at(schema, &["type"]));
        if !in_metadata && !matches!(kind, Some("string" | "boolean" | "integer")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                       formats are allowed.";
            errors.invalid(&path, text, why);
        }
        if !seen.insert(steps) {
            errors.duplicate(&path, text);
        }
    }
    let same = before.is_some_and(|before| items_at(before, &["selectableFields"]) == fields);
    if seen.len() > MAX_SELECTABLE_FIELDS && !same {
        errors.too_many(path, seen.len(), MAX_SELECTABLE_FIELDS);
    }
}

fn validate_scale(version: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(scale) = at(version, &["subresources", "scale"]) else { return };
    let all: [(&str, &[&str], bool); 3] = [
        ("specReplicasPath", &[".spec."], true),
        ("statusReplicasPath", &[".status."], true),
        ("labelSelectorPath", &[".spec.", ".status."], false),
    ];
    for (field, roots, required) in all {
        let (path, text) = (path.child(field), str_at(scale, &[field]).unwrap_or_default());
        if text.is_empty() {
            if required {
                errors.required(&path, "");
            }
            continue;
        }
        if !text.starts_with('.') {
            errors.invalid(&path, text, NO_DOT);
            continue;
        }
        match JsonPath::parse(text) {
            Ok(parsed) if !parsed.is_simple() => {
                errors.invalid(&path, text, "must be a simple json path without arrays")
            }
            Ok(_) if !roots.iter().any(|root| text.starts_with(root)) => {
                let under: Vec<&str> = roots.iter().map(|root| root.trim_end_matches('.')).collect();
                let either = if under.len() > 1 { "either " } else { "" };
                errors.invalid(&path, text, format!("should be a json path under {either}{}", under.join(" or ")));
            }
            Ok(_) => {}
            Err(why) => errors.invalid(&path, text, format!("is an invalid path: {why}")),
        }
    }
}

fn validate_columns(version: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, column) in items_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let path = path.index(index);
        let text = |field: &str| str_at(column, &[field]).unwrap_or_default();
        if text("name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        match text("type") {
            "" => errors.required(&path.child("type"), format!("must be one of {}", COLUMN_TYPES.join(","))),
            known if COLUMN_TYPES.contains(&known) => {}
            other => errors.invalid(&path.child("type"), other, format!("must be one of {}", COLUMN_TYPES.join(","))),
        }
        if !text("format").is_empty() && !COLUMN_FORMATS.contains(&text("format")) {
            let why = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.invalid(&path.child("format"), text("format"), why);
        }
        // Upstream names the field as it was in an older version.
        let path = path.child("JSONPath");
        match text("jsonPath") {
            "" => errors.required(&path, ""),
            text if !text.starts_with('.') => errors.invalid(&path, text, NO_DOT),
            text => {
                if let Err(why) = JsonPath::parse(text) {
                    errors.invalid(&path, text, format!("is an invalid path: {why}"));
                }
            }
        }
    }
}
