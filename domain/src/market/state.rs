//! A market as its events have made it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::Symbol;
use crate::market::{Book, MarketCommand, MarketEvent, RestingOrder};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};
use crate::text::{MAX_REFERENCE, clean_name};

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
    /// Resting orders; empty unless the venue is internal.
    pub book: Book,
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

impl Registered {
    /// What an internal market's orders are measured by: the price of the last trade, else the middle of the book, else the
    /// one side there is. A paper market's reference is that of its [`crate::quote::Quote`].
    pub fn reference_price(&self) -> Option<Price> {
        self.last_price.or_else(|| match (self.book.best_bid(), self.book.best_ask()) {
            (Some(bid), Some(ask)) => Some(bid.middle(ask)),
            (bid, ask) => bid.or(ask),
        })
    }
}

impl Decider for Market {
    const TYPE: &'static str = "market";
    type Command = MarketCommand;
    type Event = MarketEvent;

    fn decide(&self, command: &MarketCommand, _now: Timestamp) -> Result<Vec<MarketEvent>, Refusal> {
        match command {
            MarketCommand::Register { instrument } => {
                if self.registered.is_some() {
                    let message = format!("there is a market {} already", instrument.symbol);
                    return Err(Refusal::new(Code::AlreadyExists, message).at("symbol"));
                }
                instrument.check()?;
                Ok(vec![MarketEvent::InstrumentRegistered { instrument: instrument.clone() }])
            }
            MarketCommand::Halt { reason } => {
                if self.registered()?.status == MarketStatus::Halted {
                    return Err(Refusal::new(Code::MarketHalted, "the market is halted already"));
                }
                let reason = clean_name(reason.clone(), MAX_REFERENCE).map_err(|r| r.at("reason"))?;
                Ok(vec![MarketEvent::TradingHalted { reason }])
            }
            MarketCommand::Resume { reason } => {
                if self.registered()?.status == MarketStatus::Trading {
                    return Err(Refusal::new(Code::MarketNotHalted, "the market is not halted"));
                }
                let reason = clean_name(reason.clone(), MAX_REFERENCE).map_err(|r| r.at("reason"))?;
                Ok(vec![MarketEvent::TradingResumed { reason }])
            }
            MarketCommand::Match { order, barred } => {
                Ok(self.registered()?.match_incoming(order, barred)?.events)
            }
            MarketCommand::Unbook { order_id, code } => Ok(match self.registered()?.book.get(order_id) {
                Some(_) => vec![MarketEvent::OrderUnbooked { order_id: order_id.clone(), code: *code }],
                None => Vec::new(),
            }),
        }
    }

    fn apply(&mut self, event: &MarketEvent) {
        if let MarketEvent::InstrumentRegistered { instrument } = event {
            self.registered = Some(Registered {
                instrument: instrument.clone(),
                status: MarketStatus::Trading,
                trade_count: 0,
                last_price: None,
                book: Book::default(),
            });
        } else if let Some(registered) = &mut self.registered {
            registered.apply(event);
        }
    }
}

impl Registered {
    fn apply(&mut self, event: &MarketEvent) {
        match event {
            MarketEvent::InstrumentRegistered { .. } => {}
            MarketEvent::TradingHalted { .. } => self.status = MarketStatus::Halted,
            MarketEvent::TradingResumed { .. } => self.status = MarketStatus::Trading,
            MarketEvent::OrderBooked { order_id, portfolio_id, account_id, owner, side, price, quantity } => {
                let order = RestingOrder {
                    order_id: order_id.clone(),
                    portfolio_id: portfolio_id.clone(),
                    account_id: account_id.clone(),
                    owner: owner.as_str().into(),
                    quantity: *quantity,
                };
                self.book.insert(*side, *price, order);
            }
            MarketEvent::TradeExecuted { maker_order_id, price, maker_remaining, .. } => {
                self.trade_count += 1;
                self.last_price = Some(*price);
                self.book.leave(maker_order_id, *maker_remaining);
            }
            MarketEvent::OrderUnbooked { order_id, .. } => self.book.remove(order_id),
        }
    }
}
