//! Bytes of a client to a document.

use holdfast_core::{Json, Status};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Map;
use std::collections::BTreeSet;
use std::fmt;

/// Problems of one document that are told of, as upstream's strict decoder.
pub(crate) const MAX_PROBLEMS: usize = 100;
/// How deep a document may nest. Below serde_json's own bound, so that the text of the error is ours.
pub const MAX_DEPTH: usize = 100;

/// Reads a document. The second part names fields that stand twice, as `spec.a` or `spec.list[0].b`; the last
/// one counts.
///
/// # Errors
/// 400 when the bytes are no JSON, or nest deeper than 100 levels.
pub fn parse_json(bytes: &[u8]) -> Result<(Json, Vec<String>), Status> {
    let mut state = State::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Value { state: &mut state }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|err| Status::bad_request(format!("couldn't get version/kind; json parse error: {err}")))?;
    Ok((value, state.duplicates))
}

/// How many maps and lists stand in each other.
pub fn depth(value: &Json) -> usize {
    match value {
        Json::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        Json::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}

#[derive(Default)]
struct State {
    path: Vec<Step>,
    duplicates: Vec<String>,
    /// The same as `duplicates`: each is told of once.
    told: BTreeSet<String>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl State {
    fn enter<E: Error>(&mut self, step: Step) -> Result<(), E> {
        if self.path.len() >= MAX_DEPTH {
            return Err(E::custom("exceeded max depth"));
        }
        self.path.push(step);
        Ok(())
    }

    fn note_duplicate(&mut self, key: &str) {
        if self.duplicates.len() == MAX_PROBLEMS {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if path.is_empty() => path.push_str(key),
                Step::Key(key) => path.extend([".", key]),
                Step::Index(at) => path.push_str(&format!("[{at}]")),
            }
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        if self.told.insert(path.clone()) {
            self.duplicates.push(path);
        }
    }
}

struct Value<'a> {
    state: &'a mut State,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        loop {
            self.state.enter(Step::Index(list.len()))?;
            let value = seq.next_element_seed(Value { state: self.state })?;
            self.state.path.pop();
            match value {
                Some(value) => list.push(value),
                None => return Ok(Json::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                self.state.note_duplicate(&key);
            }
            self.state.enter(Step::Key(key.clone()))?;
            let value = entries.next_value_seed(Value { state: self.state })?;
            self.state.path.pop();
            map.insert(key, value);
        }
        Ok(Json::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn duplicates_are_named_and_the_last_counts() {
        let bytes = br#"{"a": {"b": [1, {"c": 1, "c": 2, "c": 3}]}, "n": -1.5, "a2": null, "a2": true}"#;
        let (doc, duplicates) = parse_json(bytes).unwrap();
        assert_eq!(doc, json!({"a": {"b": [1, {"c": 3}]}, "n": -1.5, "a2": true}));
        assert_eq!(duplicates, ["a.b[1].c", "a2"]);
    }

    #[test]
    fn bad_bytes_are_refused() {
        for (bytes, text) in [
            (&b"{"[..], "EOF"),
            (b"", "EOF"),
            (b"{} x", "trailing"),
            (b"{\"a\": \xff}", "expected value"),
            (b"{\"a\": \"\xff\"}", "invalid unicode"),
            (b"kind: Pod", "expected value"),
        ] {
            let status = parse_json(bytes).unwrap_err();
            assert_eq!(status.code(), 400);
            assert!(status.message().contains(text), "{status}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(parse_json(nested(MAX_DEPTH).as_bytes()).is_ok());
            for depth in [MAX_DEPTH + 1, 127, 128, 1_000_000] {
                let status = parse_json(nested(depth).as_bytes()).unwrap_err();
                assert!(status.message().contains("exceeded max depth"), "{status}");
            }
        }
    }
}
