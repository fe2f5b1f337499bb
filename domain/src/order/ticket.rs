//! What an order needs before it may trade, by its ticket and terms.

use crate::amount::{Money, Quantity};
use crate::order::{FeeAccrual, OrderSide, OrderTicket, OrderType, TimeInForce};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};
use crate::rounding::Rounding;

/// What must be set aside for an order, and what it is worth to the limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirements {
    /// Cash to hold, of a buy: quantity times the worst price and the worst fee, or the whole quote quantity.
    pub cash: Option<Money>,
    /// Base asset to reserve, of a sale: the quantity, or what the quote quantity comes to at the worst price.
    pub quantity: Option<Quantity>,
    /// The notional at the worst price, or the quote quantity.
    pub notional: Money,
}

impl OrderType {
    /// How long an order of this type lives when `asked` was asked for: MARKET is immediate-or-cancel and LIMIT_MAKER
    /// good-till-canceled whatever was said.
    #[must_use]
    pub fn time_in_force(self, asked: TimeInForce) -> TimeInForce {
        match self {
            Self::Limit => asked,
            Self::Market => TimeInForce::Ioc,
            Self::LimitMaker => TimeInForce::Gtc,
        }
    }
}

impl OrderSide {
    /// The other side.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// Whether an order of this side with `limit` as its worst price may trade at `price`.
    pub fn allows(self, limit: Price, price: Price) -> bool {
        match self {
            Self::Buy => price <= limit,
            Self::Sell => price >= limit,
        }
    }
}

impl OrderTicket {
    /// What the order needs: `price_bound` is the worst price of an order without a limit price.
    ///
    /// # Errors
    /// [`Code::NoReferencePrice`] without either price, [`Code::InvalidOrder`] without either quantity,
    /// [`Code::AmountOutOfRange`].
    pub fn requirements(
        &self,
        price_bound: Option<Price>,
        maker_fee: Rate,
        taker_fee: Rate,
    ) -> Result<Requirements, Refusal> {
        let worst = self.limit_price.or(price_bound).ok_or_else(|| {
            Refusal::new(Code::NoReferencePrice, "there is no price from which the order could be valued")
        })?;
        let nothing = FeeAccrual::default();
        match (self.side, self.quantity, self.quote_quantity) {
            (OrderSide::Buy, Some(quantity), _) => {
                let notional = worst.notional(quantity, self.quote, Rounding::Exact)?;
                let fee = nothing.with(notional, maker_fee.max(taker_fee))?.rounded_up(self.quote)?;
                Ok(Requirements { cash: Some(notional.plus(fee)?), quantity: None, notional })
            }
            (OrderSide::Buy, None, Some(budget)) => {
                Ok(Requirements { cash: Some(budget), quantity: None, notional: budget })
            }
            (OrderSide::Sell, Some(quantity), _) => {
                let notional = worst.notional(quantity, self.quote, Rounding::Exact)?;
                Ok(Requirements { cash: None, quantity: Some(quantity), notional })
            }
            (OrderSide::Sell, None, Some(budget)) => {
                let quantity = worst.affordable(budget, self.lot_size)?;
                Ok(Requirements { cash: None, quantity: Some(quantity), notional: budget })
            }
            (_, None, None) => {
                Err(Refusal::new(Code::InvalidOrder, "an order needs a quantity or a quote quantity"))
            }
        }
    }
}
