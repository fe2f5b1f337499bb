//! What can happen to a market.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::Quantity;
use crate::ids::{AccountId, OrderId, PortfolioId, TradeId};
use crate::market::Instrument;
use crate::order::OrderSide;
use crate::price::Price;
use crate::refusal::Code;

/// A fact about one market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum MarketEvent {
    /// The market exists and trades.
    InstrumentRegistered { instrument: Instrument },
    /// No order reaches the book and no fill happens from now on.
    TradingHalted { reason: String },
    /// Trading again.
    TradingResumed { reason: String },
    /// An order rests in the book, behind those of the same price.
    OrderBooked {
        order_id: OrderId,
        portfolio_id: PortfolioId,
        account_id: AccountId,
        owner: String,
        side: OrderSide,
        price: Price,
        quantity: Quantity,
    },
    /// A resting order (maker) and an incoming one (taker) traded at the maker's price.
    TradeExecuted {
        trade_id: TradeId,
        maker_order_id: OrderId,
        taker_order_id: OrderId,
        taker_side: OrderSide,
        price: Price,
        quantity: Quantity,
        /// What still rests of the maker's order (zero: it has left the book).
        maker_remaining: Quantity,
    },
    /// A resting order left the book without trading.
    OrderUnbooked { order_id: OrderId, code: Code },
}

crate::domain_event!(Market: MarketEvent {
    InstrumentRegistered,
    TradingHalted,
    TradingResumed,
    OrderBooked,
    TradeExecuted,
    OrderUnbooked,
});
