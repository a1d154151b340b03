//! A tree as text, with as few brackets as needed.

use super::ast::{Element, Expr, Kind, Literal};

/// Precedences, looser first.
const TERNARY: u8 = 1;
const UNARY: u8 = 7;
const MEMBER: u8 = 8;

fn binary(function: &str) -> Option<(&str, u8)> {
    let precedence = match function {
        "_||_" => 2,
        "_&&_" => 3,
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => 4,
        "@in" => return Some((" in ", 4)),
        "_+_" | "_-_" => 5,
        "_*_" | "_/_" | "_%_" => 6,
        _ => return None,
    };
    Some((function.trim_matches('_'), precedence))
}

/// The expression on one line.
pub(crate) fn print(expr: &Expr) -> String {
    let mut out = String::new();
    write(expr, TERNARY, &mut out);
    out
}

/// Writes what stands where operators bind at least as tightly as `around`.
fn write(expr: &Expr, around: u8, out: &mut String) {
    match &expr.kind {
        Kind::Literal(literal) => write_literal(literal, around, out),
        Kind::Ident(name) => out.push_str(name),
        Kind::Select { operand, field, optional, .. } => {
            write(operand, MEMBER, out);
            out.push_str(if *optional { ".?" } else { "." });
            if field.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                out.push_str(&format!("`{field}`"));
            } else {
                out.push_str(field);
            }
        }
        Kind::Call { target, function, args } => write_call(target.as_deref(), function, args, around, out),
        Kind::List(elements) => {
            out.push('[');
            commas(elements, out, |Element { optional, value }, out| {
                out.push_str(if *optional { "?" } else { "" });
                write(value, TERNARY, out);
            });
            out.push(']');
        }
        Kind::Map(entries) => {
            out.push('{');
            commas(entries, out, |entry, out| {
                out.push_str(if entry.optional { "?" } else { "" });
                write(&entry.key, TERNARY, out);
                out.push_str(": ");
                write(&entry.value, TERNARY, out);
            });
            out.push('}');
        }
        Kind::Struct { name, fields } => {
            out.push_str(name);
            out.push('{');
            commas(fields, out, |field, out| {
                out.push_str(if field.optional { "?" } else { "" });
                out.push_str(&field.name);
                out.push_str(": ");
                write(&field.value, TERNARY, out);
            });
            out.push('}');
        }
        // Only expanded trees have them, and those are never printed.
        Kind::Comprehension(_) | Kind::Bind(_) => {}
    }
}

fn commas<T>(items: &[T], out: &mut String, each: impl Fn(&T, &mut String)) {
    for (number, item) in items.iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        each(item, out);
    }
}

fn bracketed(needed: bool, out: &mut String, inner: impl FnOnce(&mut String)) {
    if needed {
        out.push('(');
    }
    inner(out);
    if needed {
        out.push(')');
    }
}

/// Whether the first thing that is written of a member is a number.
fn begins_with_number(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(Literal::Int(_) | Literal::Double(_)) => true,
        Kind::Select { operand, .. } => begins_with_number(operand),
        Kind::Call { target: Some(target), .. } => begins_with_number(target),
        Kind::Call { function, args, .. } if matches!(function.as_str(), "_[_]" | "_[?_]") => {
            args.first().is_some_and(begins_with_number)
        }
        _ => false,
    }
}

fn write_call(target: Option<&Expr>, function: &str, args: &[Expr], around: u8, out: &mut String) {
    match (target, function, args) {
        (None, "_?_:_", [condition, yes, no]) => bracketed(around > TERNARY, out, |out| {
            write(condition, TERNARY + 1, out);
            out.push_str(" ? ");
            write(yes, TERNARY + 1, out);
            out.push_str(" : ");
            write(no, TERNARY, out);
        }),
        (None, "!_" | "-_", [operand]) => bracketed(around > UNARY, out, |out| {
            out.push_str(&function[..1]);
            // Of a number the minus would become its sign.
            let number = begins_with_number(operand);
            bracketed(number && function == "-_", out, |out| write(operand, MEMBER, out));
        }),
        (None, "_[_]" | "_[?_]", [operand, index]) => {
            write(operand, MEMBER, out);
            out.push_str(if function == "_[_]" { "[" } else { "[?" });
            write(index, TERNARY, out);
            out.push(']');
        }
        (None, _, [first, rest @ ..]) if binary(function).is_some_and(|_| !rest.is_empty()) => {
            let (symbol, precedence) = binary(function).unwrap_or_default();
            bracketed(around > precedence, out, |out| {
                // Chains of `&&` are one call, so that a chain within one needs brackets on the left, too.
                write(first, precedence + u8::from(precedence < 4), out);
                for arg in rest {
                    out.push_str(if symbol.starts_with(' ') { "" } else { " " });
                    out.push_str(symbol);
                    out.push_str(if symbol.starts_with(' ') { "" } else { " " });
                    write(arg, precedence + 1, out);
                }
            });
        }
        _ => {
            if let Some(target) = target {
                write(target, MEMBER, out);
                out.push('.');
            }
            out.push_str(function);
            out.push('(');
            commas(args, out, |arg, out| write(arg, TERNARY, out));
            out.push(')');
        }
    }
}

fn write_literal(literal: &Literal, around: u8, out: &mut String) {
    match literal {
        Literal::Null => out.push_str("null"),
        Literal::Bool(value) => out.push_str(&value.to_string()),
        Literal::Int(value) => bracketed(*value < 0 && around >= MEMBER, out, |out| out.push_str(&value.to_string())),
        Literal::Uint(value) => out.push_str(&format!("{value}u")),
        Literal::Double(value) => {
            bracketed(value.is_sign_negative() && around >= MEMBER, out, |out| out.push_str(&format!("{value:?}")));
        }
        Literal::String(text) => {
            out.push('"');
            text.chars().for_each(|c| write_escaped(c, out));
            out.push('"');
        }
        Literal::Bytes(bytes) => {
            out.push_str("b\"");
            bytes.iter().for_each(|b| out.push_str(&format!("\\x{b:02x}")));
            out.push('"');
        }
    }
}

fn write_escaped(c: char, out: &mut String) {
    match c {
        '"' | '\\' => {
            out.push('\\');
            out.push(c);
        }
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        c => out.push(c),
    }
}
