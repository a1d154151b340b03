//! `fieldsV1`: a set of paths as JSON (`fieldpath/serialize.go` upstream).
//!
//! Each element is a key: `f:name`, `k:{"port":80}` (fields by name), `v:"a"`, `i:3`; `.` says that the element above
//! is a member beside what is below it, and an empty map that it is one.

use super::element::Element;
use super::set::{Branch, FieldSet, Node};
use holdfast_core::Json;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

impl<'a> FieldSet<'a> {
    /// Reads a set. Elements of sorts that nobody knows yet are dropped, as upstream drops them.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &'a str) -> Result<FieldSet<'a>, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let read = Level.deserialize(&mut deserializer).and_then(|level| deserializer.end().map(|()| level));
        read.map(|(below, _)| below).map_err(|err| err.to_string())
    }

    /// Appends the set as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_level(false, out);
    }

    fn write_level(&self, and_self: bool, out: &mut Vec<u8>) {
        out.push(b'{');
        if and_self && !self.is_empty() {
            out.extend_from_slice(b"\".\":{}");
        }
        for (at, Node { element, is_member, below }) in self.nodes.iter().enumerate() {
            if at > 0 || and_self {
                out.push(b',');
            }
            write_element(element, out);
            out.push(b':');
            below.write_level(*is_member, out);
        }
        out.push(b'}');
    }
}

fn write_element(element: &Element<'_>, out: &mut Vec<u8>) {
    let text = match element {
        Element::Field(name) => {
            // Most names need no escapes, and this is written for each field of each object.
            if name.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
                out.extend_from_slice(b"\"f:");
                out.extend_from_slice(name.as_bytes());
                out.push(b'"');
                return;
            }
            format!("f:{name}")
        }
        Element::Key(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}:{value}", Json::from(name.as_str()))).collect();
            format!("k:{{{}}}", fields.join(","))
        }
        Element::Value(value) => format!("v:{value}"),
        Element::Index(index) => format!("i:{index}"),
    };
    out.extend_from_slice(Json::from(text).to_string().as_bytes());
}

/// `None`: of a sort that nobody knows yet.
fn read_element(key: Cow<'_, str>) -> Result<Option<Element<'_>>, String> {
    let Some((sort, rest)) = key.split_at_checked(2).filter(|(sort, _)| sort.ends_with(':')) else {
        return Err(if key.len() < 2 {
            "key must be 2 characters long:".to_string()
        } else {
            format!("missing colon: {key}")
        });
    };
    let read = |text: &str| serde_json::from_str::<Json>(text).map_err(|err| err.to_string());
    Ok(Some(match sort {
        "f:" => Element::Field(match key {
            Cow::Borrowed(key) => Cow::Borrowed(&key[2..]),
            Cow::Owned(key) => Cow::Owned(key[2..].to_string()),
        }),
        "v:" => Element::Value(read(rest)?),
        "k:" => match read(rest)? {
            Json::Object(map) => {
                let mut fields: Vec<(String, Json)> = map.into_iter().collect();
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                Element::Key(fields)
            }
            _ => return Err(format!("expected an object: {key}")),
        },
        "i:" => Element::Index(rest.parse().map_err(|err| format!("{key}: {err}"))?),
        _ => return Ok(None),
    }))
}

/// A level of the trie: what is below, and whether the element above is a member.
struct Level;

impl<'de> DeserializeSeed<'de> for Level {
    type Value = (FieldSet<'de>, bool);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = (FieldSet<'de>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of path elements")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok((FieldSet::default(), true))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut set = FieldSet::default();
        let mut is_member = false;
        while let Some(Key(key)) = entries.next_key()? {
            if key == "." {
                is_member = true;
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            match read_element(key).map_err(A::Error::custom)? {
                None => {
                    entries.next_value::<IgnoredAny>()?;
                }
                Some(element) => {
                    let (below, is_member) = entries.next_value_seed(Level)?;
                    set.push(element, Branch { is_member, below });
                }
            }
        }
        set.seal();
        let is_member = is_member || set.is_empty();
        Ok((set, is_member))
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
