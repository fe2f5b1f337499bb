//! Rates: fees and bands, as exact fractions of one.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::{Amount, Kind};
use crate::decimal::Decimal;
use crate::refusal::{Code, Refusal};
use crate::rounding::{Rounding, mul_div};

/// A fraction from 0 to 1 in steps of one hundred-millionth: a hundredth of a basis point is `0.000001`.
/// As JSON a string: `"0.001"` is ten basis points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Rate(u32);

impl Rate {
    /// Nothing.
    pub const ZERO: Rate = Rate(0);
    /// The units that make one.
    pub const ONE_UNITS: u32 = 100_000_000;

    /// The fraction a decimal number says.
    ///
    /// # Errors
    /// [`Code::MalformedInput`] unless it lies from 0 to 1; [`Code::TooManyDecimals`].
    pub fn from_fraction(number: Decimal) -> Result<Self, Refusal> {
        let units = number.units_at(8)?;
        match u32::try_from(units) {
            Ok(units) if units <= Self::ONE_UNITS => Ok(Self(units)),
            _ => Err(Refusal::new(Code::MalformedInput, "a rate must lie from 0 to 1")),
        }
    }

    /// The fraction a number of basis points says: 10 is one thousandth.
    ///
    /// # Errors
    /// As [`Rate::from_fraction`], with at most four digits after the point.
    pub fn from_basis_points(number: Decimal) -> Result<Self, Refusal> {
        let units = number.units_at(4)?;
        match u32::try_from(units) {
            Ok(units) if units <= Self::ONE_UNITS => Ok(Self(units)),
            _ => Err(Refusal::new(Code::MalformedInput, "a fee must lie from 0 to 10000 basis points")),
        }
    }

    /// This fraction of an amount, rounded as said: a fee is rounded up.
    ///
    /// # Errors
    /// [`Code::TickAndLotTooFine`] if [`Rounding::Exact`] does not hold.
    pub fn of<K: Kind>(self, amount: Amount<K>, rounding: Rounding) -> Result<Amount<K>, Refusal> {
        let units = mul_div(amount.units(), i128::from(self.0), i128::from(Self::ONE_UNITS), rounding)?;
        Amount::from_units(amount.asset(), units)
    }

    /// In parts of one hundred million.
    pub fn units(self) -> u32 {
        self.0
    }

    /// As a fraction of one.
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(i128::from(self.0), 8)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_decimal(), f)
    }
}

impl FromStr for Rate {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::from_fraction(text.parse()?)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_decimal().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[01](\.[0-9]{1,8})?$",
            "description": "A fraction from 0 to 1, for example \"0.001\" for ten basis points."
        })
    }
}
