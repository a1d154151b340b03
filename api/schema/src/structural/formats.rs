//! The formats of text that upstream checks; others are words without meaning there, and here.

use base64::Engine;
use holdfast_core::{Pattern, Timestamp};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Formats that a pattern decides.
static PATTERNS: LazyLock<Vec<(&str, Pattern)>> = LazyLock::new(|| {
    [
        ("bsonobjectid", "^[0-9a-fA-F]{24}$"),
        ("hexcolor", "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"),
        (
            "hostname",
            r"^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?$",
        ),
        ("mac", "^([0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}$"),
        (
            "rgbcolor",
            r"^rgb\(\s*([01]?[0-9]?[0-9]|2[0-4][0-9]|25[0-5])\s*(,\s*([01]?[0-9]?[0-9]|2[0-4][0-9]|25[0-5])\s*){2}\)$",
        ),
        ("ssn", r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"),
        ("email", r"^[^@\s]+@[^@\s]+$"),
        ("uri", r"^[a-zA-Z][a-zA-Z0-9+.-]*:\S*$|^/\S*$"),
        ("uuid", "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
        ("uuid3", "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"),
        ("uuid4", "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
        ("uuid5", "^(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$"),
        (
            "duration",
            r"^(\d+(\.\d+)?\s*(ns|us|µs|ms|s|m|h|d|w|nanos?|micros?|millis?|secs?|mins?|hours?|days?|weeks?)\s*)+$|^0$",
        ),
        ("k8s-short-name", "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
        ("k8s-long-name", r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
    ]
    .into_iter()
    .filter_map(|(format, pattern)| Pattern::new(pattern).ok().map(|pattern| (format, pattern)))
    .collect()
});

/// Whether a text is of a format.
pub(super) fn fits_format(format: &str, text: &str) -> bool {
    match format {
        "" => true,
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, bits)| {
            let most = address.parse().map(|address| if matches!(address, IpAddr::V4(_)) { 32 } else { 128 });
            bits.parse::<u8>().is_ok_and(|bits| most.is_ok_and(|most| bits <= most))
        }),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "date" => text.len() == 10 && Timestamp::parse(&format!("{text}T00:00:00Z")).is_some(),
        "date-time" | "datetime" => Timestamp::parse(text).is_some(),
        _ => PATTERNS.iter().find(|(name, _)| *name == format).is_none_or(|(_, pattern)| pattern.matches(text)),
    }
}
