//! Unknown fields and defaults of an object of a custom kind.

use super::{Additional, Structural};
use holdfast_core::Json;

/// Fields of every object that its schema need not name.
const OF_EVERY_OBJECT: [&str; 3] = ["apiVersion", "kind", "metadata"];

impl Structural {
    /// Drops the fields of a whole object that the schema does not name. Returns their paths (`spec.foo`,
    /// `spec.list[0].foo`).
    pub fn prune(&self, doc: &mut Json) -> Vec<String> {
        let mut dropped = Vec::new();
        self.prune_at(doc, "", true, &mut dropped);
        dropped
    }

    /// As [`Structural::prune`], of a part of an object.
    pub(super) fn unknown_below(&self, value: &mut Json) -> Vec<String> {
        let mut dropped = Vec::new();
        self.prune_at(value, "", false, &mut dropped);
        dropped
    }

    fn prune_at(&self, value: &mut Json, path: &str, whole: bool, dropped: &mut Vec<String>) {
        match value {
            Json::Array(items) => {
                let Some(schema) = &self.items else { return };
                for (at, item) in items.iter_mut().enumerate() {
                    schema.prune_at(item, &format!("{path}[{at}]"), false, dropped);
                }
            }
            Json::Object(map) => {
                let whole = whole || self.embedded;
                map.retain(|key, value| {
                    let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    if whole && OF_EVERY_OBJECT.contains(&key.as_str()) {
                        return true;
                    }
                    match self.field(key) {
                        Some(schema) => schema.prune_at(value, &below, false, dropped),
                        None if self.preserve_unknown || matches!(self.additional, Additional::Any) => {}
                        None => {
                            dropped.push(below);
                            return false;
                        }
                    }
                    true
                });
            }
            _ => {}
        }
    }

    /// Fills what is missing. A null where the schema knows none becomes the default, or goes when there is none.
    pub fn default(&self, value: &mut Json) {
        match value {
            Json::Object(map) => {
                for (name, schema) in &self.properties {
                    if map.get(name).is_none_or(|value| value.is_null() && !schema.nullable)
                        && let Some(default) = &schema.default
                    {
                        map.insert(name.clone(), default.clone());
                    }
                }
                map.retain(|key, value| {
                    let Some(known) = self.field(key) else { return true };
                    if value.is_null() && !known.nullable {
                        match &known.default {
                            Some(default) => *value = default.clone(),
                            None => return false,
                        }
                    }
                    known.default(value);
                    true
                });
            }
            Json::Array(items) => {
                let Some(schema) = &self.items else { return };
                for item in items {
                    if let (true, false, Some(default)) = (item.is_null(), schema.nullable, &schema.default) {
                        *item = default.clone();
                    }
                    schema.default(item);
                }
            }
            _ => {}
        }
    }
}
