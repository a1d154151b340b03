//! What Kubernetes checks beyond types: literals that a function could never take, lists and maps of one type.

use crate::functions::printf::{Piece, pieces};
use crate::functions::regexes::{Pattern, takes_pattern};
use crate::issue::Issues;
use crate::syntax::ast::{Element, Expr, Kind, Literal};
use crate::types::Type;
use crate::value::time::{Time, parse_duration};

pub(super) fn check(expr: &Expr, issues: &mut Issues<'_>) {
    walk(expr, false, issues);
}

/// `formatted`: within a call of `format`, whose arguments may be of any types.
fn walk(expr: &Expr, formatted: bool, issues: &mut Issues<'_>) {
    let mut below = formatted;
    match &expr.kind {
        Kind::Call { target, function, args } => {
            below |= function == "format";
            argument(function, target.as_deref(), args, issues);
            if let ("format", Some(target), [list]) = (function.as_str(), target, args.as_slice()) {
                format(expr.at, target, list, issues);
            }
        }
        Kind::List(elements) if !formatted => one_type(elements.iter().map(|e| (&e.value, e.optional)), issues),
        Kind::Map(entries) if !formatted => {
            one_type(entries.iter().map(|e| (&e.key, false)), issues);
            one_type(entries.iter().map(|e| (&e.value, e.optional)), issues);
        }
        _ => {}
    }
    expr.for_each_part(&mut |part| walk(part, below, issues));
}

fn one_type<'e>(values: impl Iterator<Item = (&'e Expr, bool)>, issues: &mut Issues<'_>) {
    let mut expected: Option<Type> = None;
    for (value, optional) in values {
        let ty = match &value.ty {
            Type::Optional(inner) if optional => (**inner).clone(),
            ty => ty.clone(),
        };
        match &expected {
            None => expected = Some(ty),
            Some(expected) if *expected != ty => {
                issues.add(value.at, format!("expected type '{expected}' but found '{ty}'"));
                return;
            }
            Some(_) => {}
        }
    }
}

fn argument(function: &str, target: Option<&Expr>, args: &[Expr], issues: &mut Issues<'_>) {
    // A pattern is the second argument, the first being the text.
    let index = usize::from(takes_pattern(function) && target.is_none());
    let Some(Expr { at, kind: Kind::Literal(literal), .. }) = args.get(index) else { return };
    let fits = match (function, target, literal) {
        ("duration", None, Literal::String(text)) => parse_duration(text).is_some(),
        ("timestamp", None, Literal::String(text)) => Time::parse(text).is_ok(),
        ("timestamp", None, Literal::Int(secs)) => Time::from_secs(*secs).is_ok(),
        (_, _, Literal::String(text)) if takes_pattern(function) => Pattern::compile(text).is_ok(),
        _ => true,
    };
    if !fits {
        issues.add(*at, format!("invalid {function} argument"));
    }
}

fn format(at: u32, target: &Expr, list: &Expr, issues: &mut Issues<'_>) {
    let (Kind::Literal(Literal::String(text)), Kind::List(args)) = (&target.kind, &list.kind) else { return };
    let pieces = match pieces(text) {
        Ok(pieces) => pieces,
        Err(err) => return issues.add(at, err.message()),
    };
    let mut wanted = 0;
    for piece in pieces {
        let Piece::Clause(clause) = piece else { continue };
        let Some(Element { value, .. }) = args.get(wanted) else {
            return issues.add(at, format!("index {wanted} out of range"));
        };
        wanted += 1;
        let fits = value.ty.is_dyn() || takes(clause.verb, &value.ty);
        if !fits {
            issues.add(value.at, clause.refuses(value.ty.runtime_name()).message());
        }
    }
    if args.len() > wanted {
        let count = args.len();
        issues.add(at, format!("too many arguments supplied to string.format (expected {wanted}, got {count})"));
    }
}

fn takes(verb: char, ty: &Type) -> bool {
    match verb {
        's' => !matches!(ty, Type::Object(_) | Type::Opaque(_) | Type::Optional(_)),
        'd' | 'o' => matches!(ty, Type::Int | Type::Uint),
        'f' | 'e' => matches!(ty, Type::Double | Type::String),
        'b' => matches!(ty, Type::Int | Type::Uint | Type::Bool),
        _ => matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
    }
}
