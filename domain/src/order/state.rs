//! An order as its events have made it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{MAX_UNITS, Money, Quantity};
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::{AccountId, HoldId, OrderId, PortfolioId, Symbol, TradeId};
use crate::market::{IncomingOrder, Venue};
use crate::order::{FeeAccrual, OrderCommand, OrderEvent, QuoteBudget, RiskStage};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::{Code, Refusal};
use crate::rounding::Rounding;

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
    /// The last risk stage it passed.
    pub passed: Option<RiskStage>,
    /// The terms, once accepted.
    pub accepted: Option<Accepted>,
    /// Base asset filled.
    pub filled_quantity: Quantity,
    /// Quote asset traded, without fees.
    pub filled_notional: Money,
    /// Fees charged.
    pub fees: Money,
    /// Fees owed, before rounding.
    pub accrued: FeeAccrual,
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

impl Placed {
    /// Whether it is at its venue and can trade.
    pub fn is_open(&self) -> bool {
        matches!(self.status, OrderStatus::New | OrderStatus::PartiallyFilled)
    }

    /// The worst price it may trade at: its limit, or the bound of an accepted MARKET order.
    pub fn worst_price(&self) -> Option<Price> {
        self.ticket.limit_price.or(self.accepted.as_ref().and_then(|accepted| accepted.price_bound))
    }

    /// Base asset it may still trade at most: zero when it has ended, `None` for a buy by quote quantity, which only
    /// [`Placed::remaining_quote`] bounds.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`] cannot happen while fills keep to the order.
    pub fn remaining(&self) -> Result<Option<Quantity>, Refusal> {
        if !self.is_open() {
            return Ok(Some(Quantity::zero(self.ticket.base)));
        }
        let reserved = self.accepted.as_ref().and_then(|accepted| accepted.reserved);
        let whole = match self.ticket.side {
            OrderSide::Buy => self.ticket.quantity,
            OrderSide::Sell => self.ticket.quantity.or(reserved),
        };
        whole.map(|whole| whole.minus(self.filled_quantity)).transpose()
    }

    /// What is left of its quote quantity: zero when it has ended, `None` if it has no quote quantity.
    ///
    /// # Errors
    /// As [`Placed::remaining`].
    pub fn remaining_quote(&self) -> Result<Option<Money>, Refusal> {
        match self.budget() {
            Some(_) if !self.is_open() => Ok(Some(Money::zero(self.ticket.quote))),
            Some(budget) => budget.left().map(Some),
            None => Ok(None),
        }
    }

    /// Its quote quantity and what fills have used of it.
    pub fn budget(&self) -> Option<QuoteBudget> {
        let total = self.ticket.quote_quantity?;
        Some(QuoteBudget::after(self.ticket.side, total, self.filled_notional, self.accrued))
    }

    /// What must be held for what remains of a buy: `remaining × worst price`, and the fee of all fills with that as the
    /// last, rounded up, less the fees charged; or what is left of its quote quantity. Zero for a sale, before it is
    /// accepted and after it has ended.
    ///
    /// # Errors
    /// As [`Placed::remaining`].
    pub fn cash_required(&self) -> Result<Money, Refusal> {
        let nothing = Money::zero(self.ticket.quote);
        if self.ticket.side == OrderSide::Sell {
            return Ok(nothing);
        }
        if let Some(left) = self.remaining_quote()? {
            return Ok(left);
        }
        let Some(accepted) = self.accepted.as_ref().filter(|_| self.is_open()) else { return Ok(nothing) };
        let notional = self.committed_notional()?;
        let owed = self.accrued.with(notional, accepted.maker_fee.max(accepted.taker_fee))?;
        notional.plus(owed.rounded_up(self.ticket.quote)?.minus(self.fees)?)
    }

    /// What remains of a buy at its worst price, or of its quote quantity: what counts towards exposure. Zero for a sale
    /// and after it has ended.
    ///
    /// # Errors
    /// As [`Placed::remaining`].
    pub fn committed_notional(&self) -> Result<Money, Refusal> {
        if self.ticket.side == OrderSide::Sell {
            return Ok(Money::zero(self.ticket.quote));
        }
        if let Some(left) = self.remaining_quote()? {
            return Ok(left);
        }
        match (self.remaining()?, self.worst_price()) {
            (Some(remaining), Some(worst)) => worst.notional(remaining, self.ticket.quote, Rounding::Exact),
            _ => Ok(Money::zero(self.ticket.quote)),
        }
    }

    /// What must be reserved for what remains of a sale. Zero for a buy, before it is accepted and after it has ended.
    ///
    /// # Errors
    /// As [`Placed::remaining`].
    pub fn quantity_reserved(&self) -> Result<Quantity, Refusal> {
        let nothing = Quantity::zero(self.ticket.base);
        Ok(match self.ticket.side {
            OrderSide::Buy => nothing,
            OrderSide::Sell => self.remaining()?.unwrap_or(nothing),
        })
    }

    /// How much of `available` may fill at `price`, in whole lots: zero when the order is not open or the price is worse
    /// than it allows.
    ///
    /// # Errors
    /// [`Code::AmountOutOfRange`]; [`Code::TickAndLotTooFine`] if the price is not on the market's tick.
    pub fn fillable(
        &self,
        price: Price,
        available: Quantity,
        liquidity: Liquidity,
    ) -> Result<Quantity, Refusal> {
        let nothing = Quantity::zero(self.ticket.base);
        let (Some(accepted), Some(worst)) = (&self.accepted, self.worst_price()) else { return Ok(nothing) };
        if !self.is_open() || !self.ticket.side.allows(worst, price) {
            return Ok(nothing);
        }
        let mut most = available;
        if let Some(remaining) = self.remaining()? {
            most = most.min(remaining)?;
        }
        if let Some(budget) = self.budget() {
            most = most.min(budget.affords(price, self.ticket.lot_size, accepted.fee(liquidity))?)?;
        }
        let lot = self.ticket.lot_size.units().max(1);
        Quantity::from_units(self.ticket.base, most.units() - most.units().rem_euclid(lot))
    }

    /// The order as it comes to an internal market.
    ///
    /// # Errors
    /// [`Code::OrderNotOpen`] unless it was accepted and is open.
    pub fn incoming(&self) -> Result<IncomingOrder, Refusal> {
        let (Some(accepted), Some(price), true) = (&self.accepted, self.worst_price(), self.is_open()) else {
            return Err(Refusal::new(Code::OrderNotOpen, "the order is not open"));
        };
        let unbounded = Quantity::from_units(self.ticket.base, MAX_UNITS)?;
        Ok(IncomingOrder {
            order_id: self.order_id.clone(),
            portfolio_id: self.ticket.portfolio_id.clone(),
            account_id: self.ticket.account_id.clone(),
            owner: self.ticket.owner.clone(),
            side: self.ticket.side,
            price,
            quantity: self.remaining()?.unwrap_or(unbounded),
            quote_quantity: self.ticket.quote_quantity,
            taker_fee: accepted.taker_fee,
            time_in_force: self.ticket.time_in_force,
            self_trade_prevention: self.ticket.self_trade_prevention,
        })
    }
}

impl Accepted {
    /// The rate of a fill.
    pub fn fee(&self, liquidity: Liquidity) -> Rate {
        match liquidity {
            Liquidity::Maker => self.maker_fee,
            Liquidity::Taker => self.taker_fee,
        }
    }
}

impl Decider for Order {
    const TYPE: &'static str = "order";
    type Command = OrderCommand;
    type Event = OrderEvent;

    fn decide(&self, command: &OrderCommand, _now: Timestamp) -> Result<Vec<OrderEvent>, Refusal> {
        super::decide::decide(self, command).map(|event| vec![event])
    }

    fn apply(&mut self, event: &OrderEvent) {
        if let OrderEvent::OrderPlaced { order_id, ticket } = event {
            self.placed = Some(Placed {
                order_id: order_id.clone(),
                status: OrderStatus::Pending,
                passed: None,
                accepted: None,
                filled_quantity: Quantity::zero(ticket.base),
                filled_notional: Money::zero(ticket.quote),
                fees: Money::zero(ticket.quote),
                accrued: FeeAccrual::default(),
                last_trade: None,
                fill_count: 0,
                ticket: ticket.clone(),
            });
        } else if let Some(placed) = &mut self.placed {
            placed.apply(event);
        }
    }
}

impl Placed {
    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::OrderPlaced { .. } => {}
            OrderEvent::RiskStagePassed { stage, .. } => self.passed = Some(*stage),
            OrderEvent::OrderRejected { .. } => self.status = OrderStatus::Rejected,
            OrderEvent::OrderAccepted { hold_id, held: _, reserved, price_bound, maker_fee, taker_fee } => {
                self.status = OrderStatus::New;
                self.accepted = Some(Accepted {
                    hold_id: hold_id.clone(),
                    reserved: *reserved,
                    price_bound: *price_bound,
                    maker_fee: *maker_fee,
                    taker_fee: *taker_fee,
                });
            }
            OrderEvent::OrderFilled { trade_id, notional, fee, liquidity, filled_quantity, done, .. } => {
                self.status = if *done { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
                self.filled_quantity = *filled_quantity;
                // The sums were checked when the fill was decided, so none of them is out of range.
                self.filled_notional = self.filled_notional.plus(*notional).unwrap_or(self.filled_notional);
                self.fees = self.fees.plus(*fee).unwrap_or(self.fees);
                if let Some(accepted) = &self.accepted {
                    let rate = accepted.fee(*liquidity);
                    self.accrued = self.accrued.with(*notional, rate).unwrap_or(self.accrued);
                }
                self.last_trade = Some(trade_id.clone());
                self.fill_count += 1;
            }
            OrderEvent::OrderCanceled {} => self.status = OrderStatus::Canceled,
            OrderEvent::OrderExpired { .. } => self.status = OrderStatus::Expired,
        }
    }
}
