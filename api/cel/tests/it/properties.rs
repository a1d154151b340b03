//! Laws that hold for any expression.

use holdfast_cel::{Bindings, Budget, Declarations, Type, Value, compile, normal_form};
use proptest::prelude::*;
use serde_json::json;
use std::sync::Arc;

/// Expressions of all sorts; most have no type.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "-?[0-9]{1,3}".prop_map(String::from),
        "[0-9]{1,3}u".prop_map(String::from),
        Just("1.5".to_string()),
        "'[a-z ä]{0,4}'".prop_map(String::from),
        Just("b'\\xff'".to_string()),
        Just("true".to_string()),
        Just("null".to_string()),
        prop::sample::select(vec!["x", "list", "d", "s"]).prop_map(String::from),
    ];
    leaf.prop_recursive(5, 60, 4, |inner| {
        let pair = (inner.clone(), inner.clone());
        let symbols = vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in", "&&", "||"];
        prop_oneof![
            (pair.clone(), prop::sample::select(symbols)).prop_map(|((a, b), op)| format!("({a} {op} {b})")),
            pair.clone().prop_map(|(a, b)| format!("{a} + {b} * {a}")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            inner.clone().prop_map(|a| format!("!({a})")),
            inner.clone().prop_map(|a| format!("-({a})")),
            pair.clone().prop_map(|(a, b)| format!("[{a}, ?{b}]")),
            pair.clone().prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            pair.clone().prop_map(|(a, b)| format!("({a})[{b}]")),
            pair.clone().prop_map(|(a, b)| format!("({a})[?{b}].orValue({b})")),
            inner.clone().prop_map(|a| format!("({a}).?f.g")),
            inner.clone().prop_map(|a| format!("size({a})")),
            inner.clone().prop_map(|a| format!("dyn({a})")),
            pair.clone().prop_map(|(a, b)| format!("[{a}].all(v, {b})")),
            pair.clone().prop_map(|(a, b)| format!("({a}).map(v, {b})")),
            pair.prop_map(|(a, b)| format!("({a}).contains({b})")),
        ]
    })
}

fn declarations() -> Arc<Declarations> {
    let declarations = Declarations::default().with("x", Type::Int).with("list", Type::list(Type::Int));
    Arc::new(declarations.with("d", Type::Dyn).with("s", Type::String))
}

/// Evaluates what compiles, over fixed values.
fn run(source: &str) -> Option<Result<String, String>> {
    let declarations = declarations();
    let program = compile(&declarations, source).ok()?;
    let (list, d) = (json!([1, 2, 3]), json!({"f": {"g": 1}, "h": [1.5, "a", null]}));
    let mut bindings = Bindings::new(&declarations);
    bindings.set("x", Value::Int(7));
    bindings.set("s", Value::text("text"));
    bindings.set_json("list", &list).unwrap();
    bindings.set_json("d", &d).unwrap();
    let value = program.evaluate(&bindings, &mut Budget::new(100_000, 100_000));
    Some(value.map(|value| format!("{:?}", value.to_json())).map_err(|err| err.to_string()))
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused(source in "\\PC{0,40}") {
        let _ = normal_form(&source);
        let _ = run(&source);
    }

    #[test]
    fn any_tokens_parse_or_are_refused(
        tokens in prop::collection::vec(
            prop::sample::select(vec!["a", "1", "'s'", ".", "(", ")", "[", "]", "{", "}", ",", ":", "?", "-", "!", "&&",
                "||", "in", "==", "has", "all", "x", "+", ".?", "[?", "`q`", "2u", "1.5", "true", "null"]), 0..30)
    ) {
        let source = tokens.join(" ");
        let _ = run(&source);
    }

    #[test]
    fn what_is_printed_parses_to_the_same(source in expressions()) {
        let printed = normal_form(&source).unwrap();
        prop_assert_eq!(&normal_form(&printed).unwrap(), &printed);
        prop_assert_eq!(run(&source), run(&printed));
    }

    #[test]
    fn evaluation_ends_within_the_budget(source in expressions()) {
        let _ = run(&source);
    }

    #[test]
    fn logic_commutes(one in expressions(), two in expressions()) {
        let (a, b) = (format!("dyn({one}) == true"), format!("dyn({two}) == true"));
        for op in ["&&", "||"] {
            let (left, right) = (run(&format!("({a}) {op} ({b})")), run(&format!("({b}) {op} ({a})")));
            match (left, right) {
                (Some(Ok(left)), Some(Ok(right))) => prop_assert_eq!(left, right),
                // Which of two errors is told depends on the order.
                (left, right) => prop_assert_eq!(left.map(|l| l.is_ok()), right.map(|r| r.is_ok())),
            }
        }
    }
}
