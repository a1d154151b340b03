//! `metadata.managedFields`: who owns which fields.

use super::set::FieldSet;
use holdfast_core::{Json, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// What a manager did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Any other write.
    Update,
}

impl Operation {
    fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// A manager and its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name.
    pub manager: Cow<'a, str>,
    /// What it did.
    pub operation: Operation,
    /// The version that its paths are of.
    pub api_version: Cow<'a, str>,
    /// The subresource through which it wrote; empty for the object itself.
    pub subresource: Cow<'a, str>,
    /// When it last changed something.
    pub time: Option<Timestamp>,
    /// Its fields.
    pub fields: FieldSet<'a>,
}

/// What tells managers apart. An applier is the same in all versions.
type Identity<'e> = (&'e str, Operation, &'e str, &'e str);

impl Entry<'_> {
    pub(super) fn identity(&self) -> Identity<'_> {
        let version = if self.operation == Operation::Apply { "" } else { &*self.api_version };
        (&*self.manager, self.operation, version, &*self.subresource)
    }

    pub(super) fn seconds(&self) -> i64 {
        self.time.map_or(0, Timestamp::secs)
    }

    /// As conflicts name it: `"kubectl" with subresource "status" using apps/v1`.
    pub(super) fn shown(&self) -> String {
        let mut text = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// The managers of an object, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers<'a> {
    pub(super) entries: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written<'a> {
    #[serde(borrow)]
    manager: Cow<'a, str>,
    #[serde(borrow)]
    operation: Cow<'a, str>,
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_type: Cow<'a, str>,
    #[serde(borrow)]
    fields_v1: Option<&'a RawValue>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
}

impl Default for Written<'_> {
    fn default() -> Self {
        let empty = || Cow::Borrowed("");
        Written {
            manager: empty(),
            operation: empty(),
            api_version: empty(),
            time: None,
            fields_type: empty(),
            fields_v1: None,
            subresource: empty(),
        }
    }
}

impl<'a> Managers<'a> {
    /// Reads `managedFields` as JSON. The empty text is no managers.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(text: &'a str) -> Result<Managers<'a>, String> {
        let mut managers = Managers::default();
        if text.is_empty() {
            return Ok(managers);
        }
        let written: Option<Vec<Written<'a>>> = serde_json::from_str(text).map_err(|err| err.to_string())?;
        for (at, entry) in written.into_iter().flatten().enumerate() {
            let operation = match &*entry.operation {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".into()),
            };
            if entry.api_version.is_empty() {
                return Err("apiVersion must not be empty".into());
            }
            match &*entry.fields_type {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
                other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
            }
            let time = match entry.time {
                Some(text) => Some(Timestamp::parse(&text).ok_or_else(|| format!("time {text:?} is none"))?),
                None => None,
            };
            let fields = entry.fields_v1.map_or("{}", RawValue::get);
            managers.put(Entry {
                manager: entry.manager,
                operation,
                api_version: entry.api_version,
                subresource: entry.subresource,
                time,
                fields: FieldSet::parse(fields).map_err(|err| format!("error decoding set: {err}"))?,
            });
        }
        Ok(managers)
    }

    /// Whether a document that says this of its managers wants them forgotten: an empty list, or a list of one empty
    /// entry.
    pub fn is_reset(sent: &Json) -> bool {
        let empty = |entry: &Json| entry.as_object().is_some_and(|entry| entry.values().all(|value| value.is_null()));
        sent.as_array().is_some_and(|list| list.is_empty() || (list.len() == 1 && list.iter().all(empty)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The managers.
    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// Appends them as JSON: appliers first, then by time and name, as upstream sorts them.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut sorted: Vec<&Entry<'a>> = self.entries.iter().collect();
        sorted.sort_by(|a, b| order(a).cmp(&order(b)));
        out.push(b'[');
        for (at, entry) in sorted.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.push(b'{');
            if !entry.manager.is_empty() {
                write_text(out, "manager", &entry.manager);
            }
            write_text(out, "operation", entry.operation.as_str());
            write_text(out, "apiVersion", &entry.api_version);
            if let Some(time) = entry.time {
                write_text(out, "time", &time.to_string());
            }
            out.extend_from_slice(b"\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
            entry.fields.write(out);
            if !entry.subresource.is_empty() {
                out.push(b',');
                write_text(out, "subresource", &entry.subresource);
                out.pop();
            }
            out.push(b'}');
        }
        out.push(b']');
    }

    /// Whether both are the same managers of the same fields, whatever the times.
    pub fn same_but_for_times(&self, other: &Managers<'_>) -> bool {
        self.entries.len() == other.entries.len()
            && self.entries.iter().all(|ours| {
                other.entries.iter().any(|theirs| {
                    ours.identity() == theirs.identity()
                        && ours.api_version == theirs.api_version
                        && ours.fields == theirs.fields
                })
            })
    }

    pub(super) fn find(&self, identity: Identity<'_>) -> Option<usize> {
        self.entries.iter().position(|entry| entry.identity() == identity)
    }

    /// Adds an entry to the one of the same manager.
    pub(super) fn join(&mut self, mut entry: Entry<'a>) {
        match self.find(entry.identity()) {
            Some(at) => {
                let before = std::mem::take(&mut self.entries[at].fields);
                entry.fields = entry.fields.union(before);
                self.entries[at] = entry;
            }
            None => self.entries.push(entry),
        }
    }

    /// Adds an entry in place of the one of the same manager.
    pub(super) fn put(&mut self, entry: Entry<'a>) {
        match self.find(entry.identity()) {
            Some(at) => self.entries[at] = entry,
            None => self.entries.push(entry),
        }
    }
}

fn order<'e>(entry: &'e Entry<'_>) -> (Operation, i64, &'e str, &'e str, &'e str) {
    (entry.operation, entry.seconds(), &entry.manager, &entry.api_version, &entry.subresource)
}

/// `"name":"text",`
fn write_text(out: &mut Vec<u8>, name: &str, text: &str) {
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(Json::from(text).to_string().as_bytes());
    out.push(b',');
}
