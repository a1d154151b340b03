//! The tree of an expression.

use crate::functions::Overload;
use crate::types::Type;

/// An expression with its place.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    /// Offset of what names it, in code points: an operator, an opening bracket, the first letter.
    pub(crate) at: u32,
    /// Given out when macros have been expanded; unique then.
    pub(crate) id: u32,
    /// What it is.
    pub(crate) kind: Kind,
    /// What the checker found.
    pub(crate) ty: Type,
    /// Overloads that may be meant.
    pub(crate) overloads: Vec<&'static Overload>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    /// `operand.field`, `operand.?field`; with `test` the macro `has`.
    Select {
        operand: Box<Expr>,
        field: String,
        optional: bool,
        test: bool,
    },
    /// Operators are calls of functions such as `_+_`. `_&&_` and `_||_` have two or more arguments.
    Call {
        target: Option<Box<Expr>>,
        function: String,
        args: Vec<Expr>,
    },
    List(Vec<Element>),
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<FieldInit>,
    },
    Comprehension(Box<Comprehension>),
    /// `variable = init in body`; only macros make it.
    Bind(Box<Bind>),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) optional: bool,
    pub(crate) value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) optional: bool,
    pub(crate) key: Expr,
    pub(crate) value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct FieldInit {
    pub(crate) optional: bool,
    pub(crate) name: String,
    pub(crate) value: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Comprehension {
    pub(crate) range: Expr,
    pub(crate) variable: String,
    /// With it, `variable` is the index or key.
    pub(crate) variable2: Option<String>,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

#[derive(Clone, Debug)]
pub(crate) struct Bind {
    pub(crate) variable: String,
    pub(crate) init: Expr,
    pub(crate) body: Expr,
}

/// Name of the accumulator of comprehensions. No source can write it.
pub(crate) const ACCUMULATOR: &str = "@result";

impl Expr {
    pub(crate) fn new(at: u32, kind: Kind) -> Expr {
        Expr { at, id: 0, kind, ty: Type::Error, overloads: Vec::new() }
    }

    pub(crate) fn call(at: u32, function: &str, args: Vec<Expr>) -> Expr {
        Expr::new(at, Kind::Call { target: None, function: function.to_string(), args })
    }

    pub(crate) fn ident(at: u32, name: &str) -> Expr {
        Expr::new(at, Kind::Ident(name.to_string()))
    }

    pub(crate) fn literal(at: u32, literal: Literal) -> Expr {
        Expr::new(at, Kind::Literal(literal))
    }

    /// `a.b.c` as text, if it is nothing but names.
    pub(crate) fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, optional: false, test: false } => {
                Some(format!("{}.{field}", operand.qualified_name()?))
            }
            _ => None,
        }
    }

    /// Calls `each` with each direct part.
    pub(crate) fn for_each_part<'e>(&'e self, each: &mut dyn FnMut(&'e Expr)) {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => each(operand),
            Kind::Call { target, args, .. } => {
                target.iter().for_each(|t| each(t));
                args.iter().for_each(each);
            }
            Kind::List(elements) => elements.iter().for_each(|e| each(&e.value)),
            Kind::Map(entries) => entries.iter().for_each(|e| {
                each(&e.key);
                each(&e.value);
            }),
            Kind::Struct { fields, .. } => fields.iter().for_each(|f| each(&f.value)),
            Kind::Comprehension(c) => [&c.range, &c.init, &c.condition, &c.step, &c.result].into_iter().for_each(each),
            Kind::Bind(b) => [&b.init, &b.body].into_iter().for_each(each),
        }
    }

    /// Calls `each` with each direct part, for change.
    pub(crate) fn for_each_part_mut(&mut self, each: &mut dyn FnMut(&mut Expr)) {
        match &mut self.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => each(operand),
            Kind::Call { target, args, .. } => {
                target.iter_mut().for_each(|t| each(t));
                args.iter_mut().for_each(each);
            }
            Kind::List(elements) => elements.iter_mut().for_each(|e| each(&mut e.value)),
            Kind::Map(entries) => entries.iter_mut().for_each(|e| {
                each(&mut e.key);
                each(&mut e.value);
            }),
            Kind::Struct { fields, .. } => fields.iter_mut().for_each(|f| each(&mut f.value)),
            Kind::Comprehension(c) => {
                let c = &mut **c;
                [&mut c.range, &mut c.init, &mut c.condition, &mut c.step, &mut c.result].into_iter().for_each(each);
            }
            Kind::Bind(b) => [&mut b.init, &mut b.body].into_iter().for_each(each),
        }
    }
}
