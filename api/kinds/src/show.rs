//! Cells of a Table: ages, label lists, selectors, and the small readers that the rows of all kinds share.
//!
//! The texts are those of `kubectl get`; a Table made here needs no further work by the client.

use crate::Column;
use holdfast_core::json::{items_at, str_at};
use holdfast_core::{Json, Timestamp};

/// Shown where upstream shows that something is not set.
pub(crate) const NONE: &str = "<none>";
/// Shown where an optional field is not set.
pub(crate) const UNSET: &str = "<unset>";
/// Shown where a value should be and is not.
pub(crate) const UNKNOWN: &str = "<unknown>";

/// A column that is always shown.
pub(crate) const fn column(name: &'static str, column_type: &'static str, description: &'static str) -> Column {
    Column { name, column_type, format: "", description, priority: 0 }
}

/// A column of `-o wide`.
pub(crate) const fn wide(name: &'static str, column_type: &'static str, description: &'static str) -> Column {
    Column { name, column_type, format: "", description, priority: 1 }
}

/// The column of the name.
pub(crate) const NAME: Column =
    Column { name: "Name", column_type: "string", format: "name", description: "Name of the object.", priority: 0 };

/// The column of the age.
pub(crate) const AGE: Column = column("Age", "string", "Time since the object was created.");

/// The columns of kinds that have none of their own.
pub(crate) const DEFAULT_COLUMNS: &[Column] =
    &[NAME, column("Created At", "date", "Moment at which the object was created.")];

/// The columns of kinds that show only their age.
pub(crate) const AGED_COLUMNS: &[Column] = &[NAME, AGE];

/// The row for [`AGED_COLUMNS`].
pub(crate) fn aged_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    vec![name(doc), age(doc, now)]
}

/// The row for [`DEFAULT_COLUMNS`].
pub(crate) fn default_row(doc: &Json, _now: Timestamp) -> Vec<Json> {
    vec![name(doc), created_at(doc)]
}

/// `metadata.name`.
pub(crate) fn name(doc: &Json) -> Json {
    text(doc, &["metadata", "name"]).into()
}

/// `metadata.creationTimestamp` as a date.
pub(crate) fn created_at(doc: &Json) -> Json {
    str_at(doc, &["metadata", "creationTimestamp"]).and_then(Timestamp::parse).map(|at| at.to_string()).into()
}

/// The age of the object.
pub(crate) fn age(doc: &Json, now: Timestamp) -> Json {
    since(str_at(doc, &["metadata", "creationTimestamp"]), now).into()
}

/// How long ago a moment was; `<unknown>` when there is none.
pub(crate) fn since(moment: Option<&str>, now: Timestamp) -> String {
    match moment.and_then(Timestamp::parse) {
        Some(then) if now >= then => human(i64::try_from(now.since(then).as_secs()).unwrap_or(i64::MAX)),
        Some(then) => human(i64::try_from(then.since(now).as_secs()).map_or(i64::MIN, |secs| -secs)),
        None => UNKNOWN.into(),
    }
}

/// A duration in the two most telling units (`k8s.io/apimachinery/pkg/util/duration HumanDuration`). Two clocks
/// may differ by a second; more than that in the future is `<invalid>`.
pub(crate) fn human(secs: i64) -> String {
    let two = |big: i64, unit: char, small: i64, small_unit: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    let (minutes, hours) = (secs / 60, secs / 3600);
    let days = hours / 24;
    match secs {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{secs}s"),
        _ if minutes < 10 => two(minutes, 'm', secs % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => two(days, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{days}d"),
        _ if hours < 24 * 365 * 8 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// The string at `path`, or the empty string.
pub(crate) fn text<'a>(doc: &'a Json, path: &[&str]) -> &'a str {
    str_at(doc, path).unwrap_or_default()
}

/// `value`, or `instead` when it is empty.
pub(crate) fn or<'a>(value: &'a str, instead: &'a str) -> &'a str {
    if value.is_empty() { instead } else { value }
}

/// The integer at `path`, or 0.
pub(crate) fn int(doc: &Json, path: &[&str]) -> i64 {
    holdfast_core::json::i64_at(doc, path).unwrap_or(0)
}

/// The status of the condition `condition_type` under `status.conditions`.
pub(crate) fn condition<'a>(doc: &'a Json, condition_type: &str) -> Option<&'a str> {
    items_at(doc, &["status", "conditions"])
        .iter()
        .find(|condition| str_at(condition, &["type"]) == Some(condition_type))
        .and_then(|condition| str_at(condition, &["status"]))
}

/// A map of labels as `a=1,b=2`, by key.
pub(crate) fn labels(map: Option<&Json>) -> String {
    let mut pairs: Vec<String> = map
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or(&pairs.join(","), NONE).to_string()
}

/// A `LabelSelector` in its text form, by key; empty when it selects nothing.
pub(crate) fn selector(spec: Option<&Json>) -> String {
    let Some(spec) = spec else { return String::new() };
    let mut terms: Vec<(String, String)> = Vec::new();
    for (key, value) in spec.get("matchLabels").and_then(Json::as_object).into_iter().flatten() {
        terms.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in items_at(spec, &["matchExpressions"]) {
        let key = text(expression, &["key"]);
        let mut values: Vec<&str> = items_at(expression, &["values"]).iter().filter_map(Json::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(expression, &["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_string(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".into(),
        };
        terms.push((key.to_string(), term));
    }
    terms.sort();
    terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",")
}

/// A `LabelSelector` in its text form; `<none>` when it has no terms.
pub(crate) fn selector_or_none(spec: Option<&Json>) -> String {
    or(&selector(spec), NONE).to_string()
}

/// A number or text as text; `instead` when there is none.
pub(crate) fn scalar(value: Option<&Json>, instead: &str) -> String {
    match value {
        Some(Json::String(text)) => text.clone(),
        Some(number @ Json::Number(_)) => number.to_string(),
        _ => instead.to_string(),
    }
}

/// Names and images of the containers at `path`, each joined with commas.
pub(crate) fn containers(doc: &Json, path: &[&str]) -> (String, String) {
    let items = items_at(doc, path);
    let join = |field: &str| items.iter().map(|item| text(item, &[field])).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}

/// At most three items, and how many more there are.
pub(crate) fn up_to_three(items: &[String]) -> String {
    const SHOWN: usize = 3;
    match items.len() {
        0 => "<unset>".into(),
        n if n <= SHOWN => items.join(","),
        n => format!("{} + {} more...", items[..SHOWN].join(","), n - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_read_as_upstream_writes_them() {
        let (minute, hour, day) = (60, 3600, 86_400);
        for (secs, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (123, "2m3s"),
            (10 * minute + 5, "10m"),
            (179 * minute, "179m"),
            (3 * hour, "3h"),
            (3 * hour + 5 * minute, "3h5m"),
            (47 * hour + 59 * minute, "47h"),
            (2 * day, "2d"),
            (2 * day + hour, "2d1h"),
            (8 * day + hour, "8d"),
            (729 * day, "729d"),
            (731 * day, "2y1d"),
            (3000 * day, "8y"),
        ] {
            assert_eq!(human(secs), text, "{secs}");
        }
    }

    #[test]
    fn ages_tolerate_a_clock_a_second_ahead() {
        let now = Timestamp::from_secs(1000);
        assert_eq!(since(Some("1970-01-01T00:16:41Z"), now), "0s");
        assert_eq!(since(Some("1970-01-01T00:17:41Z"), now), "<invalid>");
        assert_eq!(since(None, now), "<unknown>");
    }

    #[test]
    fn selectors_show_by_key() {
        let spec = json!({"matchLabels": {"b": "2"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]});
        assert_eq!(selector(Some(&spec)), "a in (x,y),b=2,!c");
        assert_eq!(labels(Some(&json!({"b": "2", "a": "1"}))), "a=1,b=2");
        assert_eq!(labels(None), "<none>");
    }

    #[test]
    fn long_lists_are_cut() {
        let items: Vec<String> = (1..=5).map(|n| n.to_string()).collect();
        assert_eq!(up_to_three(&items), "1,2,3 + 2 more...");
        assert_eq!(up_to_three(&[]), "<unset>");
    }
}
