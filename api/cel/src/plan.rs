//! From a checked tree to what is evaluated: names become numbers, literals values, patterns are compiled, and each
//! step knows what it costs.
//!
//! Costs follow cel-go's run-time model. A chain such as `self.a.b` costs one for its base and one a field; as a branch
//! of a condition its base is free, since the condition looks it up itself. Literals are free, and so are lists, maps
//! and conversions of literals, which are computed here.

use crate::cost::RunCost;
use crate::functions::convert::is_conversion;
use crate::functions::regexes::{Pattern, takes_pattern};
use crate::functions::{Args, Overload, named_type};
use crate::issue::Issues;
use crate::program::Declarations;
use crate::syntax::ast::{ACCUMULATOR, Bind, Comprehension, Element, Expr, FieldInit, Kind, Literal};
use crate::types::{Field, Type};
use crate::value::{Key, List, Map, Outcome, Text, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A step of evaluation.
#[derive(Debug)]
pub(crate) enum Op {
    Const(Value<'static>),
    Variable {
        slot: usize,
        cost: u64,
    },
    Local {
        index: usize,
        cost: u64,
    },
    Field(Box<FieldOp>),
    Index(Box<IndexOp>),
    And(Vec<Op>),
    Or(Vec<Op>),
    Condition(Box<[Op; 3]>),
    Equal {
        operands: Box<[Op; 2]>,
        negated: bool,
    },
    NotFalse(Box<Op>),
    In {
        operands: Box<[Op; 2]>,
        by_size: bool,
    },
    InSet {
        operand: Box<Op>,
        set: Arc<BTreeSet<Key<'static>>>,
    },
    OrElse {
        operands: Box<[Op; 2]>,
        value: bool,
    },
    Call(Box<CallOp>),
    List(Vec<(bool, Op)>),
    Map(Vec<(bool, Op, Op)>),
    /// The type's name; whether a field is optional, its name and its value.
    Object(Arc<str>, Vec<(bool, Box<str>, Op)>),
    Fold(Box<FoldOp>),
    Gather(Box<GatherOp>),
    Bind {
        init: Box<Op>,
        body: Box<Op>,
    },
}

/// `operand.name`, `operand.?name`, `has(operand.name)`.
#[derive(Debug)]
pub(crate) struct FieldOp {
    pub(crate) operand: Op,
    pub(crate) name: Box<str>,
    /// The field, where the operand's type tells.
    pub(crate) field: Option<Field>,
    pub(crate) optional: bool,
    pub(crate) test: bool,
    pub(crate) cost: u64,
}

/// `operand[index]`, `operand[?index]`.
#[derive(Debug)]
pub(crate) struct IndexOp {
    pub(crate) operand: Op,
    pub(crate) index: Op,
    pub(crate) optional: bool,
    pub(crate) cost: u64,
}

#[derive(Debug)]
pub(crate) struct CallOp {
    /// Those that may be meant; one in most cases.
    pub(crate) overloads: Vec<&'static Overload>,
    pub(crate) args: Vec<Op>,
    pub(crate) pattern: Option<Pattern>,
    /// Whether it compiles a pattern each time, which is no literal.
    pub(crate) compiles: bool,
    pub(crate) cost: RunCost,
}

/// A loop whose accumulator is any value.
#[derive(Debug)]
pub(crate) struct FoldOp {
    pub(crate) range: Op,
    pub(crate) two: bool,
    pub(crate) init: Op,
    pub(crate) condition: Op,
    pub(crate) step: Op,
    pub(crate) result: Op,
}

/// A loop that appends to a list or inserts into a map.
#[derive(Debug)]
pub(crate) struct GatherOp {
    pub(crate) range: Op,
    pub(crate) two: bool,
    pub(crate) filter: Option<Op>,
    pub(crate) what: Gathered,
    /// Of one step that gathers.
    pub(crate) cost: u64,
}

#[derive(Debug)]
pub(crate) enum Gathered {
    Element(Op),
    Entry(Op, Op),
    Entries(Op),
}

/// Makes the steps of a checked tree.
pub(crate) fn plan(expr: &Expr, declarations: &Declarations, issues: &mut Issues<'_>) -> Op {
    Planner { declarations, issues, locals: Vec::new() }.plan(expr, true)
}

struct Planner<'p, 's> {
    declarations: &'p Declarations,
    issues: &'p mut Issues<'s>,
    /// Variables of comprehensions, by where they stand at evaluation.
    locals: Vec<String>,
}

/// Whether it is looked up as a chain, so that what follows belongs to it.
fn is_chain(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Ident(_) | Kind::Select { .. } => true,
        Kind::Call { function, .. } => matches!(function.as_str(), "_[_]" | "_[?_]" | "_?_:_"),
        _ => false,
    }
}

fn constant(op: &Op) -> Option<Value<'static>> {
    match op {
        Op::Const(value) => Some(value.clone()),
        _ => None,
    }
}

pub(crate) fn literal(literal: &Literal) -> Value<'static> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::owned(text.as_str()),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

impl Planner<'_, '_> {
    /// `base`: whether the base of a chain costs something here.
    fn plan(&mut self, expr: &Expr, base: bool) -> Op {
        match &expr.kind {
            Kind::Literal(value) => Op::Const(literal(value)),
            Kind::Ident(name) => self.ident(name, base),
            Kind::Select { operand, field, optional, test } => {
                self.field(operand, field, *optional, *test, base && !*test)
            }
            Kind::Call { target, function, args } => self.call(expr, target.as_deref(), function, args, base),
            Kind::List(elements) => self.list(elements),
            Kind::Map(entries) => {
                let entries = entries.iter().map(|e| (e.optional, self.plan(&e.key, true), self.plan(&e.value, true)));
                constant_map(entries.collect())
            }
            Kind::Comprehension(parts) => self.comprehension(parts),
            Kind::Bind(parts) => {
                let Bind { variable, init, body } = &**parts;
                let init = Box::new(self.plan(init, true));
                self.locals.push(variable.clone());
                let body = Box::new(self.plan(body, true));
                self.locals.pop();
                Op::Bind { init, body }
            }
            Kind::Struct { name, fields } => {
                let field = |f: &FieldInit| (f.optional, f.name.as_str().into(), self.plan(&f.value, true));
                Op::Object(name.as_str().into(), fields.iter().map(field).collect())
            }
        }
    }

    fn ident(&mut self, name: &str, base: bool) -> Op {
        let cost = u64::from(base);
        if let Some(index) = self.locals.iter().rposition(|local| local == name) {
            return Op::Local { index, cost };
        }
        let global = name.strip_prefix('.').unwrap_or(name);
        match self.declarations.variable(global) {
            Some((slot, _)) => Op::Variable { slot, cost },
            None => {
                let ty = named_type(global).unwrap_or(Type::Dyn);
                Op::Const(Value::Type(Text::Shared(ty.runtime_name().into())))
            }
        }
    }

    /// The operand of a chain, and what the chain costs more because it does not begin with a name.
    fn operand(&mut self, operand: &Expr, base: bool) -> (Op, u64) {
        if is_chain(operand) { (self.plan(operand, base), 0) } else { (self.plan(operand, true), u64::from(base)) }
    }

    fn field(&mut self, operand: &Expr, name: &str, optional: bool, test: bool, base: bool) -> Op {
        let object = match &operand.ty {
            Type::Optional(inner) => inner,
            ty => ty,
        };
        let field = match object {
            Type::Object(object) => self.declarations.types().field(object, name).cloned(),
            _ => None,
        };
        let (operand, more) = self.operand(operand, base);
        Op::Field(Box::new(FieldOp { operand, name: name.into(), field, optional, test, cost: 1 + more }))
    }

    fn index(&mut self, operand: &Expr, index: &Expr, optional: bool, base: bool) -> Op {
        let (operand, more) = self.operand(operand, base);
        let chain = is_chain(index);
        let index = self.plan(index, true);
        // The base of a chain is what looking it up costs.
        Op::Index(Box::new(IndexOp { operand, index, optional, cost: more + u64::from(!chain) }))
    }

    fn call(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr], base: bool) -> Op {
        let pair =
            |planner: &mut Self, one: &Expr, two: &Expr| Box::new([planner.plan(one, true), planner.plan(two, true)]);
        match (function, target, args) {
            ("_&&_", ..) => Op::And(args.iter().map(|arg| self.plan(arg, true)).collect()),
            ("_||_", ..) => Op::Or(args.iter().map(|arg| self.plan(arg, true)).collect()),
            ("_?_:_", _, [condition, yes, no]) => {
                let condition = self.plan(condition, true);
                Op::Condition(Box::new([condition, self.plan(yes, false), self.plan(no, false)]))
            }
            ("_==_" | "_!=_", _, [one, two]) => {
                Op::Equal { operands: pair(self, one, two), negated: function == "_!=_" }
            }
            ("@not_strictly_false", _, [operand]) => Op::NotFalse(Box::new(self.plan(operand, true))),
            ("@in", _, [value, range]) => self.contained(expr, value, range),
            ("_[_]", _, [operand, index]) => self.index(operand, index, false, base),
            ("_[?_]", _, [operand, index]) => self.index(operand, index, true, base),
            ("or", Some(one), [two]) => Op::OrElse { operands: pair(self, one, two), value: false },
            ("orValue", Some(one), [two]) => Op::OrElse { operands: pair(self, one, two), value: true },
            _ => self.function(expr, target, function, args),
        }
    }

    fn function(&mut self, expr: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Op {
        let args: Vec<Op> = target.into_iter().chain(args).map(|arg| self.plan(arg, true)).collect();
        if let (true, [Op::Const(value)]) = (is_conversion(function), args.as_slice()) {
            let values = std::slice::from_ref(value);
            let found = expr.overloads.iter().find(|o| o.params.iter().zip(values).all(|(ty, v)| v.fits(ty)));
            return match found.map(|o| (o.implementation)(Args { values, pattern: None })) {
                Some(Ok(value)) => Op::Const(value),
                Some(Err(err)) => {
                    self.issues.add(expr.at, err.message());
                    Op::Const(Value::Null)
                }
                None => Op::Const(value.clone()),
            };
        }
        let pattern = match (takes_pattern(function), args.get(1).and_then(constant)) {
            // The checker has compiled it before.
            (true, Some(Value::String(text))) => Pattern::compile(&text).ok(),
            _ => None,
        };
        let cost = RunCost::of(function, &expr.overloads);
        let compiles = takes_pattern(function) && pattern.is_none();
        Op::Call(Box::new(CallOp { overloads: expr.overloads.clone(), args, pattern, compiles, cost }))
    }

    /// `value in range`: a list of literals becomes a set, and looking there costs nothing.
    fn contained(&mut self, expr: &Expr, value: &Expr, range: &Expr) -> Op {
        let (value, range) = (self.plan(value, true), self.plan(range, true));
        let in_list = matches!(expr.overloads.as_slice(), [only] if only.id == "in_list");
        if let (true, Op::Const(Value::List(List::Made(items, _)))) = (in_list, &range) {
            let plain = |item: &Value<'_>| !matches!(item, Value::Double(_));
            let keys: Option<BTreeSet<Key<'static>>> =
                items.iter().map(|item| Key::of(item).filter(|_| plain(item))).collect();
            if let Some(set) = keys {
                // As upstream: what is looked for does not matter then.
                if set.is_empty() {
                    return Op::Const(Value::Bool(false));
                }
                return Op::InSet { operand: Box::new(value), set: Arc::new(set) };
            }
        }
        Op::In { operands: Box::new([value, range]), by_size: in_list }
    }

    fn list(&mut self, elements: &[Element]) -> Op {
        let ops: Vec<(bool, Op)> = elements.iter().map(|e| (e.optional, self.plan(&e.value, true))).collect();
        let values: Option<Vec<_>> =
            ops.iter().map(|(optional, op)| if *optional { None } else { constant(op) }).collect();
        match values {
            Some(values) => Op::Const(Value::list(values)),
            None => Op::List(ops),
        }
    }

    fn comprehension(&mut self, parts: &Comprehension) -> Op {
        let Comprehension { range, variable, variable2, init, condition, step, result } = parts;
        let two = variable2.is_some();
        let range = self.plan(range, true);
        let depth = self.locals.len();
        let init = self.plan(init, true);
        self.locals.push(ACCUMULATOR.to_string());
        self.locals.push(variable.clone());
        self.locals.extend(variable2.clone());
        let op = match self.gathered(step, result) {
            Some((filter, what, cost)) => Op::Gather(Box::new(GatherOp { range, two, filter, what, cost })),
            None => {
                let (condition, step) = (self.plan(condition, true), self.plan(step, true));
                self.locals.truncate(depth + 1);
                let result = self.plan(result, true);
                Op::Fold(Box::new(FoldOp { range, two, init, condition, step, result }))
            }
        };
        self.locals.truncate(depth);
        op
    }

    /// What a step gathers, if it is one of those that macros write: its filter, what is gathered, its cost.
    fn gathered(&mut self, step: &Expr, result: &Expr) -> Option<(Option<Op>, Gathered, u64)> {
        if !is_accumulator(result) {
            return None;
        }
        if let Kind::Call { function, args, .. } = &step.kind
            && let ("_?_:_", [filter, step, other]) = (function.as_str(), args.as_slice())
            && is_accumulator(other)
        {
            let (_, what, cost) = self.gathered(step, result)?;
            return Some((Some(self.plan(filter, true)), what, cost));
        }
        let Kind::Call { function, args, .. } = &step.kind else { return None };
        match (function.as_str(), args.as_slice()) {
            ("_+_", [accumulator, Expr { kind: Kind::List(elements), .. }]) if is_accumulator(accumulator) => {
                let [Element { optional: false, value }] = elements.as_slice() else { return None };
                let value = self.plan(value, true);
                // The list of one element, unless it is a literal; the accumulator; the sum.
                let list = if matches!(value, Op::Const(_)) { 0 } else { crate::cost::LIST_BASE };
                Some((None, Gathered::Element(value), list + 2))
            }
            ("cel.@mapInsert", [accumulator, key, value]) if is_accumulator(accumulator) => {
                Some((None, Gathered::Entry(self.plan(key, true), self.plan(value, true)), 2))
            }
            ("cel.@mapInsert", [accumulator, entries]) if is_accumulator(accumulator) => {
                Some((None, Gathered::Entries(self.plan(entries, true)), 2))
            }
            _ => None,
        }
    }
}

fn is_accumulator(expr: &Expr) -> bool {
    matches!(&expr.kind, Kind::Ident(name) if name == ACCUMULATOR)
}

fn constant_map(entries: Vec<(bool, Op, Op)>) -> Op {
    let pair = |(optional, key, value): &(bool, Op, Op)| match (optional, constant(key), constant(value)) {
        (false, Some(key), Some(value)) => Some((Key::of(&key)?, value)),
        _ => None,
    };
    let made: Option<BTreeMap<_, _>> = entries.iter().map(pair).collect();
    match made {
        // A key that is there twice is an error of evaluation.
        Some(made) if made.len() == entries.len() => Op::Const(Value::Map(Map::Made(made.into()))),
        _ => Op::Map(entries),
    }
}

/// A constant as a value that borrows from the program.
pub(crate) fn borrowed<'a>(value: &'a Value<'static>) -> Value<'a> {
    match value {
        Value::String(text) => Value::text(text),
        other => other.clone(),
    }
}

/// What an overload does with its arguments; of several, the one that they fit.
pub(crate) fn invoke<'a>(call: &CallOp, values: &[Value<'a>]) -> Outcome<'a> {
    let args = Args { values, pattern: call.pattern.as_ref() };
    match call.overloads.as_slice() {
        [only] => (only.implementation)(args),
        several => {
            let fits = |o: &&&Overload| o.params.iter().zip(values).all(|(ty, value)| value.fits(ty));
            let found = several.iter().find(fits).ok_or_else(crate::EvalError::no_such_overload)?;
            (found.implementation)(args)
        }
    }
}
