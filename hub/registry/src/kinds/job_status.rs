//! The status of a Job: what a controller may say of it, and what it may not take back.

use super::job::is_indexed;
use super::rules::text;
use super::workload::status_counts;
use holdfast_core::json::{at, bool_at, i64_at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, Timestamp};
use std::collections::BTreeSet;

/// Whether a condition of the Job is true.
pub(crate) fn holds(doc: &Json, kind: &str) -> bool {
    let conditions = items_at(doc, &["status", "conditions"]);
    conditions.iter().any(|one| text(one, "type") == kind && text(one, "status") == "True")
}

/// Problems of a new status. Upstream asks some of it only of what changed; a status that was fine stays so.
pub(crate) fn validate(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("status");
    status_counts(doc, &["active", "succeeded", "failed", "ready", "terminating"], errors);
    uncounted(doc, &path.child("uncountedTerminatedPods"), errors);
    let mut now = FieldErrors::new();
    states(doc, &path, &mut now);
    counts(doc, &path, &mut now);
    indexes(doc, &path, &mut now);
    let mut before = FieldErrors::new();
    states(old, &path, &mut before);
    counts(old, &path, &mut before);
    indexes(old, &path, &mut before);
    errors.0.extend(now.0.into_iter().filter(|error| !before.0.contains(error)));
    changes(doc, old, &path, errors);
}

fn uncounted(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for list in ["succeeded", "failed"] {
        let uids = items_at(doc, &["status", "uncountedTerminatedPods", list]);
        for (index, uid) in uids.iter().filter_map(Json::as_str).enumerate() {
            let path = path.child(list).index(index);
            if uid.is_empty() {
                errors.invalid(&path, uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path, uid);
            }
        }
    }
}

fn moment(doc: &Json, field: &str) -> Option<Timestamp> {
    str_at(doc, &["status", field]).and_then(Timestamp::parse)
}

/// Which conditions go together, and with which times.
fn states(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let conditions = path.child("conditions");
    let [complete, failed, target, met] =
        ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"].map(|kind| holds(doc, kind));
    let mut refuse = |wrong: bool, text: &str| {
        if wrong {
            errors.invalid_part(&conditions, text);
        }
    };
    refuse(complete && failed, "cannot set Complete=True and Failed=true conditions");
    refuse(complete && target, "cannot set Complete=True and FailureTarget=true conditions");
    refuse(failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition");
    refuse(complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    refuse(met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    refuse(met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    let (start, end) = (moment(doc, "startTime"), moment(doc, "completionTime"));
    let shown = |field: &str| at(doc, &["status", field]).cloned().unwrap_or_default();
    let at_end = path.child("completionTime");
    match end {
        Some(_) if !complete => errors.invalid(
            &at_end,
            shown("completionTime"),
            "cannot set completionTime when there is no Complete=True condition",
        ),
        None if complete => errors.required(&at_end, "completionTime is required for Complete jobs"),
        Some(end) if start.is_some_and(|start| end < start) => {
            errors.invalid(&at_end, shown("completionTime"), "must be equal to or after `startTime`");
        }
        _ => {}
    }
    if (complete || failed) && start.is_none() {
        errors.required(&path.child("startTime"), "startTime is required for finished job");
    }
}

/// What a finished Job no longer has, and which counts are part of others.
fn counts(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let count = |field: &str| i64_at(doc, &["status", field]).unwrap_or(0);
    let finished = holds(doc, "Complete") || holds(doc, "Failed");
    for field in ["active", "terminating"] {
        if finished && count(field) > 0 {
            errors.invalid(&path.child(field), count(field), format!("{field}>0 is invalid for finished job"));
        }
    }
    let waiting = at(doc, &["status", "uncountedTerminatedPods"]);
    let some =
        waiting.is_some_and(|pods| ["succeeded", "failed"].iter().any(|list| !items_at(pods, &[list]).is_empty()));
    if finished && some {
        let shown = waiting.cloned().unwrap_or_default();
        errors.invalid(&path.child("uncountedTerminatedPods"), shown, "must be empty for finished job");
    }
    if at(doc, &["status", "ready"]).is_some() && count("ready") > count("active") {
        errors.invalid(&path.child("ready"), count("ready"), "cannot set more ready pods than active");
    }
}

fn indexes(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let spec = doc.get("spec").unwrap_or(&Json::Null);
    let completions = i64_at(spec, &["completions"]);
    let done = str_at(doc, &["status", "completedIndexes"]).unwrap_or_default();
    let failed = str_at(doc, &["status", "failedIndexes"]);
    let limited = at(spec, &["backoffLimitPerIndex"]).is_some();
    for (field, text, counts) in [("completedIndexes", Some(done), true), ("failedIndexes", failed, limited)] {
        if let (Some(completions), Some(text), true) = (completions, text, counts)
            && let Err(err) = count_indexes(text, completions)
        {
            errors.invalid(&path.child(field), text, format!("error parsing {field}: {err}"));
        }
    }
    if !done.is_empty() && !is_indexed(spec) {
        let text = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&path.child("completedIndexes"), done, text);
    }
    let Some(failed) = failed else { return };
    if !limited {
        let text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&path.child("failedIndexes"), failed, text);
    }
    if let Some(completions) = completions
        && let Some(index) = overlap(done, failed, completions)
    {
        let text = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&path.child("failedIndexes"), failed, text);
    }
}

/// What cannot be taken back.
fn changes(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let conditions = path.child("conditions");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if holds(old, kind) && !holds(doc, kind) {
            errors.invalid_part(&conditions, format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    for field in ["failed", "succeeded"] {
        let count = |doc: &Json| i64_at(doc, &["status", field]).unwrap_or(0);
        if count(doc) < count(old) {
            errors.invalid(&path.child(field), count(doc), format!("cannot decrease the {field} counter"));
        }
    }
    let shown = |field: &str| at(doc, &["status", field]).cloned().unwrap_or_default();
    let (end, ended) = (moment(doc, "completionTime"), moment(old, "completionTime"));
    if end.is_some() && ended.is_some() && end != ended {
        errors.invalid(&path.child("completionTime"), shown("completionTime"), "field is immutable");
    }
    let started = moment(old, "startTime");
    let suspended = bool_at(doc, &["spec", "suspend"]) == Some(true);
    if started.is_some() && started != moment(doc, "startTime") && !suspended {
        let text = "field is immutable for unsuspended job once set";
        errors.invalid(&path.child("startTime"), shown("startTime"), text);
    }
    let met = "SuccessCriteriaMet";
    if holds(old, met) && !holds(doc, met) {
        errors.invalid_part(&conditions, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if holds(old, "Complete") && !holds(old, met) && holds(doc, met) {
        let text = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.invalid_part(&conditions, text);
    }
}

/// How many indexes a text such as `0,3-5` names.
///
/// # Errors
/// Upstream's text of what is wrong with it.
pub(crate) fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (first, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= first) {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated \
             by '-'"
        ));
    }
    let number = |text: &str| {
        let number: i64 = text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
        if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
    };
    let first = number(limits.first().copied().unwrap_or_default())?;
    let Some(end) = limits.get(1) else { return Ok((first, first)) };
    let end = number(end)?;
    if first >= end {
        return Err(format!("non-increasing order, previous: {first}, current: {end}"));
    }
    Ok((first, end))
}

/// The first index that both texts name. Both are in increasing order.
fn overlap(a: &str, b: &str, completions: i64) -> Option<i64> {
    let parsed = |text: &str| -> Vec<(i64, i64)> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        parts.filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (a, b) = (parsed(a), parsed(b));
    let (mut i, mut j) = (0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        if x.0 <= y.1 && y.0 <= x.1 {
            return Some(x.0.max(y.0));
        }
        if x.0 <= y.0 { i += 1 } else { j += 1 }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted() {
        assert_eq!(count_indexes("", 5), Ok(0));
        assert_eq!(count_indexes("0,2-4", 5), Ok(4));
        assert_eq!(count_indexes("0-1-2", 5).unwrap_err().split(' ').next(), Some("the"));
        assert_eq!(count_indexes("a", 5), Err("cannot convert string to integer for index: \"a\"".into()));
        assert_eq!(count_indexes("5", 5), Err("too large index: \"5\"".into()));
        assert_eq!(count_indexes("3-3", 5), Err("non-increasing order, previous: 3, current: 3".into()));
        assert_eq!(count_indexes("0-2,2", 5), Err("non-increasing order, previous: 2, current: 2".into()));
        assert_eq!(overlap("0-2,5", "3,4-5", 9), Some(5));
        assert_eq!(overlap("0-2", "3-4", 9), None);
    }
}
