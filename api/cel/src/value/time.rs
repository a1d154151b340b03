//! Moments and spans of time: RFC 3339 as Go reads it, and Go's durations.

use crate::error::EvalError;
use jiff::civil::{Date, DateTime};

/// A moment between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds since 1970.
    secs: i64,
    /// Nanoseconds into the second.
    nanos: u32,
}

const MIN_SECS: i64 = -62_135_596_800;
const MAX_SECS: i64 = 253_402_300_799;
const BILLION: i128 = 1_000_000_000;
const DAY: i64 = 86_400;
const EPOCH: Date = jiff::civil::date(1970, 1, 1);

impl Time {
    /// What Go takes for no moment: the first of the year 1.
    pub(crate) const ZERO: Time = Time { secs: MIN_SECS, nanos: 0 };

    /// From seconds since 1970.
    ///
    /// # Errors
    /// Outside the years 1 to 9999.
    pub fn from_secs(secs: i64) -> Result<Time, EvalError> {
        Time::new(secs, 0)
    }

    fn new(secs: i64, nanos: u32) -> Result<Time, EvalError> {
        if !(MIN_SECS..=MAX_SECS).contains(&secs) {
            return Err(EvalError::new("timestamp overflow"));
        }
        Ok(Time { secs, nanos })
    }

    /// Seconds since 1970.
    pub fn secs(self) -> i64 {
        self.secs
    }

    fn total_nanos(self) -> i128 {
        i128::from(self.secs) * BILLION + i128::from(self.nanos)
    }

    pub(crate) fn plus(self, nanos: i64) -> Result<Time, EvalError> {
        let total = self.total_nanos() + i128::from(nanos);
        let secs = i64::try_from(total.div_euclid(BILLION)).map_err(|_| EvalError::new("timestamp overflow"))?;
        Time::new(secs, total.rem_euclid(BILLION) as u32)
    }

    /// Nanoseconds from `earlier` to this.
    pub(crate) fn minus(self, earlier: Time) -> Result<i64, EvalError> {
        i64::try_from(self.total_nanos() - earlier.total_nanos()).map_err(|_| EvalError::new("duration overflow"))
    }

    /// Reads RFC 3339.
    ///
    /// # Errors
    /// Another text; a moment outside the years 1 to 9999.
    pub fn parse(text: &str) -> Result<Time, EvalError> {
        let wrong = || EvalError::conversion("string", "google.protobuf.Timestamp");
        let (secs, nanos) = parse_rfc3339(text).ok_or_else(wrong)?;
        Time::new(secs, nanos)
    }

    /// Reads a date, as the format `date` of schemas has it.
    pub(crate) fn parse_date(text: &str) -> Option<Time> {
        let date = (text.len() == 10).then(|| parse_date(text.as_bytes())).flatten()?;
        Time::new(days(date) * DAY, 0).ok()
    }

    /// Date and time of day at an offset from UTC in seconds.
    pub(crate) fn civil(self, offset: i64) -> Result<DateTime, EvalError> {
        let out_of_range = |_| EvalError::new("timestamp overflow");
        let secs = self.secs.saturating_add(offset);
        let date = EPOCH.checked_add(jiff::Span::new().days(secs.div_euclid(DAY))).map_err(out_of_range)?;
        let of_day = secs.rem_euclid(DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let time = jiff::civil::Time::new(hour as i8, minute as i8, second as i8, self.nanos as i32);
        Ok(date.to_datetime(time.map_err(out_of_range)?))
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ok(t) = self.civil(0) else { return f.write_str("timestamp out of range") };
        let (year, month, day) = (t.year(), t.month(), t.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", t.hour(), t.minute(), t.second())?;
        if self.nanos > 0 {
            write!(f, ".{}", format!("{:09}", self.nanos).trim_end_matches('0'))?;
        }
        f.write_str("Z")
    }
}

fn days(date: Date) -> i64 {
    i64::from((date - EPOCH).get_days())
}

/// Digits alone.
fn number(bytes: &[u8]) -> Option<i64> {
    bytes.iter().all(u8::is_ascii_digit).then(|| bytes.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0')))
}

fn parse_date(bytes: &[u8]) -> Option<Date> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = bytes else { return None };
    let (year, month, day) = (number(&[*y1, *y2, *y3, *y4])?, number(&[*m1, *m2])?, number(&[*d1, *d2])?);
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

fn parse_rfc3339(text: &str) -> Option<(i64, u32)> {
    let bytes = text.as_bytes();
    let date = parse_date(bytes.get(..10)?)?;
    let [b'T', h1, h2, b':', m1, m2, b':', s1, s2] = bytes.get(10..19)? else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = &bytes[19..];
    let mut nanos = 0;
    if let [b'.' | b',', fraction @ ..] = rest {
        let count = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 {
            return None;
        }
        let mut digits = [b'0'; 9];
        let kept = count.min(9);
        digits[..kept].copy_from_slice(&fraction[..kept]);
        nanos = u32::try_from(number(&digits)?).ok()?;
        rest = &fraction[count..];
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 24 || minutes > 60 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    Some((days(date) * DAY + hour * 3600 + minute * 60 + second - offset, nanos))
}

const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration of Go, such as `1h30m` or `-1.5s`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 20 {
            return None;
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &after[..end])?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total += whole * unit;
        let mut scale = *unit;
        for digit in fraction.bytes().take(18) {
            // Below a nanosecond nothing counts.
            total += i128::from(digit - b'0') * scale / 10;
            scale /= 10;
        }
        rest = &after[end..];
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A duration as cel-go writes it: seconds.
pub(crate) fn format_duration(nanos: i64) -> String {
    let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (secs, fraction) = (size / 1_000_000_000, size % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{secs}s");
    }
    format!("{sign}{secs}.{}s", format!("{fraction:09}").trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_written() {
        for (text, secs, written) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2023-06-14T02:00:00.5+02:00", 1_686_700_800, "2023-06-14T00:00:00.5Z"),
            ("0001-01-01T00:00:00Z", MIN_SECS, "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999999Z", MAX_SECS, "9999-12-31T23:59:59.999999999Z"),
        ] {
            let time = Time::parse(text).unwrap();
            assert_eq!((time.secs(), time.to_string().as_str()), (secs, written));
        }
        for bad in ["", "2023-06-14", "2023-06-14 00:00:00Z", "2023-13-14T00:00:00Z", "2023-06-14T24:00:00Z"] {
            assert!(Time::parse(bad).is_err(), "{bad}");
        }
        assert!(Time::parse("9999-12-31T23:59:59-01:00").is_err());
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, nanos, written) in [
            ("1h30m", 5_400_000_000_000, "5400s"),
            ("-1.5s", -1_500_000_000, "-1.5s"),
            ("1.25us", 1_250, "0.00000125s"),
            ("0", 0, "0s"),
            ("1m1ms", 60_001_000_000, "60.001s"),
        ] {
            assert_eq!(parse_duration(text), Some(nanos), "{text}");
            assert_eq!(format_duration(nanos), written);
        }
        for bad in ["", "1", "s", "1.s.", "1d", "-", "9999999h", "1..5s"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
