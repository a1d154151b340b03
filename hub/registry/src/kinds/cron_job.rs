//! batch/v1 CronJob.

use super::job;
use super::rules::{default_text, not_negative, one_of, text};
use super::workload::name_warnings;
use crate::strategy::Strategy;
use holdfast_core::json::{at, bool_at, default, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// batch/v1 CronJob.
pub(crate) struct CronJob;

/// Room for the time that the names of its Jobs end in.
const NAME_MAX: usize = 52;
const TEMPLATE: &[&str] = &["spec", "jobTemplate", "spec"];

impl Strategy for CronJob {
    fn default(&self, doc: &mut Json) {
        if at(doc, &["spec"]).is_none() {
            return;
        }
        default_text(doc, &["spec", "concurrencyPolicy"], "Allow");
        default(doc, &["spec", "suspend"], false);
        default(doc, &["spec", "successfulJobsHistoryLimit"], 3);
        default(doc, &["spec", "failedJobsHistoryLimit"], 1);
        job::default_pods(doc, TEMPLATE);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], serde_json::json!({}));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        if text(spec, "schedule").is_empty() {
            errors.required(&path.child("schedule"), "");
        }
        not_negative(spec, "startingDeadlineSeconds", &path, errors);
        one_of(spec, "concurrencyPolicy", &["Allow", "Forbid", "Replace"], true, &path, errors);
        let template = at(doc, TEMPLATE).unwrap_or(&Json::Null);
        let below = path.child("jobTemplate").child("spec");
        job::validate_spec(template, &below, errors);
        if let Some(selector) = template.get("selector") {
            errors.invalid(&below.child("selector"), selector.clone(), "`selector` will be auto-generated");
        }
        if bool_at(template, &["manualSelector"]) == Some(true) {
            errors.not_supported(&below.child("manualSelector"), true, &["nil", "false"]);
        }
        not_negative(spec, "successfulJobsHistoryLimit", &path, errors);
        not_negative(spec, "failedJobsHistoryLimit", &path, errors);
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        schedule(doc, false, errors);
        time_zone(doc, errors);
        let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
        if name.len() > NAME_MAX {
            errors.invalid(&FieldPath::new("metadata.name"), name, "must be no more than 52 characters");
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        // A time zone in the schedule was taken once, and may stay.
        let had_zone = str_at(old, &["spec", "schedule"]).is_some_and(|schedule| schedule.contains("TZ"));
        schedule(doc, had_zone, errors);
        if at(doc, &["spec", "timeZone"]) != at(old, &["spec", "timeZone"]) {
            time_zone(doc, errors);
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        warnings.extend(job::spec_warnings(doc, TEMPLATE));
        warnings
    }
}

fn schedule(doc: &Json, zone_allowed: bool, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec.schedule");
    let schedule = str_at(doc, &["spec", "schedule"]).unwrap_or_default();
    if schedule.is_empty() {
        return;
    }
    if let Err(err) = super::cron_schedule::check(schedule) {
        errors.invalid(&path, schedule, err);
    }
    let zoned = schedule.contains("TZ");
    if zone_allowed && zoned && at(doc, &["spec", "timeZone"]).is_some() {
        errors.invalid(&path, schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule");
    } else if !zone_allowed && zoned {
        errors.invalid(&path, schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    }
}

/// Whether there is a zone of that name is not known here; what cannot be a name is refused.
fn time_zone(doc: &Json, errors: &mut FieldErrors) {
    let Some(zone) = str_at(doc, &["spec", "timeZone"]) else { return };
    let path = FieldPath::new("spec.timeZone");
    if zone.is_empty() {
        return errors.invalid(&path, zone, "timeZone must be nil or non-empty string");
    }
    let is_part = |part: &str| {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte);
        (1..=14).contains(&part.len())
            && !matches!(part, "." | "..")
            && !part.starts_with('-')
            && part.bytes().all(letters)
    };
    if !zone.split('/').all(is_part) {
        return errors.invalid(&path, zone, format!("unknown time zone {zone}"));
    }
    if zone.eq_ignore_ascii_case("local") {
        let text = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(&path, zone, text);
    }
}
