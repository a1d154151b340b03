//! The selectors of a question about access: `resourceAttributes.fieldSelector` and `labelSelector`.
//!
//! What cannot be understood is left out of the question, which makes it one about more objects, and the answer says so.

use crate::kinds::rules::text;
use crate::kinds::selectors;
use holdfast_core::json::items_at;
use holdfast_core::selector::Requirement;
use holdfast_core::{FieldErrors, FieldPath, FieldSelector, Json, LabelSelector};
use holdfast_server::Selected;

const FIELDS: &str = "fieldSelector";
const LABELS: &str = "labelSelector";

/// Problems of the selectors of `asked`, a `ResourceAttributes`.
pub(super) fn validate(asked: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (field, check) in
        [(FIELDS, field_requirement as fn(&Json, &FieldPath, &mut FieldErrors)), (LABELS, label_requirement)]
    {
        let Some(selector) = asked.get(field).filter(|selector| !selector.is_null()) else { continue };
        let path = path.child(field);
        let (raw, requirements) = (text(selector, "rawSelector"), items_at(selector, &["requirements"]));
        match (raw.is_empty(), requirements.is_empty()) {
            (false, false) => {
                errors.invalid(&path.child("rawSelector"), raw, "may not specified at the same time as requirements");
            }
            (true, true) => {
                let detail = format!("when {path} is specified, requirements or rawSelector is required");
                errors.required(&path.child("requirements"), detail);
            }
            _ => {}
        }
        for (index, requirement) in requirements.iter().enumerate() {
            check(requirement, &path.child("requirements").index(index), errors);
        }
    }
}

/// Operators that this hub does not know may be asked about: newer clients have more of them.
fn field_requirement(requirement: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if text(requirement, "key").is_empty() {
        errors.required(&path.child("key"), "must be specified");
    }
    selectors::values_fit(requirement, path, errors);
}

fn label_requirement(requirement: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    selectors::values_fit(requirement, path, errors);
    selectors::key_and_values(requirement, path, errors);
}

/// What could be read of one selector, and whether that was not all.
struct Read<T> {
    selector: T,
    partly: bool,
}

/// The selectors of `asked`, and what the answer says of those that could not be read.
pub(super) fn read(asked: &Json) -> (Selected, Vec<String>) {
    let (fields, labels) = (fields(asked.get(FIELDS)), labels(asked.get(LABELS)));
    let mut problems = Vec::new();
    for (name, partly, empty) in
        [(FIELDS, fields.partly, fields.selector.is_empty()), (LABELS, labels.partly, labels.selector.is_empty())]
    {
        if partly {
            let ignored = if empty { "ignored" } else { "partially ignored" };
            problems.push(format!("spec.resourceAttributes.{name} {ignored} due to parse error"));
        }
    }
    (Selected { fields: fields.selector, labels: labels.selector }, problems)
}

fn fields(selector: Option<&Json>) -> Read<FieldSelector> {
    let selector = selector.unwrap_or(&Json::Null);
    let requirements = items_at(selector, &["requirements"]);
    if requirements.is_empty() {
        let read = FieldSelector::parse(text(selector, "rawSelector"));
        return Read { partly: read.is_err(), selector: read.unwrap_or_default() };
    }
    let terms: Vec<_> = requirements
        .iter()
        .filter_map(|requirement| {
            let [value] = items_at(requirement, &["values"]) else { return None };
            let equal = match text(requirement, "operator") {
                "In" => true,
                "NotIn" => false,
                _ => return None,
            };
            Some((text(requirement, "key").to_string(), value.as_str().unwrap_or_default().to_string(), equal))
        })
        .collect();
    Read { partly: terms.len() < requirements.len(), selector: FieldSelector { terms } }
}

fn labels(selector: Option<&Json>) -> Read<LabelSelector> {
    let selector = selector.unwrap_or(&Json::Null);
    let sent = items_at(selector, &["requirements"]);
    if sent.is_empty() {
        let read = LabelSelector::parse(text(selector, "rawSelector"));
        return Read { partly: read.is_err(), selector: read.unwrap_or_default() };
    }
    let requirements: Vec<Requirement> = sent
        .iter()
        .filter_map(|requirement| {
            let key = text(requirement, "key").to_string();
            let values = items_at(requirement, &["values"]).iter().filter_map(Json::as_str).map(str::to_string);
            Some(match text(requirement, "operator") {
                "In" => Requirement::In(key, values.collect()),
                "NotIn" => Requirement::NotIn(key, values.collect()),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                _ => return None,
            })
        })
        .collect();
    Read { partly: requirements.len() < sent.len(), selector: LabelSelector { requirements } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(asked: Json) -> Vec<String> {
        read(&asked).1
    }

    #[test]
    fn what_cannot_be_read_is_left_out_and_told() {
        let (selected, told) = read(&json!({
            "fieldSelector": { "rawSelector": "spec.nodeName=a,status.phase!=Failed" },
            "labelSelector": { "requirements": [{ "key": "app", "operator": "In", "values": ["web"] }] },
        }));
        assert!(told.is_empty() && selected.requires("spec.nodeName", "a"));
        assert!(!selected.requires("status.phase", "Failed") && !selected.requires("spec.nodeName", "b"));
        assert_eq!(selected.labels, LabelSelector::parse("app in (web)").unwrap());

        let ignored = "spec.resourceAttributes.fieldSelector ignored due to parse error";
        assert_eq!(problems(json!({ "fieldSelector": { "rawSelector": "nonsense" } })), [ignored]);
        for (operator, values) in [("Exists", json!([])), ("In", json!(["a", "b"])), ("Near", json!(["a"]))] {
            let one = json!({ "key": "spec.nodeName", "operator": operator, "values": values });
            assert_eq!(problems(json!({ "fieldSelector": { "requirements": [one] } })), [ignored], "{operator}");
            let known = json!({ "key": "metadata.name", "operator": "NotIn", "values": ["x"] });
            let (selected, told) = read(&json!({ "fieldSelector": { "requirements": [one, known] } }));
            assert_eq!(told, ["spec.resourceAttributes.fieldSelector partially ignored due to parse error"]);
            assert_eq!(selected.fields, FieldSelector::parse("metadata.name!=x").unwrap());
        }
        let newer = json!({ "key": "app", "operator": "Like", "values": ["w"] });
        assert_eq!(
            problems(json!({ "fieldSelector": { "rawSelector": "x" }, "labelSelector": { "requirements": [newer] } })),
            [ignored, "spec.resourceAttributes.labelSelector ignored due to parse error"]
        );
        assert!(problems(json!({})).is_empty());
    }
}
