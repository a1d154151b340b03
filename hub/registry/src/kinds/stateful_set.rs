//! apps/v1 StatefulSet.

use super::persistent_volume_claim as claim;
use super::rules::{default_text, not_negative, text};
use super::workload::{
    at_most, at_most_all, collision_count, count_or_percent, default_template, is_zero, status_counts,
    template_warnings, validate_always, validate_match, validate_selector, validate_template,
};
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, i64_at, items_at, items_at_mut, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// apps/v1 StatefulSet.
pub(crate) struct StatefulSet;

/// What an update may change.
const MUTABLE: &[&str] = &[
    "replicas",
    "template",
    "updateStrategy",
    "minReadySeconds",
    "ordinals",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
];

impl Strategy for StatefulSet {
    fn default(&self, doc: &mut Json) {
        default_text(doc, &["spec", "podManagementPolicy"], "OrderedReady");
        if str_at(doc, &["spec", "updateStrategy", "type"]).is_none_or(str::is_empty) {
            set(doc, &["spec", "updateStrategy", "type"], "RollingUpdate");
            default(doc, &["spec", "updateStrategy", "rollingUpdate"], json!({}));
        }
        let rolling = ["spec", "updateStrategy", "rollingUpdate"];
        if str_at(doc, &["spec", "updateStrategy", "type"]) == Some("RollingUpdate") && at(doc, &rolling).is_some() {
            default(doc, &["spec", "updateStrategy", "rollingUpdate", "partition"], 0);
        }
        for field in ["whenDeleted", "whenScaled"] {
            default_text(doc, &["spec", "persistentVolumeClaimRetentionPolicy", field], "Retain");
        }
        default(doc, &["spec", "replicas"], 1);
        default(doc, &["spec", "revisionHistoryLimit"], 10);
        default_template(doc, &["spec", "template"]);
        for template in items_at_mut(doc, &["spec", "volumeClaimTemplates"]) {
            // Upstream serves the type of each, so that a diff against a manifest with it is empty.
            set(template, &["apiVersion"], "v1");
            set(template, &["kind"], "PersistentVolumeClaim");
            claim::default_claim(template);
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "replicas": 0, "availableReplicas": 0 }));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let management = text(spec, "podManagementPolicy");
        if !matches!(management, "OrderedReady" | "Parallel") {
            let text = "must be 'OrderedReady' or 'Parallel'";
            errors.invalid(&path.child("podManagementPolicy"), management, text);
        }
        update_strategy(spec, &path.child("updateStrategy"), errors);
        for field in ["whenDeleted", "whenScaled"] {
            let policy = str_at(spec, &["persistentVolumeClaimRetentionPolicy", field]).unwrap_or_default();
            if !matches!(policy, "Retain" | "Delete") {
                let path = path.child("persistentVolumeClaimRetentionPolicy").child(field);
                errors.not_supported(&path, policy, &["Retain", "Delete"]);
            }
        }
        not_negative(spec, "replicas", &path, errors);
        not_negative(spec, "minReadySeconds", &path, errors);
        if let Some(start) = i64_at(spec, &["ordinals", "start"]).filter(|start| *start < 0) {
            errors.invalid(&path.child("ordinals.start"), start, "must be greater than or equal to 0");
        }
        let selector = spec.get("selector");
        validate_selector(selector, "statefulset", &path.child("selector"), errors);
        let path = path.child("template");
        let template = with_claims(spec);
        validate_match(selector, &template, &path, errors);
        validate_template(&template, &path, errors);
        validate_always(&template, "StatefulSet", &path, errors);
    }

    /// What cannot change later is judged once.
    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        for (index, template) in items_at(doc, &["spec", "volumeClaimTemplates"]).iter().enumerate() {
            let path = path.child("volumeClaimTemplates").index(index).child("spec");
            claim::validate_spec(template.get("spec").unwrap_or(&Json::Null), &path, errors);
        }
        if let Some(service) = str_at(doc, &["spec", "serviceName"]).filter(|name| !name.is_empty()) {
            errors.all_invalid(&path.child("serviceName"), service, names::dns_label(service));
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let fixed = |doc: &Json| {
            let mut spec = doc.get("spec").cloned().unwrap_or_default();
            for field in MUTABLE {
                remove(&mut spec, &[field]);
            }
            // Go clients send it back empty where it was not there.
            default(&mut spec, &["serviceName"], "");
            spec
        };
        if fixed(doc) != fixed(old) {
            errors.forbidden(
                &FieldPath::new("spec"),
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                 'minReadySeconds' are forbidden",
            );
        }
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
        status_counts(doc, &["replicas"], errors);
        status_counts(doc, &parts, errors);
        status_counts(doc, &["observedGeneration", "collisionCount"], errors);
        at_most(doc, &parts, "replicas", "status.replicas", errors);
        at_most(doc, &["availableReplicas"], "readyReplicas", "status.readyReplicas", errors);
        collision_count(doc, old, errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = template_warnings(doc, &["spec", "template"]);
        for (index, template) in items_at(doc, &["spec", "volumeClaimTemplates"]).iter().enumerate() {
            let path = format!("spec.volumeClaimTemplates[{index}]");
            warnings.extend(claim::spec_warnings(template.get("spec").unwrap_or(&Json::Null), &path));
        }
        if i64_at(doc, &["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
            warnings.push(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is \
                 recommended"
                    .to_string(),
            );
        }
        warnings
    }
}

fn update_strategy(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let strategy = spec.get("updateStrategy").unwrap_or(&Json::Null);
    let rolling = strategy.get("rollingUpdate");
    match text(strategy, "type") {
        "" => errors.required(path, ""),
        "OnDelete" => {
            if let Some(rolling) = rolling {
                let text = "only allowed for updateStrategy 'RollingUpdate'";
                errors.invalid(&path.child("rollingUpdate"), rolling.clone(), text);
            }
        }
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let Some(rolling) = rolling else { return };
            not_negative(rolling, "partition", &path, errors);
            if let Some(count) = rolling.get("maxUnavailable") {
                let path = path.child("maxUnavailable");
                count_or_percent(Some(count), &path, errors);
                if is_zero(Some(count)) {
                    errors.invalid(&path, count.clone(), "cannot be 0");
                }
                at_most_all(Some(count), &path, errors);
            }
        }
        _ => errors.invalid(path, strategy.clone(), "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

/// The template as a pod of the set has it: with a volume for each claim, and a name that is its own.
fn with_claims(spec: &Json) -> Json {
    let mut template = spec.get("template").cloned().unwrap_or_default();
    for field in ["subdomain", "hostname"] {
        remove(&mut template, &["spec", field]);
    }
    let claims: Vec<&str> = items_at(spec, &["volumeClaimTemplates"])
        .iter()
        .map(|claim| str_at(claim, &["metadata", "name"]).unwrap_or_default())
        .collect();
    if !claims.is_empty() {
        let own = items_at(&template, &["spec", "volumes"]).iter();
        let own = own.filter(|volume| !claims.contains(&text(volume, "name"))).cloned();
        let made = claims.iter().map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }));
        let volumes: Vec<Json> = made.chain(own).collect();
        set(&mut template, &["spec", "volumes"], volumes);
    }
    template
}
