//! A market as its events have made it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::Symbol;
use crate::market::{MarketCommand, MarketEvent};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};

/// Where a market's orders trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Venue {
    /// In our own order book.
    Internal,
    /// Against the observed book of an outside market.
    Paper,
}

/// Whether a market trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MarketStatus {
    /// It does.
    Trading,
    /// It does not.
    Halted,
}

/// What is traded and within which filters and fees. `tick_size × lot_size` fits the quote asset's scale, so every
/// notional is exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instrument {
    /// `BASE-QUOTE`.
    pub symbol: Symbol,
    /// What is bought and sold.
    pub base: Asset,
    /// What it is paid in.
    pub quote: Asset,
    /// Where orders trade.
    pub venue: Venue,
    /// Prices are multiples of this.
    pub tick_size: Price,
    /// Quantities are multiples of this.
    pub lot_size: Quantity,
    /// The least quantity of an order.
    pub min_quantity: Quantity,
    /// The greatest quantity of an order.
    pub max_quantity: Quantity,
    /// The least notional of an order (zero or more).
    pub min_notional: Money,
    /// Fee of the maker.
    pub maker_fee: Rate,
    /// Fee of the taker.
    pub taker_fee: Rate,
    /// How far a limit price may lie from the reference price, as a fraction; absent: no band.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_band: Option<Rate>,
}

/// A market; `None` inside before it was registered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Market {
    registered: Option<Registered>,
}

/// What is known of a market since it was registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// What is traded and how.
    pub instrument: Instrument,
    /// Whether it trades.
    pub status: MarketStatus,
    /// How many trades there were.
    pub trade_count: u64,
    /// Price of the last trade.
    pub last_price: Option<Price>,
}

impl Market {
    /// The market, if it was registered.
    ///
    /// # Errors
    /// [`Code::MarketNotFound`].
    pub fn registered(&self) -> Result<&Registered, Refusal> {
        self.registered.as_ref().ok_or_else(|| Refusal::new(Code::MarketNotFound, "there is no such market"))
    }
}

impl Decider for Market {
    const TYPE: &'static str = "market";
    type Command = MarketCommand;
    type Event = MarketEvent;

    fn decide(&self, _command: &MarketCommand, _now: Timestamp) -> Result<Vec<MarketEvent>, Refusal> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _event: &MarketEvent) {}
}
