//! What a webhook is told and answers: `apiextensions.k8s.io` ConversionReview.
//! (`k8s.io/apiextensions-apiserver/pkg/apiserver/conversion` is the reference.)

use super::{gvk_of, shown};
use crate::meta;
use holdfast_core::json::{at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};
use serde_json::json;

const GROUP: &str = "apiextensions.k8s.io";
const KIND: &str = "ConversionReview";

/// A version of ConversionReview that we speak.
pub(super) fn known(version: &str) -> Option<&'static str> {
    ["v1", "v1beta1"].into_iter().find(|known| *known == version)
}

/// A request.
pub(super) struct Wanted<'w> {
    /// The version of the review.
    pub(super) review: &'static str,
    pub(super) uid: &'w str,
    /// The `apiVersion` that all objects are to have.
    pub(super) to: &'w str,
}

/// What is wrong with an object that came back.
#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    /// Another type.
    Type(String),
    /// Another object.
    Identity(String),
    /// Labels or annotations that cannot be.
    Metadata(String),
}

impl Fault {
    /// In upstream's words, which depend on whether one or several were asked for.
    pub(super) fn told(&self, many: bool, index: usize) -> String {
        match (self, many) {
            (Fault::Type(why), false) => format!("returned invalid object at index {index}: {why}"),
            (Fault::Identity(why), false) => format!("returned invalid object: {why}"),
            (Fault::Metadata(why), false) => format!("returned invalid metadata: {why}"),
            (Fault::Type(why) | Fault::Identity(why), true) => {
                format!("returned invalid converted object at index {index}: {why}")
            }
            (Fault::Metadata(why), true) => format!("returned invalid metadata in object at index {index}: {why}"),
        }
    }
}

impl Wanted<'_> {
    /// What the webhook is sent.
    pub(super) fn request(&self, objects: &[Json]) -> Json {
        json!({
            "apiVersion": format!("{GROUP}/{}", self.review),
            "kind": KIND,
            "request": { "uid": self.uid, "desiredAPIVersion": self.to, "objects": objects },
        })
    }

    /// The objects of an answer that says that all went well.
    ///
    /// # Errors
    /// What is wrong with its form, or what the webhook says.
    pub(super) fn objects(&self, mut review: Json) -> Result<Vec<Json>, String> {
        // Of the older version neither type nor uid were ever looked at.
        let strict = self.review == "v1";
        if strict {
            let found = gvk_of(&review);
            if (found.group.as_str(), found.version.as_str(), found.kind.as_str()) != (GROUP, "v1", KIND) {
                let found = shown(&found);
                return Err(format!("expected webhook response of {GROUP}/v1, Kind={KIND}, got {found}"));
            }
        }
        let response = review.get_mut("response").filter(|response| response.is_object());
        let response = response.ok_or("no response provided")?;
        let told = str_at(response, &["uid"]).unwrap_or_default();
        if strict && told != self.uid {
            return Err(format!("expected response.uid={:?}, got {told:?}", self.uid));
        }
        let result = |field: &str| str_at(response, &["result", field]).unwrap_or_default();
        match (result("status"), result("message")) {
            ("Success", _) => {}
            (status, "") => return Err(format!("response.result.status was '{status}', not 'Success'")),
            (_, message) => return Err(message.to_string()),
        }
        match response.get_mut("convertedObjects").map(Json::take) {
            Some(Json::Array(objects)) => Ok(objects),
            _ => Ok(Vec::new()),
        }
    }

    /// The object that a webhook made of `original`: of its metadata only labels and annotations count.
    ///
    /// # Errors
    /// When it is no such object.
    pub(super) fn taken(&self, original: &Json, mut converted: Json) -> Result<Json, Fault> {
        let (wanted, found) = (gvk_of(original), gvk_of(&converted));
        let version = str_at(&converted, &["apiVersion"]).unwrap_or_default();
        if version != self.to {
            let to = self.to;
            return Err(Fault::Type(format!("invalid groupVersion (expected {to}, received {version})")));
        }
        if found.kind != wanted.kind {
            let text = format!("invalid kind (expected {}, received {})", wanted.kind, found.kind);
            return Err(Fault::Type(text));
        }
        for (field, called) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
            let of = |doc: &Json| str_at(doc, &["metadata", field]).unwrap_or_default().to_string();
            let (before, after) = (of(original), of(&converted));
            if before != after {
                return Err(Fault::Identity(format!("must have the same {called}: {before} != {after}")));
            }
        }
        let metadata = metadata(at(original, &["metadata"]), converted.get("metadata")).map_err(Fault::Metadata)?;
        set(&mut converted, &["metadata"], metadata);
        Ok(converted)
    }
}

/// The metadata of the original with what a webhook may change of it.
fn metadata(original: Option<&Json>, converted: Option<&Json>) -> Result<Json, String> {
    let converted = converted.ok_or("missing metadata in converted object")?;
    if !converted.is_object() {
        return Err(format!("invalid metadata of type {} in converted object", go_type(converted)));
    }
    let mut metadata = original.cloned().unwrap_or_else(|| json!({}));
    for field in ["labels", "annotations"] {
        let sent = converted.get(field).filter(|sent| !sent.is_null());
        let Some(sent) = sent else {
            holdfast_core::json::remove(&mut metadata, &[field]);
            continue;
        };
        let Json::Object(map) = sent else {
            return Err(format!("invalid metadata.{field} of type {} in converted object", go_type(sent)));
        };
        for (key, value) in map {
            if !value.is_string() {
                let text = format!("must be a string, but is {} in converted object", go_type(value));
                return Err(format!("metadata.{field}[{key}] {text}"));
            }
        }
        // What was stored may be of times with other rules.
        if metadata.get(field) != Some(sent) {
            judge(field, sent)?;
        }
        set(&mut metadata, &[field], sent.clone());
    }
    Ok(metadata)
}

fn judge(field: &str, map: &Json) -> Result<(), String> {
    let mut errors = FieldErrors::new();
    match field {
        "labels" => meta::labels(Some(map), &FieldPath::new("metadata.labels"), &mut errors),
        _ => meta::annotations(Some(map), &FieldPath::new("metadata.annotation"), &mut errors),
    }
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [] => Ok(()),
        [one] => Err(one.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

/// How Go calls the type of a value that was read from JSON.
fn go_type(value: &Json) -> &'static str {
    match value {
        Json::Null => "<nil>",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted<'_> = Wanted { review: "v1", uid: "u", to: "shop.example.com/v2" };

    fn review(response: Json) -> Json {
        json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response })
    }

    #[test]
    fn an_answer_says_that_all_went_well_or_why_not() {
        let said = |review: Json| WANTED.objects(review).unwrap_err();
        assert_eq!(
            said(json!({ "apiVersion": "v1", "kind": "Pod" })),
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /v1, Kind=Pod"
        );
        assert_eq!(said(review(Json::Null)), "no response provided");
        assert_eq!(said(review(json!({ "uid": "x" }))), "expected response.uid=\"u\", got \"x\"");
        let failed = json!({ "uid": "u", "result": { "status": "Failure" } });
        assert_eq!(said(review(failed)), "response.result.status was 'Failure', not 'Success'");
        let why = json!({ "uid": "u", "result": { "status": "Failure", "message": "not today" } });
        assert_eq!(said(review(why)), "not today");
        let fine = json!({ "uid": "u", "result": { "status": "Success" }, "convertedObjects": [{ "a": 1 }] });
        assert_eq!(WANTED.objects(review(fine)).unwrap(), [json!({ "a": 1 })]);
        let older = Wanted { review: "v1beta1", ..WANTED };
        let fine = json!({ "response": { "result": { "status": "Success" } } });
        assert_eq!(older.objects(fine), Ok(Vec::new()));
    }

    #[test]
    fn labels_and_annotations_are_all_that_changes_in_metadata() {
        let original = json!({ "apiVersion": "shop.example.com/v1", "kind": "Till",
            "metadata": { "name": "a", "uid": "1", "generation": 2, "labels": { "a": "b" } } });
        let made = |fields: Json| {
            let mut doc = json!({ "apiVersion": "shop.example.com/v2", "kind": "Till",
                "metadata": { "name": "a", "uid": "1", "labels": { "a": "b" } } });
            holdfast_schema::merge_patch(&mut doc, &fields).unwrap();
            doc
        };
        let taken = |fields: Json| WANTED.taken(&original, made(fields));
        let changed = json!({ "spec": { "x": 1 }, "metadata": { "generation": 7, "finalizers": ["x.example.com/y"],
            "labels": { "a": "c" }, "annotations": { "k": "v" } } });
        assert_eq!(
            taken(changed).unwrap(),
            json!({ "apiVersion": "shop.example.com/v2", "kind": "Till", "spec": { "x": 1 }, "metadata": {
                "name": "a", "uid": "1", "generation": 2, "labels": { "a": "c" }, "annotations": { "k": "v" } } })
        );
        let metadata = |taken: Result<Json, Fault>| taken.unwrap()["metadata"].clone();
        assert_eq!(metadata(taken(json!({ "metadata": { "labels": null } }))).get("labels"), None);

        let told = |fields: Json, many| taken(fields).unwrap_err().told(many, 3);
        let other = json!({ "apiVersion": "shop.example.com/v3" });
        let text = "invalid groupVersion (expected shop.example.com/v2, received shop.example.com/v3)";
        assert_eq!(told(other.clone(), false), format!("returned invalid object at index 3: {text}"));
        assert_eq!(told(other, true), format!("returned invalid converted object at index 3: {text}"));
        let text = "invalid kind (expected Till, received Box)";
        assert_eq!(told(json!({ "kind": "Box" }), false), format!("returned invalid object at index 3: {text}"));
        let text = "must have the same UID: 1 != 2";
        assert_eq!(told(json!({ "metadata": { "uid": "2" } }), false), format!("returned invalid object: {text}"));
        let bad = json!({ "metadata": { "labels": { "a": 1 } } });
        let text = "metadata.labels[a] must be a string, but is int64 in converted object";
        assert_eq!(told(bad.clone(), false), format!("returned invalid metadata: {text}"));
        assert_eq!(told(bad, true), format!("returned invalid metadata in object at index 3: {text}"));
        let bad = told(json!({ "metadata": { "labels": { "not ok": "x" } } }), false);
        assert!(bad.starts_with("returned invalid metadata: metadata.labels: Invalid value: \"not ok\""), "{bad}");
    }
}
