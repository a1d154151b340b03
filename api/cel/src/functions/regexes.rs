//! `matches`, `find` and `findAll`: patterns of RE2's syntax.

use super::{Args, Library, made_list};
use crate::error::EvalError;
use crate::limits::{MAX_MADE_PATTERN_BYTES, MAX_PATTERN_BYTES};
use crate::types::Type;
use crate::value::{Outcome, Value};
use regex::Regex;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Pattern(holdfast_core::Pattern);

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
        holdfast_core::Pattern::within(pattern, bytes).map(Pattern)
    }
}

fn with_pattern<'a>(args: Args<'_, 'a>, run: impl FnOnce(&Regex, &str) -> Outcome<'a>) -> Outcome<'a> {
    let text = args.text(0)?;
    match args.pattern {
        Some(pattern) => run(pattern.0.regex(), text),
        None => {
            let pattern = args.text(1)?;
            let wrong = |why| EvalError::new(format!("error parsing regexp: {why}: `{}`", &**pattern));
            run(Pattern::bounded(pattern, MAX_MADE_PATTERN_BYTES).map_err(wrong)?.0.regex(), text)
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
            assert_eq!(compiled.0.matches(text), fits, "{pattern} {text}");
        }
        for bad in ["(", "a{1000000}", "[", r"\", "(?=a)", "*"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
    }
}
