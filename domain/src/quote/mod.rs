//! Quotes: what was observed of an outside market, one window of time after the other.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{Money, Quantity};
use crate::decider::Decider;
use crate::ids::Symbol;
use crate::order::OrderSide;
use crate::price::Price;
use crate::refusal::Refusal;

/// What trades of one window come to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TradedWindow {
    /// Price of the first trade.
    pub open: Price,
    /// The highest.
    pub high: Price,
    /// The lowest.
    pub low: Price,
    /// Price of the last trade.
    pub close: Price,
    /// Base asset traded: an exact sum.
    pub volume: Quantity,
    /// Quote asset traded: an exact sum of price times quantity.
    pub quote_volume: Money,
    /// How many trades.
    pub trade_count: u32,
}

/// The best level of one side of a book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BestLevel {
    /// Its price.
    pub price: Price,
    /// The quantity there, in the base asset.
    pub quantity: Quantity,
}

/// One window of an outside market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObservedWindow {
    /// The market.
    pub symbol: Symbol,
    /// The feed, for example `binance-spot/btcusdt-20240808`.
    pub feed: String,
    /// Which time the recording was playing, from 1; 0 on a live feed.
    pub pass: u64,
    /// Start of the window, in the time of the present.
    pub opened_at: Timestamp,
    /// Its length in milliseconds.
    pub length_ms: u32,
    /// Best bid at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bid: Option<BestLevel>,
    /// Best ask at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<BestLevel>,
    /// What was traded, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traded: Option<TradedWindow>,
}

/// A request to the quote of one market.
#[derive(Clone, Debug, PartialEq)]
pub enum QuoteCommand {
    /// Write a window down. One that is not after the last one is left out, so a feed may repeat itself.
    Observe {
        /// What was observed.
        window: ObservedWindow,
    },
}

/// A fact about an outside market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum QuoteEvent {
    /// A window in which something changed.
    PriceObserved {
        /// What was observed.
        window: ObservedWindow,
    },
}

crate::domain_event!(Quote: QuoteEvent { PriceObserved });

/// What is known of an outside market.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// Best bid at the end of the last window.
    pub bid: Option<BestLevel>,
    /// Best ask at the end of the last window.
    pub ask: Option<BestLevel>,
    /// Price of the last trade.
    pub last_price: Option<Price>,
    /// Start of the last window.
    pub opened_at: Option<Timestamp>,
}

impl Quote {
    /// What orders are measured by: the middle of the last observed best bid and ask, else the price of the last trade,
    /// else the one side there is.
    pub fn reference_price(&self) -> Option<Price> {
        match (&self.bid, &self.ask) {
            (Some(bid), Some(ask)) => Some(bid.price.middle(ask.price)),
            (bid, ask) => self.last_price.or(bid.as_ref().or(ask.as_ref()).map(|level| level.price)),
        }
    }

    /// The best observed price an order of `side` can meet.
    pub fn best_opposite(&self, side: OrderSide) -> Option<Price> {
        let level = match side {
            OrderSide::Buy => &self.ask,
            OrderSide::Sell => &self.bid,
        };
        level.as_ref().map(|level| level.price)
    }
}

impl Decider for Quote {
    const TYPE: &'static str = "quote";
    type Command = QuoteCommand;
    type Event = QuoteEvent;

    fn decide(&self, command: &QuoteCommand, _now: Timestamp) -> Result<Vec<QuoteEvent>, Refusal> {
        let QuoteCommand::Observe { window } = command;
        if self.opened_at.is_some_and(|last| window.opened_at <= last) {
            return Ok(Vec::new());
        }
        Ok(vec![QuoteEvent::PriceObserved { window: window.clone() }])
    }

    fn apply(&mut self, event: &QuoteEvent) {
        let QuoteEvent::PriceObserved { window } = event;
        self.opened_at = Some(window.opened_at);
        self.bid.clone_from(&window.bid);
        self.ask.clone_from(&window.ask);
        if let Some(traded) = &window.traded {
            self.last_price = Some(traded.close);
        }
    }
}

crate::bridge_to_cqrs_es!(Quote, QuoteCommand, QuoteEvent);
