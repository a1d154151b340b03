//! The part of kubectl's JSONPath that columns and selectable fields use
//! (<https://kubernetes.io/docs/reference/kubectl/jsonpath/>): fields, quoted fields, elements, slices, wildcards, descent and
//! one comparison as a filter.

use holdfast_core::Json;

/// Most values that one path may find: descent and wildcards multiply.
const MAX_FOUND: usize = 1_000;
/// Longest path, in steps.
const MAX_STEPS: usize = 64;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Every,
    Descend,
    Slice { from: Option<i64>, to: Option<i64>, single: bool },
    Filter { path: JsonPath, compare: Compare, value: Json },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Exists,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Parses `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status` and the like.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub fn parse(text: &str) -> Result<JsonPath, String> {
        let mut parser = Parser { rest: text.trim() };
        let path = parser.path(false)?;
        if !parser.rest.is_empty() {
            return Err(format!("unrecognized character in action: {:?}", parser.rest));
        }
        Ok(path)
    }

    /// What the path finds, in the order of the document.
    pub fn find<'a>(&self, doc: &'a Json) -> Vec<&'a Json> {
        let mut found = vec![doc];
        for step in &self.0 {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next);
                if next.len() >= MAX_FOUND {
                    next.truncate(MAX_FOUND);
                    break;
                }
            }
            found = next;
        }
        found
    }

    /// Whether each step names one field, as selectable fields must.
    pub fn is_simple(&self) -> bool {
        self.0.iter().all(|step| matches!(step, Step::Field(_)))
    }

    /// The names of a simple path.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|step| match step {
            Step::Field(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Json, into: &mut Vec<&'a Json>) {
        match (self, value) {
            (Step::Field(name), Json::Object(map)) => into.extend(map.get(name)),
            (Step::Every, Json::Object(map)) => into.extend(map.values()),
            (Step::Every, Json::Array(items)) => into.extend(items),
            (Step::Descend, _) => descend(value, into),
            (Step::Slice { from, to, single }, Json::Array(items)) => {
                let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                let place = |at: i64| if at < 0 { at + length } else { at };
                let from = place(from.unwrap_or(0));
                let to = if *single { from + 1 } else { place(to.unwrap_or(length)) };
                let range = from.max(0)..to.min(length);
                into.extend(range.filter_map(|at| items.get(usize::try_from(at).ok()?)));
            }
            (Step::Filter { path, compare, value: wanted }, Json::Array(items)) => {
                into.extend(items.iter().filter(|item| matches(path.find(item).first().copied(), *compare, wanted)));
            }
            _ => {}
        }
    }
}

fn descend<'a>(value: &'a Json, into: &mut Vec<&'a Json>) {
    if into.len() >= MAX_FOUND {
        return;
    }
    into.push(value);
    match value {
        Json::Object(map) => map.values().for_each(|value| descend(value, into)),
        Json::Array(items) => items.iter().for_each(|value| descend(value, into)),
        _ => {}
    }
}

fn matches(found: Option<&Json>, compare: Compare, wanted: &Json) -> bool {
    let Some(found) = found else { return false };
    let order = match (found, wanted) {
        (Json::String(a), Json::String(b)) => Some(a.as_str().cmp(b)),
        (Json::Number(a), Json::Number(b)) => a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)),
        (Json::Bool(a), Json::Bool(b)) => Some(a.cmp(b)),
        _ => None,
    };
    match compare {
        Compare::Exists => true,
        Compare::Equal => order.is_some_and(|order| order.is_eq()),
        Compare::NotEqual => order.is_none_or(|order| order.is_ne()),
        Compare::Less => order.is_some_and(|order| order.is_lt()),
        Compare::LessOrEqual => order.is_some_and(|order| order.is_le()),
        Compare::Greater => order.is_some_and(|order| order.is_gt()),
        Compare::GreaterOrEqual => order.is_some_and(|order| order.is_ge()),
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    /// A path up to the end; within a filter, up to what cannot be a step.
    fn path(&mut self, in_filter: bool) -> Result<JsonPath, String> {
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            if steps.len() >= MAX_STEPS {
                return Err(format!("a path has {MAX_STEPS} steps at most"));
            }
            if self.eat("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with('[') {
                    steps.push(self.field()?);
                }
            } else if self.eat(".") {
                steps.push(self.field()?);
            } else if self.rest.starts_with('[') {
                steps.push(self.bracket()?);
            } else if in_filter {
                break;
            } else {
                return Err(format!("unexpected {:?}: a step begins with \".\" or \"[\"", self.rest));
            }
        }
        Ok(JsonPath(steps))
    }

    fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn field(&mut self) -> Result<Step, String> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' | ']' | ')' | '(' | '=' | '!' | '<' | '>' | ' ' | '{' | '}' | '\'' | '"' | ',' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => Err("a field's name is missing".into()),
            "*" => Ok(Step::Every),
            _ => Ok(Step::Field(name)),
        }
    }

    fn bracket(&mut self) -> Result<Step, String> {
        self.eat("[");
        self.rest = self.rest.trim_start();
        let step = if self.eat("?(") {
            self.filter()?
        } else if self.rest.starts_with(['\'', '"']) {
            match self.literal()? {
                Json::String(name) => Step::Field(name),
                _ => return Err("a quoted name is expected".into()),
            }
        } else {
            let end = self.rest.find(']').ok_or("unterminated array")?;
            let inside = self.rest[..end].trim();
            self.rest = &self.rest[end..];
            let number = |text: &str| -> Result<Option<i64>, String> {
                match text.trim() {
                    "" => Ok(None),
                    text => text.parse().map(Some).map_err(|_| format!("invalid array index {text}")),
                }
            };
            match inside.split_once(':') {
                _ if inside == "*" => Step::Every,
                Some((_, to)) if to.contains(':') => return Err("slices with a step are not supported".into()),
                Some((from, to)) => Step::Slice { from: number(from)?, to: number(to)?, single: false },
                None => match number(inside)? {
                    Some(at) => Step::Slice { from: Some(at), to: None, single: true },
                    None => return Err("an array index is missing".into()),
                },
            }
        };
        self.rest = self.rest.trim_start();
        if self.eat("]") { Ok(step) } else { Err("unterminated array".into()) }
    }

    fn filter(&mut self) -> Result<Step, String> {
        self.rest = self.rest.trim_start();
        if !self.eat("@") {
            return Err("a filter begins with \"@\"".into());
        }
        let path = self.path(true)?;
        self.rest = self.rest.trim_start();
        let compare = [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ]
        .into_iter()
        .find(|(sign, _)| self.eat(sign))
        .map_or(Compare::Exists, |(_, compare)| compare);
        self.rest = self.rest.trim_start();
        let value = if compare == Compare::Exists { Json::Null } else { self.literal()? };
        self.rest = self.rest.trim_start();
        if self.eat(")") { Ok(Step::Filter { path, compare, value }) } else { Err("unterminated filter".into()) }
    }

    fn literal(&mut self) -> Result<Json, String> {
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            let mut text = String::new();
            let mut chars = self.rest.char_indices().skip(1);
            while let Some((at, c)) = chars.next() {
                match c {
                    '\\' => text.extend(chars.next().map(|(_, c)| c)),
                    c if c == quote => {
                        self.rest = &self.rest[at + 1..];
                        return Ok(text.into());
                    }
                    c => text.push(c),
                }
            }
            return Err("unterminated quoted string".into());
        }
        let end = self.rest.find([')', ']', ' ']).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        self.rest = &self.rest[end..];
        match word {
            "true" => Ok(true.into()),
            "false" => Ok(false.into()),
            _ => word.parse::<serde_json::Number>().map(Json::Number).map_err(|_| format!("invalid literal {word:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let doc = json!({"spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "deep": {"n": "z"}},
            "metadata": {"labels": {"example.com/x": "l"}}});
        for (path, expected) in [
            (".spec.list[0].v", json!([1])),
            (".spec.list[-1].v", json!([2])),
            (".spec.list[*].v", json!([1, 2])),
            (".spec.list[0:1].n", json!(["x"])),
            (".spec.list[?(@.n==\"y\")].v", json!([2])),
            (".spec.list[?(@.v > 1)].n", json!(["y"])),
            (".spec.list[?(@.none)].n", json!([])),
            (".spec['a.b']", json!([1])),
            (".spec.a\\.b", json!([1])),
            (".metadata.labels.example\\.com/x", json!(["l"])),
            ("..n", json!(["x", "y", "z"])),
            (".spec.none.deeper", json!([])),
            (".spec.list[7]", json!([])),
        ] {
            let parsed = JsonPath::parse(path).unwrap_or_else(|err| panic!("{path}: {err}"));
            let found: Json = parsed.find(&doc).into_iter().cloned().collect();
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for path in
            ["spec", ".spec[", ".spec[a]", ".spec[?(@.a==)]", ".a..", ".", ".spec[?(@.a=='x']", ".a]", "[0:1:2]"]
        {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        assert!(JsonPath::parse(&".a".repeat(65)).is_err());
        assert!(JsonPath::parse(".spec.color").unwrap().is_simple());
        assert!(!JsonPath::parse(".spec.list[0]").unwrap().is_simple());
    }
}
