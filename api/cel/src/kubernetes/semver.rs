//! Semantic versions (documentation, section "Kubernetes semver library"; semver.org 2.0.0).

use super::{Kubernetes, SEMVER, argument, value};
use crate::error::EvalError;
use crate::functions::{Args, Library};
use crate::types::Type;
use crate::value::{Outcome, Value};
use std::cmp::Ordering;

/// A version. What was built into it (`+…`) does not matter for its order.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    prerelease: Vec<Identifier>,
}

/// Numbers come before words, as the standard has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Word(Box<str>),
}

pub(super) fn declare(library: &mut Library) {
    let semver = Type::object(SEMVER);
    let (one, two) = ([semver.clone()], [semver.clone(), semver.clone()]);
    let normalised = [Type::String, Type::Bool];
    library.global("semver", "string_to_semver", &[Type::String], semver.clone(), to_semver);
    library.global("semver", "string_bool_to_semver", &normalised, semver, to_semver);
    library.global("isSemver", "is_semver_string", &[Type::String], Type::Bool, is_semver);
    library.global("isSemver", "is_semver_string_bool", &normalised, Type::Bool, is_semver);
    library.member("isGreaterThan", "semver_is_greater_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(order(args)?.is_gt()))
    });
    library.member("isLessThan", "semver_is_less_than", &two, Type::Bool, |args| Ok(Value::Bool(order(args)?.is_lt())));
    library.member("compareTo", "semver_compare_to", &two, Type::Int, |args| Ok(Value::Int(order(args)? as i64)));
    library.member("major", "semver_major", &one, Type::Int, |args| number(args, 0));
    library.member("minor", "semver_minor", &one, Type::Int, |args| number(args, 1));
    library.member("patch", "semver_patch", &one, Type::Int, |args| number(args, 2));
}

fn parsed(args: Args<'_, '_>) -> Result<Result<Semver, EvalError>, EvalError> {
    let text = args.text(0)?;
    Ok(if args.len() > 1 && args.bool(1)? {
        normalise(text).and_then(|t| Semver::parse(&t))
    } else {
        Semver::parse(text)
    })
}

fn to_semver<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(value(Kubernetes::Semver(parsed(args)??)))
}

fn is_semver<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Bool(parsed(args)?.is_ok()))
}

fn order(args: Args<'_, '_>) -> Result<Ordering, EvalError> {
    Ok(argument!(args, 0, Semver)?.cmp(argument!(args, 1, Semver)?))
}

fn number<'a>(args: Args<'_, 'a>, index: usize) -> Outcome<'a> {
    Ok(Value::Int(i64::try_from(argument!(args, 0, Semver)?.numbers[index]).unwrap_or(i64::MAX)))
}

/// Without a leading `v` and leading zeros, and with what is missing of three numbers.
fn normalise(text: &str) -> Result<String, EvalError> {
    let mut parts: Vec<String> = text.strip_prefix('v').unwrap_or(text).splitn(3, '.').map(str::to_string).collect();
    for part in parts.iter_mut().filter(|part| part.len() > 1) {
        let bare = part.trim_start_matches('0');
        let digit = bare.starts_with(|c: char| c.is_ascii_digit());
        *part = if digit { bare.to_string() } else { format!("0{bare}") };
    }
    if parts.len() < 3 {
        if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err(EvalError::new("short version cannot contain PreRelease/Build meta data"));
        }
        parts.resize(3, "0".to_string());
    }
    Ok(parts.join("."))
}

impl Semver {
    fn parse(text: &str) -> Result<Semver, EvalError> {
        if text.is_empty() {
            return Err(EvalError::new("Version string empty"));
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(EvalError::new("No Major.Minor.Patch elements found"));
        };
        let (rest, build) = rest.split_once('+').map_or((rest, None), |(r, b)| (r, Some(b)));
        let (patch, prerelease) = rest.split_once('-').map_or((rest, None), |(p, r)| (p, Some(r)));
        let numbers = [numeric("Major", major)?, numeric("Minor", minor)?, numeric("Patch", patch)?];
        let prerelease = prerelease.map_or(Ok(Vec::new()), |text| text.split('.').map(identifier).collect())?;
        for part in build.iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err(EvalError::new("Build meta data is empty"));
            }
            if !is_word(part) {
                return Err(EvalError::new(format!("Invalid character(s) found in build meta data {part:?}")));
            }
        }
        Ok(Semver { numbers, prerelease })
    }
}

fn is_word(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn numeric(what: &str, text: &str) -> Result<u64, EvalError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        let what = what.to_lowercase();
        return Err(EvalError::new(format!("Invalid character(s) found in {what} number {text:?}")));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(EvalError::new(format!("{what} number must not contain leading zeroes {text:?}")));
    }
    text.parse().map_err(|_| EvalError::new(format!("{what} number is too large {text:?}")))
}

fn identifier(text: &str) -> Result<Identifier, EvalError> {
    if text.is_empty() {
        return Err(EvalError::new("Prerelease is empty"));
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            let message = format!("Numeric PreRelease version must not contain leading zeroes {text:?}");
            return Err(EvalError::new(message));
        }
        let number = text.parse().map_err(|_| EvalError::new(format!("PreRelease number is too large {text:?}")))?;
        return Ok(Identifier::Number(number));
    }
    if !is_word(text) {
        return Err(EvalError::new(format!("Invalid character(s) found in prerelease {text:?}")));
    }
    Ok(Identifier::Word(text.into()))
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            // What comes before a release is less than the release.
            .then_with(|| self.prerelease.is_empty().cmp(&other.prerelease.is_empty()))
            .then_with(|| self.prerelease.cmp(&other.prerelease))
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Semver {}
