//! `x-kubernetes-validations`: rules in the Common Expression Language, compiled once with the schema.
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>)

use super::costs::{Costs, Occurrences, Size};
use super::{Additional, NodeList, NodeType, Structural};
use holdfast_cel::{
    Bindings, Budget, Declarations, EvalError, ListKeys, ObjectTypes, Program, Type, Types, Value, compile, display,
};
use holdfast_core::json::{bool_at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};
use std::sync::Arc;

/// Rules of one node beyond so many are refused: each is compiled and kept.
pub(super) const MAX_RULES: usize = 1_000;
const KEY: &str = "x-kubernetes-validations";

/// A rule as it is written.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    rule: String,
    message: String,
    message_expression: String,
    reason: String,
    /// Where the problem is, below the node: `.spec.name`.
    field: String,
    optional_old: bool,
}

impl Rule {
    fn parse(rule: &Json) -> Rule {
        let text = |field: &str| str_at(rule, &[field]).unwrap_or_default().to_string();
        Rule {
            rule: text("rule"),
            message: text("message"),
            message_expression: text("messageExpression"),
            reason: text("reason"),
            field: text("fieldPath"),
            optional_old: bool_at(rule, &["optionalOldSelf"]) == Some(true),
        }
    }

    /// What names the rule in an error.
    fn name(&self) -> &str {
        if self.message.is_empty() { self.rule.trim() } else { &self.message }
    }
}

/// A rule that can run.
#[derive(Debug)]
struct Check {
    rule: Rule,
    declarations: Arc<Declarations>,
    program: Program,
    message: Option<Program>,
    /// It speaks of a change.
    is_transition: bool,
}

/// The rules of one node.
#[derive(Debug)]
pub(crate) struct Checks {
    node_type: &'static str,
    checks: Vec<Check>,
}

/// The type of a node in expressions; `None` for what they cannot reach.
fn type_of(node: &Structural, name: &str) -> Option<Type> {
    if node.int_or_string {
        return Some(Type::Dyn);
    }
    Some(match node.node_type? {
        NodeType::Object => match node.values() {
            Some(values) => Type::map(Type::String, type_of(values, &format!("{name}.@values"))?),
            None => Type::object(name),
        },
        NodeType::Array => {
            let element = type_of(node.items.as_deref()?, &format!("{name}.@items"))?;
            let keys = match &node.list {
                NodeList::Atomic => ListKeys::Atomic,
                NodeList::Set => ListKeys::Set,
                NodeList::Map(keys) => ListKeys::Map(keys.iter().map(|key| key.as_str().into()).collect()),
            };
            Type::list_with_keys(element, keys)
        }
        NodeType::String => match node.rules.format.as_str() {
            "byte" => Type::Bytes,
            "date" | "date-time" => Type::Timestamp,
            "duration" => Type::Duration,
            _ => Type::String,
        },
        NodeType::Integer => Type::Int,
        NodeType::Number => Type::Double,
        NodeType::Boolean => Type::Bool,
    })
}

/// Adds the object types of a node and of all below it.
fn declare(node: &Structural, name: &str, whole: bool, types: &mut ObjectTypes) {
    if node.node_type == Some(NodeType::Object) && node.values().is_none() {
        let whole = whole || node.embedded;
        let mut fields: Vec<(&str, Type)> = Vec::new();
        if whole {
            let metadata = format!("{name}.@metadata");
            types.add(&metadata, [("name", Type::String), ("generateName", Type::String)]);
            fields.extend([
                ("apiVersion", Type::String),
                ("kind", Type::String),
                ("metadata", Type::object(&metadata)),
            ]);
        }
        for (field, below) in &node.properties {
            let known = whole && matches!(field.as_str(), "apiVersion" | "kind" | "metadata");
            if let Some(ty) = type_of(below, &format!("{name}.{field}")).filter(|_| !known) {
                fields.push((field, ty));
            }
        }
        types.add(name, fields);
    }
    for (field, below) in &node.properties {
        declare(below, &format!("{name}.{field}"), false, types);
    }
    if let Some(values) = node.values() {
        declare(values, &format!("{name}.@values"), false, types);
    }
    if let Some(items) = &node.items {
        declare(items, &format!("{name}.@items"), false, types);
    }
}

impl Structural {
    /// The type of whole objects in expressions. The types of objects are added to `types`, of metadata what rules may see.
    pub(crate) fn declare_objects(&self, name: &str, types: &mut ObjectTypes) -> Type {
        declare(self, name, true, types);
        type_of(self, name).unwrap_or(Type::Dyn)
    }
}

/// Compiles the rules of a schema into its nodes; what does not compile goes to `errors`, at its path in the schema, and with
/// `costs` what costs too much by estimate.
pub(super) fn compile_all(
    node: &mut Structural,
    schema: &Json,
    path: &FieldPath,
    costs: Option<Costs>,
    errors: &mut FieldErrors,
) {
    if !mentions(schema) {
        return;
    }
    let mut types = ObjectTypes::default();
    declare(node, "self", true, &mut types);
    let mut compiler = Compiler { types: Types::of(Arc::new(types)), costs, errors };
    compiler.walk(node, schema, &Place { name: "self".into(), path: path.clone(), often: Occurrences::ONCE });
    if let Some(costs) = compiler.costs {
        costs.judge(path, errors);
    }
}

/// Whether a schema has rules anywhere.
fn mentions(value: &Json) -> bool {
    match value {
        Json::Object(map) => map.contains_key(KEY) || map.values().any(mentions),
        Json::Array(items) => items.iter().any(mentions),
        _ => false,
    }
}

/// Where a node is.
struct Place {
    /// The name of its type; `self` for the root.
    name: String,
    /// Its path in the schema.
    path: FieldPath,
    often: Occurrences,
}

struct Compiler<'e> {
    types: Types,
    costs: Option<Costs>,
    errors: &'e mut FieldErrors,
}

impl Compiler<'_> {
    /// Compiles the rules of a node and of all below it.
    fn walk(&mut self, node: &mut Structural, schema: &Json, place: &Place) {
        let rules = items_at(schema, &[KEY]);
        if !rules.is_empty() {
            node.checks = self.checks(node, rules, place).map(Arc::new);
        }
        let often = place.often.below(node);
        let below = |name: &str, path: FieldPath| Place { name: format!("{}.{name}", place.name), path, often };
        for (field, child) in &mut node.properties {
            if let Some(schema) = schema.get("properties").and_then(|all| all.get(field)) {
                self.walk(child, schema, &below(field, place.path.child("properties").key(field)));
            }
        }
        if let (Additional::Values(values), Some(schema)) = (&mut node.additional, schema.get("additionalProperties")) {
            self.walk(values, schema, &below("@values", place.path.child("additionalProperties")));
        }
        if let (Some(items), Some(schema)) = (&mut node.items, schema.get("items")) {
            self.walk(items, schema, &below("@items", place.path.child("items")));
        }
    }

    fn checks(&mut self, node: &Structural, rules: &[Json], place: &Place) -> Option<Checks> {
        let path = place.path.child(KEY);
        if rules.len() > MAX_RULES {
            self.errors.too_many(&path, rules.len(), MAX_RULES);
            return None;
        }
        let Some(ty) = type_of(node, &place.name) else {
            self.errors.forbidden(&path, "a rule needs a node whose type expressions know");
            return None;
        };
        let with = |old: Type| {
            let declarations = Declarations::new(self.types.clone()).with("self", ty.clone());
            Arc::new(declarations.with("oldSelf", old))
        };
        let (plain, optional) = (with(ty.clone()), with(Type::optional(ty.clone())));
        let size = self.costs.as_ref().and_then(|_| Size::of(node, place.name == "self"));
        let mut compiled = Vec::new();
        for (index, rule) in rules.iter().map(Rule::parse).enumerate() {
            let path = path.index(index);
            let declarations = if rule.optional_old { &optional } else { &plain };
            let Some(program) = self.rule(&rule, declarations, &path.child("rule")) else { continue };
            if let (Some(costs), Some(size)) = (&mut self.costs, &size) {
                costs.rule(&program, size, place.often, &path.child("rule"), self.errors);
            }
            let path = path.child("messageExpression");
            let Ok(message) = self.message(&rule, declarations, &path) else { continue };
            if let (Some(costs), Some(size), Some(message)) = (&mut self.costs, &size, &message) {
                costs.message(message, size, &path, self.errors);
            }
            let is_transition = program.uses("oldSelf");
            compiled.push(Check { rule, declarations: declarations.clone(), program, message, is_transition });
        }
        Some(Checks { node_type: node.node_type.map_or("", NodeType::as_str), checks: compiled })
    }

    fn rule(&mut self, rule: &Rule, declarations: &Arc<Declarations>, path: &FieldPath) -> Option<Program> {
        if rule.rule.trim().is_empty() {
            self.errors.required(path, "rule is not specified");
            return None;
        }
        let why = match compile(declarations, &rule.rule) {
            Ok(program) if *program.output_type() == Type::Bool => return Some(program),
            Ok(_) => "compilation failed: cel expression must evaluate to a bool".to_string(),
            Err(issues) => format!("compilation failed: {}", display(&issues)),
        };
        self.errors.invalid(path, rule.rule.as_str(), why);
        None
    }

    /// What makes the message of a rule, if it has such; `Err` when that does not compile.
    fn message(
        &mut self,
        rule: &Rule,
        declarations: &Arc<Declarations>,
        path: &FieldPath,
    ) -> Result<Option<Program>, ()> {
        let source = rule.message_expression.trim();
        if source.is_empty() {
            return Ok(None);
        }
        let why = match compile(declarations, source) {
            Ok(program) if *program.output_type() == Type::String => return Ok(Some(program)),
            Ok(_) => "messageExpression must evaluate to a string".to_string(),
            Err(issues) => format!("compilation failed: {}", display(&issues)),
        };
        self.errors.invalid(path, source, why);
        Err(())
    }
}

/// Runs the rules of a whole object. `old` is what it was before, for rules about changes.
pub(super) fn run(node: &Structural, value: &Json, old: Option<&Json>, errors: &mut FieldErrors) {
    let mut budget = Budget::default();
    run_at(node, value, old, &FieldPath::default(), &mut budget, errors);
}

/// Returns whether rules may go on.
fn run_at(
    node: &Structural,
    value: &Json,
    old: Option<&Json>,
    path: &FieldPath,
    budget: &mut Budget,
    errors: &mut FieldErrors,
) -> bool {
    // Null is no value that a rule could speak of, and what did not change was judged before.
    if value.is_null() || old == Some(value) {
        return true;
    }
    if let Some(checks) = &node.checks
        && !checks.run(value, old.filter(|old| !old.is_null()), path, budget, errors)
    {
        return false;
    }
    match value {
        Json::Object(map) => map.iter().all(|(key, value)| {
            let before = old.and_then(|old| old.get(key));
            let below = node.field(key);
            below.is_none_or(|below| run_at(below, value, before, &node.path_of(path, key), budget, errors))
        }),
        Json::Array(items) => {
            let Some(below) = &node.items else { return true };
            items.iter().enumerate().all(|(index, item)| {
                let before = old.and_then(|old| node.counterpart(item, old));
                run_at(below, item, before, &path.index(index), budget, errors)
            })
        }
        _ => true,
    }
}

impl Checks {
    fn run(
        &self,
        value: &Json,
        old: Option<&Json>,
        path: &FieldPath,
        budget: &mut Budget,
        errors: &mut FieldErrors,
    ) -> bool {
        for check in &self.checks {
            if check.is_transition && old.is_none() && !check.rule.optional_old {
                continue;
            }
            let mut bindings = Bindings::new(&check.declarations);
            let bound = bindings.set_json("self", value).and_then(|()| match old {
                Some(old) => bindings.set_json("oldSelf", old),
                None if check.rule.optional_old => bindings.set_json("oldSelf", &Json::Null),
                None => Ok(()),
            });
            let outcome = bound.and_then(|()| {
                check.program.evaluate(&bindings, budget).map(|value| matches!(value, Value::Bool(true)))
            });
            let rule = &check.rule;
            match outcome {
                Ok(true) => {}
                Ok(false) => {
                    let made = check.message.as_ref().and_then(|message| match message.evaluate(&bindings, budget) {
                        Ok(Value::String(text))
                            if !text.to_string().trim().is_empty() && !text.to_string().contains('\n') =>
                        {
                            Some(text.to_string())
                        }
                        _ => None,
                    });
                    let text = made.unwrap_or_else(|| match rule.message.as_str() {
                        "" => format!("failed rule: {}", rule.rule.trim()),
                        message => message.to_string(),
                    });
                    self.refuse(rule, &text, path, errors);
                }
                Err(err) if err.is_over_limit() => {
                    let text = format!(
                        "'no further validation rules will be run due to call cost exceeds limit for rule: {}'",
                        rule.name()
                    );
                    errors.invalid(path, self.node_type, text);
                    return false;
                }
                Err(err) => errors.invalid(path, self.node_type, failed(&err, rule)),
            }
            if budget.is_exhausted() {
                let text =
                    "validation failed due to running out of cost budget, no further validation rules will be run";
                errors.invalid(path, self.node_type, text);
                return false;
            }
        }
        true
    }

    fn refuse(&self, rule: &Rule, text: &str, path: &FieldPath, errors: &mut FieldErrors) {
        let path = match rule.field.trim_start_matches('.') {
            "" => path.clone(),
            field => path.child(field),
        };
        match rule.reason.as_str() {
            "FieldValueForbidden" => errors.forbidden(&path, text),
            "FieldValueRequired" => errors.required(&path, text),
            "FieldValueDuplicate" => errors.duplicate(&path, self.node_type),
            _ => errors.invalid(&path, self.node_type, text),
        }
    }
}

fn failed(err: &EvalError, rule: &Rule) -> String {
    if err.message().starts_with("no such overload") {
        return format!(
            "'{err}': call arguments did not match a supported operator, function or macro signature for rule: {}",
            rule.name()
        );
    }
    format!("{err} evaluating rule: {}", rule.name())
}

impl Structural {
    /// What an element of a keyed list was before.
    pub(super) fn counterpart<'o>(&self, item: &Json, old: &'o Json) -> Option<&'o Json> {
        let NodeList::Map(keys) = &self.list else { return None };
        let schema = self.items.as_deref()?;
        let wanted = super::validate::identity(schema, keys, item);
        old.as_array()?.iter().find(|old| super::validate::identity(schema, keys, old) == wanted)
    }
}
