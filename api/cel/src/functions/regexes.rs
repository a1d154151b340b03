//! `matches`, `find` and `findAll`: patterns of RE2's syntax.
//!
//! The `regex` crate's syntax is nearly RE2's. What differs is rewritten: classes such as `\d` mean ASCII there, `\Q…\E`
//! quotes, and in brackets neither `[` nor `&&`, `--`, `~~` have a meaning.

use super::{Args, Library, made_list};
use crate::error::EvalError;
use crate::limits::{MAX_MADE_PATTERN_BYTES, MAX_PATTERN_BYTES};
use crate::types::Type;
use crate::value::{Outcome, Value};
use regex::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(Regex);

pub(super) fn declare(library: &mut Library) {
    let (two, texts) = ([Type::String, Type::String], Type::list(Type::String));
    library.global("matches", "matches", &two, Type::Bool, matches);
    library.member("matches", "matches_string", &two, Type::Bool, matches);
    library.member("find", "string_find_string", &two, Type::String, find);
    library.member("findAll", "string_find_all_string", &two, texts.clone(), find_all);
    let with_limit = [Type::String, Type::String, Type::Int];
    library.member("findAll", "string_find_all_string_int", &with_limit, texts, find_all);
}

/// Functions whose second argument is a pattern.
pub(crate) fn takes_pattern(function: &str) -> bool {
    matches!(function, "matches" | "find" | "findAll")
}

impl Pattern {
    /// Compiles a pattern of RE2's syntax.
    ///
    /// # Errors
    /// What the compiler says.
    pub(crate) fn compile(pattern: &str) -> Result<Pattern, String> {
        Pattern::bounded(pattern, MAX_PATTERN_BYTES)
    }

    fn bounded(pattern: &str, bytes: usize) -> Result<Pattern, String> {
        let built = RegexBuilder::new(&translate(pattern)).size_limit(bytes).build();
        built.map(Pattern).map_err(|err| match err {
            regex::Error::CompiledTooBig(limit) => format!("the pattern takes more than {limit} bytes"),
            err => err.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_string(),
        })
    }
}

fn with_pattern<'a>(args: Args<'_, 'a>, run: impl FnOnce(&Regex, &str) -> Outcome<'a>) -> Outcome<'a> {
    let text = args.text(0)?;
    match args.pattern {
        Some(pattern) => run(&pattern.0, text),
        None => {
            let pattern = args.text(1)?;
            let wrong = |why| EvalError::new(format!("error parsing regexp: {why}: `{}`", &**pattern));
            run(&Pattern::bounded(pattern, MAX_MADE_PATTERN_BYTES).map_err(wrong)?.0, text)
        }
    }
}

fn matches<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with_pattern(args, |regex, text| Ok(Value::Bool(regex.is_match(text))))
}

fn find<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    with_pattern(args, |regex, text| Ok(Value::owned(regex.find(text).map_or("", |found| found.as_str()))))
}

fn find_all<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let limit = if args.len() > 2 { args.int(2)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    with_pattern(args, |regex, text| {
        made_list(regex.find_iter(text).take(limit).map(|found| Value::owned(found.as_str())).collect())
    })
}

/// A pattern of RE2 in the syntax of the `regex` crate.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let mut taken = c.len_utf8();
        match c {
            '\\' => {
                let escape = rest[1..].chars().next();
                taken += escape.map_or(0, char::len_utf8);
                match (escape, in_class) {
                    (Some('d'), true) => out.push_str("0-9"),
                    (Some('d'), false) => out.push_str("[0-9]"),
                    (Some('w'), true) => out.push_str("0-9A-Za-z_"),
                    (Some('w'), false) => out.push_str("[0-9A-Za-z_]"),
                    (Some('s'), true) => out.push_str("\\t\\n\\x0c\\r "),
                    (Some('s'), false) => out.push_str("[\\t\\n\\x0c\\r ]"),
                    (Some('D'), _) => out.push_str("[^0-9]"),
                    (Some('W'), _) => out.push_str("[^0-9A-Za-z_]"),
                    (Some('S'), _) => out.push_str("[^\\t\\n\\x0c\\r ]"),
                    (Some('b'), false) => out.push_str("(?-u:\\b)"),
                    (Some('B'), false) => out.push_str("(?-u:\\B)"),
                    (Some('Q'), false) => {
                        let quoted = &rest[2..];
                        let end = quoted.find("\\E").unwrap_or(quoted.len());
                        out.push_str(&regex::escape(&quoted[..end]));
                        taken = (2 + end + 2).min(rest.len());
                    }
                    _ => out.push_str(&rest[..taken]),
                }
            }
            '[' if in_class && rest.starts_with("[:") => {
                let end = rest.find(":]").map_or(1, |at| at + 2);
                out.push_str(&rest[..end]);
                taken = end;
            }
            '[' if in_class => out.push_str("\\["),
            '[' => {
                in_class = true;
                out.push('[');
                // A bracket that closes at once is a member.
                let after = rest[1..].strip_prefix('^').map_or(&rest[1..], |after| {
                    out.push('^');
                    taken += 1;
                    after
                });
                if after.starts_with(']') {
                    out.push_str("\\]");
                    taken += 1;
                }
            }
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && rest.starts_with("--") => out.push_str("\\-"),
            c => out.push(c),
        }
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_re2_means() {
        for (pattern, text, fits) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢", false),
            (r"^\w+$", "ä", false),
            (r"^[\d\-]+$", "1-2", true),
            (r"^[\w.]+$", "a.b_9", true),
            (r"^[^\s]+$", "a b", false),
            (r"^[[a]+$", "[a", true),
            (r"^[&&a]+$", "&a", true),
            (r"^[]a]+$", "]a", true),
            (r"^[[:alpha:]]+$", "ab", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\Qa.b\E$", "a.b", true),
            (r"(?i)^AB$", "ab", true),
            (r"^\pL+$", "äb", true),
            (r"^[a-z]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
        ] {
            let compiled = Pattern::compile(pattern).unwrap();
            assert_eq!(compiled.0.is_match(text), fits, "{pattern} {text}");
        }
        for bad in ["(", "a{1000000}", "[", r"\", "(?=a)", "*"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
    }
}
