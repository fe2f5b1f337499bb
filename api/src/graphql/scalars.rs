//! The schema's scalars: what a JSON value must be to count as one, and how one is written.

use async_graphql::{InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{Datelike as _, SecondsFormat, Utc};
use domain::{Code, Money, Price, Quantity, Refusal, Timestamp};

/// An exact decimal number as a string, without exponent. A JSON number is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(pub String);

/// Any string passes here; whether it is a number is said as a refusal with the field's path, see [`Decimal::parse`].
#[Scalar]
impl ScalarType for Decimal {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(_))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl Decimal {
    /// The number it says.
    ///
    /// # Errors
    /// [`Code::InvalidAmount`], [`Code::TooManyDecimals`], [`Code::AmountOutOfRange`].
    pub fn parse(&self) -> Result<domain::Decimal, Refusal> {
        self.0.parse()
    }
}

impl From<Money> for Decimal {
    fn from(amount: Money) -> Self {
        Self(amount.number())
    }
}

impl From<Quantity> for Decimal {
    fn from(amount: Quantity) -> Self {
        Self(amount.number())
    }
}

impl From<Price> for Decimal {
    fn from(price: Price) -> Self {
        Self(price.to_string())
    }
}

impl From<domain::Decimal> for Decimal {
    fn from(number: domain::Decimal) -> Self {
        Self(number.to_string())
    }
}

/// RFC 3339, UTC, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DateTime(pub Timestamp);

impl DateTime {
    fn read(text: &str) -> Option<Self> {
        // Long enough for any offset and nine digits of a second; nothing longer is looked at.
        if text.len() > 40 {
            return None;
        }
        let moment = chrono::DateTime::parse_from_rfc3339(text).ok()?.with_timezone(&Utc);
        let moment = chrono::DateTime::from_timestamp_micros(moment.timestamp_micros())?;
        // An offset or a leap second can lead out of the years that RFC 3339 and PostgreSQL write with four digits.
        (1..=9999).contains(&moment.year()).then_some(Self(moment))
    }
}

#[Scalar]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => Self::read(text).ok_or_else(|| {
                InputValueError::custom("expected a moment as RFC 3339, for example \"2026-01-31T12:00:00Z\"")
            }),
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if Self::read(text).is_some())
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl From<Timestamp> for DateTime {
    fn from(moment: Timestamp) -> Self {
        Self(moment)
    }
}

fn digits(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A place in the event log, as a string of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogPosition(pub event_store::LogPosition);

#[Scalar]
impl ScalarType for LogPosition {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) if digits(text) => {
                // A position that no log can reach is beyond every head.
                Ok(Self(text.parse().unwrap_or(event_store::LogPosition(u64::MAX))))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if digits(text))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_string())
    }
}

impl From<event_store::LogPosition> for LogPosition {
    fn from(position: event_store::LogPosition) -> Self {
        Self(position)
    }
}

/// An integer of any size, as a string of digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BigInt(pub String);

#[Scalar]
impl ScalarType for BigInt {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) if digits(text.strip_prefix('-').unwrap_or(&text)) => Ok(Self(text)),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn is_valid(value: &Value) -> bool {
        matches!(value, Value::String(text) if digits(text.strip_prefix('-').unwrap_or(text)))
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.clone())
    }
}

impl From<u64> for BigInt {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

/// Any JSON value.
#[derive(Clone, Debug, PartialEq)]
pub struct Json(pub serde_json::Value);

#[Scalar(name = "JSON")]
impl ScalarType for Json {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value.into_json() {
            Ok(json) => Ok(Self(json)),
            Err(error) => Err(InputValueError::custom(error)),
        }
    }

    fn to_value(&self) -> Value {
        Value::from_json(self.0.clone()).unwrap_or_default()
    }
}

/// The message for an input that is not a string of digits or a decimal number.
pub fn malformed(field: &str, what: &str) -> Refusal {
    Refusal::new(Code::MalformedInput, format!("expected {what}")).at(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_number_is_not_a_decimal() {
        assert!(!Decimal::is_valid(&Value::from(12.5)));
        assert!(!Decimal::is_valid(&Value::from(12)));
        assert!(!Decimal::is_valid(&Value::Null));
        assert!(Decimal::is_valid(&Value::from("12.50")));
    }

    #[test]
    fn times_are_utc_to_the_microsecond() {
        let time = <DateTime as ScalarType>::parse(Value::from("2026-01-31T13:00:00.1234567+01:00")).unwrap();
        assert_eq!(time.to_value(), Value::from("2026-01-31T12:00:00.123456Z"));
        for wrong in ["", "yesterday", "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-31T12:00:00"] {
            assert!(!DateTime::is_valid(&Value::from(wrong)), "{wrong}");
        }
    }

    #[test]
    fn times_stay_within_the_years_of_four_digits() {
        for right in ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2016-12-31T23:59:60Z"] {
            assert!(DateTime::is_valid(&Value::from(right)), "{right}");
        }
        for wrong in ["9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "0000-06-01T00:00:00Z"] {
            assert!(!DateTime::is_valid(&Value::from(wrong)), "{wrong}");
        }
    }

    #[test]
    fn positions_are_strings_of_digits_and_of_any_length() {
        assert!(LogPosition::is_valid(&Value::from("7")));
        for wrong in
            [Value::from(7), Value::from("-7"), Value::from("0x7"), Value::from(""), Value::from("7 ")]
        {
            assert!(!LogPosition::is_valid(&wrong), "{wrong}");
        }
        let far = <LogPosition as ScalarType>::parse(Value::from("99999999999999999999999")).unwrap();
        assert_eq!(far.0, event_store::LogPosition(u64::MAX));
    }
}
