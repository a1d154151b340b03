//! YAML bodies: to documents within bounds, with a note of the keys that stand twice.
//!
//! Upstream's clients send YAML in few places (applies, `curl`), and what a text may unfold to is the sender's choice: each
//! alias stands for all that its anchor holds. So what is unfolded has a bound of its own, far below what a body may hold.

use crate::limits::{BODY_BYTES, STRICT_TEXTS, YAML_NODES, YAML_UNFOLDED};
use holdfast_core::Json;
use holdfast_schema::MAX_DEPTH;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Map;
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DuplicateKeyPolicy, Error, Options, Spanned};
use std::fmt;

/// A text's document, of doubled keys with the last value, and a line such as `line 5: key "a" already set in map` for
/// each key that stands in a map already.
///
/// # Errors
/// What is wrong with the text, in upstream's words where clients look for them.
pub(super) fn parse(text: &str) -> Result<(Json, Vec<String>), String> {
    read(text, options()).map_err(|err| problem(&err))
}

/// What Go's decoder says of doubled keys.
pub(super) fn unmarshal_errors(lines: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))
}

fn read(text: &str, options: Options) -> Result<(Json, Vec<String>), Error> {
    let Node { value, doubled } = serde_saphyr::from_str_with_options(text, options)?;
    Ok((value, doubled))
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: YAML_NODES,
            // A map or list is two events, and so is the text itself.
            max_events: 2 * YAML_NODES,
            max_recorded_anchor_events: YAML_UNFOLDED,
            max_recorded_anchor_bytes: 2 * BODY_BYTES,
            max_total_scalar_bytes: 2 * BODY_BYTES,
            // A list of a thousand equal items is nothing bad: what they unfold to is bounded.
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: YAML_UNFOLDED },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        with_snippet: false,
    }
}

fn problem(err: &Error) -> String {
    let mut cause = err;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = cause {
        cause = error;
    }
    match cause {
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget {
            breach:
                BudgetBreach::Aliases { .. }
                | BudgetBreach::Anchors { .. }
                | BudgetBreach::MergeKeys { .. }
                | BudgetBreach::RecordedAnchorEvents { .. }
                | BudgetBreach::RecordedAnchorBytes { .. }
                | BudgetBreach::ScalarBytes { .. },
            ..
        } => "yaml: document contains excessive aliasing".into(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => "exceeded max depth".into(),
        Error::Budget { breach: BudgetBreach::Nodes { .. } | BudgetBreach::Events { .. }, .. } => {
            format!("yaml: document has more than {YAML_NODES} nodes")
        }
        _ => format!("yaml: {}", first_line(&err.to_string())),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// A node, and the doubled keys in it.
struct Node {
    value: Json,
    doubled: Vec<String>,
}

impl Node {
    fn of(value: impl Into<Json>) -> Node {
        Node { value: value.into(), doubled: Vec::new() }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::of(Json::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::of(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::of(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::of(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::of(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::of(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::of(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let (mut list, mut doubled) = (Vec::new(), Vec::new());
        while let Some(mut item) = items.next_element::<Node>()? {
            add(&mut doubled, &mut item.doubled);
            list.push(item.value);
        }
        Ok(Node { value: list.into(), doubled })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let (mut map, mut doubled) = (Map::new(), Vec::new());
        while let Some(key) = entries.next_key::<String>()? {
            let Spanned { value: mut node, referenced, .. } = entries.next_value::<Spanned<Node>>()?;
            add(&mut doubled, &mut node.doubled);
            if map.contains_key(&key) {
                // Go's decoder names the line where the value begins.
                add(&mut doubled, &mut vec![format!("line {}: key {key:?} already set in map", referenced.line())]);
            }
            map.insert(key, node.value);
        }
        Ok(Node { value: map.into(), doubled })
    }
}

/// Moves lines to the others, as far as anybody is told of them.
fn add(doubled: &mut Vec<String>, more: &mut Vec<String>) {
    more.truncate(STRICT_TEXTS - doubled.len());
    doubled.append(more);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::cell::RefCell;
    use std::rc::Rc;

    #[test]
    fn texts_are_read_as_json_has_it() {
        let text = "---\na: {1: one, n: [1, -2, 1.5]}\nb: &b {c: 'x', d: null}\ne: *b\nf:\n  <<: *b\n  c: z\n";
        let (document, doubled) = parse(text).unwrap();
        let expected = json!({"a": {"1": "one", "n": [1, -2, 1.5]}, "b": {"c": "x", "d": null}, "e": {"c": "x", "d": null},
            "f": {"c": "z", "d": null}});
        assert_eq!((document, doubled), (expected, Vec::new()), "merges and aliases are no doubled keys");
    }

    #[test]
    fn doubled_keys_are_told_with_the_line_of_their_value_and_the_last_counts() {
        let text = "a: 1\nb:\n  c: 1\n  c:\n    - 2\n  d: [{e: 1, e: 2}]\na: 3\n\"a\": 4\n";
        let (document, doubled) = parse(text).unwrap();
        assert_eq!(document, json!({"a": 4, "b": {"c": [2], "d": [{"e": 2}]}}));
        let expected = [
            "line 5: key \"c\" already set in map",
            "line 6: key \"e\" already set in map",
            "line 7: key \"a\" already set in map",
            "line 8: key \"a\" already set in map",
        ];
        assert_eq!(doubled, expected);
        let many = "a: 1\n".repeat(5_000);
        assert_eq!(parse(&many).unwrap().1.len(), STRICT_TEXTS);
    }

    /// What reading a text took, as the parser counted: events in all, and how it ended.
    fn work(text: &str) -> (usize, Result<Json, String>) {
        let seen = Rc::new(RefCell::new(0));
        let to = seen.clone();
        let options = options().with_budget_report(move |report| *to.borrow_mut() = report.events);
        let outcome = read(text, options).map(|(document, _)| document).map_err(|err| problem(&err));
        let events = *seen.borrow();
        (events, outcome)
    }

    /// Maps or lists that each hold the one before ten times.
    fn bomb(levels: usize) -> String {
        let mut text = "l0: &l0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for level in 1..levels {
            let below = vec![format!("*l{}", level - 1); 10].join(", ");
            text.push_str(&format!("l{level}: &l{level} [{below}]\n"));
        }
        text
    }

    #[test]
    fn what_unfolds_without_end_is_refused_after_little_work() {
        let excessive = Err("yaml: document contains excessive aliasing".to_string());
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), vec!["*a"; 40_000].join(", "));
        let anchors = format!("{}x{}", (0..90).map(|at| format!("&a{at} [")).collect::<String>(), "]".repeat(90));
        let within = format!("[{}]", vec![anchors; 2_000].join(", "));
        let merged = format!(
            "a: &a {{{}}}\nb: [{}]\n",
            (0..2_000).map(|at| format!("k{at}: 1, ")).collect::<String>(),
            vec!["{<<: *a}"; 5_000].join(", ")
        );
        for (what, text) in [("lists", bomb(9)), ("text", long), ("anchors in anchors", within), ("merges", merged)] {
            assert!(text.len() < BODY_BYTES);
            let (events, outcome) = work(&text);
            assert_eq!(outcome, excessive, "{what}");
            assert!(events <= 2 * YAML_UNFOLDED, "{what} took {events} events");
        }
        assert_eq!(parse("a: &a [*a]\n").map(|_| ()).unwrap_err().lines().count(), 1, "a node in itself");
    }

    #[test]
    fn what_a_body_can_hold_is_read() {
        // A thousand equal items by an alias each, and a document of the shape of a large definition.
        let aliases = format!("a: &a {{b: 1, c: [2, 3], d: {{e: f}}}}\nlist: [{}]\n", vec!["*a"; 5_000].join(", "));
        let (_, document) = work(&aliases);
        assert_eq!(document.unwrap()["list"][4_999]["d"]["e"], "f");
        let mut lines = String::new();
        let mut at = 0;
        while lines.len() < BODY_BYTES - 32 {
            lines.push_str(&format!("k{at}:\n- {{a: b}}\n"));
            at += 1;
        }
        let (_, document) = work(&lines);
        assert_eq!(document.unwrap().as_object().unwrap().len(), at);
    }

    #[test]
    fn depth_is_bounded_as_that_of_json() {
        for (open, close) in [("[", "]"), ("{a: ", "}")] {
            let nested = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
            assert!(parse(&nested(MAX_DEPTH)).is_ok());
            assert_eq!(parse(&nested(MAX_DEPTH + 1)), Err("exceeded max depth".into()));
        }
        let block = |depth: usize| (0..depth).map(|at| format!("{}a:\n", " ".repeat(at))).collect::<String>();
        assert!(parse(&block(MAX_DEPTH)).is_ok());
        assert_eq!(parse(&block(MAX_DEPTH + 1)), Err("exceeded max depth".into()));
    }
}
