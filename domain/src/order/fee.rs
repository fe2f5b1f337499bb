//! What an order's fills owe in fees, and what an order by quote quantity can still afford.
//!
//! The fee of a fill is `ceil(Σ rateᵢ × notionalᵢ over all fills, this one too) − the fees charged before`. So the fees of
//! an order are rounded up once, not once a fill, and never exceed the fee that was held for it at the start.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::{MAX_UNITS, Money, Quantity};
use crate::asset::Asset;
use crate::order::OrderSide;
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};
use crate::rounding::{Rounding, mul_div};

const ONE: i128 = Rate::ONE_UNITS as i128;

fn too_large() -> Refusal {
    Refusal::new(Code::AmountOutOfRange, "the order's notional or fee is too large to be computed")
}

/// The exact sum of `rate × notional` over fills: a whole number of hundred-millionths of the quote asset's smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeeAccrual(i128);

impl FeeAccrual {
    /// With one more fill.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn with(self, notional: Money, rate: Rate) -> Result<Self, Refusal> {
        let more = notional.units().checked_mul(i128::from(rate.units())).ok_or_else(too_large)?;
        self.0.checked_add(more).map(Self).ok_or_else(too_large)
    }

    /// The sum in whole smallest units of `quote`, rounded up.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn rounded_up(self, quote: Asset) -> Result<Money, Refusal> {
        Money::from_units(quote, mul_div(self.0, 1, ONE, Rounding::Up)?)
    }
}

impl Serialize for FeeAccrual {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FeeAccrual {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The quote quantity of an order, and what its fills have used of it.
///
/// A buy uses its notional and its fees as they add up; a sale its notional alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuoteBudget {
    side: OrderSide,
    total: Money,
    traded: Money,
    fees: FeeAccrual,
}

impl QuoteBudget {
    /// The whole quote quantity.
    pub fn new(side: OrderSide, total: Money) -> Self {
        Self::after(side, total, Money::zero(total.asset()), FeeAccrual::default())
    }

    /// The quote quantity after fills of `traded` in notional, with their fees.
    pub fn after(side: OrderSide, total: Money, traded: Money, fees: FeeAccrual) -> Self {
        Self { side, total, traded, fees }
    }

    /// With one more fill.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`].
    pub fn with(self, notional: Money, rate: Rate) -> Result<Self, Refusal> {
        Ok(Self { traded: self.traded.plus(notional)?, fees: self.fees.with(notional, rate)?, ..self })
    }

    /// What no fill has used yet.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`] cannot happen while fills keep to the budget.
    pub fn left(self) -> Result<Money, Refusal> {
        let left = self.total.minus(self.traded)?;
        match self.side {
            OrderSide::Buy => left.minus(self.fees.rounded_up(self.total.asset())?),
            OrderSide::Sell => Ok(left),
        }
    }

    /// The most whole lots that can trade at `price` with what is left: with `B` left before fees, `F` the exact fees so
    /// far, `r` the rate and `n` the notional of one lot, a buy affords `floor((B − F) / (n × (1 + r)))` lots.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`]; [`Code::TickAndLotTooFine`] if the price is not on the market's tick.
    pub fn affords(self, price: Price, lot: Quantity, rate: Rate) -> Result<Quantity, Refusal> {
        let one_lot = price.notional(lot, self.total.asset(), Rounding::Exact)?.units();
        let left = self.total.minus(self.traded)?.units();
        let lots = match self.side {
            _ if one_lot <= 0 => 0,
            OrderSide::Sell => left.max(0) / one_lot,
            OrderSide::Buy => {
                let left = left.checked_mul(ONE).and_then(|left| left.checked_sub(self.fees.0));
                let one_lot = one_lot.checked_mul(ONE + i128::from(rate.units()));
                left.ok_or_else(too_large)?.max(0) / one_lot.ok_or_else(too_large)?
            }
        };
        Quantity::from_units(lot.asset(), lots.min(MAX_UNITS / lot.units().max(1)) * lot.units())
    }
}
