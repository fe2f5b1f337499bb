//! Exact decimal numbers as people write them, before they are tied to an asset.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::asset::Asset;
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

/// A number as text: `units × 10^-scale` with exactly `scale` digits after the point. Nothing is ever written as minus zero.
///
/// It takes no memory of its own, because every event has some.
pub(crate) struct NumberText {
    /// Filled from the end.
    bytes: [u8; NumberText::LONGEST],
    start: usize,
}

impl NumberText {
    /// A sign, the digits of an `i128`, a point, the most digits that a scale can ask for, a space and an asset.
    const LONGEST: usize = 1 + 39 + 1 + u8::MAX as usize + 1 + Asset::MAX_LENGTH;

    /// The number, followed by its asset if there is one: `12.50 USD`.
    pub(crate) fn new(units: i128, scale: u8, asset: Option<&Asset>) -> Self {
        let mut text = Self { bytes: [0; Self::LONGEST], start: Self::LONGEST };
        if let Some(asset) = asset {
            asset.code().bytes().rev().for_each(|byte| text.put_before(byte));
            text.put_before(b' ');
        }
        text.put_digits(units.unsigned_abs(), scale);
        if units < 0 {
            text.put_before(b'-');
        }
        text
    }

    fn put_digits(&mut self, units: u128, scale: u8) {
        // Nearly all numbers fit 64 bits, which divide much quicker.
        let (mut large, mut small) = match u64::try_from(units) {
            Ok(small) => (0, small),
            Err(_) => (units, 0),
        };
        for place in 0.. {
            // At least one digit before the point.
            if place > u16::from(scale) && large == 0 && small == 0 {
                break;
            }
            if place == u16::from(scale) && place > 0 {
                self.put_before(b'.');
            }
            if large > 0 {
                self.put_before(b'0' + (large % 10) as u8);
                large /= 10;
            } else {
                self.put_before(b'0' + (small % 10) as u8);
                small /= 10;
            }
        }
    }

    fn put_before(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}

impl Decimal {
    fn text(&self) -> NumberText {
        NumberText::new(self.units, self.scale, None)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text().as_str())
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text().as_str())
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
