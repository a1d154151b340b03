//! A step of a path: how one child is picked out of its parent.

use holdfast_core::Json;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// How a child is picked. The order is upstream's: fields, keys, values, indexes; equal numbers are equal whatever
/// they look like.
#[derive(Clone, Debug)]
pub enum Element<'a> {
    /// The field or key of a map.
    Field(Cow<'a, str>),
    /// The element of a list whose fields have these values, by name.
    Key(Vec<(String, Json)>),
    /// The element of a set.
    Value(Json),
    /// The element of a list at this index. Nothing of ours makes it; `fieldsV1` of others may have it.
    Index(i64),
}

impl<'a> Element<'a> {
    /// The field `name`.
    pub fn field(name: impl Into<Cow<'a, str>>) -> Element<'a> {
        Element::Field(name.into())
    }

    pub(super) fn into_owned(self) -> Element<'static> {
        match self {
            Element::Field(name) => Element::Field(Cow::Owned(name.into_owned())),
            Element::Key(fields) => Element::Key(fields),
            Element::Value(value) => Element::Value(value),
            Element::Index(index) => Element::Index(index),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        }
    }
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Element::Field(a), Element::Field(b)) => a.cmp(b),
            (Element::Key(a), Element::Key(b)) => {
                let pairs = a.iter().zip(b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| compare_values(&a.1, &b.1)));
                pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
            }
            (Element::Value(a), Element::Value(b)) => compare_values(a, b),
            (Element::Index(a), Element::Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Element<'_> {}

/// As conflicts show it: `.spec`, `[name="web"]`, `[="a"]`, `[3]`.
impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Element::Field(name) => write!(f, ".{name}"),
            Element::Key(fields) => {
                f.write_str("[")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{name}={value}")?;
                }
                f.write_str("]")
            }
            Element::Value(value) => write!(f, "[={value}]"),
            Element::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A path as conflicts show it.
pub fn path_text(path: &[Element<'_>]) -> String {
    path.iter().map(ToString::to_string).collect()
}

/// Upstream's order of values: numbers, text, booleans, lists, maps, null.
pub(super) fn compare_values(a: &Json, b: &Json) -> Ordering {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => {
                let (a, b) = (a.as_f64().unwrap_or_default(), b.as_f64().unwrap_or_default());
                a.partial_cmp(&b).unwrap_or(Ordering::Equal)
            }
        },
        (Json::String(a), Json::String(b)) => a.cmp(b),
        (Json::Bool(a), Json::Bool(b)) => a.cmp(b),
        (Json::Array(a), Json::Array(b)) => {
            let pairs = a.iter().zip(b).map(|(a, b)| compare_values(a, b));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        (Json::Object(a), Json::Object(b)) => {
            let sorted = |map: &serde_json::Map<String, Json>| {
                let mut entries: Vec<(String, Json)> = map.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries
            };
            let (a, b) = (sorted(a), sorted(b));
            let pairs = a.iter().zip(&b).map(|(a, b)| a.0.cmp(&b.0).then_with(|| compare_values(&a.1, &b.1)));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        }
        _ => sort_of(a).cmp(&sort_of(b)),
    }
}

/// Whether two values are the same to upstream: `1` and `1.0` are.
pub(super) fn same_value(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b)))
        }
        _ => compare_values(a, b) == Ordering::Equal,
    }
}

fn sort_of(value: &Json) -> u8 {
    match value {
        Json::Number(_) => 0,
        Json::String(_) => 1,
        Json::Bool(_) => 2,
        Json::Array(_) => 3,
        Json::Object(_) => 4,
        Json::Null => 5,
    }
}
