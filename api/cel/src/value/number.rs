//! Numbers of three sorts: comparing and converting without loss.

use crate::error::EvalError;
use std::cmp::Ordering;

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// A double that is a whole number, as the integers that can hold it.
pub(crate) fn whole(value: f64) -> Option<(Option<i64>, Option<u64>)> {
    if value.fract() != 0.0 || !(-TWO_63..TWO_64).contains(&value) {
        return None;
    }
    let int = (value < TWO_63).then_some(value as i64);
    Some((int, (value >= 0.0).then_some(value as u64)))
}

/// How a double stands to an integer of either sort: as doubles, in which large integers lose digits (specification,
/// conformance tests, "lossy"). `None` for NaN.
pub(crate) fn compare_double(double: f64, integer: i128) -> Option<Ordering> {
    double.partial_cmp(&(integer as f64))
}

/// Towards zero; cel-go refuses both ends of the range, too.
pub(crate) fn double_to_int(value: f64) -> Result<i64, EvalError> {
    if value > -TWO_63 && value < TWO_63 { Ok(value as i64) } else { Err(EvalError::new("integer overflow")) }
}

pub(crate) fn double_to_uint(value: f64) -> Result<u64, EvalError> {
    if (0.0..TWO_64).contains(&value) { Ok(value as u64) } else { Err(EvalError::new("unsigned integer overflow")) }
}

/// As Go's `%g` writes a double: the shortest digits, with an exponent from 1e+06 on and below 1e-04.
pub(crate) fn format_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_string();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    go_exponent(digits, exponent)
}

/// An exponent has a sign and at least two digits.
pub(crate) fn go_exponent(digits: &str, exponent: i32) -> String {
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_compare_with_integers_as_doubles() {
        use Ordering::{Equal, Greater, Less};
        for (double, integer, order) in [
            (1.0, 1, Equal),
            (1.5, 1, Greater),
            (-1.5, -1, Less),
            (TWO_63, i128::from(i64::MAX), Equal),
            (f64::INFINITY, i128::from(u64::MAX), Greater),
            (f64::NEG_INFINITY, i128::from(i64::MIN), Less),
        ] {
            assert_eq!(compare_double(double, integer), Some(order), "{double} {integer}");
        }
        assert_eq!(compare_double(f64::NAN, 0), None);
    }

    #[test]
    fn doubles_are_written_as_go_writes_them() {
        for (value, text) in [
            (1.0, "1"),
            (-0.5, "-0.5"),
            (123_456.125, "123456.125"),
            (1_234_567.5, "1.2345675e+06"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (0.0001, "0.0001"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(format_double(value), text);
        }
    }
}
