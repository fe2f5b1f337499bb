//! What a market can be asked.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use std::collections::BTreeSet;

use crate::amount::{Money, Quantity};
use crate::ids::{AccountId, OrderId, PortfolioId};
use crate::market::Instrument;
use crate::order::{OrderSide, SelfTradePrevention, TimeInForce};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::Code;

/// An order that comes to an internal market.
#[derive(Clone, Debug, PartialEq)]
pub struct IncomingOrder {
    /// Its id.
    pub order_id: OrderId,
    /// Holds what is sold and gets what is bought.
    pub portfolio_id: PortfolioId,
    /// Pays and is paid.
    pub account_id: AccountId,
    /// Whose it is, for self-trade prevention.
    pub owner: String,
    /// Bought or sold.
    pub side: OrderSide,
    /// The worst price it may trade at.
    pub price: Price,
    /// How much of the base asset, at most.
    pub quantity: Quantity,
    /// How much of the quote asset at most, if it was placed by quote quantity; a buy's fees are part of it.
    pub quote_quantity: Option<Money>,
    /// Fee as taker.
    pub taker_fee: Rate,
    /// How long it lives.
    pub time_in_force: TimeInForce,
    /// What happens when it meets one of the same owner.
    pub self_trade_prevention: SelfTradePrevention,
}

/// A request to one market.
#[derive(Clone, Debug, PartialEq)]
pub enum MarketCommand {
    /// Open it for trading.
    Register { instrument: Instrument },
    /// Stop trading.
    Halt { reason: String },
    /// Trade again.
    Resume { reason: String },
    /// Internal venue: match an order and book what may rest. `barred` are resting orders whose account is frozen:
    /// they leave the book instead of trading.
    Match { order: IncomingOrder, barred: BTreeSet<OrderId> },
    /// Internal venue: take a resting order off the book.
    Unbook { order_id: OrderId, code: Code },
}
