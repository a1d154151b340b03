//! Times as the API writes them: RFC 3339 in UTC, to the second (`Time`) or microsecond (`MicroTime`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A moment, in microseconds since 1970-01-01T00:00:00Z. Displays and serialises to the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    micros: i64,
}

impl Timestamp {
    /// From a wall-clock reading.
    pub fn from_wall(since_epoch: Duration) -> Timestamp {
        Timestamp { micros: i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX) }
    }

    /// From whole seconds since 1970.
    pub fn from_secs(secs: i64) -> Timestamp {
        Timestamp { micros: secs.saturating_mul(1_000_000) }
    }

    /// Whole seconds since 1970.
    pub fn secs(self) -> i64 {
        self.micros.div_euclid(1_000_000)
    }

    /// Time since 1970; zero for earlier moments.
    pub fn since_epoch(self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros).unwrap_or(0))
    }

    /// This moment plus `by`, saturating.
    #[must_use]
    pub fn after(self, by: Duration) -> Timestamp {
        Timestamp { micros: self.micros.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)) }
    }

    /// How long it is from `earlier` to this; zero when `earlier` lies later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.micros.saturating_sub(earlier.micros)).unwrap_or(0))
    }

    /// Reads RFC 3339 with any offset and fraction.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        Some(Timestamp { micros: parsed.as_microsecond() })
    }

    /// With six digits of fraction, as `MicroTime` and Leases write it.
    pub fn to_micro_string(self) -> String {
        format!("{}.{:06}Z", &self.to_string()[..19], self.micros.rem_euclid(1_000_000))
    }

    /// With nine digits of fraction, as the CRI log format writes it.
    pub fn to_nano_string(self) -> String {
        format!("{}.{:09}Z", &self.to_string()[..19], self.micros.rem_euclid(1_000_000) * 1000)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_second(self.secs()) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Err(_) => f.write_str("9999-12-31T23:59:59Z"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("parsing time {text:?}: not RFC 3339")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads_what_kubernetes_writes() {
        let time = Timestamp::parse("2026-11-24T02:50:06.25+01:00").unwrap();
        assert_eq!(time.to_string(), "2026-11-24T01:50:06Z");
        assert_eq!(time.to_micro_string(), "2026-11-24T01:50:06.250000Z");
        assert_eq!(Timestamp::parse(&time.to_micro_string()), Some(time));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
