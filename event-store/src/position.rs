//! The place of an event in the whole log.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The place of an event in the whole log: 1, 2, 3 … without gaps, in commit order.
///
/// Outside it is a string of digits, because a JSON number loses digits above 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition(pub u64);

impl LogPosition {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The position after `events` more events.
    pub fn advance(self, events: usize) -> Self {
        Self(self.0.saturating_add(events as u64))
    }

    /// The position of the next event.
    pub fn next(self) -> Self {
        self.advance(1)
    }

    /// As a `bigint`. A position that no log can reach becomes the greatest one, which is beyond every head.
    pub fn to_sql(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// From a `bigint`; the schema has no negative positions.
    pub fn from_sql(position: i64) -> Self {
        Self(u64::try_from(position).unwrap_or_default())
    }
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for LogPosition {
    type Err = ParseIntError;

    fn from_str(digits: &str) -> Result<Self, Self::Err> {
        digits.parse().map(Self)
    }
}

impl From<u64> for LogPosition {
    fn from(position: u64) -> Self {
        Self(position)
    }
}

impl Serialize for LogPosition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LogPosition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = std::borrow::Cow::<str>::deserialize(deserializer)?;
        digits.parse().map_err(|_| D::Error::custom("a log position is a string of digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_a_string_of_digits_outside() {
        let position = LogPosition(9_007_199_254_740_993);
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(json, "\"9007199254740993\"");
        assert_eq!(serde_json::from_str::<LogPosition>(&json).unwrap(), position);
        assert!(serde_json::from_str::<LogPosition>("7").is_err());
        assert!(serde_json::from_str::<LogPosition>("\"-7\"").is_err());
    }

    #[test]
    fn a_position_no_log_can_reach_stays_beyond_every_head() {
        assert_eq!(LogPosition(u64::MAX).to_sql(), i64::MAX);
    }
}
