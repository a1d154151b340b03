//! core/v1 Pod.

pub(crate) mod affinity;
pub(crate) mod annotations;
pub(crate) mod containers;
pub(crate) mod defaults;
pub(crate) mod env;
pub(crate) mod ephemeral;
mod host_users;
pub(crate) mod probes;
pub(crate) mod projected;
pub(crate) mod resize;
pub(crate) mod resources;
pub(crate) mod restarts;
pub(crate) mod security;
pub(crate) mod spec;
pub(crate) mod status;
pub(crate) mod update;
pub(crate) mod volumes;
pub(crate) mod warnings;
mod windows;

use crate::admission::service_account::MIRROR;
use crate::generic::update::Part;
use crate::strategy::{Strategy, keep_all_but_status};
use holdfast_core::json::{at, copy, i64_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};
use holdfast_kinds::fencing;

/// core/v1 Pod.
pub(crate) struct Pod;

impl Strategy for Pod {
    fn default(&self, doc: &mut Json) {
        defaults::pod(doc);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], serde_json::json!({ "phase": "Pending", "qosClass": holdfast_kinds::qos::class(doc) }));
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        Some(&["ownerReferences"])
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        keep_all_but_status(doc, old);
        copy(old, doc, &["metadata", "ownerReferences"]);
        if str_at(doc, &["status", "qosClass"]).is_none_or(str::is_empty) {
            copy(old, doc, &["status", "qosClass"]);
        }
        status::prepare(doc);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        let (metadata, spec) = (doc.get("metadata").unwrap_or(&Json::Null), doc.get("spec").unwrap_or(&Json::Null));
        annotations::validate(metadata, spec, &FieldPath::new("metadata").child("annotations"), errors);
        spec::validate(spec, Some(str_at(metadata, &["name"]).unwrap_or_default()), &path, errors);
        spec::validate_pod_only(doc, &path, errors);
        let annotations = holdfast_core::json::at(doc, &["metadata", "annotations"]);
        if let Some(mode) = annotations.and_then(|all| str_at(all, &[fencing::ANNOTATION]))
            && let Err(problem) = fencing::parse(mode)
        {
            let path = FieldPath::new("metadata").child("annotations").key(fencing::ANNOTATION);
            errors.invalid(&path, mode, problem);
        }
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        ephemeral::validate_new(doc, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        annotations::validate_update(doc, old, errors);
        update::validate(doc, old, errors);
    }

    fn prepare_part(&self, part: Part, doc: &mut Json, old: &Json) {
        match part {
            Part::Resize => resize::prepare(doc, old),
            _ => ephemeral::prepare(doc, old),
        }
    }

    fn validate_part(&self, part: Part, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        self.validate(doc, errors);
        match part {
            Part::Resize => resize::validate(doc, old, errors),
            _ if at(old, &["metadata", "annotations", MIRROR]).is_some() => {
                *errors = FieldErrors::new();
                errors.forbidden(&FieldPath::default(), "static pods do not support ephemeral containers");
            }
            _ => ephemeral::validate_change(doc, old, errors),
        }
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        status::validate(doc, old, errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        warnings::of(doc, "")
    }

    /// Upstream's `CheckGracefulDelete`: what runs nowhere, and what has ended, goes at once.
    fn grace_seconds(&self, doc: &Json, asked: Option<i64>) -> Option<i64> {
        let seconds = asked.or_else(|| i64_at(doc, &["spec", "terminationGracePeriodSeconds"])).unwrap_or(0);
        let unbound = str_at(doc, &["spec", "nodeName"]).is_none_or(str::is_empty);
        let ended = matches!(str_at(doc, &["status", "phase"]), Some("Succeeded" | "Failed"));
        Some(if unbound || ended {
            0
        } else if seconds < 0 {
            1
        } else {
            seconds
        })
    }
}
