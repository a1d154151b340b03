//! What a call costs when it runs.

use super::{CHECK, LIST_BASE, MAP_BASE, PATTERN, TRAVERSAL, scale};
use crate::functions::Overload;
use crate::kubernetes::Kubernetes;
use crate::value::{List, Map, Object, Value};

/// How the cost of a call follows from its arguments and what it yields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum RunCost {
    /// Always the same.
    Fixed(u64),
    /// By the size of one argument.
    Argument(usize, f64),
    /// By the smaller of two.
    Compare,
    /// By the sum of two texts.
    Concatenation,
    /// A text times a pattern.
    Pattern,
    /// A text times another.
    Contains,
    /// All parts of the first argument.
    Walk,
    /// A selector that is parsed.
    Selector,
    /// Addresses; with a text that is parsed.
    ContainsIp(bool),
    /// Networks; with a text that is parsed.
    ContainsCidr(bool),
    /// A text that is checked against a named format.
    Validate,
    /// By the size of what it yields.
    Result(f64),
    /// A list that is made, by its size.
    MadeList,
    /// A list that is flattened.
    Flatten,
    /// All elements of one argument in order, and a list that is made.
    Sort(usize),
    /// All elements of the first argument with each other, and a list that is made.
    Distinct,
    /// Each element of one list with each of another.
    Sets(f64),
}

fn product(a: u64, b: u64) -> u64 {
    a.saturating_mul(b)
}

/// A text that a pattern runs over: never free, since a costly pattern may meet an empty text.
fn pattern_cost(text: u64, pattern: u64) -> u64 {
    product(scale(text.saturating_add(1), TRAVERSAL), scale(pattern, PATTERN))
}

/// Comparing two values, which ends with the smaller one.
pub(crate) fn compare_cost(one: &Value<'_>, two: &Value<'_>) -> u64 {
    // Most are scalars, of size 1.
    scale(one.cost_size().min(two.cost_size()), TRAVERSAL)
}

impl RunCost {
    /// The rule for a call. With several overloads only the function's name counts.
    pub(crate) fn of(function: &str, overloads: &[&Overload]) -> RunCost {
        let id = if let [only] = overloads { only.id } else { "" };
        match id {
            "list_sets_contains_list" | "list_sets_intersects_list" => return RunCost::Sets(1.0),
            "list_sets_equivalent_list" => return RunCost::Sets(2.0),
            "list_slice" | "lists_range" | "list_reverse" => return RunCost::MadeList,
            "list_flatten" | "list_flatten_int" => return RunCost::Flatten,
            "list_distinct" => return RunCost::Distinct,
            id if id.ends_with("_sort") => return RunCost::Sort(0),
            id if id.ends_with("_sortByAssociatedKeys") => return RunCost::Sort(1),
            _ => {}
        }
        match function {
            "check" => return RunCost::Fixed(CHECK),
            "fieldSelector" | "labelSelector" => return RunCost::Selector,
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => return RunCost::Walk,
            "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" | "cidr" | "isIP" | "isCIDR" | "quantity"
            | "isQuantity" | "semver" | "isSemver" => return RunCost::Argument(0, TRAVERSAL),
            "replace" | "split" | "ip.isCanonical" => return RunCost::Argument(0, 2.0 * TRAVERSAL),
            "join" => return RunCost::Result(2.0 * TRAVERSAL),
            "find" | "findAll" => return RunCost::Pattern,
            "ip" if id != "cidr_ip" => return RunCost::Argument(0, TRAVERSAL),
            "containsIP" => return RunCost::ContainsIp(id == "cidr_contains_ip_string"),
            "containsCIDR" => return RunCost::ContainsCidr(id == "cidr_contains_cidr_string"),
            "validate" => return RunCost::Validate,
            _ => {}
        }
        match id {
            "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string" | "strings_quote"
            | "string_format" => RunCost::Argument(0, TRAVERSAL),
            "add_string" | "add_bytes" => RunCost::Concatenation,
            "matches_string" => RunCost::Pattern,
            "contains_string" => RunCost::Contains,
            id if is_text_order(id) => RunCost::Compare,
            _ => RunCost::Fixed(1),
        }
    }

    /// What can be told from the arguments.
    pub(crate) fn before(self, args: &[Value<'_>]) -> u64 {
        let size = |index: usize| args.get(index).map_or(1, Value::cost_size);
        match self {
            RunCost::Fixed(cost) => cost,
            RunCost::Argument(index, factor) => scale(size(index), factor),
            RunCost::Compare => scale(size(0).min(size(1)), TRAVERSAL),
            RunCost::Concatenation => scale(size(0).saturating_add(size(1)), TRAVERSAL),
            RunCost::Pattern => pattern_cost(size(0), size(1)),
            RunCost::Contains => product(scale(size(0), TRAVERSAL), scale(size(1), TRAVERSAL)),
            RunCost::Walk => args.first().map_or(0, walk),
            RunCost::Selector => selector(size(1)),
            RunCost::ContainsIp(parsed) => {
                let cost = scale(size(0).saturating_mul(2), TRAVERSAL);
                cost.saturating_add(if parsed { scale(size(1), TRAVERSAL) } else { 0 })
            }
            RunCost::ContainsCidr(parsed) => {
                let cost = scale(size(0).saturating_mul(2), TRAVERSAL) + scale(size(0), TRAVERSAL) + 1;
                cost.saturating_add(if parsed { scale(size(1), TRAVERSAL) } else { 0 })
            }
            RunCost::Validate => match args.first() {
                Some(Value::Kubernetes(value)) => match &**value {
                    Kubernetes::Format(format) => pattern_cost(size(1), format.pattern_size),
                    _ => 1,
                },
                _ => 1,
            },
            RunCost::Flatten => {
                let depth = match args.get(1) {
                    Some(Value::Int(depth)) => u64::try_from(*depth).unwrap_or(0),
                    _ => 1,
                };
                made(product(size(0), depth))
            }
            RunCost::Sort(_) | RunCost::Distinct => {
                let index = if let RunCost::Sort(index) = self { index } else { 0 };
                let size = size(index);
                let first = match args.get(index) {
                    Some(Value::List(list)) => list.first(),
                    _ => None,
                };
                let text = matches!(first, Some(Ok(Value::String(_) | Value::Bytes(_))));
                let factor = if text { 2.0 + TRAVERSAL } else { 2.0 };
                made((size as f64 * size as f64 * factor) as u64)
            }
            RunCost::Sets(factor) => 1u64.saturating_add((size(0) as f64 * size(1) as f64 * factor) as u64),
            RunCost::Result(_) | RunCost::MadeList => 0,
        }
    }

    /// How many values compared with how many: what elements have parts for is compared so often, which upstream does not
    /// count. Zero for what compares no elements.
    pub(crate) fn comparisons(self, args: &[Value<'_>]) -> u64 {
        match self {
            RunCost::Walk | RunCost::Flatten => 1,
            RunCost::Distinct | RunCost::Sets(_) => args.first().map_or(1, Value::cost_size).max(1),
            _ => 0,
        }
    }

    /// What only the result tells.
    pub(crate) fn after(self, result: &Value<'_>) -> u64 {
        match self {
            RunCost::Result(factor) => scale(result.cost_size(), factor),
            RunCost::MadeList => made(result.cost_size()),
            _ => 0,
        }
    }
}

/// A call that makes a list.
fn made(cost: u64) -> u64 {
    cost.saturating_add(1 + LIST_BASE)
}

/// Whether the overload orders texts or bytes.
pub(super) fn is_text_order(id: &str) -> bool {
    ["less", "less_equals", "greater", "greater_equals"]
        .iter()
        .any(|name| id.strip_prefix(name).is_some_and(|rest| matches!(rest, "_string" | "_bytes")))
}

/// Parsing a selector: the text, and a list and an object for each requirement, which has two characters at least.
pub(super) fn selector(size: u64) -> u64 {
    let requirements = scale(size, 0.5);
    let each = (LIST_BASE + super::STRUCT_BASE) as f64;
    LIST_BASE.saturating_add(scale(size, TRAVERSAL)).saturating_add(scale(requirements, each))
}

/// Going through all parts of a value.
fn walk(value: &Value<'_>) -> u64 {
    let bytes = |len: usize| (len as f64 * TRAVERSAL) as u64;
    let inner = |value: Result<Value<'_>, _>| value.map_or(1, |value: Value<'_>| walk(&value));
    match value {
        Value::String(text) => bytes(text.len()),
        Value::Bytes(data) => bytes(data.len()),
        Value::List(List::Json(items, ty, _)) if is_scalar(&ty.element) => items.len() as u64,
        Value::List(list) => list.iter().fold(0, |sum: u64, element| sum.saturating_add(inner(element))),
        Value::Map(map @ (Map::Json(..) | Map::Made(_))) => entries(map.entries()),
        Value::Object(object @ (Object::Json(..) | Object::Made(..))) => entries(object.fields()),
        _ => 1,
    }
}

fn is_scalar(ty: &crate::Type) -> bool {
    use crate::Type;
    matches!(ty, Type::Int | Type::Uint | Type::Double | Type::Bool)
}

fn entries(entries: Result<Vec<(Value<'_>, Value<'_>)>, crate::EvalError>) -> u64 {
    let each = |(key, value): &(Value<'_>, Value<'_>)| walk(key).saturating_add(walk(value));
    entries.map_or(MAP_BASE, |entries| entries.iter().map(each).fold(0, u64::saturating_add))
}
