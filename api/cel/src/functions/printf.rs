//! `format`: clauses `%s %d %f %e %b %x %X %o %%`, with a precision for `%f` and `%e` (cel-go's `strings`, version 2,
//! in the locale en_US).

use crate::error::EvalError;
use crate::value::number::go_exponent;
use crate::value::time::format_duration;
use crate::value::{Key, List, Map, Value};

/// Digits behind the point unless the clause says otherwise.
const PRECISION: usize = 6;
/// Most digits that a clause may ask for; cel-go has the same bound.
const MAX_PRECISION: usize = 1000;

/// One clause of a format.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) verb: char,
    precision: Option<usize>,
}

/// Text or a clause.
pub(crate) enum Piece<'f> {
    Text(&'f str),
    Clause(Clause),
}

/// Takes a format to pieces.
pub(crate) fn pieces(format: &str) -> Result<Vec<Piece<'_>>, EvalError> {
    let mut all = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        all.push(Piece::Text(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            all.push(Piece::Text("%"));
            rest = after;
            continue;
        }
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let digits = after[..end].parse().ok().filter(|p| *p <= MAX_PRECISION);
            precision = Some(digits.ok_or_else(|| EvalError::new("error while parsing precision"))?);
            rest = &after[end..];
        }
        let verb = rest.chars().next().ok_or_else(|| EvalError::new("unexpected end of string"))?;
        if !"sdfebxXo".contains(verb) {
            return Err(EvalError::new(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
            )));
        }
        all.push(Piece::Clause(Clause { verb, precision }));
        rest = &rest[1..];
    }
    all.push(Piece::Text(rest));
    Ok(all)
}

pub(super) fn format(format: &str, args: &[Value<'_>]) -> Result<String, EvalError> {
    let mut out = String::with_capacity(format.len() + 16 * args.len());
    let mut next = 0;
    for piece in pieces(format)? {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Clause(clause) => {
                let arg = args.get(next).ok_or_else(|| EvalError::new(format!("index {next} out of range")))?;
                next += 1;
                clause.write(arg, &mut out)?;
            }
        }
        if out.len() > crate::limits::MAX_MADE_BYTES {
            return Err(EvalError::new(format!("string is too long: {} bytes", out.len())));
        }
    }
    Ok(out)
}

impl Clause {
    /// What is wrong when the clause meets a value of another type.
    pub(crate) fn refuses(self, given: &str) -> EvalError {
        let rule = match self.verb {
            'd' => "decimal clause can only be used on integers",
            'f' => "fixed-point clause can only be used on doubles",
            'e' => "scientific clause can only be used on doubles",
            'b' => "only integers and bools can be formatted as binary",
            'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
            'o' => "octal clause can only be used on integers",
            _ => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
        };
        EvalError::new(format!("error during formatting: {rule}, was given {given}"))
    }

    fn write(self, value: &Value<'_>, out: &mut String) -> Result<(), EvalError> {
        let precision = self.precision.unwrap_or(PRECISION);
        let text = match (self.verb, value) {
            ('s', _) => return write_text(value, out),
            ('d', Value::Int(int)) => int.to_string(),
            ('d', Value::Uint(uint)) => uint.to_string(),
            ('f', value) => fixed(self.double(value)?, precision),
            ('e', value) => scientific(self.double(value)?, precision),
            ('b', Value::Int(int)) => signed(*int, |size| format!("{size:b}")),
            ('b', Value::Uint(uint)) => format!("{uint:b}"),
            ('b', Value::Bool(value)) => u8::from(*value).to_string(),
            ('o', Value::Int(int)) => signed(*int, |size| format!("{size:o}")),
            ('o', Value::Uint(uint)) => format!("{uint:o}"),
            ('x' | 'X', Value::Int(int)) => signed(*int, |size| format!("{size:x}")),
            ('x' | 'X', Value::Uint(uint)) => format!("{uint:x}"),
            ('x' | 'X', Value::String(text)) => hex(text.as_bytes()),
            ('x' | 'X', Value::Bytes(bytes)) => hex(bytes),
            (_, value) => return Err(self.refuses(value.type_name())),
        };
        out.push_str(&if self.verb == 'X' { text.to_uppercase() } else { text });
        Ok(())
    }

    fn double(self, value: &Value<'_>) -> Result<f64, EvalError> {
        match value {
            Value::Double(double) => Ok(*double),
            Value::String(text) => match &**text {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                _ => Err(self.refuses("string")),
            },
            value => Err(self.refuses(value.type_name())),
        }
    }
}

fn signed(value: i64, digits: impl Fn(u64) -> String) -> String {
    format!("{}{}", if value < 0 { "-" } else { "" }, digits(value.unsigned_abs()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What is no number, as the printer for en_US writes it.
fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        v if v.is_nan() => Some("NaN"),
        v if v == f64::INFINITY => Some("∞"),
        v if v == f64::NEG_INFINITY => Some("-∞"),
        _ => None,
    }
}

/// With commas between thousands.
fn fixed(value: f64, precision: usize) -> String {
    if let Some(text) = not_finite(value) {
        return text.to_string();
    }
    let plain = format!("{value:.precision$}");
    let (sign, plain) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = plain.split_once('.').map_or((plain, None), |(w, f)| (w, Some(f)));
    let mut out = sign.to_string();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// As `1.5 × 10⁰³`: what the printer for en_US makes of `%e`.
fn scientific(value: f64, precision: usize) -> String {
    if let Some(text) = not_finite(value) {
        return text.to_string();
    }
    let plain = format!("{value:.precision$e}");
    let (digits, exponent) = plain.split_once('e').unwrap_or((&plain, "0"));
    let go = go_exponent("", exponent.parse().unwrap_or(0));
    let exponent: String = go.chars().skip(1).map(superscript).collect();
    let exponent = exponent.trim_start_matches('⁺');
    format!("{digits}\u{202f}×\u{202f}10{exponent}")
}

fn superscript(c: char) -> char {
    match c {
        '+' => '⁺',
        '-' => '⁻',
        digit => "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(digit.to_digit(10).unwrap_or(0) as usize).unwrap_or(digit),
    }
}

/// A value for `%s`.
fn write_text(value: &Value<'_>, out: &mut String) -> Result<(), EvalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::List(list) => write_list(list, out)?,
        Value::Map(map) => write_map(map, out)?,
        Value::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes);
            out.push_str(text.map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?);
        }
        value => match super::convert::display(value) {
            Some(text) => out.push_str(&text),
            None => return Err(Clause { verb: 's', precision: None }.refuses(value.type_name())),
        },
    }
    Ok(())
}

/// A value within a list or map, where text is quoted and times say what they are.
fn write_inner(value: &Value<'_>, out: &mut String) -> Result<(), EvalError> {
    match value {
        Value::String(text) => out.push_str(&format!("{:?}", &**text)),
        Value::Bytes(_) => {
            let mut text = String::new();
            write_text(value, &mut text)?;
            out.push_str(&format!("b{text:?}"));
        }
        Value::Double(double) if not_finite(*double).is_some() => {
            let name = if double.is_nan() {
                "NaN"
            } else if *double > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            };
            out.push_str(&format!("\"{name}\""));
        }
        Value::Double(double) => out.push_str(&format!("{double:.PRECISION$}")),
        Value::Timestamp(time) => out.push_str(&format!("timestamp(\"{time}\")")),
        Value::Duration(nanos) => out.push_str(&format!("duration(\"{}\")", format_duration(*nanos))),
        value => write_text(value, out)?,
    }
    if out.len() > crate::limits::MAX_MADE_BYTES {
        return Err(EvalError::new(format!("string is too long: {} bytes", out.len())));
    }
    Ok(())
}

fn write_list(list: &List<'_>, out: &mut String) -> Result<(), EvalError> {
    out.push('[');
    for (index, element) in list.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_inner(&element?, out)?;
    }
    out.push(']');
    Ok(())
}

/// In the order of the written keys.
fn write_map(map: &Map<'_>, out: &mut String) -> Result<(), EvalError> {
    let mut entries = Vec::with_capacity(map.len());
    for (key, value) in map.entries()? {
        let (mut name, mut text) = (String::new(), String::new());
        write_inner(&Key::of(&key).map_or(Value::Null, Key::into_value), &mut name)?;
        write_inner(&value, &mut text)?;
        entries.push((name, text));
    }
    entries.sort();
    let entries: Vec<String> = entries.into_iter().map(|(name, text)| format!("{name}:{text}")).collect();
    out.push_str(&format!("{{{}}}", entries.join(", ")));
    Ok(())
}
