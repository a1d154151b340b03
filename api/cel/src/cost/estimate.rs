//! Estimates of whole expressions.
//!
//! Sizes come from literals, from what functions do to sizes, and from the caller, who is told the way to a value from
//! its variable. A loop costs its step as often as its range is long.

use super::{CostEstimate, LIST_BASE, MAP_BASE, Node, STRUCT_BASE, SizeEstimate, SizeEstimator};
use crate::syntax::ast::{ACCUMULATOR, Bind, Comprehension, Element, Expr, Kind, Literal};
use crate::types::Type;

/// The way to a value: from a variable through fields and elements.
pub(super) type Path = Vec<Box<str>>;

/// Sizes of the keys and values of a list or map.
#[derive(Clone, Copy, Debug)]
pub(super) struct EntrySizes {
    is_list: bool,
    key: SizeEstimate,
    value: SizeEstimate,
}

impl EntrySizes {
    fn union(self, other: EntrySizes) -> EntrySizes {
        EntrySizes { key: self.key.union(other.key), value: self.value.union(other.value), ..self }
    }
}

/// A variable of a loop.
struct Local {
    name: String,
    path: Path,
    size: Option<SizeEstimate>,
    entries: Option<EntrySizes>,
}

pub(super) struct Estimator<'e> {
    sizes: &'e dyn SizeEstimator,
    /// What is known of each part, by its number.
    paths: Vec<Path>,
    computed: Vec<Option<SizeEstimate>>,
    entries: Vec<Option<EntrySizes>>,
    locals: Vec<Local>,
}

/// What an expression costs; it has so many numbered parts.
pub(crate) fn estimate(expr: &Expr, nodes: u32, sizes: &dyn SizeEstimator) -> CostEstimate {
    let nodes = nodes as usize;
    let (paths, computed, entries) = (vec![Path::new(); nodes], vec![None; nodes], vec![None; nodes]);
    Estimator { sizes, paths, computed, entries, locals: Vec::new() }.cost(expr)
}

impl Estimator<'_> {
    fn cost(&mut self, expr: &Expr) -> CostEstimate {
        match &expr.kind {
            Kind::Literal(_) => CostEstimate::fixed(0),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.as_str().into()], |local| local.path.clone());
                self.set_path(expr, path);
                CostEstimate::fixed(1)
            }
            Kind::Select { operand, test: true, .. } => self.cost(operand),
            Kind::Select { operand, field, .. } => {
                let cost = self.cost(operand);
                let mut path = self.path(operand);
                path.push(field.as_str().into());
                self.set_path(expr, path);
                let counts = matches!(operand.ty, Type::Map(_) | Type::Object(_) | Type::Param(_));
                cost.plus(CostEstimate::fixed(u64::from(counts)))
            }
            Kind::Call { .. } => self.call(expr),
            Kind::List(elements) => self.list(expr, elements),
            Kind::Map(entries) => {
                let mut cost = CostEstimate::fixed(MAP_BASE);
                let empty = if entries.is_empty() { 0 } else { u64::MAX };
                let (mut key, mut value) = (SizeEstimate { min: empty, max: 0 }, SizeEstimate { min: empty, max: 0 });
                for entry in entries {
                    cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                self.set_entries(expr, Some(EntrySizes { is_list: false, key, value }));
                cost
            }
            Kind::Struct { fields, .. } => {
                let base = CostEstimate::fixed(STRUCT_BASE);
                fields.iter().fold(base, |sum, field| sum.plus(self.cost(&field.value)))
            }
            Kind::Comprehension(parts) => self.comprehension(expr, parts),
            Kind::Bind(parts) => {
                let Bind { variable, init, body } = &**parts;
                // The empty list that cel-go writes such a binding over.
                let cost = CostEstimate::fixed(LIST_BASE).plus(self.cost(init));
                self.push_value(variable, init);
                let cost = cost.plus(self.cost(body));
                self.locals.pop();
                self.copy_sizes(expr, body);
                cost
            }
        }
    }

    fn list(&mut self, expr: &Expr, elements: &[Element]) -> CostEstimate {
        let mut cost = CostEstimate::fixed(LIST_BASE);
        let mut value = SizeEstimate { min: if elements.is_empty() { 0 } else { u64::MAX }, max: 0 };
        for element in elements {
            cost = cost.plus(self.cost(&element.value));
            value = value.union(self.size_or_unknown(&element.value));
        }
        self.set_entries(expr, Some(EntrySizes { is_list: true, key: SizeEstimate::fixed(1), value }));
        cost
    }

    fn comprehension(&mut self, expr: &Expr, parts: &Comprehension) -> CostEstimate {
        let Comprehension { range, variable, variable2, init, condition, step, result } = parts;
        let mut cost = self.cost(range).plus(self.cost(init));
        self.push_value(ACCUMULATOR, init);
        let depth = self.locals.len();
        let entries = self.entry_sizes(range);
        let is_list = entries.map_or(matches!(range.ty, Type::List(_)), |entries| entries.is_list);
        let (key, value) = (entries.map(|e| e.key), entries.map(|e| e.value));
        match variable2 {
            Some(variable2) => {
                self.push_part(variable, range, if is_list { "@indices" } else { "@keys" }, key);
                self.push_part(variable2, range, if is_list { "@items" } else { "@values" }, value);
            }
            None if is_list => self.push_part(variable, range, "@items", value),
            None => self.push_part(variable, range, "@keys", key),
        }
        let turn = self.cost(condition).plus(self.cost(step));
        self.locals.truncate(depth);
        cost = cost.plus(self.cost(result));
        self.locals.truncate(depth - 1);
        let turns = self.size_or_unknown(range);
        match &init.kind {
            Kind::Literal(_) => {
                let size = self.size(init);
                self.set_size(expr, size);
            }
            Kind::List(_) | Kind::Map(_) => {
                self.set_size(expr, Some(turns));
                let entries = self.entry_sizes(step);
                self.set_entries(expr, entries);
            }
            _ => {}
        }
        cost.plus(turns.times_cost(turn))
    }

    fn call(&mut self, expr: &Expr) -> CostEstimate {
        let Kind::Call { target, function, args } = &expr.kind else { return CostEstimate::default() };
        if let ("dyn", [arg]) = (function.as_str(), args.as_slice()) {
            let cost = self.cost(arg);
            self.copy_sizes(expr, arg);
            return cost.plus(CostEstimate::fixed(1));
        }
        let costs: Vec<CostEstimate> = args.iter().map(|arg| self.cost(arg)).collect();
        let target_cost = target.as_ref().map_or(CostEstimate::default(), |target| self.cost(target));
        let mut cost: Option<CostEstimate> = None;
        let mut size: Option<SizeEstimate> = None;
        for overload in &expr.overloads {
            let call = self.function(expr, function, overload.id, target.as_deref(), args, &costs);
            cost = Some(cost.map_or(call.cost, |cost| cost.union(call.cost)));
            size = match (size, call.size) {
                (Some(one), Some(two)) => Some(one.union(two)),
                (one, two) => one.or(two),
            };
            let part = match overload.id {
                "index_list" => "@items",
                "index_map" => "@values",
                _ => "",
            };
            if let (false, Some(operand)) = (part.is_empty(), args.first()) {
                size = self.entry_sizes(operand).map(|entries| entries.value);
                let mut path = self.path(operand);
                path.push(part.into());
                self.set_path(expr, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        self.set_size(expr, size);
        target_cost.plus(cost.unwrap_or_default())
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn push_value(&mut self, name: &str, value: &Expr) {
        let (path, size, entries) = (self.path(value), self.size(value), self.entry_sizes(value));
        self.locals.push(Local { name: name.to_string(), path, size, entries });
    }

    fn push_part(&mut self, name: &str, range: &Expr, part: &str, size: Option<SizeEstimate>) {
        let mut path = self.path(range);
        path.push(part.into());
        self.locals.push(Local { name: name.to_string(), path, size, entries: None });
    }

    pub(super) fn path(&self, expr: &Expr) -> Path {
        match &expr.kind {
            Kind::Ident(name) if self.local(name).is_some() => {
                self.local(name).map(|local| local.path.clone()).unwrap_or_default()
            }
            _ => self.paths[expr.id as usize].clone(),
        }
    }

    fn set_path(&mut self, expr: &Expr, path: Path) {
        self.paths[expr.id as usize] = path;
    }

    fn set_size(&mut self, expr: &Expr, size: Option<SizeEstimate>) {
        if size.is_some() {
            self.computed[expr.id as usize] = size;
        }
    }

    pub(super) fn set_entries(&mut self, expr: &Expr, entries: Option<EntrySizes>) {
        if entries.is_some() {
            self.entries[expr.id as usize] = entries;
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        let (size, entries) = (self.size(from), self.entry_sizes(from));
        self.set_size(to, size);
        self.set_entries(to, entries);
    }

    pub(super) fn entry_sizes(&self, expr: &Expr) -> Option<EntrySizes> {
        self.entries[expr.id as usize].or_else(|| match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        })
    }

    /// What both have in common.
    pub(super) fn joined_entries(&self, one: &Expr, two: &Expr) -> Option<EntrySizes> {
        Some(self.entry_sizes(one)?.union(self.entry_sizes(two)?))
    }

    /// The size as far as it is known.
    pub(super) fn size(&mut self, expr: &Expr) -> Option<SizeEstimate> {
        if let Some(size) = self.computed[expr.id as usize] {
            return Some(size);
        }
        if let Some(size) = literal_size(expr) {
            return Some(SizeEstimate::fixed(size));
        }
        let path = self.path(expr);
        if let Some(size) = self.ask(&path, &expr.ty) {
            self.computed[expr.id as usize] = Some(size);
            return Some(size);
        }
        if is_scalar(&expr.ty) {
            return Some(SizeEstimate::fixed(1));
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    /// What the caller knows of a value. It is asked of variables only, never of accumulators.
    pub(super) fn ask(&self, path: &[Box<str>], ty: &Type) -> Option<SizeEstimate> {
        let path = if path.first().is_some_and(|first| **first == *ACCUMULATOR) { &[] } else { path };
        self.sizes.size(Node { path, ty })
    }

    pub(super) fn size_or_unknown(&mut self, expr: &Expr) -> SizeEstimate {
        self.size(expr).unwrap_or(SizeEstimate::UNKNOWN)
    }

    /// The size of an element of a list, if something is known of it, and the element's type.
    pub(super) fn element_size(&self, list: &Expr) -> Option<(SizeEstimate, Type)> {
        let Type::List(ty) = &list.ty else { return None };
        let mut path = self.path(list);
        if !path.is_empty() {
            path.push("@items".into());
        }
        Some((self.ask(&path, &ty.element).unwrap_or(SizeEstimate::UNKNOWN), ty.element.clone()))
    }
}

fn literal_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List(elements) => elements.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}

fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Duration | Type::Timestamp => true,
        Type::Optional(inner) => is_scalar(inner),
        _ => false,
    }
}
