//! Documents to messages, in one pass over their JSON.
//!
//! JSON has its entries in any order, a message its fields by number: each field is written where it is met, and the
//! parts of a message are put in order when it ends.

use super::table::{Field, Message, Shape, Sort, Step, Table, Type, UNION};
use super::wire::{put_bytes, put_float, put_number, wrap};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::{Revision, Timestamp};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Writes messages of one table. Its buffers are used again and again.
pub(super) struct Writer {
    table: &'static Table,
    /// The type of `metadata`.
    object_meta: Option<usize>,
    out: Vec<u8>,
    /// What was written of the messages that have not ended, innermost last.
    parts: Vec<Part>,
    /// The same of maps.
    entries: Vec<Entry>,
    /// Where parts are put in order.
    ordered: Vec<u8>,
    /// Messages that have not ended.
    depth: usize,
    /// To go into the metadata of the object.
    revision: Option<Revision>,
}

/// A field as it stands in the output.
struct Part {
    /// Its place in the message's plan.
    step: usize,
    bytes: Range<usize>,
}

/// An entry of a map as it stands in the output.
struct Entry {
    key: Range<usize>,
    bytes: Range<usize>,
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Writer {
    pub(super) fn new(table: &'static Table) -> Writer {
        Writer {
            table,
            object_meta: table.message("meta.ObjectMeta"),
            out: Vec::new(),
            parts: Vec::new(),
            entries: Vec::new(),
            ordered: Vec::new(),
            depth: 0,
            revision: None,
        }
    }

    /// What `json` is as this message; where `revision` is none of 0, with it as the object's `resourceVersion`.
    ///
    /// # Errors
    /// Where the document is no such message.
    pub(super) fn write(&mut self, message: usize, json: &[u8], revision: Revision) -> Result<&[u8], String> {
        self.out.clear();
        self.parts.clear();
        self.entries.clear();
        self.depth = 0;
        self.revision = Some(revision).filter(|revision| *revision != Revision(0));
        let root = Root { to: self, message };
        serde_json::Deserializer::from_slice(json).deserialize_map(root).map_err(|err| err.to_string())?;
        Ok(&self.out)
    }

    /// What was written last.
    pub(super) fn written(&self) -> &[u8] {
        &self.out
    }

    /// Appends the fields of a message.
    fn fields<'de, A: MapAccess<'de>>(&mut self, index: usize, mut entries: A) -> Result<(), A::Error> {
        let table = self.table;
        let Some(message) = table.messages.get(index) else { return Err(A::Error::custom("no such message")) };
        let (start, first) = (self.out.len(), self.parts.len());
        self.depth += 1;
        while let Some(Key(name)) = entries.next_key()? {
            // What upstream's type does not have is dropped, as its decoder would.
            let Some((step, field)) = message.find(&name) else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let from = self.out.len();
            if field.name.ends_with('*') {
                self.entry(field, &name, &mut entries)?;
            } else {
                entries.next_value_seed(FieldSeed { to: self, field })?;
            }
            self.part(step, from);
        }
        // The object's own metadata is the second message from outside.
        if self.depth == 2 && Some(index) == self.object_meta {
            self.put_revision(message);
        }
        self.depth -= 1;
        self.order(message, start, first);
        Ok(())
    }

    fn part(&mut self, step: usize, from: usize) {
        if self.out.len() > from {
            self.parts.push(Part { step, bytes: from..self.out.len() });
        }
    }

    fn put_revision(&mut self, metadata: &Message) {
        let Some(revision) = self.revision.take() else { return };
        if let Some((step, field)) = metadata.find("resourceVersion") {
            let from = self.out.len();
            put_bytes(&mut self.out, field.number, revision.to_string().as_bytes());
            self.part(step, from);
        }
    }

    /// Puts the parts of a message that begins at `start` in their order, and what always stands between them.
    fn order(&mut self, message: &Message, start: usize, first: usize) {
        let Writer { table, out, parts, ordered, .. } = self;
        parts[first..].sort_unstable_by_key(|part| (part.step, part.bytes.start));
        ordered.clear();
        let mut parts_left = parts[first..].iter().peekable();
        let mut open = Vec::new();
        for (at, step) in message.plan.iter().enumerate() {
            match step {
                Step::Field(field) => {
                    let before = ordered.len();
                    while let Some(part) = parts_left.next_if(|part| part.step == at) {
                        ordered.extend_from_slice(&out[part.bytes.clone()]);
                    }
                    if field.stands && ordered.len() == before {
                        put_zero(table, ordered, field.number, field.value);
                    }
                }
                Step::Open(number) => open.push((*number, ordered.len())),
                Step::Close => {
                    if let Some((number, from)) = open.pop() {
                        wrap(ordered, from, number);
                    }
                }
            }
        }
        parts.truncate(first);
        out.truncate(start);
        out.extend_from_slice(ordered);
    }

    /// Appends an entry of a map: the key and the next value of `values`.
    fn entry<'de, A: MapAccess<'de>>(&mut self, field: Field, key: &str, values: &mut A) -> Result<Entry, A::Error> {
        let from = self.out.len();
        put_bytes(&mut self.out, 1, key.as_bytes());
        let key_end = self.out.len();
        let given = values.next_value_seed(ValueSeed { to: self, number: 2, of: field.value })?;
        // Go reads null as the zero of the type, which of bytes is none.
        if !given && field.value != Type::Bytes {
            put_zero(self.table, &mut self.out, 2, field.value);
        }
        let bare = self.out.len();
        wrap(&mut self.out, from, field.number);
        let head = self.out.len() - bare;
        let key = key_end + head - key.len()..key_end + head;
        Ok(Entry { key, bytes: from..self.out.len() })
    }

    /// Puts the entries of a map that begins at `start` in the order of their keys.
    fn order_entries(&mut self, start: usize, first: usize) {
        let Writer { out, entries, ordered, .. } = self;
        let found = &mut entries[first..];
        if !found.is_sorted_by(|a, b| out[a.key.clone()] <= out[b.key.clone()]) {
            found.sort_by(|a, b| out[a.key.clone()].cmp(&out[b.key.clone()]));
            ordered.clear();
            for entry in found.iter() {
                ordered.extend_from_slice(&out[entry.bytes.clone()]);
            }
            out.truncate(start);
            out.extend_from_slice(ordered);
        }
        entries.truncate(first);
    }
}

/// Appends what upstream's encoder writes of a value that is not set.
fn put_zero(table: &Table, out: &mut Vec<u8>, number: u64, of: Type) {
    match of {
        Type::Bool | Type::Integer => put_number(out, number, 0),
        Type::Float => put_float(out, number, 0.0),
        Type::Quantity => put_quantity(out, number, "0"),
        Type::IntOrString => put_int_or_string(out, number, Ok(0)),
        Type::Message(message) => {
            let start = out.len();
            let mut open = Vec::new();
            for step in table.messages.get(message).map_or(&[][..], |message| message.plan.as_slice()) {
                match step {
                    Step::Field(field) if field.stands => put_zero(table, out, field.number, field.value),
                    Step::Field(_) => {}
                    Step::Open(number) => open.push((*number, out.len())),
                    Step::Close => {
                        if let Some((number, from)) = open.pop() {
                            wrap(out, from, number);
                        }
                    }
                }
            }
            wrap(out, start, number);
        }
        Type::Text
        | Type::Bytes
        | Type::Time
        | Type::MicroTime
        | Type::RawExtension
        | Type::FieldsV1
        | Type::Texts
        | Type::Yaml => put_bytes(out, number, &[]),
    }
}

fn put_quantity(out: &mut Vec<u8>, number: u64, text: &str) {
    let start = out.len();
    put_bytes(out, 1, text.as_bytes());
    wrap(out, start, number);
}

fn put_int_or_string(out: &mut Vec<u8>, number: u64, value: Result<i64, &str>) {
    let start = out.len();
    put_number(out, 1, value.is_err().into());
    put_number(out, 2, value.unwrap_or_default());
    put_bytes(out, 3, value.err().unwrap_or_default().as_bytes());
    wrap(out, start, number);
}

/// Seconds and nanoseconds; `Time` has no fractions.
fn put_time(out: &mut Vec<u8>, number: u64, time: Timestamp, fractions: bool) {
    let start = out.len();
    let micros = time.since(Timestamp::from_secs(time.secs())).subsec_micros();
    put_number(out, 1, time.secs());
    put_number(out, 2, if fractions { i64::from(micros) * 1000 } else { 0 });
    wrap(out, start, number);
}

/// The message as which a document is written.
struct Root<'w> {
    to: &'w mut Writer,
    message: usize,
}

impl<'de> Visitor<'de> for Root<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<(), A::Error> {
        self.to.fields(self.message, entries)
    }
}

/// All values of a field. Null is none.
struct FieldSeed<'w> {
    to: &'w mut Writer,
    field: Field,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.field.shape == Shape::One {
            let Field { number, value, .. } = self.field;
            return ValueSeed { to: self.to, number, of: value }.deserialize(deserializer).map(drop);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.field.shape == Shape::List { "a list" } else { "a map" };
        write!(f, "{what} as {}", self.field.name)
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Field { number, value, .. } = self.field;
        if self.field.shape != Shape::List {
            return Err(A::Error::custom(format!("a list in place of a map as {}", self.field.name)));
        }
        while let Some(given) = items.next_element_seed(ValueSeed { to: &mut *self.to, number, of: value })? {
            if !given {
                put_zero(self.to.table, &mut self.to.out, number, value);
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if self.field.shape != Shape::Map {
            return Err(A::Error::custom(format!("a map in place of a list as {}", self.field.name)));
        }
        let (start, first) = (self.to.out.len(), self.to.entries.len());
        while let Some(Key(name)) = entries.next_key()? {
            let entry = self.to.entry(self.field, &name, &mut entries)?;
            self.to.entries.push(entry);
        }
        self.to.order_entries(start, first);
        Ok(())
    }
}

/// One value, written with its field's number. Tells whether there was one: null is none.
struct ValueSeed<'w> {
    to: &'w mut Writer,
    number: u64,
    of: Type,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let table = self.to.table;
        match self.of {
            Type::RawExtension | Type::FieldsV1 | Type::Yaml => {
                let raw = <&RawValue>::deserialize(deserializer)?.get();
                // The text of any value is the second field of its message, raw bytes are the first.
                let (inner, given) = if self.of == Type::Yaml { (2, true) } else { (1, raw != "null") };
                if given {
                    let start = self.to.out.len();
                    put_bytes(&mut self.to.out, inner, raw.as_bytes());
                    wrap(&mut self.to.out, start, self.number);
                }
                Ok(given)
            }
            Type::Message(index) => match table.messages.get(index) {
                Some(message) if message.sort != Sort::Plain => {
                    let raw = <&RawValue>::deserialize(deserializer)?.get();
                    self.one_of(message, raw).map_err(D::Error::custom)
                }
                _ => deserializer.deserialize_any(self),
            },
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl ValueSeed<'_> {
    /// The value of a message that is the value of one of its fields.
    fn one_of(self, message: &Message, raw: &str) -> Result<bool, serde_json::Error> {
        if raw == "null" {
            return Ok(false);
        }
        let start = self.to.out.len();
        let chosen = if message.sort == Sort::Union { by_sort(message, raw) } else { by_entries(message, raw)? };
        if let Some(field) = chosen {
            // Upstream's types say beside a schema that one is allowed.
            for flag in message.fields.iter().filter(|flag| flag.stands && flag.value == Type::Bool) {
                if matches!(field.value, Type::Message(_)) {
                    put_number(&mut self.to.out, flag.number, 1);
                }
            }
            let mut value = serde_json::Deserializer::from_slice(raw.as_bytes());
            if field.shape == Shape::List && !raw.starts_with('[') {
                let Field { number, value: of, .. } = *field;
                ValueSeed { to: &mut *self.to, number, of }.deserialize(&mut value)?;
            } else {
                FieldSeed { to: &mut *self.to, field: *field }.deserialize(&mut value)?;
            }
        }
        wrap(&mut self.to.out, start, self.number);
        Ok(true)
    }
}

/// The field for a value of this sort.
fn by_sort<'m>(message: &'m Message, raw: &str) -> Option<&'m Field> {
    let fits = |field: &&Field| match raw.as_bytes().first() {
        Some(b'{') => matches!(field.value, Type::Message(_)),
        Some(b'[') => field.shape == Shape::List,
        Some(b'"') => field.value == Type::Text,
        Some(b't' | b'f') => field.value == Type::Bool,
        _ => matches!(field.value, Type::Integer | Type::Float),
    };
    message.fields.iter().filter(|field| field.name == UNION).find(fits)
}

/// The field for an object with these entries: `?a` is chosen if there is an `a`, `?a=b` if that is the text `b`, `?` in
/// any case.
fn by_entries<'m>(message: &'m Message, raw: &str) -> Result<Option<&'m Field>, serde_json::Error> {
    for field in &message.fields {
        let wanted = field.name.trim_start_matches(super::table::CHOICE);
        let (name, text) = wanted.split_once('=').map_or((wanted, None), |(name, text)| (name, Some(text)));
        if name.is_empty() {
            return Ok(Some(field));
        }
        let found = serde_json::Deserializer::from_slice(raw.as_bytes()).deserialize_map(Look(name))?;
        if found.is_some_and(|found| text.is_none_or(|text| found.get().trim_matches('"') == text)) {
            return Ok(Some(field));
        }
    }
    Ok(None)
}

/// The value of one entry.
struct Look<'n>(&'n str);

impl<'de> Visitor<'de> for Look<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(Key(name)) = entries.next_key()? {
            let value: &RawValue = entries.next_value()?;
            if name == self.0 {
                found = Some(value);
            }
        }
        Ok(found)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value of the type {:?}", self.of)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        if self.of != Type::Bool {
            return Err(E::custom(format!("a boolean in place of {:?}", self.of)));
        }
        put_number(&mut self.to.out, self.number, value.into());
        Ok(true)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<bool, E> {
        let (out, number) = (&mut self.to.out, self.number);
        match self.of {
            Type::Integer => put_number(out, number, value),
            Type::Float => put_float(out, number, value as f64),
            Type::IntOrString => put_int_or_string(out, number, Ok(value)),
            of => return Err(E::custom(format!("a number in place of {of:?}"))),
        }
        Ok(true)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<bool, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<bool, E> {
        if self.of != Type::Float {
            return Err(E::custom(format!("a fraction in place of {:?}", self.of)));
        }
        put_float(&mut self.to.out, self.number, value);
        Ok(true)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        let (out, number) = (&mut self.to.out, self.number);
        match self.of {
            Type::Text => put_bytes(out, number, text.as_bytes()),
            Type::Quantity => put_quantity(out, number, text),
            Type::IntOrString => put_int_or_string(out, number, Err(text)),
            Type::Time | Type::MicroTime => {
                let time = Timestamp::parse(text).ok_or_else(|| E::custom(format!("{text:?} is no time")))?;
                put_time(out, number, time, self.of == Type::MicroTime);
            }
            Type::Bytes => {
                let start = out.len();
                STANDARD.decode_vec(text, out).map_err(|err| E::custom(format!("no base64: {err}")))?;
                wrap(out, start, number);
            }
            of => return Err(E::custom(format!("a string in place of {of:?}"))),
        }
        Ok(true)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        if self.of != Type::Texts {
            return Err(A::Error::custom(format!("a list in place of {:?}", self.of)));
        }
        let start = self.to.out.len();
        while let Some(Key(text)) = items.next_element()? {
            put_bytes(&mut self.to.out, 1, text.as_bytes());
        }
        wrap(&mut self.to.out, start, self.number);
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<bool, A::Error> {
        let Type::Message(message) = self.of else {
            return Err(A::Error::custom(format!("an object in place of {:?}", self.of)));
        };
        let start = self.to.out.len();
        self.to.fields(message, entries)?;
        wrap(&mut self.to.out, start, self.number);
        Ok(true)
    }
}
