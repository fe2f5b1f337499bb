//! Exact decimal numbers as people write them, before they are tied to an asset.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::refusal::{Code, Refusal};

/// An exact decimal number: `units × 10^-scale`, kept without trailing zeros, so equal numbers are equal values.
///
/// Every number of 38 significant digits fits, with at most 18 digits after the point; no exponent, no leading `+`. It knows no arithmetic:
/// it is what crosses the border, and becomes [`crate::Money`], [`crate::Quantity`], [`crate::Price`] or [`crate::Rate`] inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decimal {
    units: i128,
    scale: u8,
}

/// The most digits after the point that any number may have.
pub const MAX_SCALE: u8 = 18;
/// The longest text that is looked at.
const MAX_TEXT: usize = 64;

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal { units: 0, scale: 0 };

    /// `units × 10^-scale`, with trailing zeros removed.
    pub fn new(units: i128, scale: u8) -> Self {
        let (mut units, mut scale) = (units, scale);
        while scale > 0 && units % 10 == 0 {
            units /= 10;
            scale -= 1;
        }
        Self { units, scale }
    }

    /// The number in units of `10^-scale`.
    ///
    /// # Errors
    /// [`Code::TooManyDecimals`] if that is not a whole number, [`Code::AmountOutOfRange`] if it does not fit.
    pub fn units_at(self, scale: u8) -> Result<i128, Refusal> {
        let Some(more) = scale.checked_sub(self.scale) else {
            return Err(Refusal::new(
                Code::TooManyDecimals,
                format!("{self} has more than the {scale} digits after the point that are allowed here"),
            ));
        };
        10i128
            .checked_pow(u32::from(more))
            .and_then(|factor| self.units.checked_mul(factor))
            .ok_or_else(|| Refusal::new(Code::AmountOutOfRange, format!("{self} is too large")))
    }

    /// Digits after the point.
    pub fn scale(self) -> u8 {
        self.scale
    }
}

impl FromStr for Decimal {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let invalid = || {
            Refusal::new(Code::InvalidAmount, "expected a decimal number such as \"12.50\", without exponent")
        };
        if text.len() > MAX_TEXT {
            return Err(Refusal::new(
                Code::AmountOutOfRange,
                format!("a number may have at most {MAX_TEXT} characters"),
            ));
        }
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
            Some(_) => return Err(invalid()),
            None => (digits, ""),
        };
        if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > usize::from(MAX_SCALE) {
            return Err(Refusal::new(
                Code::TooManyDecimals,
                format!("at most {MAX_SCALE} digits may follow the point"),
            ));
        }
        let mut units: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            let digit = i128::from(byte - b'0');
            units = units
                .checked_mul(10)
                .and_then(|u| if negative { u.checked_sub(digit) } else { u.checked_add(digit) })
                .ok_or_else(|| Refusal::new(Code::AmountOutOfRange, "the number is too large"))?;
        }
        Ok(Self::new(units, fraction.len() as u8))
    }
}

/// Writes `units × 10^-scale` with exactly `scale` digits after the point. Nothing is ever written as minus zero.
pub(crate) fn write_units(f: &mut fmt::Formatter<'_>, units: i128, scale: u8) -> fmt::Result {
    let sign = if units < 0 { "-" } else { "" };
    let scale = usize::from(scale);
    // At least one digit before the point.
    let digits = format!("{:0>width$}", units.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    write!(f, "{sign}{whole}{point}{fraction}")
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_units(f, self.units, self.scale)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Decimal {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Decimal".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$" })
    }
}
