//! Parts of timestamps and durations.
//!
//! Time zones are `UTC`, the empty text, offsets such as `+02:00`, and the names of the IANA database, such as `Europe/Paris`.

use super::{Args, Library};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::time::Time;
use crate::value::{Outcome, Value, zones};
use jiff::civil::DateTime;

type Part = fn(DateTime) -> i64;

pub(super) fn declare(library: &mut Library) {
    let mut part = |function, id, with_tz, run: super::Implementation| {
        library.member(function, id, &[Type::Timestamp], Type::Int, run);
        library.member(function, with_tz, &[Type::Timestamp, Type::String], Type::Int, run);
    };
    part("getFullYear", "timestamp_to_year", "timestamp_to_year_with_tz", |args| {
        timestamp(args, |t| i64::from(t.year()))
    });
    part("getMonth", "timestamp_to_month", "timestamp_to_month_with_tz", |args| {
        timestamp(args, |t| i64::from(t.month()) - 1)
    });
    part("getDayOfYear", "timestamp_to_day_of_year", "timestamp_to_day_of_year_with_tz", |args| {
        timestamp(args, |t| i64::from(t.day_of_year()) - 1)
    });
    part("getDayOfMonth", "timestamp_to_day_of_month", "timestamp_to_day_of_month_with_tz", |args| {
        timestamp(args, |t| i64::from(t.day()) - 1)
    });
    part("getDate", "timestamp_to_day_of_month_1_based", "timestamp_to_day_of_month_1_based_with_tz", |args| {
        timestamp(args, |t| i64::from(t.day()))
    });
    part("getDayOfWeek", "timestamp_to_day_of_week", "timestamp_to_day_of_week_with_tz", |args| {
        timestamp(args, |t| i64::from(t.weekday().to_sunday_zero_offset()))
    });
    part("getHours", "timestamp_to_hours", "timestamp_to_hours_with_tz", |args| {
        spans(args, 3_600_000_000_000, |t| i64::from(t.hour()))
    });
    part("getMinutes", "timestamp_to_minutes", "timestamp_to_minutes_with_tz", |args| {
        spans(args, 60_000_000_000, |t| i64::from(t.minute()))
    });
    part("getSeconds", "timestamp_to_seconds", "timestamp_to_seconds_tz", |args| {
        spans(args, 1_000_000_000, |t| i64::from(t.second()))
    });
    part("getMilliseconds", "timestamp_to_milliseconds", "timestamp_to_milliseconds_with_tz", milliseconds);
    for (function, id, unit) in [
        ("getHours", "duration_to_hours", hours as super::Implementation),
        ("getMinutes", "duration_to_minutes", minutes),
        ("getSeconds", "duration_to_seconds", seconds),
        ("getMilliseconds", "duration_to_milliseconds", milliseconds),
    ] {
        library.member(function, id, &[Type::Duration], Type::Int, unit);
    }
}

fn hours<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    spans(args, 3_600_000_000_000, |_| 0)
}

fn minutes<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    spans(args, 60_000_000_000, |_| 0)
}

fn seconds<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    spans(args, 1_000_000_000, |_| 0)
}

/// All milliseconds of a duration, or those within the second of a timestamp.
fn milliseconds<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    spans(args, 1_000_000, |t| i64::from(t.subsec_nanosecond() / 1_000_000))
}

/// A duration in units, or a part of a timestamp.
fn spans<'a>(args: Args<'_, 'a>, unit: i64, part: Part) -> Outcome<'a> {
    match args.value(0)? {
        Value::Duration(nanos) => Ok(Value::Int(nanos / unit)),
        _ => timestamp(args, part),
    }
}

fn timestamp<'a>(args: Args<'_, 'a>, part: Part) -> Outcome<'a> {
    let Value::Timestamp(time) = args.value(0)? else { return Err(EvalError::no_such_overload()) };
    let offset = if args.len() > 1 { offset(args.text(1)?, *time)? } else { 0 };
    Ok(Value::Int(part(time.civil(offset)?)))
}

/// Seconds east of UTC, at a moment.
fn offset(zone: &str, at: Time) -> Result<i64, EvalError> {
    if matches!(zone, "" | "UTC") {
        return Ok(0);
    }
    let unknown = || EvalError::new(format!("unknown time zone {zone}"));
    let Some((hours, minutes)) = zone.split_once(':') else { return zones::offset(zone, at) };
    let (hours, minutes): (i64, i64) = (hours.parse().map_err(|_| unknown())?, minutes.parse().map_err(|_| unknown())?);
    if !(-24..=24).contains(&hours) || !(0..60).contains(&minutes) {
        return Err(unknown());
    }
    let minutes = if zone.starts_with('-') { hours * 60 - minutes } else { hours * 60 + minutes };
    Ok(minutes * 60)
}
