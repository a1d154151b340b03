//! Objects that `kubectl apply` made without `--server-side`, and the annotation in which it remembers what it sent.

use super::compare::compare;
use super::set::FieldSet;
use super::typing::Typing;
use super::walk::{check, set_of};
use holdfast_core::Json;
use holdfast_core::json::{remove, set, str_at};

const ANNOTATION: &[&str] = &["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"];
/// Bytes of all annotations of an object (upstream's `TotalAnnotationSizeLimitB`).
const ANNOTATIONS_BYTES: usize = 256 << 10;

/// What was last applied to `live`, if the annotation tells.
pub(super) fn last_applied(live: &Json, api_version: &str) -> Option<Json> {
    let text = str_at(live, ANNOTATION).filter(|text| !text.is_empty())?;
    let (applied, _) = crate::parse_json(text.as_bytes()).ok()?;
    (str_at(&applied, &["apiVersion"]) == Some(api_version)).then_some(applied)
}

/// The fields of `applied` that `live` still has as they were applied: taking these over is no conflict.
pub(super) fn still_applied<'a, T: Typing>(place: &T, applied: &'a Json, live: &Json) -> Option<FieldSet<'a>> {
    check(place, live, false).ok()?;
    check(place, applied, false).ok()?;
    let changed = compare(place, applied, live).ok()?;
    let fields = set_of(place, applied).ok()?;
    Some(fields.difference(&changed.modified).difference(&changed.added).difference(&changed.removed))
}

/// Brings the annotation up to date where there is one, so that `kubectl apply` without `--server-side` goes on from here.
pub(super) fn record(object: &mut Json, config: &Json) {
    if str_at(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    remove(&mut config, ANNOTATION);
    let text = go_text(&config);
    let others = holdfast_core::json::at(object, &ANNOTATION[..2]).and_then(Json::as_object).into_iter().flatten();
    let others = others.filter(|(key, _)| key.as_str() != ANNOTATION[2]);
    let bytes: usize = others.map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes + ANNOTATION[2].len() + text.len() > ANNOTATIONS_BYTES {
        remove(object, ANNOTATION);
    } else {
        set(object, ANNOTATION, text);
    }
}

/// As Go writes it: keys sorted, a newline at the end, and nothing that HTML could take for its own.
fn go_text(value: &Json) -> String {
    let mut text = sorted(value).to_string();
    for (plain, escaped) in [("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")] {
        text = text.replace(plain, escaped);
    }
    text.push('\n');
    text
}

fn sorted(value: &Json) -> Json {
    match value {
        Json::Object(map) => {
            let mut entries: Vec<(&String, &Json)> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            entries.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect()
        }
        Json::Array(items) => items.iter().map(sorted).collect(),
        scalar => scalar.clone(),
    }
}
