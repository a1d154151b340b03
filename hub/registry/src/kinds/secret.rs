//! core/v1 Secret.

use super::data;
use super::rules::{default_text, text};
use crate::meta::immutable;
use crate::strategy::Strategy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::json::{at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// core/v1 Secret.
pub(crate) struct Secret;

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";

/// Values of `stringData` join `data`; the field is write-only.
fn join_string_data(doc: &mut Json) {
    let Some(Json::Object(map)) = remove(doc, &["stringData"]) else { return };
    for (key, value) in map {
        let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
        set(doc, &["data", &key], encoded);
    }
}

impl Strategy for Secret {
    fn default(&self, doc: &mut Json) {
        default_text(doc, &["type"], "Opaque");
        join_string_data(doc);
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        join_string_data(doc);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        data::validate(doc, &["data"], errors);
        let path = FieldPath::new("data");
        let needs = |keys: &[&str], errors: &mut FieldErrors| {
            for key in keys {
                if at(doc, &["data", key]).is_none() {
                    errors.required(&path.key(key), "");
                }
            }
        };
        match text(doc, "type") {
            "kubernetes.io/tls" => needs(&["tls.crt", "tls.key"], errors),
            "kubernetes.io/dockerconfigjson" => {
                needs(&[".dockerconfigjson"], errors);
                json_value(doc, ".dockerconfigjson", errors);
            }
            "kubernetes.io/dockercfg" => {
                needs(&[".dockercfg"], errors);
                json_value(doc, ".dockercfg", errors);
            }
            "kubernetes.io/ssh-auth" => needs(&["ssh-privatekey"], errors),
            "kubernetes.io/basic-auth"
                if at(doc, &["data", "username"]).is_none() && at(doc, &["data", "password"]).is_none() =>
            {
                errors.required(&path.key("username"), "");
                errors.required(&path.key("password"), "");
            }
            "kubernetes.io/service-account-token"
                if str_at(doc, &["metadata", "annotations", ACCOUNT_NAME]).is_none_or(str::is_empty) =>
            {
                errors.required(&FieldPath::new("metadata").child("annotations").key(ACCOUNT_NAME), "");
            }
            _ => {}
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["type"], &FieldPath::new("type"), errors);
        data::validate_immutable(doc, old, &["data"], errors);
    }
}

fn json_value(doc: &Json, key: &str, errors: &mut FieldErrors) {
    let Some(value) = str_at(doc, &["data", key]) else { return };
    let is_json = STANDARD.decode(value).is_ok_and(|bytes| serde_json::from_slice::<Json>(&bytes).is_ok());
    if !is_json {
        errors.invalid(&FieldPath::new("data").key(key), "<secret contents redacted>", "the value is no JSON");
    }
}
