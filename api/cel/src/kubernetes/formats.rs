//! Named formats (documentation, section "Kubernetes format library").

use super::{FORMAT, Kubernetes, argument, value};
use crate::functions::Library;
use crate::types::Type;
use crate::value::time::Time;
use crate::value::{Value, base64_engine};
use base64::Engine;
use holdfast_core::names;
use std::borrow::Cow;

/// A format by its name.
#[derive(Debug)]
pub struct NamedFormat {
    pub(super) name: &'static str,
    /// Length of the pattern that costs are told by.
    pub(crate) pattern_size: u64,
    check: fn(&str) -> Vec<String>,
}

/// Length of the pattern that upstream has for dates, times and UUIDs.
const TIME_PATTERN: u64 = 71;
const UUID_PATTERN: u64 = 70;

static FORMATS: &[NamedFormat] = &[
    format("dns1123Label", 30, names::dns_label),
    format("dns1123Subdomain", 60, names::dns_subdomain),
    format("dns1035Label", 30, names::dns_label_1035),
    format("qualifiedName", 60, names::qualified_name),
    format("dns1123LabelPrefix", 30, |text| names::dns_label(&without_dash(text))),
    format("dns1123SubdomainPrefix", 60, |text| names::dns_subdomain(&without_dash(text))),
    format("dns1035LabelPrefix", 30, |text| names::dns_label_1035(&without_dash(text))),
    format("labelValue", 40, names::label_value),
    format("uri", 1103, |text| match super::url::check_request_uri(text) {
        Ok(()) => Vec::new(),
        Err(why) => vec![why],
    }),
    format("uuid", UUID_PATTERN, |text| one(is_uuid(text), "does not match the UUID format")),
    format("byte", 84, |text| one(base64_engine().decode(text).is_ok(), "invalid base64")),
    format("date", TIME_PATTERN, |text| one(Time::parse_date(text).is_some(), "invalid date")),
    format("datetime", TIME_PATTERN, |text| one(Time::parse(&text.to_uppercase()).is_ok(), "invalid datetime")),
];

const fn format(name: &'static str, pattern_size: u64, check: fn(&str) -> Vec<String>) -> NamedFormat {
    NamedFormat { name, pattern_size, check }
}

/// The prefix of a generated name may end with a dash.
fn without_dash(text: &str) -> Cow<'_, str> {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() && text.is_ascii() => Cow::Owned(format!("{}a", &rest[..rest.len() - 1])),
        _ => Cow::Borrowed(text),
    }
}

fn one(fits: bool, problem: &str) -> Vec<String> {
    if fits { Vec::new() } else { vec![problem.to_string()] }
}

/// 32 hexadecimal digits in groups, each dash of which may be missing.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, count) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..count) {
            Some(group) if group.bytes().all(|b| b.is_ascii_hexdigit()) => rest = &rest[count..],
            _ => return false,
        }
    }
    rest.is_empty()
}

pub(super) fn declare(library: &mut Library) {
    let named = Type::object(FORMAT);
    let found = Type::optional(Type::list(Type::String));
    library.member("validate", "format-validate", &[named.clone(), Type::String], found, |args| {
        let problems = (argument!(args, 0, Format)?.check)(args.text(1)?);
        Ok(if problems.is_empty() { Value::Optional(None) } else { Value::some(Value::strings(problems)) })
    });
    library.global("format.named", "format-named", &[Type::String], Type::optional(named.clone()), |args| {
        let wanted = args.text(0)?;
        let found = FORMATS.iter().find(|format| format.name == &**wanted);
        Ok(Value::Optional(found.map(|format| value(Kubernetes::Format(format)).into())))
    });
    library.global("format.dns1123Label", "format.dns1123Label", &[], named.clone(), |_| constant(0));
    library.global("format.dns1123Subdomain", "format.dns1123Subdomain", &[], named.clone(), |_| constant(1));
    library.global("format.dns1035Label", "format.dns1035Label", &[], named.clone(), |_| constant(2));
    library.global("format.qualifiedName", "format.qualifiedName", &[], named.clone(), |_| constant(3));
    library.global("format.dns1123LabelPrefix", "format.dns1123LabelPrefix", &[], named.clone(), |_| constant(4));
    library
        .global("format.dns1123SubdomainPrefix", "format.dns1123SubdomainPrefix", &[], named.clone(), |_| constant(5));
    library.global("format.dns1035LabelPrefix", "format.dns1035LabelPrefix", &[], named.clone(), |_| constant(6));
    library.global("format.labelValue", "format.labelValue", &[], named.clone(), |_| constant(7));
    library.global("format.uri", "format.uri", &[], named.clone(), |_| constant(8));
    library.global("format.uuid", "format.uuid", &[], named.clone(), |_| constant(9));
    library.global("format.byte", "format.byte", &[], named.clone(), |_| constant(10));
    library.global("format.date", "format.date", &[], named.clone(), |_| constant(11));
    library.global("format.datetime", "format.datetime", &[], named, |_| constant(12));
}

fn constant<'a>(index: usize) -> crate::value::Outcome<'a> {
    Ok(value(Kubernetes::Format(&FORMATS[index])))
}
