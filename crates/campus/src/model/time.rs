//! Points in time: microseconds since 1970, UTC, so that SQLite and PostgreSQL agree.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Serialize, Serializer};

/// Microseconds since the Unix epoch, UTC. On the wire an RFC 3339 string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-03-01T09:30:00Z")]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads an RFC 3339 time or a bare `YYYY-MM-DD` date.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(Self(time.timestamp_micros()));
        }
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
        Some(Self(date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros()))
    }

    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The day in UTC, as `YYYY-MM-DD`.
    pub fn date(self) -> String {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or_default();
        time.format("%Y-%m-%d").to_string()
    }

    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from_timestamp_micros(self.0).unwrap_or_default();
        f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn a_time_survives_its_wire_form() {
        let time = Timestamp(1_763_724_000_123_456);
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
    }

    #[test]
    fn a_bare_date_is_midnight_utc() {
        let midnight = Timestamp::parse("2018-09-24");
        assert_eq!(midnight.map(|t| t.to_string()).as_deref(), Some("2018-09-24T00:00:00Z"));
    }
}
