//! Prices: how much of the quote asset one of the base asset costs.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decimal::Decimal;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};
use crate::rounding::mul_div;

pub use crate::rounding::Rounding;

/// A price above or at zero: an exact decimal number of the quote asset for one whole base asset. The market it belongs
/// to says which assets these are. As JSON a string without trailing zeros, such as `"61837.63"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Price(i128);

/// Digits after the point in which prices are kept inside.
const SCALE: u8 = 12;
/// The largest price, in units of 10^-12.
pub const MAX_UNITS: i128 = 10i128.pow(36);

fn too_large() -> Refusal {
    Refusal::new(Code::AmountOutOfRange, "the price, or a result computed from it, is too large")
}

impl Price {
    /// Zero: no price at all, below every other.
    pub const ZERO: Price = Price(0);

    fn from_units(units: i128) -> Result<Self, Refusal> {
        if units < 0 {
            return Err(Refusal::new(Code::AmountNotPositive, "a price may not be below zero"));
        }
        if units > MAX_UNITS {
            return Err(too_large());
        }
        Ok(Self(units))
    }

    /// The price that a decimal number says.
    ///
    /// # Errors
    /// [`Code::AmountNotPositive`] unless above zero, [`Code::TooManyDecimals`] with more than 12 digits after the
    /// point, [`Code::AmountOutOfRange`].
    pub fn from_decimal(number: Decimal) -> Result<Self, Refusal> {
        let price = Self::from_units(number.units_at(SCALE)?)?;
        if price == Self::ZERO {
            return Err(Refusal::new(Code::AmountNotPositive, "a price must be above zero"));
        }
        Ok(price)
    }

    /// The number alone.
    pub fn to_decimal(self) -> Decimal {
        Decimal::new(self.0, SCALE)
    }

    /// Whether it is a whole multiple of `tick`.
    pub fn is_multiple_of(self, tick: Price) -> bool {
        tick.0 != 0 && self.0 % tick.0 == 0
    }

    /// The nearest multiple of `tick` that is not above this price.
    #[must_use]
    pub fn floor_to(self, tick: Price) -> Self {
        if tick.0 == 0 { self } else { Self(self.0 - self.0 % tick.0) }
    }

    /// The nearest multiple of `tick` that is not below this price.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn ceil_to(self, tick: Price) -> Result<Self, Refusal> {
        let floor = self.floor_to(tick);
        if floor == self {
            return Ok(self);
        }
        Self::from_units(floor.0.checked_add(tick.0).ok_or_else(too_large)?)
    }

    /// This price times `1 + by` (`by` in parts of one hundred million, may be negative), not yet on a tick and never below
    /// zero. It is rounded towards this price, so a price lies within a band exactly if it lies within what this gives.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn moved_by(self, by: i64) -> Result<Self, Refusal> {
        let one = i128::from(Rate::ONE_UNITS);
        let rounding = if by < 0 { Rounding::Up } else { Rounding::Down };
        Self::from_units(mul_div(self.0, (one + i128::from(by)).max(0), one, rounding)?)
    }

    /// The price half-way to another, rounded down at the twelfth digit.
    #[must_use]
    pub fn middle(self, other: Self) -> Self {
        Self(i128::midpoint(self.0, other.0))
    }

    /// What `quantity` costs at this price in `quote`, rounded as said. On a registered market a price on the tick times
    /// a quantity on the lot is always exact.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`]; [`Code::TickAndLotTooFine`] if [`Rounding::Exact`] does not hold.
    pub fn notional(self, quantity: Quantity, quote: Asset, rounding: Rounding) -> Result<Money, Refusal> {
        let (up, down) = conversion(quantity.asset(), quote);
        let scaled = quantity.units().checked_mul(up).ok_or_else(too_large)?;
        Money::from_units(quote, mul_div(self.0, scaled, down, rounding)?)
    }

    /// The largest multiple of `lot` whose notional does not exceed `budget`; none if the budget is below zero.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`]; [`Code::NoReferencePrice`] at price zero or a lot of nothing.
    pub fn affordable(self, budget: Money, lot: Quantity) -> Result<Quantity, Refusal> {
        let (up, down) = conversion(lot.asset(), budget.asset());
        let lot_costs = self.0.checked_mul(lot.units()).and_then(|product| product.checked_mul(up));
        let lot_costs = lot_costs.ok_or_else(too_large)?;
        if lot_costs <= 0 {
            return Err(Refusal::new(Code::NoReferencePrice, "there is no price to compute a quantity from"));
        }
        let lots = mul_div(budget.units().max(0), down, lot_costs, Rounding::Down)?;
        Quantity::from_units(lot.asset(), lots.checked_mul(lot.units()).ok_or_else(too_large)?)
    }
}

/// The factor and the divisor that turn price units times quantity units into units of the quote asset:
/// `10^quote / 10^(12 + base)` without the powers of ten that both have.
fn conversion(base: Asset, quote: Asset) -> (i128, i128) {
    let down = u32::from(SCALE) + u32::from(base.scale());
    let up = u32::from(quote.scale());
    let common = down.min(up);
    // Scales of assets are at most 8, so the larger of these is 10^20.
    (10i128.pow(up - common), 10i128.pow(down - common))
}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_decimal(), f)
    }
}

impl FromStr for Price {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::from_decimal(text.parse()?)
    }
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_decimal().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Unlike people, events may say zero: the floor of a sale that takes any price.
        let number = Decimal::deserialize(deserializer)?;
        number.units_at(SCALE).and_then(Self::from_units).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Price {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Price".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^[0-9]+(\.[0-9]+)?$",
            "description": "Quote asset for one whole base asset, for example \"61837.63\"."
        })
    }
}
