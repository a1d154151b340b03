//! Macros to comprehensions, as the CEL specification ("langdef", section "Macros") and cel-go's libraries
//! (`ext/comprehensions`, `ext/lists`, optional values) define them. Each node gets its number.

use super::Wrong;
use super::ast::{ACCUMULATOR, Bind, Comprehension, Element, Expr, Kind, Literal};
use crate::limits::{MAX_DEPTH, MAX_NODES};

/// The name that `__result__` was before it was hidden; still kept from users.
const OLD_ACCUMULATOR: &str = "__result__";
/// What `sortBy` binds its list to.
const SORT_INPUT: &str = "@__sortBy_input__";

/// Replaces all macros, bounds the tree, and numbers it. Returns the count of numbers.
pub(crate) fn expand(expr: &mut Expr) -> Result<u32, Wrong> {
    let mut macros = Macros { copied: 0 };
    macros.walk(expr)?;
    let mut next = 0;
    number(expr, &mut next, 1)?;
    Ok(next)
}

fn number(expr: &mut Expr, next: &mut u32, depth: usize) -> Result<(), Wrong> {
    if depth > MAX_DEPTH {
        return Err((expr.at, format!("expression recursion limit exceeded: {MAX_DEPTH}")));
    }
    expr.id = *next;
    *next += 1;
    if *next as usize > MAX_NODES {
        return Err((expr.at, format!("expression is too large: it has more than {MAX_NODES} parts")));
    }
    let mut outcome = Ok(());
    expr.for_each_part_mut(&mut |part| {
        if outcome.is_ok() {
            outcome = number(part, next, depth + 1);
        }
    });
    outcome
}

fn size(expr: &Expr) -> usize {
    let mut sum = 1;
    expr.for_each_part(&mut |part| sum += size(part));
    sum
}

struct Macros {
    copied: usize,
}

fn accumulator(at: u32) -> Expr {
    Expr::ident(at, ACCUMULATOR)
}

fn truth(at: u32, value: bool) -> Expr {
    Expr::literal(at, Literal::Bool(value))
}

fn list(at: u32, values: Vec<Expr>) -> Expr {
    Expr::new(at, Kind::List(values.into_iter().map(|value| Element { optional: false, value }).collect()))
}

fn member(at: u32, target: Expr, function: &str, args: Vec<Expr>) -> Expr {
    Expr::new(at, Kind::Call { target: Some(Box::new(target)), function: function.to_string(), args })
}

/// How the loop variables are introduced by `range`.
struct Range {
    range: Expr,
    variable: String,
    variable2: Option<String>,
}

impl Range {
    fn fold(self, at: u32, init: Expr, condition: Expr, step: Expr, result: Expr) -> Expr {
        let Range { range, variable, variable2 } = self;
        let parts = Comprehension { range, variable, variable2, init, condition, step, result };
        Expr::new(at, Kind::Comprehension(Box::new(parts)))
    }

    fn quantifier(self, at: u32, function: &str, predicate: Expr) -> Expr {
        let not_false = |e| Expr::call(at, "@not_strictly_false", vec![e]);
        match function {
            "all" => {
                let step = Expr::call(at, "_&&_", vec![accumulator(at), predicate]);
                self.fold(at, truth(at, true), not_false(accumulator(at)), step, accumulator(at))
            }
            "exists" => {
                let condition = not_false(Expr::call(at, "!_", vec![accumulator(at)]));
                let step = Expr::call(at, "_||_", vec![accumulator(at), predicate]);
                self.fold(at, truth(at, false), condition, step, accumulator(at))
            }
            _ => {
                let one = || Expr::literal(at, Literal::Int(1));
                let more = Expr::call(at, "_+_", vec![accumulator(at), one()]);
                let step = Expr::call(at, "_?_:_", vec![predicate, more, accumulator(at)]);
                let result = Expr::call(at, "_==_", vec![accumulator(at), one()]);
                self.fold(at, Expr::literal(at, Literal::Int(0)), truth(at, true), step, result)
            }
        }
    }

    /// Appends to a list or inserts into a map, if the filter agrees.
    fn gather(self, at: u32, init: Expr, step: Expr, filter: Option<Expr>) -> Expr {
        let step = match filter {
            Some(filter) => Expr::call(at, "_?_:_", vec![filter, step, accumulator(at)]),
            None => step,
        };
        self.fold(at, init, truth(at, true), step, accumulator(at))
    }

    fn into_list(self, at: u32, value: Expr, filter: Option<Expr>) -> Expr {
        let step = Expr::call(at, "_+_", vec![accumulator(at), list(at, vec![value])]);
        self.gather(at, list(at, Vec::new()), step, filter)
    }

    fn into_map(self, at: u32, mut inserted: Vec<Expr>, filter: Option<Expr>) -> Expr {
        inserted.insert(0, accumulator(at));
        let step = Expr::call(at, "cel.@mapInsert", inserted);
        self.gather(at, Expr::new(at, Kind::Map(Vec::new())), step, filter)
    }
}

fn variable(expr: &Expr, message: &str) -> Result<String, Wrong> {
    match &expr.kind {
        Kind::Ident(name) if name == ACCUMULATOR || name == OLD_ACCUMULATOR => {
            Err((expr.at, "iteration variable overwrites accumulator variable".to_string()))
        }
        Kind::Ident(name) if !name.starts_with('.') => Ok(name.clone()),
        _ => Err((expr.at, message.to_string())),
    }
}

fn two_variables(first: &Expr, second: &Expr) -> Result<(String, String), Wrong> {
    const NAME: &str = "argument must be a simple name";
    let (one, two) = (variable(first, NAME)?, variable(second, NAME)?);
    if one == two {
        return Err((second.at, format!("duplicate variable name: {one}")));
    }
    Ok((one, two))
}

/// Whether a call of this name with so many arguments is a macro.
fn is_macro(function: &str, has_target: bool, args: usize) -> bool {
    match (function, has_target) {
        ("has", false) => args == 1,
        ("all" | "exists" | "exists_one" | "existsOne", true) => matches!(args, 2 | 3),
        ("map", true) => matches!(args, 2 | 3),
        ("filter" | "optMap" | "optFlatMap" | "sortBy", true) => args == 2,
        ("transformList" | "transformMap" | "transformMapEntry", true) => matches!(args, 3 | 4),
        _ => false,
    }
}

impl Macros {
    fn walk(&mut self, expr: &mut Expr) -> Result<(), Wrong> {
        let mut outcome = Ok(());
        expr.for_each_part_mut(&mut |part| {
            if outcome.is_ok() {
                outcome = self.walk(part);
            }
        });
        outcome?;
        let Kind::Call { target, function, args } = &mut expr.kind else { return Ok(()) };
        if !is_macro(function, target.is_some(), args.len()) {
            return Ok(());
        }
        let (target, args) = (target.take().map(|t| *t), std::mem::take(args));
        let made = match target {
            None => has(expr.at, args)?,
            Some(target) => self.receiver(expr.at, function, target, args)?,
        };
        *expr = made;
        Ok(())
    }

    fn receiver(&mut self, at: u32, function: &str, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Wrong> {
        let last = args.pop().unwrap_or_else(|| truth(at, true));
        let two = |args: &[Expr]| two_variables(&args[0], &args[1]);
        let pair = |range, (one, second)| Range { range, variable: one, variable2: Some(second) };
        Ok(match (function, args.len()) {
            ("all" | "exists" | "exists_one" | "existsOne", 1) => {
                let name = variable(&args[0], "argument must be a simple name")?;
                Range { range: target, variable: name, variable2: None }.quantifier(at, function, last)
            }
            ("all" | "exists" | "exists_one" | "existsOne", _) => {
                pair(target, two(&args)?).quantifier(at, function, last)
            }
            ("map" | "filter", _) => {
                let name = variable(&args[0], "argument is not an identifier")?;
                let range = Range { range: target, variable: name, variable2: None };
                match function {
                    "filter" => range.into_list(at, args.remove(0), Some(last)),
                    _ => range.into_list(at, last, args.drain(1..).next()),
                }
            }
            ("transformList", _) => pair(target, two(&args)?).into_list(at, last, args.drain(2..).next()),
            ("transformMap", _) => {
                let names = two(&args)?;
                let key = Expr::ident(at, &names.0);
                pair(target, names).into_map(at, vec![key, last], args.drain(2..).next())
            }
            ("transformMapEntry", _) => pair(target, two(&args)?).into_map(at, vec![last], args.drain(2..).next()),
            ("sortBy", _) => sort_by(at, target, &args[0], last)?,
            _ => self.optional(at, function, target, &args[0], last)?,
        })
    }

    /// `optMap` and `optFlatMap`.
    fn optional(&mut self, at: u32, function: &str, target: Expr, name: &Expr, body: Expr) -> Result<Expr, Wrong> {
        let variable = variable(name, &format!("{function}() variable name must be a simple identifier"))?;
        self.copied += size(&target);
        if self.copied > MAX_NODES {
            return Err((at, format!("expression is too large: it has more than {MAX_NODES} parts")));
        }
        let init = member(at, target.clone(), "value", Vec::new());
        let bound = Expr::new(at, Kind::Bind(Box::new(Bind { variable, init, body })));
        let some = if function == "optMap" { Expr::call(at, "optional.of", vec![bound]) } else { bound };
        let present = member(at, target, "hasValue", Vec::new());
        Ok(Expr::call(at, "_?_:_", vec![present, some, Expr::call(at, "optional.none", Vec::new())]))
    }
}

fn has(at: u32, mut args: Vec<Expr>) -> Result<Expr, Wrong> {
    match args.pop() {
        Some(Expr { kind: Kind::Select { operand, field, optional: false, .. }, .. }) => {
            Ok(Expr::new(at, Kind::Select { operand, field, optional: false, test: true }))
        }
        other => Err((other.map_or(at, |e| e.at), "invalid argument to has() macro".to_string())),
    }
}

fn sort_by(at: u32, target: Expr, name: &Expr, key: Expr) -> Result<Expr, Wrong> {
    if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
        let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err((target.at, message.to_string()));
    }
    let variable = variable(name, "argument is not an identifier")?;
    let input = || Expr::ident(at, SORT_INPUT);
    let keys = Range { range: input(), variable, variable2: None }.into_list(at, key, None);
    let body = member(at, input(), "@sortByAssociatedKeys", vec![keys]);
    Ok(Expr::new(at, Kind::Bind(Box::new(Bind { variable: SORT_INPUT.to_string(), init: target, body }))))
}
