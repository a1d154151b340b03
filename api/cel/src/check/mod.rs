//! The checker: types, overloads and names of an expression, with the errors of cel-go.
//!
//! It writes what it finds into the tree: each part's type, the overloads that a call may mean, and names and
//! functions with their full names.

mod infer;
mod literals;

use crate::functions::{self, Overload};
use crate::issue::Issues;
use crate::program::Declarations;
use crate::syntax::ast::{ACCUMULATOR, Comprehension, Expr, Kind, Literal};
use crate::types::Type;
use infer::{Known, more_general};

/// Checks a tree whose macros are expanded.
pub(crate) fn check(expr: &mut Expr, declarations: &Declarations, issues: &mut Issues<'_>) {
    let mut checker = Checker { declarations, issues, known: Known::default(), scopes: Vec::new() };
    checker.check(expr);
    let known = checker.known;
    resolve(expr, &known);
    if issues.is_empty() {
        literals::check(expr, issues);
    }
}

fn resolve(expr: &mut Expr, known: &Known) {
    expr.ty = known.resolve(&expr.ty, true);
    expr.for_each_part_mut(&mut |part| resolve(part, known));
}

struct Checker<'c, 's> {
    declarations: &'c Declarations,
    issues: &'c mut Issues<'s>,
    known: Known,
    /// Variables of comprehensions, the innermost last.
    scopes: Vec<(String, Type)>,
}

/// The inside of an optional type, and whether it was one.
fn unwrapped(ty: &Type) -> (Type, bool) {
    match ty {
        Type::Optional(inner) => ((**inner).clone(), true),
        other => (other.clone(), false),
    }
}

impl Checker<'_, '_> {
    fn check(&mut self, expr: &mut Expr) {
        expr.ty = match &expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(_) => self.ident(expr),
            Kind::Select { .. } => self.select(expr),
            Kind::Call { .. } => self.call(expr),
            Kind::List(_) => self.list(expr),
            Kind::Map(_) => self.map(expr),
            Kind::Struct { .. } => self.structure(expr),
            Kind::Comprehension(_) => self.comprehension(expr),
            Kind::Bind(_) => self.bind(expr),
        };
    }

    fn undeclared(&mut self, at: u32, name: &str) -> Type {
        self.issues.add(at, format!("undeclared reference to '{name}' (in container '')"));
        Type::Error
    }

    fn mismatch(&mut self, at: u32, expected: &Type, found: &Type) {
        self.issues.add(at, format!("expected type '{expected}' but found '{found}'"));
    }

    /// The type of a name: of a comprehension, declared, or a type.
    fn lookup(&self, name: &str) -> Option<Type> {
        if let Some(global) = name.strip_prefix('.') {
            return self.lookup_global(global);
        }
        let local = self.scopes.iter().rev().find(|(found, _)| found == name);
        local.map(|(_, ty)| ty.clone()).or_else(|| self.lookup_global(name))
    }

    fn lookup_global(&self, name: &str) -> Option<Type> {
        self.declarations.variable(name).map(|(_, ty)| ty.clone()).or_else(|| {
            let named = functions::named_type(name)?;
            // Which list or map is meant is not said.
            Some(Type::type_of(Known::default().resolve(&named, true)))
        })
    }

    fn ident(&mut self, expr: &Expr) -> Type {
        let Kind::Ident(name) = &expr.kind else { return Type::Error };
        match self.lookup(name) {
            Some(ty) => ty,
            None => self.undeclared(expr.at, name),
        }
    }

    fn select(&mut self, expr: &mut Expr) -> Type {
        // A name with dots goes before fields, unless its head is a variable of a comprehension.
        if let Some(name) = expr.qualified_name() {
            let head = name.split('.').next().unwrap_or_default();
            let local = self.scopes.iter().any(|(found, _)| found == head);
            let global = name.strip_prefix('.').unwrap_or(&name);
            if let (false, Some(ty)) = (local, self.lookup_global(global)) {
                expr.kind = Kind::Ident(global.to_string());
                return ty;
            }
        }
        let at = expr.at;
        let Kind::Select { operand, field, optional, test } = &mut expr.kind else { return Type::Error };
        self.check(operand);
        let (target, was_optional) = unwrapped(&self.known.resolve(&operand.ty, false));
        let found = match &target {
            Type::Map(map) => map.value.clone(),
            Type::Object(object) => self.field(at, object, field),
            Type::Param(_) => {
                self.known.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.issues.add(at, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        match (*test, *optional || was_optional) {
            (true, _) => Type::Bool,
            (false, true) => Type::optional(found),
            (false, false) => found,
        }
    }

    fn field(&mut self, at: u32, object: &str, field: &str) -> Type {
        let types = self.declarations.types();
        if types.is_made(object)
            && let Some(ty) = types.made_field(object, field)
        {
            return ty;
        }
        if !types.has_object(object) && !crate::kubernetes::is_own_type(object) {
            self.issues.add(at, format!("unexpected failed resolution of '{object}'"));
            return Type::Error;
        }
        match types.field(object, field) {
            Some(field) => field.ty.clone(),
            None => {
                self.issues.add(at, format!("undefined field '{field}'"));
                Type::Error
            }
        }
    }

    fn call(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let Kind::Call { target, function, args } = &mut expr.kind else { return Type::Error };
        args.iter_mut().for_each(|arg| self.check(arg));
        if let Some(prefix) = target.as_ref().and_then(|t| t.qualified_name()) {
            // `a.b.c()`: a function with dots in its name goes before a method.
            let qualified = format!("{prefix}.{function}");
            if self.overloads(&qualified).is_some() {
                *target = None;
                *function = qualified;
            }
        }
        if let Some(target) = target {
            self.check(target);
        } else if let Some(global) = function.strip_prefix('.') {
            *function = global.to_string();
        }
        let Some(overloads) = self.overloads(function) else {
            let name = function.clone();
            return self.undeclared(at, &name);
        };
        if matches!(function.as_str(), "_&&_" | "_||_") {
            for arg in args.iter() {
                if !self.known.assignable(&arg.ty, &Type::Bool) {
                    self.mismatch(arg.at, &Type::Bool, &self.known.resolve(&arg.ty, true));
                }
            }
            expr.overloads = overloads.iter().collect();
            return Type::Bool;
        }
        let types: Vec<Type> = target.iter().map(|t| &**t).chain(args.iter()).map(|arg| arg.ty.clone()).collect();
        let member = target.is_some();
        let (found, result) = self.resolve_overloads(overloads, member, &types);
        match result {
            Some(result) => {
                expr.overloads = found;
                result
            }
            None => {
                let shown: Vec<String> = types.iter().map(|ty| self.known.resolve(ty, true).to_string()).collect();
                let applied = match (member, shown.as_slice()) {
                    (true, [target, rest @ ..]) => format!("{target}.({})", rest.join(", ")),
                    (_, all) => format!("({})", all.join(", ")),
                };
                let message = format!("found no matching overload for '{function}' applied to '{applied}'");
                self.issues.add(at, message);
                Type::Error
            }
        }
    }

    /// The overloads of a function. Those that help to write patches are there where patches can be made.
    fn overloads(&self, function: &str) -> Option<&'static [Overload]> {
        let there = !functions::is_of_patches(function) || self.declarations.types().is_made(functions::PATCH);
        functions::overloads(function).filter(|_| there)
    }

    /// All overloads that fit, and what they yield.
    fn resolve_overloads(
        &mut self,
        overloads: &'static [Overload],
        member: bool,
        types: &[Type],
    ) -> (Vec<&'static Overload>, Option<Type>) {
        let (mut found, mut result): (Vec<&Overload>, Option<Type>) = (Vec::new(), None);
        for overload in overloads.iter().filter(|o| o.member == member && o.params.len() == types.len()) {
            let (params, yields) = self.known.instantiate(overload);
            if !self.known.all_assignable(types, &params) {
                continue;
            }
            found.push(overload);
            let yields = self.known.resolve(&yields, false);
            result = Some(match result {
                None => yields,
                Some(before) if before.is_dyn() || before == yields => before,
                Some(_) => Type::Dyn,
            });
        }
        (found, result)
    }

    /// What elements so far and one more have in common: at worst nothing, of which `literals` tells.
    fn join(&mut self, before: Option<Type>, now: Type) -> Type {
        match before {
            None => now,
            Some(before) if self.known.assignable(&before, &now) => more_general(&before, &now),
            Some(_) => Type::Dyn,
        }
    }

    /// The type of an element, `?x` having that of what is in it.
    fn element(&mut self, value: &Expr, optional: bool) -> Type {
        if !optional {
            return value.ty.clone();
        }
        let (inner, was) = unwrapped(&self.known.resolve(&value.ty, false));
        if !was && !inner.is_dyn_or_error() {
            self.mismatch(value.at, &Type::optional(inner.clone()), &inner);
        }
        inner
    }

    fn list(&mut self, expr: &mut Expr) -> Type {
        let Kind::List(elements) = &mut expr.kind else { return Type::Error };
        let mut joined = None;
        for element in elements {
            self.check(&mut element.value);
            let ty = self.element(&element.value, element.optional);
            joined = Some(self.join(joined, ty));
        }
        Type::list(joined.unwrap_or_else(|| self.known.fresh()))
    }

    fn map(&mut self, expr: &mut Expr) -> Type {
        let Kind::Map(entries) = &mut expr.kind else { return Type::Error };
        let (mut key, mut value) = (None, None);
        for entry in entries {
            self.check(&mut entry.key);
            key = Some(self.join(key, entry.key.ty.clone()));
            self.check(&mut entry.value);
            let ty = self.element(&entry.value, entry.optional);
            value = Some(self.join(value, ty));
        }
        // What can be no key fails on evaluation. Its type is not kept, since types of keys and values together could grow
        // without bound.
        let key = match key.map(|key| self.known.resolve(&key, false)) {
            None => self.known.fresh(),
            Some(Type::List(_) | Type::Map(_) | Type::Optional(_) | Type::Type(_)) => Type::Dyn,
            Some(key) => key,
        };
        Type::map(key, value.unwrap_or_else(|| self.known.fresh()))
    }

    fn structure(&mut self, expr: &mut Expr) -> Type {
        let at = expr.at;
        let types = self.declarations.types();
        let Kind::Struct { name, fields } = &mut expr.kind else { return Type::Error };
        let full = name.strip_prefix('.').unwrap_or(name).to_string();
        if !types.is_made(&full) {
            return self.undeclared(at, &full);
        }
        for field in fields {
            self.check(&mut field.value);
            let found = self.element(&field.value, field.optional);
            let (at, name) = (field.value.at, &field.name);
            let Some(wanted) = types.made_field(&full, name) else {
                self.issues.add(at, format!("undefined field '{name}'"));
                continue;
            };
            if !self.known.assignable(&wanted, &found) {
                let found = self.known.resolve(&found, true);
                self.issues
                    .add(at, format!("expected type of field '{name}' is '{wanted}' but provided type is '{found}'"));
            }
        }
        name.clone_from(&full);
        Type::object(&full)
    }

    fn bind(&mut self, expr: &mut Expr) -> Type {
        let Kind::Bind(bind) = &mut expr.kind else { return Type::Error };
        self.check(&mut bind.init);
        self.scopes.push((bind.variable.clone(), bind.init.ty.clone()));
        self.check(&mut bind.body);
        self.scopes.pop();
        bind.body.ty.clone()
    }

    fn comprehension(&mut self, expr: &mut Expr) -> Type {
        let Kind::Comprehension(parts) = &mut expr.kind else { return Type::Error };
        let Comprehension { range, variable, variable2, init, condition, step, result } = &mut **parts;
        self.check(range);
        self.check(init);
        let over = self.known.resolve(&range.ty, false);
        let two = variable2.is_some();
        let (first, second) = match &over {
            Type::List(list) if two => (Type::Int, list.element.clone()),
            Type::List(list) => (list.element.clone(), Type::Dyn),
            Type::Map(map) => (map.key.clone(), map.value.clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.known.assignable(&Type::Dyn, &over);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let rule = "cannot be range of a comprehension (must be list, map, or dynamic)";
                self.issues.add(range.at, format!("expression of type '{other}' {rule}"));
                (Type::Error, Type::Error)
            }
        };
        let accumulator = init.ty.clone();
        let depth = self.scopes.len();
        self.scopes.push((ACCUMULATOR.to_string(), accumulator.clone()));
        self.scopes.push((variable.clone(), first));
        if let Some(variable2) = variable2 {
            self.scopes.push((variable2.clone(), second));
        }
        self.check(condition);
        self.wants(condition, &Type::Bool);
        self.check(step);
        self.wants(step, &accumulator);
        self.scopes.truncate(depth + 1);
        self.check(result);
        self.scopes.truncate(depth);
        self.known.resolve(&result.ty, false)
    }

    fn wants(&mut self, expr: &Expr, ty: &Type) {
        if !self.known.assignable(ty, &expr.ty) {
            let (wanted, found) = (self.known.resolve(ty, true), self.known.resolve(&expr.ty, true));
            self.mismatch(expr.at, &wanted, &found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
