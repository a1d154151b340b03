//! cel-go's `strings`, version 2. Positions count code points.

use super::{Args, Library, made_list, made_text, printf};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Outcome, Value};

pub(super) fn declare(library: &mut Library) {
    use Type::{Int, String};
    let texts = Type::list(String);
    library.member("charAt", "string_char_at_int", &[String, Int], String, char_at);
    library.member("indexOf", "string_index_of_string", &[String, String], Int, index_of);
    library.member("indexOf", "string_index_of_string_int", &[String, String, Int], Int, index_of);
    library.member("lastIndexOf", "string_last_index_of_string", &[String, String], Int, last_index_of);
    library.member("lastIndexOf", "string_last_index_of_string_int", &[String, String, Int], Int, last_index_of);
    library.member("lowerAscii", "string_lower_ascii", &[String], String, |args| {
        Ok(Value::owned(args.text(0)?.to_ascii_lowercase()))
    });
    library.member("upperAscii", "string_upper_ascii", &[String], String, |args| {
        Ok(Value::owned(args.text(0)?.to_ascii_uppercase()))
    });
    library.member("replace", "string_replace_string_string", &[String, String, String], String, replace);
    library.member("replace", "string_replace_string_string_int", &[String, String, String, Int], String, replace);
    library.member("split", "string_split_string", &[String, String], texts.clone(), split);
    library.member("split", "string_split_string_int", &[String, String, Int], texts.clone(), split);
    library.member("substring", "string_substring_int", &[String, Int], String, substring);
    library.member("substring", "string_substring_int_int", &[String, Int, Int], String, substring);
    library.member("trim", "string_trim", &[String], String, |args| Ok(Value::owned(args.text(0)?.trim())));
    library.member("format", "string_format", &[String, Type::list(Type::Dyn)], String, |args| {
        made_text(printf::format(args.text(0)?, &args.list(1)?.values()?)?)
    });
    library.global("strings.quote", "strings_quote", &[String], String, |args| made_text(quote(args.text(0)?)));
    library.member("join", "list_join", std::slice::from_ref(&texts), String, join);
    library.member("join", "list_join_string", &[texts, String], String, join);
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

/// Where the code point with this number begins, the end being one, too.
fn byte_at(text: &str, index: i64) -> Result<usize, EvalError> {
    let wanted = usize::try_from(index).map_err(|_| out_of_range(index))?;
    if text.is_ascii() {
        return if wanted <= text.len() { Ok(wanted) } else { Err(out_of_range(index)) };
    }
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(wanted).ok_or_else(|| out_of_range(index))
}

fn char_at<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let text = args.text(0)?;
    let rest = &text[byte_at(text, args.int(1)?)?..];
    let length = rest.chars().next().map_or(0, char::len_utf8);
    Ok(Value::owned(&rest[..length]))
}

fn count(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

fn index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, wanted) = (args.text(0)?, args.text(1)?);
    let from = if args.len() > 2 { args.int(2)? } else { 0 };
    // As cel-go: what is empty is found anywhere.
    if wanted.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    let Ok(start) = byte_at(text, from) else { return Ok(Value::Int(-1)) };
    Ok(Value::Int(text[start..].find(&**wanted).map_or(-1, |at| from + count(&text[start..start + at]))))
}

fn last_index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, wanted) = (args.text(0)?, args.text(1)?);
    if args.len() == 2 {
        return Ok(Value::Int(text.rfind(&**wanted).map_or(-1, |at| count(&text[..at]))));
    }
    let from = args.int(2)?;
    if wanted.is_empty() {
        return Ok(Value::Int(from));
    }
    if from < 0 {
        return Err(out_of_range(from));
    }
    if from >= count(text) {
        return Ok(Value::Int(-1));
    }
    // The last occurrence that begins at `from` or before.
    let end = byte_at(text, from)?.saturating_add(wanted.len()).min(text.len());
    let end = (end..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    let mut found = text[..end].rfind(&**wanted);
    if found.is_some_and(|at| count(&text[..at]) > from) {
        found = text[..byte_at(text, from)?].rfind(&**wanted);
    }
    Ok(Value::Int(found.map_or(-1, |at| count(&text[..at]))))
}

fn replace<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, old, new) = (args.text(0)?, args.text(1)?, args.text(2)?);
    let limit = if args.len() > 3 { args.int(3)? } else { -1 };
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(&**old).count() };
    let times = usize::try_from(limit).map_or(found, |limit| limit.min(found));
    let length = text.len() as u128 + times as u128 * new.len() as u128;
    if length > crate::limits::MAX_MADE_BYTES as u128 {
        return Err(EvalError::new(format!("string is too long: {length} bytes")));
    }
    made_text(text.replacen(&**old, new, times))
}

/// As Go's SplitN: an empty separator splits between code points; zero parts are none, a negative count means all.
fn split<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, separator) = (args.text(0)?, args.text(1)?);
    let limit = if args.len() > 2 { args.int(2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if !separator.is_empty() {
        return made_list(text.splitn(limit, &**separator).map(Value::owned).collect());
    }
    let mut parts = Vec::new();
    let mut rest: &str = text;
    while let Some(first) = rest.chars().next() {
        if parts.len() + 1 == limit {
            break;
        }
        let (part, after) = rest.split_at(first.len_utf8());
        parts.push(Value::owned(part));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Value::owned(rest));
    }
    made_list(parts)
}

fn substring<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (text, start) = (args.text(0)?, args.int(1)?);
    if args.len() == 2 {
        return Ok(Value::owned(&text[byte_at(text, start)?..]));
    }
    let end = args.int(2)?;
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    Ok(Value::owned(&text[byte_at(text, start)?..byte_at(text, end)?]))
}

fn join<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let separator = if args.len() > 1 { args.text(1)?.to_string() } else { String::new() };
    let mut out = String::new();
    for (index, element) in args.list(0)?.iter().enumerate() {
        let element = element?;
        let Value::String(text) = &element else {
            let shown = super::convert::display(&element).unwrap_or_else(|| element.type_name().to_string());
            return Err(EvalError::new(format!("join: invalid input: {shown}")));
        };
        if index > 0 {
            out.push_str(&separator);
        }
        out.push_str(text);
        if out.len() > crate::limits::MAX_MADE_BYTES {
            break;
        }
    }
    made_text(out)
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
