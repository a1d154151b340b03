//! Evaluation of planned steps.
//!
//! Errors are values to `&&`, `||` and loops; only the end of the budget is none. Loops' variables stand on a stack, each
//! at the place that the plan gave it.

use crate::cost::{LIST_BASE, MAP_BASE, STRUCT_BASE, compare_cost};
use crate::error::EvalError;
use crate::functions::standard::insert;
use crate::plan::{CallOp, FieldOp, FoldOp, GatherOp, Gathered, IndexOp, Op, borrowed, invoke};
use crate::value::{Key, List, Map, Object, Outcome, Value, contains, equal};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Evaluates, and says what it cost. Costs over `limit` end it.
pub(crate) fn evaluate<'a>(op: &'a Op, variables: &[Option<Value<'a>>], limit: u64) -> (Outcome<'a>, u64) {
    let mut run = Run { variables, locals: Vec::new(), cost: 0, limit };
    let outcome = run.eval(op);
    (outcome, run.cost)
}

struct Run<'a, 'v> {
    variables: &'v [Option<Value<'a>>],
    /// An accumulator can be an error: the next step may absorb it.
    locals: Vec<Outcome<'a>>,
    cost: u64,
    limit: u64,
}

/// Elements or bytes that a function may make before they cost more than upstream charges: what upstream shares, or
/// does not count, takes memory here.
const FREE_ELEMENTS: u64 = 1000;
const FREE_BYTES: u64 = 10_000;
/// Parts of a list or map that may be compared before they cost more than upstream charges, and how many cost one then.
/// Upstream counts the outermost elements alone, and stops by its clock.
const FREE_PARTS: u64 = 1000;
const PARTS_PER_COST: u64 = 16;
/// Compiling a pattern that is no literal.
const COMPILE_COST: u64 = 100;

impl<'a> Run<'a, '_> {
    fn charge(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::over_limit()) } else { Ok(()) }
    }

    fn eval(&mut self, op: &'a Op) -> Outcome<'a> {
        match op {
            Op::Const(value) => Ok(borrowed(value)),
            Op::Variable { slot, cost } => {
                self.charge(*cost)?;
                match self.variables.get(*slot) {
                    Some(Some(value)) => Ok(value.clone()),
                    _ => Err(EvalError::new("no such attribute(s)")),
                }
            }
            Op::Local { index, cost } => {
                self.charge(*cost)?;
                self.locals[*index].clone()
            }
            Op::Field(field) => self.field(field),
            Op::Index(index) => self.index(index),
            Op::And(terms) => self.logic(terms, false),
            Op::Or(terms) => self.logic(terms, true),
            Op::Condition(parts) => match self.eval(&parts[0])? {
                Value::Bool(true) => self.eval(&parts[1]),
                Value::Bool(false) => self.eval(&parts[2]),
                _ => Err(EvalError::no_such_overload()),
            },
            Op::Equal { operands, negated } => self.equal(operands, *negated),
            Op::NotFalse(operand) => self.not_false(operand),
            Op::In { operands, by_size } => self.contained(operands, *by_size),
            Op::InSet { operand, set } => {
                let value = self.eval(operand)?;
                Ok(Value::Bool(Key::of(&value).is_some_and(|key| set.contains(&key))))
            }
            Op::OrElse { operands, value } => self.or_else(operands, *value),
            Op::Call(call) => self.call(call),
            Op::List(elements) => self.list(elements),
            Op::Map(entries) => self.map(entries),
            Op::Object(name, fields) => self.object(name, fields),
            Op::Fold(fold) => self.scoped(|run, depth| run.fold(fold, depth)),
            Op::Gather(gather) => self.scoped(|run, depth| run.gather(gather, depth)),
            Op::Bind { init, body } => self.scoped(|run, _| {
                let value = run.eval(init);
                run.locals.push(value);
                run.eval(body)
            }),
        }
    }

    /// Runs what has variables of its own, which go however it ends: the plan tells places by their numbers.
    fn scoped(&mut self, run: impl FnOnce(&mut Self, usize) -> Outcome<'a>) -> Outcome<'a> {
        let depth = self.locals.len();
        let outcome = run(self, depth);
        self.locals.truncate(depth);
        outcome
    }

    fn field(&mut self, op: &'a FieldOp) -> Outcome<'a> {
        let operand = self.eval(&op.operand)?;
        if op.test {
            self.charge(op.cost)?;
            return has(&operand, op).map(Value::Bool);
        }
        match operand {
            Value::Optional(None) => Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => self.optional_field(&inner, op),
            operand if op.optional => self.optional_field(&operand, op),
            operand => {
                self.charge(op.cost)?;
                select(&operand, op)?.unwrap_or_else(|| Err(EvalError::no_such_key(&op.name)))
            }
        }
    }

    fn optional_field(&mut self, operand: &Value<'a>, op: &'a FieldOp) -> Outcome<'a> {
        match select(operand, op)? {
            Some(value) => {
                self.charge(op.cost)?;
                Ok(Value::some(value?))
            }
            None => Ok(Value::Optional(None)),
        }
    }

    fn index(&mut self, op: &'a IndexOp) -> Outcome<'a> {
        let operand = self.eval(&op.operand)?;
        let index = self.eval(&op.index)?;
        self.charge(op.cost)?;
        let (operand, optional) = match operand {
            Value::Optional(None) => return Ok(Value::Optional(None)),
            Value::Optional(Some(inner)) => ((*inner).clone(), true),
            operand => (operand, op.optional),
        };
        match (at(&operand, &index)?, optional) {
            (Some(value), true) => Ok(Value::some(value?)),
            (Some(value), false) => value,
            (None, true) => Ok(Value::Optional(None)),
            (None, false) => Err(missing(&operand, &index)),
        }
    }

    /// `&&` (`decisive` false) and `||` (true): one decisive term decides, whatever is wrong with others.
    fn logic(&mut self, terms: &'a [Op], decisive: bool) -> Outcome<'a> {
        let mut wrong = None;
        for term in terms {
            match self.eval(term) {
                Ok(Value::Bool(value)) if value == decisive => return Ok(Value::Bool(decisive)),
                Ok(Value::Bool(_)) => {}
                Ok(_) => wrong = wrong.or_else(|| Some(EvalError::no_such_overload())),
                Err(err) if err.is_over_limit() => return Err(err),
                Err(err) => wrong = wrong.or(Some(err)),
            }
        }
        wrong.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn equal(&mut self, operands: &'a [Op; 2], negated: bool) -> Outcome<'a> {
        let (one, two) = (self.eval(&operands[0])?, self.eval(&operands[1])?);
        let nominal = !negated && matches!(one, Value::Kubernetes(_));
        self.charge(if nominal { 1 } else { compare_cost(&one, &two) })?;
        self.charge_parts(&one, 1)?;
        Ok(Value::Bool(equal(&one, &two)? != negated))
    }

    /// For a value that is compared with all its parts, so many times.
    fn charge_parts(&mut self, value: &Value<'a>, times: u64) -> Result<(), EvalError> {
        if !matches!(value, Value::List(_) | Value::Map(_) | Value::Object(_) | Value::Optional(_)) {
            return Ok(());
        }
        // Counting ends where the limit is passed for certain.
        let size = value.cost_size();
        let rest = self.limit.saturating_sub(self.cost).saturating_add(2);
        let most = rest.saturating_mul(PARTS_PER_COST).saturating_add(FREE_PARTS).saturating_add(size);
        let mut left = most;
        value.count_parts(&mut left);
        let mut parts = (most - left).saturating_sub(size).saturating_mul(times);
        if let Value::List(list) = value
            && list.keyed().is_some()
        {
            let length = list.len() as u64;
            parts = parts.saturating_add(length.saturating_mul(length));
        }
        self.charge(parts.saturating_sub(FREE_PARTS) / PARTS_PER_COST)
    }

    fn not_false(&mut self, operand: &'a Op) -> Outcome<'a> {
        let outcome = self.eval(operand);
        self.charge(1)?;
        match outcome {
            Err(err) if err.is_over_limit() => Err(err),
            outcome => Ok(Value::Bool(!matches!(outcome, Ok(Value::Bool(false))))),
        }
    }

    fn contained(&mut self, operands: &'a [Op; 2], by_size: bool) -> Outcome<'a> {
        let (value, range) = (self.eval(&operands[0])?, self.eval(&operands[1])?);
        self.charge(if by_size { range.cost_size() } else { 1 })?;
        self.charge_parts(&range, 1)?;
        Ok(Value::Bool(match &range {
            Value::List(list) => contains(list, &value)?,
            Value::Map(map) => Key::of(&value).is_some_and(|key| map.contains(&key)),
            Value::Object(object) => matches!(&value, Value::String(name) if object.has(name)),
            _ => return Err(EvalError::no_such_overload()),
        }))
    }

    fn or_else(&mut self, operands: &'a [Op; 2], value: bool) -> Outcome<'a> {
        match self.eval(&operands[0])? {
            Value::Optional(Some(inner)) if value => Ok((*inner).clone()),
            some @ Value::Optional(Some(_)) => Ok(some),
            Value::Optional(None) => self.eval(&operands[1]),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    fn call(&mut self, call: &'a CallOp) -> Outcome<'a> {
        // Most functions have two arguments at most: those need no list.
        match call.args.as_slice() {
            [one] => {
                let args = [self.eval(one)?];
                self.finish(call, &args)
            }
            [one, two] => {
                let args = [self.eval(one)?, self.eval(two)?];
                self.finish(call, &args)
            }
            args => {
                let args = args.iter().map(|arg| self.eval(arg)).collect::<Result<Vec<_>, _>>()?;
                self.finish(call, &args)
            }
        }
    }

    fn finish(&mut self, call: &'a CallOp, args: &[Value<'a>]) -> Outcome<'a> {
        let times = call.cost.comparisons(args);
        if times > 0 {
            args.iter().try_for_each(|arg| self.charge_parts(arg, times))?;
        }
        // What can be told before is charged before, so that nothing costly happens beyond the limit.
        let before = call.cost.before(args);
        self.charge(before.saturating_add(if call.compiles { COMPILE_COST } else { 0 }))?;
        let result = invoke(call, args)?;
        let made = match &result {
            Value::List(List::Made(items, _)) => (items.len() as u64).saturating_sub(FREE_ELEMENTS),
            Value::String(crate::value::Text::Shared(text)) => (text.len() as u64).saturating_sub(FREE_BYTES) / 10,
            _ => 0,
        };
        self.charge(made.saturating_add(call.cost.after(&result)))?;
        Ok(result)
    }

    fn list(&mut self, elements: &'a [(bool, Op)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for (optional, op) in elements {
            values.extend(self.present(*optional, op, || "list element".into())?);
        }
        self.charge(LIST_BASE)?;
        Ok(Value::list(values))
    }

    /// The value of a part of what is made; `None` where it is optional and there is none.
    fn present(
        &mut self,
        optional: bool,
        op: &'a Op,
        part: impl FnOnce() -> String,
    ) -> Result<Option<Value<'a>>, EvalError> {
        match (optional, self.eval(op)?) {
            (false, value) => Ok(Some(value)),
            (true, Value::Optional(value)) => Ok(value.map(|value| (*value).clone())),
            (true, value) => {
                let (part, what) = (part(), value.type_name());
                Err(EvalError::new(format!("cannot initialize optional {part} from non-optional value {what}")))
            }
        }
    }

    fn map(&mut self, entries: &'a [(bool, Op, Op)]) -> Outcome<'a> {
        let mut made = BTreeMap::new();
        for (optional, key, value) in entries {
            let key = self.eval(key)?;
            let Some(value) = self.present(*optional, value, || "entry".into())? else { continue };
            let found = Key::of(&key).filter(|_| !matches!(key, Value::Double(_)));
            let found = found.ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_name())))?;
            if made.insert(found, value).is_some() {
                return Err(EvalError::new("Failed with repeated key"));
            }
        }
        self.charge(MAP_BASE)?;
        Ok(Value::Map(Map::Made(made.into())))
    }

    fn object(&mut self, name: &Arc<str>, fields: &'a [(bool, Box<str>, Op)]) -> Outcome<'a> {
        let mut made = BTreeMap::new();
        for (optional, field, value) in fields {
            let Some(value) = self.present(*optional, value, || format!("entry '{field}'"))? else { continue };
            made.insert(field.clone(), Ok(value));
        }
        self.charge(STRUCT_BASE)?;
        Ok(Value::Object(Object::Made(name.clone(), Arc::new(made))))
    }

    fn fold(&mut self, op: &'a FoldOp, depth: usize) -> Outcome<'a> {
        let range = Range::of(self.eval(&op.range)?, op.two)?;
        let init = self.eval(&op.init);
        self.locals.push(init);
        for number in 0..range.len() {
            self.locals.truncate(depth + 1);
            range.push(number, &mut self.locals);
            match self.eval(&op.condition) {
                Ok(Value::Bool(false)) => break,
                Err(err) if err.is_over_limit() => return Err(err),
                _ => {}
            }
            match self.eval(&op.step) {
                Err(err) if err.is_over_limit() => return Err(err),
                step => self.locals[depth] = step,
            }
        }
        self.locals.truncate(depth + 1);
        self.eval(&op.result)
    }

    fn gather(&mut self, op: &'a GatherOp, depth: usize) -> Outcome<'a> {
        let range = Range::of(self.eval(&op.range)?, op.two)?;
        // The place of the accumulator, which no part of the source can name.
        self.locals.push(Ok(Value::Null));
        let (mut items, mut entries) = (Vec::new(), BTreeMap::new());
        for number in 0..range.len() {
            self.locals.truncate(depth + 1);
            range.push(number, &mut self.locals);
            match op.filter.as_ref().map(|filter| self.eval(filter)).transpose()? {
                Some(Value::Bool(false)) => continue,
                None | Some(Value::Bool(true)) => {}
                Some(_) => return Err(EvalError::no_such_overload()),
            }
            match &op.what {
                Gathered::Element(value) => items.push(self.eval(value)?),
                Gathered::Entry(key, value) => {
                    let key = self.eval(key)?;
                    insert(&mut entries, key, self.eval(value)?)?;
                }
                Gathered::Entries(more) => {
                    let more = [self.eval(more)?];
                    for (key, value) in crate::functions::standard::inserted(&more)? {
                        insert(&mut entries, key, value)?;
                    }
                }
            }
            self.charge(op.cost)?;
        }
        self.charge(1)?;
        Ok(match op.what {
            Gathered::Element(_) => Value::list(items),
            _ => Value::Map(Map::Made(entries.into())),
        })
    }
}

/// What a loop runs over.
enum Range<'a> {
    List(List<'a>, bool),
    Keys(Vec<Value<'a>>),
    Entries(Vec<(Value<'a>, Value<'a>)>),
}

impl<'a> Range<'a> {
    fn of(value: Value<'a>, two: bool) -> Result<Range<'a>, EvalError> {
        Ok(match value {
            Value::List(list) => Range::List(list, two),
            Value::Map(map) if two => Range::Entries(map.entries()?),
            Value::Map(map) => Range::Keys(map.keys()),
            Value::Object(object) => {
                let fields = object.fields()?;
                if two { Range::Entries(fields) } else { Range::Keys(fields.into_iter().map(|(k, _)| k).collect()) }
            }
            other => return Err(EvalError::new(format!("got '{}', expected iterable type", other.type_name()))),
        })
    }

    fn len(&self) -> usize {
        match self {
            Range::List(list, _) => list.len(),
            Range::Keys(keys) => keys.len(),
            Range::Entries(entries) => entries.len(),
        }
    }

    /// Puts the variables of one turn onto the stack.
    fn push(&self, number: usize, locals: &mut Vec<Outcome<'a>>) {
        match self {
            Range::List(list, two) => {
                if *two {
                    locals.push(Ok(Value::Int(number as i64)));
                }
                locals.push(list.get(number).unwrap_or(Ok(Value::Null)));
            }
            Range::Keys(keys) => locals.push(Ok(keys[number].clone())),
            Range::Entries(entries) => {
                let (key, value) = entries[number].clone();
                locals.push(Ok(key));
                locals.push(Ok(value));
            }
        }
    }
}

/// The field of an object, or the value of a map's key, if it is there.
fn select<'a>(operand: &Value<'a>, op: &'a FieldOp) -> Result<Option<Outcome<'a>>, EvalError> {
    Ok(match (operand, &op.field) {
        (Value::Object(Object::Json(properties, _, types)), Some(field)) => {
            properties.get(&*field.property).map(|value| Value::from_json(value, &field.ty, types))
        }
        (Value::Object(object), _) => object.get(&op.name),
        (Value::Map(map), _) => map.get_text(&op.name),
        (Value::Null, _) => return Err(EvalError::no_such_key(&op.name)),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn has(operand: &Value<'_>, op: &FieldOp) -> Result<bool, EvalError> {
    Ok(match (operand, &op.field) {
        (Value::Object(Object::Json(properties, ..)), Some(field)) => properties.contains_key(&*field.property),
        (Value::Object(object), _) => object.has(&op.name),
        (Value::Map(map), _) => map.get_text(&op.name).is_some(),
        (Value::Optional(None), _) => false,
        (Value::Optional(Some(inner)), _) => has(inner, op)?,
        (Value::Null, _) => return Err(EvalError::no_such_key(&op.name)),
        _ => return Err(EvalError::no_such_overload()),
    })
}

/// An element or entry, if it is there.
fn at<'a>(operand: &Value<'a>, index: &Value<'a>) -> Result<Option<Outcome<'a>>, EvalError> {
    Ok(match operand {
        Value::List(list) => match Key::of(index) {
            Some(Key::Int(index)) => usize::try_from(index).ok().and_then(|index| list.get(index)),
            Some(Key::Uint(index)) => usize::try_from(index).ok().and_then(|index| list.get(index)),
            _ => return Err(EvalError::new(format!("unsupported index type '{}' in list", index.type_name()))),
        },
        Value::Map(map) => Key::of(index).and_then(|key| map.get(&key)),
        Value::Object(object) => match index {
            Value::String(name) => object.get(name),
            _ => None,
        },
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn missing(operand: &Value<'_>, index: &Value<'_>) -> EvalError {
    let shown = crate::functions::convert::display(index).unwrap_or_else(|| index.type_name().to_string());
    match operand {
        Value::List(_) => EvalError::new(format!("index out of bounds: {shown}")),
        _ => EvalError::no_such_key(shown),
    }
}
