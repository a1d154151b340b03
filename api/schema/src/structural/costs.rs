//! Estimated costs of rules: what a schema lets its values grow to, how often a rule may run for one object, and upstream's
//! limits of both (`k8s.io/apiextensions-apiserver`, "Resource use by validation functions" in its documentation).

use super::{NodeType, Structural};
use holdfast_cel::limits::{ESTIMATED_RULE_COST, ESTIMATED_SCHEMA_COST, REQUEST_BYTES};
use holdfast_cel::{Node, Program, SizeEstimate, SizeEstimator, names};
use holdfast_core::{FieldErrors, FieldPath, Json};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Rules that are told when all together cost too much.
const TOLD: usize = 4;
/// The least that a number or a whole number or text takes as JSON, in bytes.
const LEAST_NUMBER: u64 = 1;
/// The least of a text, a list, a map and an object.
const LEAST_TEXT: u64 = 2;
const LEAST_BOOLEAN: u64 = 4;
/// Least and most of durations, dates and times; the most is in code points.
const DURATION: (u64, u64) = (3, 32);
const DATE: (u64, u64) = (12, 12);
const TIME: (u64, u64) = (21, 32);
/// Bytes of a code point at most.
const CODE_POINT: u64 = 4;
/// The longest name of an object.
const LONGEST_NAME: u64 = 253;
/// The longest text that a request can carry.
const LONGEST: u64 = REQUEST_BYTES - 2;

/// How often a node may stand in one object; `None` when no list or map above it says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occurrences(Option<u64>);

impl Occurrences {
    /// Of the root.
    pub(super) const ONCE: Occurrences = Occurrences(Some(1));

    /// Of what lies below a node that stands so often.
    pub(super) fn below(self, node: &Structural) -> Occurrences {
        let factor = match node.node_type {
            Some(NodeType::Array) => node.rules.max_items,
            Some(NodeType::Object) if !matches!(node.additional, super::Additional::None) => node.rules.max_properties,
            _ => Some(1),
        };
        Occurrences(self.0.zip(factor).map(|(often, factor)| often.saturating_mul(factor)))
    }

    /// The cost of a rule that costs so much each time.
    fn times(self, cost: u64, size: &Size) -> u64 {
        let often = self.0.unwrap_or(REQUEST_BYTES / (size.least + 1));
        cost.saturating_mul(often)
    }
}

/// How large the values of a node are at most, and how small as JSON at least.
#[derive(Debug, Default)]
pub(super) struct Size {
    /// Code points, bytes, elements or entries; 0 for what has none of them.
    most: u64,
    /// Bytes.
    least: u64,
    fields: BTreeMap<String, Size>,
    elements: Option<Box<Size>>,
    keys: Option<Box<Size>>,
}

impl Size {
    fn scalar(least: u64, most: u64) -> Size {
        Size { most, least, ..Size::default() }
    }

    fn text() -> Size {
        Size::scalar(LEAST_TEXT, LONGEST)
    }

    /// Of a node; `None` for what expressions cannot reach. `whole` for the root of an object.
    pub(super) fn of(node: &Structural, whole: bool) -> Option<Size> {
        let rules = &node.rules;
        let points = |length: Option<u64>| length.map_or(LONGEST, |length| length.saturating_mul(CODE_POINT));
        if node.int_or_string {
            return Some(Size::scalar(LEAST_NUMBER, points(rules.max_length)));
        }
        Some(match node.node_type? {
            NodeType::Boolean => Size::scalar(LEAST_BOOLEAN, 0),
            NodeType::Integer | NodeType::Number => Size::scalar(LEAST_NUMBER, 0),
            NodeType::String => match (rules.format.as_str(), &rules.allowed) {
                ("byte", _) => Size::scalar(LEAST_TEXT, rules.max_length.unwrap_or(LONGEST)),
                ("duration", _) => Size::scalar(DURATION.0, DURATION.1),
                ("date", _) => Size::scalar(DATE.0, DATE.1),
                ("date-time", _) => Size::scalar(TIME.0, TIME.1),
                (_, Some(allowed)) if rules.max_length.is_none() && !allowed.is_empty() => {
                    let longest = allowed.iter().filter_map(Json::as_str).map(str::len).max();
                    Size::scalar(LEAST_TEXT, longest.unwrap_or(0) as u64)
                }
                _ => Size::scalar(LEAST_TEXT, points(rules.max_length)),
            },
            NodeType::Array => {
                let element = Size::of(node.items.as_deref()?, false)?;
                let most = rules.max_items.unwrap_or(LONGEST / (element.least + 1));
                Size { elements: Some(Box::new(element)), ..Size::scalar(LEAST_TEXT, most) }
            }
            NodeType::Object => match node.values() {
                Some(values) => {
                    let value = Size::of(values, false)?;
                    // A key takes two bytes, and with it come quotes, a colon and a comma.
                    let most = rules.max_properties.unwrap_or(LONGEST / (value.least + 6));
                    let keys = Some(Box::new(Size::scalar(LEAST_TEXT, 0)));
                    Size { elements: Some(Box::new(value)), keys, ..Size::scalar(LEAST_TEXT, most) }
                }
                None => Size::object(node, whole || node.embedded),
            },
        })
    }

    fn object(node: &Structural, whole: bool) -> Size {
        let mut object = Size::scalar(LEAST_TEXT, 0);
        let given = node.properties.iter().filter(|(name, _)| !(whole && is_general(name)));
        let given =
            given.filter_map(|(name, below)| Some((name.as_str(), Size::of(below, false)?, below.default.is_some())));
        let general = || {
            let given = node.properties.get("metadata");
            let named = |(name, most): (&str, u64)| {
                let shorter = given.and_then(|metadata| metadata.properties.get(name)?.rules.max_length);
                let most = shorter.map_or(most, |shorter| shorter.min(most));
                (name.to_string(), Size::scalar(LEAST_TEXT, most * CODE_POINT))
            };
            // What is made of a prefix has at least one more letter.
            let fields = [("name", LONGEST_NAME), ("generateName", LONGEST_NAME - 1)].map(named).into();
            let metadata = Size { fields, ..Size::scalar(LEAST_TEXT, 0) };
            [("apiVersion", Size::text(), false), ("kind", Size::text(), false), ("metadata", metadata, false)]
        };
        for (name, size, has_default) in given.chain(whole.then(general).into_iter().flatten()) {
            // What has a default need not be sent.
            if !has_default && node.rules.required.iter().any(|required| required == name) {
                object.least += name.len() as u64 + size.least + 4;
            }
            if let Some(name) = names::escape(name) {
                object.fields.insert(name.into_owned(), size);
            }
        }
        object
    }
}

fn is_general(name: &str) -> bool {
    matches!(name, "apiVersion" | "kind" | "metadata")
}

impl SizeEstimator for Size {
    fn size(&self, node: Node<'_>) -> Option<SizeEstimate> {
        // Both variables are of the node.
        let (_, way) = node.path.split_first()?;
        let mut at = self;
        for step in way {
            at = match &**step {
                "@items" | "@values" => at.elements.as_deref()?,
                "@keys" => at.keys.as_deref()?,
                field => at.fields.get(field)?,
            };
        }
        Some(SizeEstimate { min: 0, max: at.most })
    }
}

/// The costs of all rules of a schema.
#[derive(Debug, Default)]
pub(super) struct Costs {
    total: u64,
    /// The dearest rules, first the worst.
    dearest: Vec<(u64, FieldPath)>,
}

impl Costs {
    /// Counts a rule of a node; one that alone costs too much goes to `errors`.
    pub(super) fn rule(
        &mut self,
        program: &Program,
        size: &Size,
        often: Occurrences,
        path: &FieldPath,
        errors: &mut FieldErrors,
    ) {
        let cost = often.times(program.cost(size).max, size);
        self.count("estimated rule cost", cost, path, errors);
    }

    /// Counts what makes a message; it runs at most once.
    pub(super) fn message(&mut self, program: &Program, size: &Size, path: &FieldPath, errors: &mut FieldErrors) {
        self.count("estimated messageExpression cost", program.cost(size).max, path, errors);
    }

    fn count(&mut self, what: &str, cost: u64, path: &FieldPath, errors: &mut FieldErrors) {
        if cost > ESTIMATED_RULE_COST {
            errors.forbidden(path, exceeded(what, cost, ESTIMATED_RULE_COST));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= ESTIMATED_SCHEMA_COST / 100 {
            self.dearest.push((cost, path.clone()));
            self.dearest.sort_by_key(|(cost, _)| Reverse(*cost));
            self.dearest.truncate(TOLD);
        }
    }

    /// Refuses a schema whose rules cost too much all together.
    pub(super) fn judge(self, path: &FieldPath, errors: &mut FieldErrors) {
        if self.total <= ESTIMATED_SCHEMA_COST {
            return;
        }
        for (_, path) in &self.dearest {
            let text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.forbidden(path, text);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(path, exceeded(what, self.total, ESTIMATED_SCHEMA_COST));
    }
}

fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        // The estimate is then too rough to be worth a number.
        huge if huge > 100.0 => "more than 100x".to_string(),
        close if close < 1.5 => format!("{close:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}
