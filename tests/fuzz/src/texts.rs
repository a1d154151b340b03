//! Texts of requests: selectors and quantities, and YAML. What is read is written and read again as the same; selectors select
//! and quantities count as a slow model says.

use anyhow::{Result, anyhow, ensure};
use bytes::Bytes;
use holdfast_core::selector::Requirement;
use holdfast_core::{FieldSelector, Json, LabelSelector, PatchType, Quantity};
use holdfast_server::codec::accept::Encoding;
use holdfast_server::codec::{decode, encode};
use std::collections::BTreeMap;

pub(crate) const LABELS: &[&str] = &[
    "app=web,tier!=back,env in (prod, test),zone notin (a,),!gone,example.com/x,y==1",
    "a in (),b notin (c,d,e), !example.com/z ,f",
    "",
];
pub(crate) const FIELDS: &[&str] =
    &[r"metadata.name=a,status.phase!=Running,spec.nodeName==", r"a=b\,c\=d\\e,f!=\=", "x=,"];
pub(crate) const QUANTITIES: &[&str] = &[
    "500m",
    "1Gi",
    "-1.5",
    "2e3",
    "+0.1Ki",
    "100n",
    "9223372036854775807",
    "12E",
    "7u",
    "1E-3",
    ".5",
    "0.000000000000000001Ei",
    "99999999999999999999999999999.5",
];

pub(crate) const YAML: &[&str] = &[
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {\"b\": 'c'}}\ndata:\n  k: |\n    two\n     lines\n  f: >-\n    one\n    line\n",
    "---\na: &a [1, -2.5, 0x1F, ~, yes, \"\\u00e9\", *b]\nb: &b {c: *a, <<: *a}\nd: [*a, *a]\n...\n",
    "a: 1\nb:\n  - c: 1\n    c: 2\n  - ? d\n    : e # f\na: !!str 2\n\"a\": 2026-11-24\n",
    "{\"spec\": {\"a\": 1, \"a\": [true, null, 1e3, \"\\ud83d\\ude00\"]}}",
];

/// Sets of labels that tell requirements apart.
fn labels() -> Vec<BTreeMap<String, String>> {
    let sets: [&[(&str, &str)]; 5] = [
        &[],
        &[("app", "web"), ("env", "prod"), ("example.com/x", ""), ("y", "1")],
        &[("app", ""), ("gone", "x"), ("zone", "a")],
        &[("a", ""), ("b", "z"), ("f", "g")],
        &[("tier", "back"), ("b", "c")],
    ];
    sets.iter().map(|set| set.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()).collect()
}

fn written(requirement: &Requirement) -> String {
    match requirement {
        Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
        Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("!{key}"),
        Requirement::GreaterThan(key, number) => format!("{key}>{number}"),
        Requirement::LessThan(key, number) => format!("{key}<{number}"),
    }
}

fn holds(requirement: &Requirement, labels: &BTreeMap<String, String>) -> bool {
    let number = |key: &String| labels.get(key).and_then(|value| value.parse::<i64>().ok());
    match requirement {
        Requirement::In(key, values) => values.iter().any(|value| labels.get(key) == Some(value)),
        Requirement::NotIn(key, values) => !values.iter().any(|value| labels.get(key) == Some(value)),
        Requirement::Exists(key) => labels.contains_key(key),
        Requirement::DoesNotExist(key) => !labels.contains_key(key),
        Requirement::GreaterThan(key, than) => number(key).is_some_and(|number| number > *than),
        Requirement::LessThan(key, than) => number(key).is_some_and(|number| number < *than),
    }
}

/// `labelSelector`.
pub(crate) fn label_selector(payload: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(()) };
    let Ok(selector) = LabelSelector::parse(text) else { return Ok(()) };
    let parts: Vec<String> = selector.requirements.iter().map(written).collect();
    let printed = parts.join(",");
    let again = LabelSelector::parse(&printed);
    ensure!(again.as_ref() == Ok(&selector), "{text:?} is {selector:?}, and {printed:?} is {again:?}");
    for labels in labels() {
        let model = selector.requirements.iter().all(|requirement| holds(requirement, &labels));
        ensure!(selector.matches(&labels) == model, "{selector:?} and {labels:?}");
    }
    Ok(())
}

/// `fieldSelector`.
pub(crate) fn field_selector(payload: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(()) };
    let Ok(selector) = FieldSelector::parse(text) else { return Ok(()) };
    let escaped = |value: &str| value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
    let term = |(field, value, equal): &(String, String, bool)| {
        format!("{field}{}{}", if *equal { "=" } else { "!=" }, escaped(value))
    };
    let parts: Vec<String> = selector.terms.iter().map(term).collect();
    let printed = parts.join(",");
    let again = FieldSelector::parse(&printed);
    ensure!(again.as_ref() == Ok(&selector), "{text:?} is {selector:?}, and {printed:?} is {again:?}");
    for given in ["", "a", "Running"] {
        let model = selector.terms.iter().all(|(_, value, equal)| (given == value) == *equal);
        ensure!(selector.matches(|_| given.to_string()) == model, "{selector:?} and {given:?}");
    }
    Ok(())
}

/// Quantities of resources.
pub(crate) fn quantity(payload: &[u8]) -> Result<()> {
    let Ok(text) = std::str::from_utf8(payload) else { return Ok(()) };
    let Ok(read) = text.parse::<Quantity>() else { return Ok(()) };
    let printed = read.to_string();
    let again = printed.parse::<Quantity>();
    ensure!(
        again.is_ok_and(|again| again.exact_milli() == read.exact_milli()),
        "{text:?} is {read:?}, {printed:?} is {again:?}"
    );
    ensure!(
        again.map(|again| again.to_string()) == Ok(printed.clone()),
        "{printed:?} is written otherwise the next time"
    );
    if read.exact_milli() != 0 {
        let other = if let Some(rest) = text.strip_prefix('-') {
            rest.to_string()
        } else {
            format!("-{}", text.trim_start_matches('+'))
        };
        let negative = other.parse::<Quantity>();
        ensure!(negative.is_ok_and(|other| other.exact_milli() == -read.exact_milli()), "{text:?} and {other:?}");
    }
    let (sum, up) = (read.plus(read), read.rounded_up());
    ensure!(sum.minus(read).exact_milli() == read.exact_milli(), "{read:?} twice, and once less");
    let more = up.exact_milli() - read.exact_milli();
    ensure!((0..1000).contains(&more) && up.exact_milli() % 1000 == 0, "{read:?} is rounded up to {up:?}");
    Ok(())
}

/// What a body of YAML says is said again by the YAML that is written of it.
pub(crate) fn yaml(input: &[u8]) -> Result<()> {
    let read = |bytes: &[u8]| -> Result<Json, String> {
        let read = decode::patch(PatchType::Apply, &Bytes::copy_from_slice(bytes)).map_err(|err| err.to_string())?;
        Ok(read.patch.body)
    };
    let Ok(document) = read(input) else { return Ok(()) };
    let written = encode::document_bytes(&document, Encoding::Yaml);
    let again = read(&written).map_err(|err| {
        anyhow!("{document} was written as {:?} and not read: {err}", String::from_utf8_lossy(&written))
    })?;
    ensure!(again == document, "read {document}, wrote {:?}, and read {again}", String::from_utf8_lossy(&written));
    Ok(())
}
