//! Quantities such as `500m`, `1Gi`, `2e3` (`k8s.io/apimachinery/pkg/api/resource`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// How a quantity is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// Powers of 1024: `Ki`, `Mi`, …
    Binary,
    /// Powers of 1000: `m`, none, `k`, `M`, …
    Decimal,
}

/// An exact amount, held in thousandths (milli) of its unit. Finer amounts round up, as upstream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quantity {
    milli: i128,
    format: Format,
}

/// The text was no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct ParseQuantityError;

const SUFFIXES: &[(&str, i128, Format)] = &[
    ("Ki", 1 << 10, Format::Binary),
    ("Mi", 1 << 20, Format::Binary),
    ("Gi", 1 << 30, Format::Binary),
    ("Ti", 1 << 40, Format::Binary),
    ("Pi", 1 << 50, Format::Binary),
    ("Ei", 1 << 60, Format::Binary),
    ("", 1, Format::Decimal),
    ("k", 1_000, Format::Decimal),
    ("M", 1_000_000, Format::Decimal),
    ("G", 1_000_000_000, Format::Decimal),
    ("T", 1_000_000_000_000, Format::Decimal),
    ("P", 1_000_000_000_000_000, Format::Decimal),
    ("E", 1_000_000_000_000_000_000, Format::Decimal),
];

/// The largest amount in thousandths: 2⁶³ − 1 units. What is larger counts as this, as upstream has it.
const MOST: i128 = i64::MAX as i128 * 1000;
/// Digits of whole units that are looked at: more are beyond [`MOST`].
const DIGITS: usize = 20;
/// Decimal places that are looked at; further ones only tell whether to round up.
const PLACES: usize = 18;

impl Quantity {
    /// Zero.
    pub const ZERO: Quantity = Quantity { milli: 0, format: Format::Decimal };

    /// From thousandths of the unit.
    pub fn from_milli(milli: i64) -> Quantity {
        Quantity { milli: i128::from(milli), format: Format::Decimal }
    }

    /// A whole number of units, written in powers of 1000.
    pub fn from_units(units: i64) -> Quantity {
        Quantity { milli: i128::from(units) * 1000, format: Format::Decimal }
    }

    /// A number of bytes, written in powers of 1024.
    pub fn from_bytes(bytes: u64) -> Quantity {
        Quantity { milli: i128::from(bytes) * 1000, format: Format::Binary }
    }

    /// Thousandths of the unit, saturating.
    pub fn milli(self) -> i64 {
        i64::try_from(self.milli).unwrap_or(if self.milli < 0 { i64::MIN } else { i64::MAX })
    }

    /// Thousandths of the unit, exactly.
    pub fn exact_milli(self) -> i128 {
        self.milli
    }

    /// The same sort of quantity with another amount, in thousandths of the unit.
    #[must_use]
    pub fn with_exact_milli(self, milli: i128) -> Quantity {
        Quantity { milli, ..self }
    }

    /// Whole units, rounded up, saturating.
    pub fn units(self) -> i64 {
        let up = self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0);
        i64::try_from(up).unwrap_or(if up < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether it is below zero.
    pub fn is_negative(self) -> bool {
        self.milli < 0
    }

    /// The sum, written as `self` is; nothing plus something is written as that is.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.milli == 0 { other.format } else { self.format };
        Quantity { milli: self.milli.saturating_add(other.milli), format }
    }

    /// What is left of it, written as `self` is.
    #[must_use]
    pub fn minus(self, other: Quantity) -> Quantity {
        Quantity { milli: self.milli.saturating_sub(other.milli), ..self }
    }

    /// The same, with what is finer than a whole unit rounded up.
    #[must_use]
    pub fn rounded_up(self) -> Quantity {
        let whole = self.milli.div_euclid(1000) + i128::from(self.milli.rem_euclid(1000) != 0);
        Quantity { milli: whole.saturating_mul(1000), ..self }
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Quantity, ParseQuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(ParseQuantityError);
        }
        let (multiplier, tens, format) = scale(suffix).ok_or(ParseQuantityError)?;
        let digits = format!("{:0>tens$}{whole}{fraction}", "");
        let (units, fraction) = digits.split_at(whole.len());
        let milli = amount(units, fraction, multiplier).ok_or(ParseQuantityError)?;
        Ok(Quantity { milli: if negative { -milli } else { milli }, format })
    }
}

/// Thousandths of `units.fraction` times `multiplier`, rounded up, at most [`MOST`].
fn amount(units: &str, fraction: &str, multiplier: i128) -> Option<i128> {
    let factor = multiplier * 1000;
    let units = units.trim_start_matches('0');
    let whole = (units.len() <= DIGITS).then(|| format!("0{units}").parse::<i128>().ok()).flatten();
    let Some(whole) = whole.and_then(|whole| whole.checked_mul(factor)) else { return Some(MOST) };
    let (kept, rest) = fraction.split_at(fraction.len().min(PLACES));
    let kept: i128 = format!("{kept:0<PLACES$}").parse().ok()?;
    // Without what both have in common the product is in range.
    let divisor = 10i128.pow(PLACES as u32);
    let common = common_divisor(factor, divisor);
    let (product, divisor) = (kept * (factor / common), divisor / common);
    let finer = product % divisor != 0 || rest.bytes().any(|digit| digit != b'0');
    Some((whole + product / divisor + i128::from(finer)).min(MOST))
}

fn common_divisor(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// What a suffix stands for: a multiplier, the power of ten to divide by, and the format.
fn scale(suffix: &str) -> Option<(i128, usize, Format)> {
    match suffix {
        "n" => return Some((1, 9, Format::Decimal)),
        "u" => return Some((1, 6, Format::Decimal)),
        "m" => return Some((1, 3, Format::Decimal)),
        _ => {}
    }
    if let Some((_, multiplier, format)) = SUFFIXES.iter().find(|(name, ..)| *name == suffix) {
        return Some((*multiplier, 0, *format));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    if !(-18..=18).contains(&exponent) {
        return None;
    }
    let power = exponent.unsigned_abs();
    Some(match exponent {
        ..0 => (1, power as usize, Format::Decimal),
        _ => (10i128.pow(power), 0, Format::Decimal),
    })
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.milli % 1000 != 0 {
            return write!(f, "{}m", self.milli);
        }
        let units = self.milli / 1000;
        let best = SUFFIXES
            .iter()
            .rev()
            .filter(|(_, multiplier, format)| *multiplier > 1 && *format == self.format)
            .find(|(_, multiplier, _)| units % multiplier == 0 && units != 0);
        match best {
            Some((suffix, multiplier, _)) => write!(f, "{}{suffix}", units / multiplier),
            None => write!(f, "{units}"),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quantity, D::Error> {
        let text = match crate::Json::deserialize(deserializer)? {
            crate::Json::String(text) => text,
            crate::Json::Number(number) => number.to_string(),
            other => return Err(serde::de::Error::custom(format!("no quantity: {other}"))),
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_written_as_their_parts() {
        let of = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(Quantity::ZERO.plus(of("1Gi")).to_string(), "1Gi");
        assert_eq!(of("1Gi").plus(of("1000")).minus(of("1000")).to_string(), "1Gi");
        assert_eq!(of("1500m").rounded_up().to_string(), "2");
        assert_eq!(of("2").rounded_up(), of("2"));
    }

    #[test]
    fn reads_and_writes_canonically() {
        for (text, milli, canonical) in [
            ("500m", 500, "500m"),
            ("1Gi", 1_073_741_824_000, "1Gi"),
            ("1024Mi", 1_073_741_824_000, "1Gi"),
            ("1.5", 1500, "1500m"),
            ("0.5Gi", 536_870_912_000, "512Mi"),
            ("2e3", 2_000_000, "2k"),
            ("-1", -1000, "-1"),
            ("0", 0, "0"),
            ("100n", 1, "1m"),
            ("1000", 1_000_000, "1k"),
            ("1500u", 2, "2m"),
            ("12345n", 1, "1m"),
            ("-.000000000000000000000001", -1, "-1m"),
            ("0.000000000000000001Ei", 1153, "1153m"),
        ] {
            let quantity: Quantity = text.parse().unwrap();
            assert_eq!((quantity.milli(), quantity.to_string().as_str()), (milli, canonical), "{text}");
        }
        for (large, written) in [
            ("9223372036854775807", "9223372036854775807"),
            ("99999999999999999999999999999999999999999999.5", "9223372036854775807"),
            ("-16E", "-9223372036854775807"),
            ("1.123456789012345678E", "1123456789012345678"),
            ("1.5Ei", "1536Pi"),
            ("1000000000000000000000000n", "1P"),
        ] {
            assert_eq!(large.parse::<Quantity>().map(|quantity| quantity.to_string()), Ok(written.to_string()));
        }
        for bad in ["", "m", "1x", "1.2.3", "e3", "Gi", "1e99", "١"] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad}");
        }
    }
}
