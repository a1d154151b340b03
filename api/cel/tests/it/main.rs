//! The crate's contract: what expressions mean, what they cost, what is said of wrong ones.

#![allow(clippy::unwrap_used)]

mod costs;
mod errors;
mod kubernetes;
mod language;
mod made;
mod objects;
mod properties;

use holdfast_cel::{Bindings, Budget, Declarations, compile, display};
use std::sync::Arc;

/// The value as JSON, or the error's text.
fn outcome(source: &str) -> Result<serde_json::Value, String> {
    let declarations = Arc::new(Declarations::default());
    let program = compile(&declarations, source).map_err(|issues| display(&issues))?;
    let bindings = Bindings::new(&declarations);
    let value = program.evaluate(&bindings, &mut Budget::default()).map_err(|err| err.to_string())?;
    value.to_json().map_err(|err| err.to_string())
}

/// Each expression is true.
fn all_true(expressions: &[&str]) {
    let wrong: Vec<String> = expressions
        .iter()
        .filter_map(|source| match outcome(source) {
            Ok(serde_json::Value::Bool(true)) => None,
            other => Some(format!("{source}: {other:?}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each expression fails with a text that has the second one in it.
fn all_wrong(expressions: &[(&str, &str)]) {
    let wrong: Vec<String> = expressions
        .iter()
        .filter_map(|(source, expected)| match outcome(source) {
            Err(text) if text.contains(expected) => None,
            other => Some(format!("{source}: {other:?}, expected {expected}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
