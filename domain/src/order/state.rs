//! An order as its events have made it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::{AccountId, HoldId, OrderId, PortfolioId, Symbol, TradeId};
use crate::market::Venue;
use crate::order::{OrderCommand, OrderEvent};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};

/// Whether the base asset is bought or sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderSide {
    /// Bought.
    Buy,
    /// Sold.
    Sell,
}

/// How the price of an order is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderType {
    /// At the limit price or better.
    Limit,
    /// At the best prices there are, at once.
    Market,
    /// At the limit price, and only as a maker.
    LimitMaker,
}

/// How long an order lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TimeInForce {
    /// Good till canceled.
    Gtc,
    /// Immediate or cancel.
    Ioc,
    /// Fill or kill.
    Fok,
}

/// What happens when an order would trade with one of the same owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SelfTradePrevention {
    /// They trade.
    None,
    /// The incoming one ends.
    ExpireTaker,
    /// The resting one ends.
    ExpireMaker,
    /// Both end.
    ExpireBoth,
}

/// Whether an order rested (maker) or came to trade (taker).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Liquidity {
    /// It rested.
    Maker,
    /// It came.
    Taker,
}

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum OrderStatus {
    /// Placed, not yet through risk.
    Pending,
    /// Accepted, nothing filled.
    New,
    /// Some filled, still open.
    PartiallyFilled,
    /// All filled.
    Filled,
    /// Taken back by the user.
    Canceled,
    /// Turned down by a risk stage.
    Rejected,
    /// Ended by the venue.
    Expired,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderTicket {
    /// Whose it is.
    pub owner: String,
    /// Holds what is sold and gets what is bought.
    pub portfolio_id: PortfolioId,
    /// Pays and is paid: the portfolio's cash account.
    pub account_id: AccountId,
    /// The market.
    pub symbol: Symbol,
    /// The market's venue.
    pub venue: Venue,
    /// The market's base asset.
    pub base: Asset,
    /// The market's quote asset.
    pub quote: Asset,
    /// The market's lot: fills are multiples of it.
    pub lot_size: Quantity,
    /// Bought or sold.
    pub side: OrderSide,
    /// How the price is found.
    #[serde(rename = "type")]
    pub order_type: OrderType,
    /// How long it lives; a MARKET order is IOC.
    pub time_in_force: TimeInForce,
    /// How much of the base asset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<Quantity>,
    /// Instead of a quantity, for how much of the quote asset: a buy spends at most this, fees included; a sale ends
    /// when the next lot would bring more than this in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quote_quantity: Option<Money>,
    /// The worst price it may trade at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_price: Option<Price>,
    /// What happens when it meets one of the same owner.
    pub self_trade_prevention: SelfTradePrevention,
    /// The caller's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<String>,
}

/// The terms under which an order was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The hold of a buy order.
    pub hold_id: Option<HoldId>,
    /// The quantity a sell order has set aside at first.
    pub reserved: Option<Quantity>,
    /// The worst price without a limit price.
    pub price_bound: Option<Price>,
    /// Fee as maker.
    pub maker_fee: Rate,
    /// Fee as taker.
    pub taker_fee: Rate,
}

/// An order; `None` inside before it was placed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    placed: Option<Placed>,
}

/// What is known of an order since it was placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    /// Its id.
    pub order_id: OrderId,
    /// What was asked for.
    pub ticket: OrderTicket,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// The terms, once accepted.
    pub accepted: Option<Accepted>,
    /// Base asset filled.
    pub filled_quantity: Quantity,
    /// Quote asset traded, without fees.
    pub filled_notional: Money,
    /// Fees charged.
    pub fees: Money,
    /// The trade of the last fill; fills of a stream are numbered, so an earlier one is known by its number.
    pub last_trade: Option<TradeId>,
    /// How many fills there were.
    pub fill_count: u64,
}

impl Order {
    /// The order, if it was placed.
    ///
    /// # Errors
    /// [`Code::OrderNotFound`].
    pub fn placed(&self) -> Result<&Placed, Refusal> {
        self.placed.as_ref().ok_or_else(|| Refusal::new(Code::OrderNotFound, "there is no such order"))
    }
}

impl Decider for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;

    fn decide(&self, _command: &OrderCommand, _now: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _event: &OrderEvent) {}
}
