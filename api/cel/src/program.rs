//! Compiling, and what evaluating needs.

use crate::check::check;
use crate::cost::{CostEstimate, SizeEstimator, estimate};
use crate::error::EvalError;
use crate::eval::evaluate;
use crate::issue::{Issue, Issues};
use crate::limits::{BUDGET, PER_CALL_COST};
use crate::plan::{Op, plan};
use crate::syntax::ast::{Expr, Kind};
use crate::syntax::{expand, parse};
use crate::types::{Type, Types};
use crate::value::Value;
use holdfast_core::Json;
use std::sync::Arc;

/// The variables that expressions may use, and their types.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    variables: Vec<(Box<str>, Type)>,
    types: Types,
}

impl Declarations {
    /// Without variables; objects are of `types`.
    pub fn new(types: Types) -> Declarations {
        Declarations { variables: Vec::new(), types }
    }

    /// With one variable more. Its name may have dots (`authorizer.requestResource`).
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Declarations {
        self.variables.retain(|(found, _)| **found != *name);
        self.variables.push((name.into(), ty));
        self
    }

    /// Number and type of a variable.
    pub(crate) fn variable(&self, name: &str) -> Option<(usize, &Type)> {
        let found = self.variables.iter().enumerate().find(|(_, (found, _))| **found == *name);
        found.map(|(slot, (_, ty))| (slot, ty))
    }

    pub(crate) fn types(&self) -> &Types {
        &self.types
    }
}

/// What variables hold during one evaluation.
#[derive(Clone, Debug)]
pub struct Bindings<'a> {
    declarations: &'a Declarations,
    values: Vec<Option<Value<'a>>>,
}

impl<'a> Bindings<'a> {
    /// All variables unset.
    pub fn new(declarations: &'a Declarations) -> Bindings<'a> {
        Bindings { declarations, values: vec![None; declarations.variables.len()] }
    }

    /// Sets a variable. One that is not declared is left out: nothing can ask for it.
    pub fn set(&mut self, name: &str, value: Value<'a>) {
        if let Some((slot, _)) = self.declarations.variable(name) {
            self.values[slot] = Some(value);
        }
    }

    /// Sets a variable to a document of its declared type.
    ///
    /// # Errors
    /// The document is not of that type.
    pub fn set_json(&mut self, name: &str, json: &'a Json) -> Result<(), EvalError> {
        if let Some((slot, ty)) = self.declarations.variable(name) {
            self.values[slot] = Some(Value::from_json(json, ty, &self.declarations.types)?);
        }
        Ok(())
    }
}

/// What evaluations may cost: each, and all together.
#[derive(Clone, Debug)]
pub struct Budget {
    per_call: u64,
    overall: u64,
    spent: u64,
    last: u64,
}

impl Budget {
    /// The limit of each evaluation, and of all.
    pub fn new(per_call: u64, overall: u64) -> Budget {
        Budget { per_call, overall, spent: 0, last: 0 }
    }

    /// What all evaluations have cost.
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// What the last evaluation has cost.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Whether all evaluations together have cost more than they may: no further one should follow.
    pub fn is_exhausted(&self) -> bool {
        self.spent > self.overall
    }
}

/// Upstream's limits for rules.
impl Default for Budget {
    fn default() -> Budget {
        Budget::new(PER_CALL_COST, BUDGET)
    }
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    declarations: Arc<Declarations>,
    tree: Expr,
    nodes: u32,
    op: Op,
}

/// Compiles an expression.
///
/// # Errors
/// What is wrong with it, in the order of the places.
pub fn compile(declarations: &Arc<Declarations>, source: &str) -> Result<Program, Vec<Issue>> {
    let mut tree = parse(source).map_err(|wrong| Issues::all(source, wrong))?;
    let nodes = expand(&mut tree).map_err(|wrong| Issues::all(source, vec![wrong]))?;
    let mut issues = Issues::of(source);
    check(&mut tree, declarations, &mut issues);
    if !issues.is_empty() {
        return Err(issues.into_issues());
    }
    let op = plan(&tree, declarations, &mut issues);
    if !issues.is_empty() {
        return Err(issues.into_issues());
    }
    Ok(Program { declarations: Arc::clone(declarations), tree, nodes, op })
}

impl Program {
    /// The type of what it yields.
    pub fn output_type(&self) -> &Type {
        &self.tree.ty
    }

    /// What evaluating it will cost at least and at most.
    pub fn cost(&self, sizes: &dyn SizeEstimator) -> CostEstimate {
        estimate(&self.tree, self.nodes, sizes)
    }

    /// Evaluates it, and takes what that cost out of the budget. The value borrows from documents and from the program,
    /// not from the bindings.
    ///
    /// # Errors
    /// What the expression does wrong; [`EvalError::is_over_limit`] when it cost too much.
    pub fn evaluate<'a>(&'a self, bindings: &Bindings<'a>, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        if !std::ptr::eq(bindings.declarations, &*self.declarations) {
            return Err(EvalError::new("the bindings are of other declarations than the program"));
        }
        let (outcome, cost) = evaluate(&self.op, &bindings.values, budget.per_call);
        budget.last = cost;
        budget.spent = budget.spent.saturating_add(cost);
        outcome
    }

    /// Whether it names a variable: a rule that names `oldSelf` is about changes alone.
    pub fn uses(&self, variable: &str) -> bool {
        uses(&self.tree, variable)
    }

    /// The fields that it reads of a variable, as `variables.a`: the caller need not provide others. `None` when it uses
    /// the variable as a whole.
    pub fn fields_of(&self, variable: &str) -> Option<Vec<&str>> {
        let mut found = Vec::new();
        fields_of(&self.tree, variable, &mut found).then_some(found)
    }
}

fn uses(expr: &Expr, variable: &str) -> bool {
    let mut found = matches!(&expr.kind, Kind::Ident(name) if name == variable);
    expr.for_each_part(&mut |part| found = found || uses(part, variable));
    found
}

/// Gathers fields; says whether fields are all that is used.
fn fields_of<'e>(expr: &'e Expr, variable: &str, found: &mut Vec<&'e str>) -> bool {
    match &expr.kind {
        Kind::Ident(name) => name != variable,
        Kind::Select { operand, field, .. } if matches!(&operand.kind, Kind::Ident(name) if name == variable) => {
            if !found.contains(&field.as_str()) {
                found.push(field);
            }
            true
        }
        _ => {
            let mut whole = false;
            expr.for_each_part(&mut |part| whole |= !fields_of(part, variable, found));
            !whole
        }
    }
}
