//! `x-kubernetes-validations`: rules in the Common Expression Language, compiled once with the schema.
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>)

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

/// Compiles the rules of a schema into its nodes; what does not compile goes to `errors`, at its path in the schema.
pub(super) fn compile_all(node: &mut Structural, schema: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if !mentions(schema) {
        return;
    }
    let mut types = ObjectTypes::default();
    declare(node, "self", true, &mut types);
    compile_at(node, schema, "self", &Types::of(Arc::new(types)), path, errors);
}

/// Whether a schema has rules anywhere.
fn mentions(value: &Json) -> bool {
    match value {
        Json::Object(map) => map.contains_key(KEY) || map.values().any(mentions),
        Json::Array(items) => items.iter().any(mentions),
        _ => false,
    }
}

fn compile_at(
    node: &mut Structural,
    schema: &Json,
    name: &str,
    types: &Types,
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let rules = items_at(schema, &[KEY]);
    if !rules.is_empty() {
        node.checks = checks(node, rules, name, types, &path.child(KEY), errors).map(Arc::new);
    }
    for (field, below) in &mut node.properties {
        if let Some(schema) = schema.get("properties").and_then(|all| all.get(field)) {
            let path = path.child("properties").key(field);
            compile_at(below, schema, &format!("{name}.{field}"), types, &path, errors);
        }
    }
    if let (Additional::Values(values), Some(schema)) = (&mut node.additional, schema.get("additionalProperties")) {
        compile_at(values, schema, &format!("{name}.@values"), types, &path.child("additionalProperties"), errors);
    }
    if let (Some(items), Some(schema)) = (&mut node.items, schema.get("items")) {
        compile_at(items, schema, &format!("{name}.@items"), types, &path.child("items"), errors);
    }
}

fn checks(
    node: &Structural,
    rules: &[Json],
    name: &str,
    types: &Types,
    path: &FieldPath,
    errors: &mut FieldErrors,
) -> Option<Checks> {
    if rules.len() > MAX_RULES {
        errors.too_many(path, rules.len(), MAX_RULES);
        return None;
    }
    let Some(ty) = type_of(node, name) else {
        errors.forbidden(path, "a rule needs a node whose type expressions know");
        return None;
    };
    let with = |old: Type| {
        let declarations = Declarations::new(types.clone()).with("self", ty.clone());
        Arc::new(declarations.with("oldSelf", old))
    };
    let (plain, optional) = (with(ty.clone()), with(Type::optional(ty.clone())));
    let mut compiled = Vec::new();
    for (index, rule) in rules.iter().map(Rule::parse).enumerate() {
        let path = path.index(index);
        let declarations = if rule.optional_old { &optional } else { &plain };
        if rule.rule.trim().is_empty() {
            errors.required(&path.child("rule"), "rule is not specified");
            continue;
        }
        let program = match compile(declarations, &rule.rule) {
            Ok(program) if *program.output_type() == Type::Bool => program,
            Ok(_) => {
                errors.invalid(
                    &path.child("rule"),
                    rule.rule.as_str(),
                    "compilation failed: cel expression must evaluate to a bool",
                );
                continue;
            }
            Err(issues) => {
                errors.invalid(
                    &path.child("rule"),
                    rule.rule.as_str(),
                    format!("compilation failed: {}", display(&issues)),
                );
                continue;
            }
        };
        let message = match rule.message_expression.trim() {
            "" => None,
            source => match compile(declarations, source) {
                Ok(program) if *program.output_type() == Type::String => Some(program),
                Ok(_) => {
                    let why = "messageExpression must evaluate to a string";
                    errors.invalid(&path.child("messageExpression"), source, why);
                    continue;
                }
                Err(issues) => {
                    let why = format!("compilation failed: {}", display(&issues));
                    errors.invalid(&path.child("messageExpression"), source, why);
                    continue;
                }
            },
        };
        let is_transition = program.uses("oldSelf");
        compiled.push(Check { rule, declarations: declarations.clone(), program, message, is_transition });
    }
    Some(Checks { node_type: node.node_type.map_or("", NodeType::as_str), checks: compiled })
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
