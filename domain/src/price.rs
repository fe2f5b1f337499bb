//! Prices: how much of the quote asset one of the base asset costs.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::{Money, Quantity};
use crate::decimal::Decimal;
use crate::refusal::{Code, Refusal};

/// A price above or at zero: an exact decimal number of the quote asset for one whole base asset. The market it belongs
/// to says which assets these are. As JSON a string without trailing zeros, such as `"61837.63"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Price(i128);

/// Digits after the point in which prices are kept inside.
const SCALE: u8 = 12;
const ONE: i128 = 10i128.pow(SCALE as u32);

/// How a result that falls between two smallest units is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the smaller magnitude.
    Down,
    /// To the larger magnitude.
    Up,
    /// To the nearer; a tie goes to the even neighbour.
    HalfEven,
    /// Not at all: what does not divide is refused.
    Exact,
}

fn too_large() -> Refusal {
    Refusal::new(Code::AmountOutOfRange, "the price, or a result computed from it, is too large")
}

/// `numerator / denominator` with the rounding said. `denominator` is above zero.
///
/// # Errors
/// [`Code::TickAndLotTooFine`] if [`Rounding::Exact`] was asked for and it does not divide.
pub(crate) fn divide(numerator: i128, denominator: i128, rounding: Rounding) -> Result<i128, Refusal> {
    let (quotient, remainder) = (numerator / denominator, numerator % denominator);
    if remainder == 0 {
        return Ok(quotient);
    }
    let away = numerator.signum();
    Ok(match rounding {
        Rounding::Down => quotient,
        Rounding::Up => quotient + away,
        Rounding::HalfEven => {
            let rest = denominator.unsigned_abs() - remainder.unsigned_abs();
            match remainder.unsigned_abs().cmp(&rest) {
                std::cmp::Ordering::Less => quotient,
                std::cmp::Ordering::Greater => quotient + away,
                std::cmp::Ordering::Equal => quotient + if quotient % 2 == 0 { 0 } else { away },
            }
        }
        Rounding::Exact => {
            return Err(Refusal::new(Code::TickAndLotTooFine, "the result does not fit the asset's scale"));
        }
    })
}

impl Price {
    /// Zero: no price at all, below every other.
    pub const ZERO: Price = Price(0);

    /// The price that a decimal number says.
    ///
    /// # Errors
    /// [`Code::AmountNotPositive`] unless above zero, [`Code::TooManyDecimals`] with more than 12 digits after the
    /// point, [`Code::AmountOutOfRange`].
    pub fn from_decimal(number: Decimal) -> Result<Self, Refusal> {
        let units = number.units_at(SCALE)?;
        if units <= 0 {
            return Err(Refusal::new(Code::AmountNotPositive, "a price must be above zero"));
        }
        if units > crate::amount::MAX_UNITS {
            return Err(too_large());
        }
        Ok(Self(units))
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
        floor.0.checked_add(tick.0).map(Self).ok_or_else(too_large)
    }

    /// This price times `1 + by` (`by` in parts of one hundred million, may be negative), not yet on a tick.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn moved_by(self, by: i64) -> Result<Self, Refusal> {
        let factor = i128::from(crate::rate::Rate::ONE_UNITS) + i128::from(by);
        let units =
            self.0.checked_mul(factor).ok_or_else(too_large)? / i128::from(crate::rate::Rate::ONE_UNITS);
        Ok(Self(units.max(0)))
    }

    /// What `quantity` costs at this price in `quote`, rounded as said. On a registered market a price on the tick times
    /// a quantity on the lot is always exact.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`]; [`Code::TickAndLotTooFine`] if [`Rounding::Exact`] does not hold.
    pub fn notional(
        self,
        quantity: Quantity,
        quote: crate::Asset,
        rounding: Rounding,
    ) -> Result<Money, Refusal> {
        // units_quote = price_units/10^12 × quantity_units/10^base × 10^quote, common powers of ten removed first.
        let down = u32::from(SCALE) + u32::from(quantity.asset().scale());
        let up = u32::from(quote.scale());
        let common = down.min(up);
        let product = self.0.checked_mul(quantity.units());
        let (numerator, denominator) = match product.and_then(|p| p.checked_mul(10i128.pow(up - common))) {
            Some(numerator) => (numerator, 10i128.checked_pow(down - common).ok_or_else(too_large)?),
            None => return Err(too_large()),
        };
        Money::from_units(quote, divide(numerator, denominator, rounding)?)
    }

    /// The largest multiple of `lot` whose notional does not exceed `budget`.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`]; [`Code::NoReferencePrice`] at price zero.
    pub fn affordable(self, budget: Money, lot: Quantity) -> Result<Quantity, Refusal> {
        let base = lot.asset();
        let per_lot_numerator = self.0.checked_mul(lot.units()).ok_or_else(too_large)?;
        if per_lot_numerator <= 0 {
            return Err(Refusal::new(Code::NoReferencePrice, "there is no price to compute a quantity from"));
        }
        let down = u32::from(SCALE) + u32::from(base.scale());
        let up = u32::from(budget.asset().scale());
        let common = down.min(up);
        let budget_units = budget
            .units()
            .max(0)
            .checked_mul(10i128.checked_pow(down - common).ok_or_else(too_large)?)
            .ok_or_else(too_large)?;
        let per_lot = per_lot_numerator.checked_mul(10i128.pow(up - common)).ok_or_else(too_large)?;
        Quantity::from_units(base, (budget_units / per_lot).checked_mul(lot.units()).ok_or_else(too_large)?)
    }
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
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
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
