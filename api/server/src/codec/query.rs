//! Query strings.

use crate::chain::request_info::percent_decode;
use holdfast_core::Status;
use std::time::Duration;

/// Decoded parameters, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`; `+` is a space.
    pub fn parse(text: Option<&str>) -> Query {
        let decode = |text: &str| percent_decode(&text.replace('+', " "));
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect(),
        )
    }

    /// The first value of `key`; the empty string counts as unset.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Whether `key` is there at all.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// All values of `key`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A boolean, as upstream reads it: `false` and `0` say no, anything else (even nothing) yes.
    pub fn flag(&self, key: &str) -> Option<bool> {
        let (_, value) = self.0.iter().find(|(name, _)| name == key)?;
        Some(!(value.eq_ignore_ascii_case("false") || value == "0"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 with the text of Go's parser.
    pub fn number(&self, key: &str) -> Result<Option<i64>, Status> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(err) => {
                let why = match err.kind() {
                    std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                Err(Status::bad_request(format!("strconv.ParseInt: parsing {value:?}: {why}")))
            }
        }
    }
}

/// A duration as Go writes it (`1m30s`, `1.5h`, `300ms`); one below zero is zero.
///
/// # Errors
/// The text of Go's parser.
pub fn go_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1e-9),
        ("us", 1e-6),
        ("\u{b5}s", 1e-6),
        ("\u{3bc}s", 1e-6),
        ("ms", 1e-3),
        ("s", 1.0),
        ("m", 60.0),
        ("h", 3600.0),
    ];
    let wrong = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..letters];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let (_, size) = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        seconds += number * size;
        rest = &rest[letters..];
    }
    // Go counts nanoseconds in 63 bits.
    if seconds > 9_223_372_036.0 {
        return Err(wrong());
    }
    Ok(if negative { Duration::ZERO } else { Duration::try_from_secs_f64(seconds).map_err(|_| wrong())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in
            [("5s", 5000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("300ms", 300), ("0", 0), ("-4s", 0), (".5s", 500)]
        {
            assert_eq!(go_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, why) in [
            ("5", "missing unit in duration \"5\""),
            ("x", "invalid duration \"x\""),
            ("5d", "unknown unit \"d\" in duration \"5d\""),
            ("1.2.3s", "invalid duration"),
            (".s", "invalid duration"),
            ("-", "invalid duration"),
            ("99999999999h", "invalid duration"),
        ] {
            let said = go_duration(text).unwrap_err();
            assert!(said.starts_with("time: ") && said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("command=sh&command=-c&labelSelector=a%3Db%2Cc+in+(d)&watch=&x=0"));
        assert_eq!(query.all("command").collect::<Vec<_>>(), ["sh", "-c"]);
        assert_eq!(query.get("labelSelector"), Some("a=b,c in (d)"));
        assert_eq!((query.flag("watch"), query.flag("x"), query.flag("none")), (Some(true), Some(false), None));
        assert!(Query::parse(Some("limit=9x")).number("limit").unwrap_err().message().contains("parsing \"9x\""));
    }
}
