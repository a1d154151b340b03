//! What is said of wrong expressions, in the form of cel-go.

use crate::outcome;
use holdfast_cel::limits::{MAX_DEPTH, MAX_SOURCE};

fn shown(source: &str) -> String {
    outcome(source).unwrap_err()
}

#[test]
fn issues_have_place_line_and_mark() {
    assert_eq!(shown("x"), "ERROR: <input>:1:1: undeclared reference to 'x' (in container '')\n | x\n | ^");
    assert_eq!(
        shown("1 + 'a'"),
        "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'\n | 1 + 'a'\n | ..^"
    );
    assert_eq!(
        shown("'a'.foo(1)"),
        "ERROR: <input>:1:8: undeclared reference to 'foo' (in container '')\n | 'a'.foo(1)\n | .......^"
    );
    assert_eq!(
        shown("true &&\n  'ä'.size(1) == 2"),
        "ERROR: <input>:2:11: found no matching overload for 'size' applied to 'string.(int)'\n |   'ä'.size(1) == 2\n | \
         ...．......^"
    );
    assert_eq!(
        shown("1 +"),
        "ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', \
         'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | 1 +\n | ...^"
    );
}

#[test]
fn syntax_errors_are_worded_as_antlr_words_them() {
    const EXPRESSION: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                              BYTES, IDENTIFIER}";
    for (source, expected) in [
        (
            "a | b",
            vec![
                "1:3: Syntax error: token recognition error at: '| '",
                "1:5: Syntax error: extraneous input 'b' expecting <EOF>",
            ],
        ),
        (
            "a = 1",
            vec![
                "1:3: Syntax error: token recognition error at: '= '",
                "1:5: Syntax error: extraneous input '1' expecting <EOF>",
            ],
        ),
        ("1 + 2\n3 +", vec!["2:1: Syntax error: mismatched input '3' expecting <EOF>"]),
        ("*a", vec![&*format!("1:1: Syntax error: extraneous input '*' expecting {EXPRESSION}")]),
        (
            "1 + $",
            vec![
                "1:5: Syntax error: token recognition error at: '$'",
                &*format!("1:6: Syntax error: mismatched input '<EOF>' expecting {EXPRESSION}"),
            ],
        ),
        ("f(){}", vec!["1:4: Syntax error: mismatched input '{' expecting <EOF>"]),
    ] {
        let text = shown(source);
        let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("ERROR: <input>:")).collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn all_issues_are_told_in_order() {
    let text = shown("a + b == c");
    assert_eq!(text.matches("undeclared reference").count(), 3);
    assert!(text.find("'a'") < text.find("'b'") && text.find("'b'") < text.find("'c'"));
}

#[test]
fn types_are_checked_with_cel_gos_words() {
    for (source, expected) in [
        ("[1, 'a']", "1:5: expected type 'int' but found 'string'"),
        ("{'a': 1, 'b': 'c'}", "1:15: expected type 'int' but found 'string'"),
        ("[1, 'a', false].filter(x, string(x) == 'a')", "1:5: expected type 'int' but found 'string'"),
        ("duration('1us') < duration('1nns')", "1:28: invalid duration argument"),
        ("timestamp(-62135596801)", "1:11: invalid timestamp argument"),
        ("{1: 1, 'a': 1}", "1:8: expected type 'int' but found 'string'"),
        ("[1, dyn(2)]", "expected type 'int' but found 'dyn'"),
        ("1.a", "type 'int' does not support field selection"),
        ("!1", "found no matching overload for '!_' applied to '(int)'"),
        ("true ? 1 : 'a'", "found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
        ("1 && true", "1:1: expected type 'bool' but found 'int'"),
        ("Foo{a: 1}", "undeclared reference to 'Foo' (in container '')"),
        ("size()", "found no matching overload for 'size' applied to '()'"),
        ("'a' in 'b'", "found no matching overload for '@in' applied to '(string, string)'"),
        ("optional.of(1).a", "type 'int' does not support field selection"),
        ("1 == 'a'", "found no matching overload for '_==_' applied to '(int, string)'"),
        ("[1] == ['a']", "found no matching overload for '_==_' applied to '(list(int), list(string))'"),
        ("quantity('1').foo", "undefined field 'foo'"),
    ] {
        let text = shown(source);
        assert!(text.contains(expected), "{source}: {text}");
    }
}

/// On the stack of a test's thread, which is that of tokio's.
#[test]
fn the_deepest_expressions_evaluate() {
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    for deep in [
        format!("{} == {0}", nested("[", "1", "]", MAX_DEPTH - 4)),
        format!("size({}) == 1", nested("{'a': ", "dyn(1)", "}", MAX_DEPTH - 8)),
        format!("1{} > 0", " + 1".repeat(MAX_DEPTH - 4)),
        nested("[1].all(x, ", "true", ")", 80),
        format!("{} != [0]", nested("[1].map(x, dyn(", "[x]", "))", 60)),
        nested("(true ? ", "true", " : false)", 120),
        format!("{}.hasValue()", nested("optional.of(", "1", ")", MAX_DEPTH - 8)),
        format!("{} == 'a'", nested("string(dyn(", "'a'", "))", 120)),
    ] {
        assert_eq!(outcome(&deep), Ok(true.into()), "{}", &deep[..60]);
    }
}

#[test]
fn what_is_too_much_is_refused() {
    let long = "1".repeat(MAX_SOURCE + 1);
    assert!(shown(&long).contains("expression code point size exceeds limit: size: 100001, limit 100000"));
    for deep in [
        format!("{}1{}", "(".repeat(MAX_DEPTH + 1), ")".repeat(MAX_DEPTH + 1)),
        format!("{}1{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1)),
        format!("1{}", " + 1".repeat(MAX_DEPTH + 1)),
        format!("a{}", ".a".repeat(MAX_DEPTH + 1)),
        format!("{}true{}", "[1].all(x, ".repeat(150), ")".repeat(150)),
    ] {
        let text = shown(&deep);
        assert!(text.contains("expression recursion limit exceeded: 250"), "{}", &text[..200]);
    }
    // A chain of && is one call.
    assert_eq!(outcome(&format!("true{}", " && true".repeat(5000))), Ok(true.into()));
    let doubling = format!("optional.of(1){}", ".optMap(x, x)".repeat(40));
    assert!(shown(&doubling).contains("expression is too large"));
}
