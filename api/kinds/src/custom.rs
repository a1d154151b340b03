//! Kinds that a CustomResourceDefinition adds while the hub runs.
//!
//! An entry is made once for each distinct definition and kept for the life of the process, as those of the built-in kinds are:
//! every watch, table and session may go on pointing to it. What that can cost is bounded by [`VOCABULARY_BYTES`].
//! (`docs/decisions/custom-kinds-are-interned.md`)

use crate::jsonpath::JsonPath;
use crate::kind::{GET_PATCH_UPDATE, VERBS};
use crate::{Column, Kind, Subresource, Support, show};
use holdfast_core::{Json, Timestamp};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};

/// What all definitions of a process's life may take, in bytes. A definition takes one to three thousand.
pub const VOCABULARY_BYTES: usize = 64 << 20;

/// A column of a custom kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CustomColumn {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub column_type: String,
    /// A hint of OpenAPI.
    pub format: String,
    /// Explanation.
    pub description: String,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
    /// Where the cell comes from; one that does not parse leaves the cell empty.
    pub path: String,
}

/// A version of a custom kind, as its definition gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the fields are those of `Kind`, and of the definition")]
pub struct CustomDefinition {
    pub group: String,
    pub version: String,
    /// The version that stands for all where each object counts once.
    pub main: String,
    pub kind: String,
    /// The kind of lists; empty for that of built-in kinds.
    pub list_kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub has_status: bool,
    pub has_scale: bool,
    pub columns: Vec<CustomColumn>,
    /// Paths such as `.spec.color`.
    pub selectable: Vec<String>,
}

/// What a custom kind has that built-in ones have not.
#[derive(Debug)]
pub struct Custom {
    /// The version that stands for all where each object counts once.
    pub main_version: &'static str,
    /// The kind of its lists; empty for that of built-in kinds.
    pub(crate) list_kind: &'static str,
    cells: Vec<(Option<JsonPath>, &'static str)>,
    selectable: BTreeMap<String, JsonPath>,
}

impl Custom {
    /// The cells behind the name's.
    pub(crate) fn cells(&self, doc: &Json, now: Timestamp) -> impl Iterator<Item = Json> {
        self.cells.iter().map(move |(path, column_type)| {
            let found = path.as_ref().and_then(|path| path.find(doc).first().copied());
            found.map_or(Json::Null, |value| cell(value, column_type, now))
        })
    }

    /// The value of a selectable field.
    pub(crate) fn field(&self, doc: &Json, field: &str) -> String {
        let found = self.selectable.get(field).and_then(|path| path.find(doc).first().copied());
        match found {
            None | Some(Json::Null) => String::new(),
            Some(Json::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

/// A cell as upstream makes it: a value that is not of the column's type leaves it empty.
fn cell(value: &Json, column_type: &str, now: Timestamp) -> Json {
    match (column_type, value) {
        (_, Json::Null) => Json::Null,
        ("integer", Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.into(),
            #[allow(clippy::cast_possible_truncation, reason = "cut off, as upstream cuts it")]
            (None, Some(broken)) => (broken as i64).into(),
            _ => Json::Null,
        },
        ("number", Json::Number(_)) | ("boolean", Json::Bool(_)) => value.clone(),
        ("string", Json::String(text)) => text.as_str().into(),
        ("string", other) => other.to_string().into(),
        ("date", Json::String(text)) => show::since(Some(text), now).into(),
        _ => Json::Null,
    }
}

#[derive(Default)]
struct Vocabulary {
    kinds: BTreeMap<CustomDefinition, &'static Kind>,
    words: BTreeMap<&'static str, ()>,
    bytes: usize,
}

static VOCABULARY: LazyLock<Mutex<Vocabulary>> = LazyLock::new(Mutex::default);

/// The entry of a definition; the same one for an equal definition. `None` when [`VOCABULARY_BYTES`] are spent.
pub fn intern(definition: &CustomDefinition) -> Option<&'static Kind> {
    let mut vocabulary = VOCABULARY.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kind) = vocabulary.kinds.get(definition) {
        return Some(kind);
    }
    let texts =
        definition.columns.iter().map(|c| c.name.len() + c.description.len() + c.path.len() + 200).sum::<usize>();
    let cost = 1_500
        + texts
        + 200 * (definition.selectable.len() + definition.short_names.len() + definition.categories.len());
    if vocabulary.bytes + cost > VOCABULARY_BYTES {
        return None;
    }
    vocabulary.bytes += cost;
    let kind = vocabulary.build(definition);
    vocabulary.kinds.insert(definition.clone(), kind);
    Some(kind)
}

impl Vocabulary {
    fn word(&mut self, text: &str) -> &'static str {
        if let Some((known, ())) = self.words.get_key_value(text) {
            return known;
        }
        let word: &'static str = Box::leak(text.to_string().into_boxed_str());
        self.words.insert(word, ());
        word
    }

    fn words(&mut self, texts: &[String]) -> &'static [&'static str] {
        let words: Vec<&'static str> = texts.iter().map(|text| self.word(text)).collect();
        Box::leak(words.into_boxed_slice())
    }

    fn build(&mut self, definition: &CustomDefinition) -> &'static Kind {
        let (group, version) = (self.word(&definition.group), self.word(&definition.version));
        let name = self.word(&definition.kind);
        let mut subresources = Vec::new();
        if definition.has_scale {
            let scale = Subresource {
                name: "scale",
                group: "autoscaling",
                version: "v1",
                kind: "Scale",
                verbs: GET_PATCH_UPDATE,
            };
            subresources.push(scale);
        }
        if definition.has_status {
            subresources.push(Subresource { name: "status", group, version, kind: name, verbs: GET_PATCH_UPDATE });
        }
        let mut columns = vec![show::NAME];
        let mut cells = Vec::new();
        for column in &definition.columns {
            let column_type = self.word(&column.column_type);
            columns.push(Column {
                name: self.word(&column.name),
                column_type,
                format: self.word(&column.format),
                description: self.word(&column.description),
                priority: column.priority,
            });
            cells.push((JsonPath::parse(&column.path).ok(), column_type));
        }
        let selectable: Vec<String> =
            definition.selectable.iter().map(|path| path.trim_start_matches('.').to_string()).collect();
        let paths = definition.selectable.iter().zip(&selectable);
        let custom = Custom {
            main_version: self.word(&definition.main),
            list_kind: self.word(&definition.list_kind),
            cells,
            selectable: paths.filter_map(|(path, name)| Some((name.clone(), JsonPath::parse(path).ok()?))).collect(),
        };
        let schema = format!("{}.{version}.{name}", reversed(group));
        Box::leak(Box::new(Kind {
            group,
            version,
            kind: name,
            plural: self.word(&definition.plural),
            singular: self.word(&definition.singular),
            short_names: self.words(&definition.short_names),
            categories: self.words(&definition.categories),
            namespaced: definition.namespaced,
            verbs: VERBS,
            subresources: Box::leak(subresources.into_boxed_slice()),
            schema: self.word(&schema),
            columns: Box::leak(columns.into_boxed_slice()),
            field_selectors: self.words(&selectable),
            support: Support::Full,
            custom: Some(Box::leak(Box::new(custom))),
            ..Kind::BASE
        }))
    }
}

/// `com.example` of `example.com`, as names of types in OpenAPI begin.
fn reversed(group: &str) -> String {
    group.rsplit('.').collect::<Vec<_>>().join(".")
}

/// Sorts versions as Kubernetes prefers them: `v1` before `v1beta1` before `v1alpha1`, higher numbers first.
pub fn version_rank(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
    let rest = version.trim_start_matches('v');
    let major: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let stage = rest[major.len()..].trim_end_matches(|c: char| c.is_ascii_digit());
    let minor = rest[major.len() + stage.len()..].parse().unwrap_or(0);
    let rank = match stage {
        "" => 0,
        "beta" => 1,
        _ => 2,
    };
    (rank, std::cmp::Reverse(major.parse().unwrap_or(0)), std::cmp::Reverse(minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn definition() -> CustomDefinition {
        let column = |name: &str, column_type: &str, path: &str| CustomColumn {
            name: name.into(),
            column_type: column_type.into(),
            path: path.into(),
            ..CustomColumn::default()
        };
        CustomDefinition {
            group: "shop.example.com".into(),
            version: "v1".into(),
            main: "v1".into(),
            kind: "Till".into(),
            plural: "tills".into(),
            singular: "till".into(),
            has_status: true,
            columns: vec![
                column("Floor", "integer", ".spec.floor"),
                column("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status"),
                column("Opened", "date", ".status.opened"),
                column("Broken", "string", "nonsense"),
            ],
            selectable: vec![".spec.color".into()],
            ..CustomDefinition::default()
        }
    }

    #[test]
    fn equal_definitions_share_an_entry() {
        let kind = intern(&definition()).unwrap();
        assert!(std::ptr::eq(kind, intern(&definition()).unwrap()));
        assert_eq!(kind.schema, "com.example.shop.v1.Till");
        assert_eq!(crate::storage_prefix(kind), "/registry/shop.example.com/tills/");
        assert_eq!(kind.list_kind(), "TillList");
        let listed = intern(&CustomDefinition { list_kind: "Tills".into(), ..definition() }).unwrap();
        assert_eq!(listed.list_kind(), "Tills");
        assert!(kind.subresource("status").is_some() && kind.subresource("scale").is_none());
        let other = intern(&CustomDefinition { singular: "cashbox".into(), ..definition() }).unwrap();
        assert!(!std::ptr::eq(kind, other));
    }

    #[test]
    fn rows_and_selectable_fields_come_by_path() {
        let kind = intern(&definition()).unwrap();
        let doc = json!({"metadata": {"name": "a"}, "spec": {"floor": 2.7, "color": "red"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "opened": "1970-01-01T00:00:00Z"}});
        let now = Timestamp::from_secs(90);
        assert_eq!(kind.cells(&doc, now), [json!("a"), json!(2), json!("True"), json!("90s"), Json::Null]);
        assert_eq!(
            kind.cells(&json!({"metadata": {"name": "b"}}), now)[1..],
            [Json::Null, Json::Null, Json::Null, Json::Null]
        );
        assert_eq!(kind.value_of(&doc, "spec.color"), "red");
        assert_eq!(kind.value_of(&doc, "spec.none"), "");
    }
}
