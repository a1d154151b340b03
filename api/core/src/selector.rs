//! Label and field selectors: the text of a query and the object of a spec.

use crate::Json;
use std::collections::BTreeMap;

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The label is there with one of the values.
    In(String, Vec<String>),
    /// The label is missing or has none of the values.
    NotIn(String, Vec<String>),
    /// The label is there.
    Exists(String),
    /// The label is missing.
    DoesNotExist(String),
    /// The label is a whole number above this one.
    GreaterThan(String, i64),
    /// The label is a whole number below this one.
    LessThan(String, i64),
}

impl Requirement {
    fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Requirement::In(key, values) => get(key).is_some_and(|value| values.iter().any(|v| v == value)),
            Requirement::NotIn(key, values) => get(key).is_none_or(|value| values.iter().all(|v| v != value)),
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::DoesNotExist(key) => get(key).is_none(),
            Requirement::GreaterThan(key, than) => number(get(key)).is_some_and(|number| number > *than),
            Requirement::LessThan(key, than) => number(get(key)).is_some_and(|number| number < *than),
        }
    }
}

fn number(value: Option<&str>) -> Option<i64> {
    value?.parse().ok()
}

/// A label selector; all requirements must hold, and none of them selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// The requirements.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Reads the text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2`.
    ///
    /// # Errors
    /// What could not be parsed.
    pub fn parse(text: &str) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(format!("unable to parse requirement: found '', expected: identifier in {text:?}"));
            }
            requirements.push(parse_requirement(part)?);
        }
        Ok(LabelSelector { requirements })
    }

    /// Reads a `metav1.LabelSelector` (`matchLabels`, `matchExpressions`). `None` selects nothing upstream;
    /// callers decide.
    ///
    /// # Errors
    /// An unknown operator.
    pub fn from_spec(spec: &Json) -> Result<LabelSelector, String> {
        let mut requirements = Vec::new();
        if let Some(labels) = spec.get("matchLabels").and_then(Json::as_object) {
            for (key, value) in labels {
                requirements.push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_string()]));
            }
        }
        for expression in crate::json::items_at(spec, &["matchExpressions"]) {
            let key = crate::json::str_at(expression, &["key"]).unwrap_or_default().to_string();
            let values = crate::json::items_at(expression, &["values"])
                .iter()
                .filter_map(|value| value.as_str().map(str::to_string))
                .collect();
            requirements.push(match crate::json::str_at(expression, &["operator"]).unwrap_or_default() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                other => return Err(format!("{other:?} is not a valid label selector operator")),
            });
        }
        Ok(LabelSelector { requirements })
    }

    /// Selects exactly these labels.
    pub fn from_labels(labels: &BTreeMap<String, String>) -> LabelSelector {
        let requirements =
            labels.iter().map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()])).collect();
        LabelSelector { requirements }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether it selects an object with these labels.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|r| r.matches(|key| labels.get(key).map(String::as_str)))
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0u32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn checked_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    match crate::names::qualified_name(key).into_iter().next() {
        None => Ok(key.to_string()),
        Some(problem) => Err(format!("key: Invalid value: {key:?}: {problem}")),
    }
}

fn checked_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    match crate::names::label_value(value).into_iter().next() {
        None => Ok(value.to_string()),
        Some(problem) => Err(format!("values[0]: Invalid value: {value:?}: {problem}")),
    }
}

fn parse_requirement(part: &str) -> Result<Requirement, String> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(checked_key(key)?));
    }
    if let Some(open) = part.find('(') {
        let values = part[open + 1..]
            .strip_suffix(')')
            .ok_or_else(|| format!("unable to parse requirement: {part:?} lacks a closing parenthesis"))?;
        let values = values.split(',').map(checked_value).collect::<Result<Vec<_>, _>>()?;
        let words: Vec<&str> = part[..open].split_whitespace().collect();
        return match words[..] {
            [key, "in"] => Ok(Requirement::In(checked_key(key)?, values)),
            [key, "notin"] => Ok(Requirement::NotIn(checked_key(key)?, values)),
            _ => Err(format!("unable to parse requirement: {part:?}")),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(checked_key(key)?, vec![checked_value(value)?]));
    }
    if let Some((key, value)) = part.split_once('=') {
        let value = value.strip_prefix('=').unwrap_or(value);
        return Ok(Requirement::In(checked_key(key)?, vec![checked_value(value)?]));
    }
    if let Some((key, value)) = part.split_once('>') {
        return Ok(Requirement::GreaterThan(checked_key(key)?, checked_number(value)?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return Ok(Requirement::LessThan(checked_key(key)?, checked_number(value)?));
    }
    Ok(Requirement::Exists(checked_key(part)?))
}

fn checked_number(value: &str) -> Result<i64, String> {
    let value = checked_value(value)?;
    value.parse().map_err(|_| {
        format!("values[0]: Invalid value: {value:?}: for 'Gt', 'Lt' operators, the value must be an integer")
    })
}

/// A field selector: `metadata.name=a,status.phase!=Running`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Field, value, and whether it must be equal (else it must differ).
    pub terms: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Reads the text form. In values a backslash stands before a comma, an equals sign or a backslash.
    ///
    /// # Errors
    /// What could not be parsed.
    pub fn parse(text: &str) -> Result<FieldSelector, String> {
        let mut terms = Vec::new();
        for part in split_unescaped(text).into_iter().filter(|part| !part.is_empty()) {
            let Some((at, operator)) = part.char_indices().find_map(|(at, _)| {
                let operators = ["!=", "==", "="];
                operators.into_iter().find(|operator| part[at..].starts_with(operator)).map(|operator| (at, operator))
            }) else {
                return Err(format!("invalid selector: '{text}'; can't understand '{part}'"));
            };
            let value = unescaped(&part[at + operator.len()..])?;
            terms.push((part[..at].to_string(), value, operator != "!="));
        }
        Ok(FieldSelector { terms })
    }

    /// A selector of one equality.
    pub fn equals(field: &str, value: &str) -> FieldSelector {
        FieldSelector { terms: vec![(field.into(), value.into(), true)] }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that `field` must equal, if the selector says so.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(name, _, equal)| *equal && name == field).map(|(_, value, _)| value.as_str())
    }

    /// Whether it selects an object; `get` gives a field's value, empty when unset.
    pub fn matches(&self, get: impl Fn(&str) -> String) -> bool {
        self.terms.iter().all(|(field, value, equal)| (get(field) == *value) == *equal)
    }
}

/// The parts between commas that no backslash stands before.
fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut escaped, mut start) = (Vec::new(), false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescaped(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, true) => match rest.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                other => {
                    let sequence: String = [c].into_iter().chain(other).collect();
                    return Err(format!("invalid field selector: invalid escape sequence: {sequence}"));
                }
            },
            (',' | '=', _) => {
                // Upstream names the character by its number.
                return Err(format!("invalid field selector: unescaped character in value: {}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_selectors_select() {
        let labels: BTreeMap<String, String> =
            [("app", "web"), ("tier", "front"), ("size", "10")].map(|(k, v)| (k.to_string(), v.to_string())).into();
        for (text, selected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app in (web, api),tier notin (back)", true),
            ("app,!gone", true),
            ("gone", false),
            ("!app", false),
            ("app!=web", false),
            ("gone!=x", true),
            ("size>9,size<11", true),
            ("size>10", false),
            ("app>1", false),
            ("gone<1", false),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&labels), selected, "{text}");
        }
        for bad in ["app in (web", "a b", "=x", ",", "app=a b", "a>b", "a>", ">1"] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn field_selectors_select() {
        let get = |field: &str| if field == "status.phase" { "Running".to_string() } else { String::new() };
        assert!(FieldSelector::parse("status.phase=Running,spec.nodeName=").unwrap().matches(get));
        assert!(!FieldSelector::parse("status.phase!=Running").unwrap().matches(get));
        assert!(FieldSelector::parse("nonsense").is_err());
        let parsed = FieldSelector::parse(r"a=b\,c\=d\\,e!=f").unwrap();
        let term = |field: &str, value: &str, equal| (field.to_string(), value.to_string(), equal);
        assert_eq!(parsed.terms, [term("a", r"b,c=d\", true), term("e", "f", false)]);
        for (bad, why) in [
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
            (r"a=\n", r"invalid field selector: invalid escape sequence: \n"),
            (r"a=b\", r"invalid field selector: invalid escape sequence: \"),
        ] {
            assert_eq!(FieldSelector::parse(bad).unwrap_err(), why);
        }
    }
}
