//! Continuous trading on an internal market: best price first, then earliest, at the maker's price.

use std::collections::BTreeSet;

use crate::amount::{Money, Quantity};
use crate::ids::{AccountId, OrderId, PortfolioId, TradeId};
use crate::market::book::RestingOrder;
use crate::market::state::{MarketStatus, Registered, Venue};
use crate::market::{IncomingOrder, MarketEvent};
use crate::order::{OrderSide, QuoteBudget, SelfTradePrevention, TimeInForce};
use crate::price::Price;
use crate::refusal::{Code, Refusal};
use crate::rounding::Rounding;

/// How many resting orders one incoming order may meet, so that what follows from it fits one commit.
pub const MAX_MET_ORDERS: usize = 1_000;

/// What becomes of an incoming order.
#[derive(Clone, Debug, PartialEq)]
pub struct Matching {
    /// Trades and withdrawals from the book in their order, then the booking of what rests.
    pub events: Vec<MarketEvent>,
    /// The resting orders it meets, which trade or leave the book: `(order, account, portfolio)`, each once.
    pub met: Vec<(OrderId, AccountId, PortfolioId)>,
    /// What of it trades.
    pub filled: Quantity,
    /// Why what remains of it ends ([`Code::NoLiquidity`], [`Code::SelfTrade`] or [`Code::NotFillable`]); `None` if it is
    /// filled or rests.
    pub ends: Option<Code>,
}

impl Registered {
    /// Whom `order` would meet with `barred` being known, as `(order, account, portfolio)`: those whose streams a use case
    /// needs. When one of their accounts turns out to be frozen, the order joins `barred` and others may be met: ask again
    /// until nobody new is barred.
    ///
    /// # Errors
    /// As [`Registered::match_incoming`].
    pub fn makers_for(
        &self,
        order: &IncomingOrder,
        barred: &BTreeSet<OrderId>,
    ) -> Result<Vec<(OrderId, AccountId, PortfolioId)>, Refusal> {
        self.match_incoming(order, barred).map(|matching| matching.met)
    }

    /// Matches an incoming order. Resting orders in `barred` leave the book with [`Code::AccountFrozen`] instead of trading.
    ///
    /// # Errors
    /// [`Code::WrongVenue`], [`Code::MarketHalted`], [`Code::AlreadyExists`] for an order that rests already,
    /// [`Code::Overloaded`] if it would meet more than [`MAX_MET_ORDERS`] orders, [`Code::AmountOutOfRange`].
    pub fn match_incoming(
        &self,
        order: &IncomingOrder,
        barred: &BTreeSet<OrderId>,
    ) -> Result<Matching, Refusal> {
        if self.instrument.venue != Venue::Internal {
            return Err(Refusal::new(Code::WrongVenue, "the market has no order book of its own"));
        }
        if self.status == MarketStatus::Halted {
            return Err(Refusal::new(Code::MarketHalted, "the market is halted"));
        }
        if self.book.get(&order.order_id).is_some() {
            return Err(Refusal::new(Code::AlreadyExists, "the order is in the book already"));
        }
        let mut walk = Walk::new(self, order);
        walk.through(barred)?;
        walk.finish()
    }
}

/// An incoming order on its way through the opposite side.
struct Walk<'a> {
    market: &'a Registered,
    order: &'a IncomingOrder,
    left: Quantity,
    budget: Option<QuoteBudget>,
    last_price: Option<Price>,
    trades: u64,
    is_self_trade: bool,
    events: Vec<MarketEvent>,
    met: Vec<(OrderId, AccountId, PortfolioId)>,
}

impl<'a> Walk<'a> {
    fn new(market: &'a Registered, order: &'a IncomingOrder) -> Self {
        Self {
            market,
            order,
            left: order.quantity,
            budget: order.quote_quantity.map(|total| QuoteBudget::new(order.side, total)),
            last_price: None,
            trades: 0,
            is_self_trade: false,
            events: Vec::new(),
            met: Vec::new(),
        }
    }

    fn through(&mut self, barred: &BTreeSet<OrderId>) -> Result<(), Refusal> {
        for (price, maker) in self.market.book.opposite(self.order.side) {
            if !self.order.side.allows(self.order.price, price) {
                break;
            }
            let quantity = self.takes(price)?;
            if quantity.is_zero() {
                break;
            }
            self.meet(maker)?;
            if barred.contains(&maker.order_id) {
                self.unbook(maker, Code::AccountFrozen);
                continue;
            }
            if maker.owner.as_ref() == self.order.owner {
                match self.order.self_trade_prevention {
                    SelfTradePrevention::None => {}
                    SelfTradePrevention::ExpireMaker => {
                        self.unbook(maker, Code::SelfTrade);
                        continue;
                    }
                    SelfTradePrevention::ExpireTaker => {
                        self.met.pop();
                        self.is_self_trade = true;
                        break;
                    }
                    SelfTradePrevention::ExpireBoth => {
                        self.unbook(maker, Code::SelfTrade);
                        self.is_self_trade = true;
                        break;
                    }
                }
            }
            self.trade(price, maker, quantity.min(maker.quantity)?)?;
        }
        Ok(())
    }

    /// How much it would take at a price if enough were there.
    fn takes(&self, price: Price) -> Result<Quantity, Refusal> {
        match self.budget {
            Some(budget) => {
                let lot = self.market.instrument.lot_size;
                self.left.min(budget.affords(price, lot, self.order.taker_fee)?)
            }
            None => Ok(self.left),
        }
    }

    fn meet(&mut self, maker: &RestingOrder) -> Result<(), Refusal> {
        if self.met.len() == MAX_MET_ORDERS {
            return Err(Refusal::new(
                Code::Overloaded,
                format!(
                    "the order would meet more than {MAX_MET_ORDERS} others at once; place it in smaller parts"
                ),
            ));
        }
        self.met.push((maker.order_id.clone(), maker.account_id.clone(), maker.portfolio_id.clone()));
        Ok(())
    }

    fn unbook(&mut self, maker: &RestingOrder, code: Code) {
        self.events.push(MarketEvent::OrderUnbooked { order_id: maker.order_id.clone(), code });
    }

    fn trade(&mut self, price: Price, maker: &RestingOrder, quantity: Quantity) -> Result<(), Refusal> {
        let instrument = &self.market.instrument;
        if let Some(budget) = &mut self.budget {
            let notional: Money = price.notional(quantity, instrument.quote, Rounding::Exact)?;
            *budget = budget.with(notional, self.order.taker_fee)?;
        }
        self.left = self.left.minus(quantity)?;
        self.trades += 1;
        self.last_price = Some(price);
        self.events.push(MarketEvent::TradeExecuted {
            trade_id: TradeId::new(format!(
                "{}.{}",
                instrument.symbol,
                self.market.trade_count + self.trades
            )),
            maker_order_id: maker.order_id.clone(),
            taker_order_id: self.order.order_id.clone(),
            taker_side: self.order.side,
            price,
            quantity,
            maker_remaining: maker.quantity.minus(quantity)?,
        });
        Ok(())
    }

    /// Whether the order has all it asked for; by quote quantity, as the order itself sees it (`OrderFilled.done`).
    fn is_filled(&self) -> Result<bool, Refusal> {
        let (Some(budget), Some(last_price)) = (self.budget, self.last_price) else {
            return Ok(self.left.is_zero());
        };
        let at = match self.order.side {
            OrderSide::Buy => self.order.price,
            OrderSide::Sell => last_price,
        };
        let lot = self.market.instrument.lot_size;
        Ok(self.left.is_zero() || budget.affords(at, lot, self.order.taker_fee)?.is_zero())
    }

    fn finish(mut self) -> Result<Matching, Refusal> {
        let order = self.order;
        let filled = order.quantity.minus(self.left)?;
        let ends = if self.is_filled()? {
            None
        } else if order.time_in_force == TimeInForce::Fok {
            // All or nothing: the book stays as it was, also where it would have lost orders on the way.
            let code = if self.is_self_trade { Code::SelfTrade } else { Code::NotFillable };
            let filled = Quantity::zero(filled.asset());
            return Ok(Matching { events: Vec::new(), met: Vec::new(), filled, ends: Some(code) });
        } else if self.is_self_trade {
            Some(Code::SelfTrade)
        } else if order.time_in_force == TimeInForce::Ioc || order.quote_quantity.is_some() {
            Some(Code::NoLiquidity)
        } else {
            self.market.book.check_room(order.side, order.price, self.left)?;
            self.events.push(MarketEvent::OrderBooked {
                order_id: order.order_id.clone(),
                portfolio_id: order.portfolio_id.clone(),
                account_id: order.account_id.clone(),
                owner: order.owner.clone(),
                side: order.side,
                price: order.price,
                quantity: self.left,
            });
            None
        };
        Ok(Matching { events: self.events, met: self.met, filled, ends })
    }
}
