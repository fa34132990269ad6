//! Money as whole cents: exact in every database and in JSON.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An amount of zero or more, in cents. On the wire a decimal string such as `"19.90"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, utoipa::ToSchema)]
#[schema(value_type = String, example = "19.90",
    pattern = r"^([0-9]{1,9}(\.[0-9]{1,2})?|1000000000(\.00?)?)$")]
pub struct Money(i64);

impl Money {
    /// The largest amount accepted: 1 billion.
    const MAX_CENTS: i64 = 100_000_000_000;

    /// `None` when the amount is negative or above one billion.
    pub fn from_cents(cents: i64) -> Option<Self> {
        (0..=Self::MAX_CENTS).contains(&cents).then_some(Self(cents))
    }

    pub fn cents(self) -> i64 {
        self.0
    }

    /// Reads `"12"`, `"12.5"` or `"12.50"`; anything else, a sign included, is refused.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let dangling = text.ends_with('.');
        if whole.is_empty() || dangling || fraction.len() > 2 || !digits(whole) || !digits(fraction)
        {
            return None;
        }
        let cents: i64 = format!("{fraction:0<2}").parse().ok()?;
        let whole: i64 = whole.parse().ok()?;
        Self::from_cents(whole.checked_mul(100)?.checked_add(cents)?)
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom("expected an amount such as \"19.90\" (0 to 1000000000)")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Money;

    #[test]
    fn amounts_are_read_exactly_and_written_with_two_decimals() {
        for (text, shown) in [("0", "0.00"), ("19.9", "19.90"), ("7.05", "7.05")] {
            assert_eq!(Money::parse(text).map(|m| m.to_string()).as_deref(), Some(shown));
        }
    }

    #[test]
    fn what_is_not_an_amount_is_refused() {
        for text in ["", "-1", "+1", "1.", ".5", "1.234", "1e3", "12,50", "99999999999"] {
            assert_eq!(Money::parse(text), None, "{text}");
        }
    }
}
