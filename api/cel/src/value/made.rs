//! Objects that expressions make for patches: `Object{…}`, `Object.spec{…}`, `JSONPatch{…}`.
//! (`k8s.io/apiserver/pkg/cel/mutation` is the reference.)

use super::{List, Map, Object, Value};
use crate::functions::PATCH;

impl Value<'_> {
    /// Whether objects that the expression made are called after the fields that they stand in, such as `Object.spec` in
    /// the field `spec` of an `Object`: the checker takes any.
    ///
    /// # Errors
    /// What is called otherwise, in upstream's words.
    pub fn check_names(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        match self {
            Value::List(List::Made(items, _)) => items.iter().for_each(|item| check_root(item, &mut wrong)),
            value => check_root(value, &mut wrong),
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

/// An object has its own name to itself where it begins: as a configuration, or as the value of a patch.
fn check_root(value: &Value<'_>, wrong: &mut Vec<String>) {
    let Value::Object(Object::Made(name, fields)) = value else { return };
    if **name != *PATCH {
        return check(value, name, wrong);
    }
    if let Some(Ok(value)) = fields.get("value") {
        check_root(value, wrong);
    }
}

fn check(value: &Value<'_>, expected: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Object(Object::Made(name, fields)) => {
            if **name != *expected {
                let rule = "which matches field name path from root Object type";
                wrong.push(format!("unexpected type name {name:?}, expected {expected:?}, {rule}"));
            }
            for (field, value) in fields.iter() {
                if let Ok(value) = value {
                    check(value, &format!("{expected}.{field}"), wrong);
                }
            }
        }
        Value::List(List::Made(items, _)) => items.iter().for_each(|item| check(item, expected, wrong)),
        Value::Map(Map::Made(entries)) => entries.values().for_each(|value| check(value, expected, wrong)),
        Value::Optional(Some(inner)) => check(inner, expected, wrong),
        _ => {}
    }
}
