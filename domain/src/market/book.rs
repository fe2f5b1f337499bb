//! The order book of an internal market: price levels, best first, and in each the orders by time of arrival.
//!
//! The maps are persistent: a clone shares everything with its original and costs nothing, so a decision may be tried on a
//! copy of the state and a snapshot taken while the market goes on.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::amount::Quantity;
use crate::ids::{AccountId, OrderId, PortfolioId};
use crate::order::OrderSide;
use crate::price::Price;
use crate::refusal::Refusal;

/// An order that rests in the book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RestingOrder {
    /// Its id.
    pub order_id: OrderId,
    /// Holds what is sold and gets what is bought.
    pub portfolio_id: PortfolioId,
    /// Pays and is paid.
    pub account_id: AccountId,
    /// Whose it is, for self-trade prevention.
    pub owner: Arc<str>,
    /// What still rests.
    pub quantity: Quantity,
}

/// The orders of one price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Level {
    /// The sum over its orders.
    total: Quantity,
    /// By arrival number.
    orders: OrdMap<u64, RestingOrder>,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    side: OrderSide,
    price: Price,
    arrival: u64,
}

/// All resting orders of a market.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    bids: OrdMap<Price, Level>,
    asks: OrdMap<Price, Level>,
    places: OrdMap<OrderId, Place>,
    arrivals: u64,
}

/// The resting orders of one price, added up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DepthLevel {
    /// The price.
    pub price: Price,
    /// What rests there.
    pub quantity: Quantity,
}

/// Both sides of a book, best price first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Depth {
    /// Buy orders, highest price first.
    pub bids: Vec<DepthLevel>,
    /// Sell orders, lowest price first.
    pub asks: Vec<DepthLevel>,
}

impl Book {
    /// The highest price at which somebody buys.
    pub fn best_bid(&self) -> Option<Price> {
        self.bids.get_max().map(|(price, _)| *price)
    }

    /// The lowest price at which somebody sells.
    pub fn best_ask(&self) -> Option<Price> {
        self.asks.get_min().map(|(price, _)| *price)
    }

    /// The best price an order of `side` can meet.
    pub fn best_opposite(&self, side: OrderSide) -> Option<Price> {
        match side {
            OrderSide::Buy => self.best_ask(),
            OrderSide::Sell => self.best_bid(),
        }
    }

    /// Whether an order of `side` with `price` as its limit would trade at once.
    pub fn would_take(&self, side: OrderSide, price: Price) -> bool {
        self.best_opposite(side).is_some_and(|best| side.allows(price, best))
    }

    /// The `levels` best prices of both sides.
    pub fn depth(&self, levels: usize) -> Depth {
        let level = |(price, level): (&Price, &Level)| DepthLevel { price: *price, quantity: level.total };
        Depth {
            bids: self.bids.iter().rev().take(levels).map(level).collect(),
            asks: self.asks.iter().take(levels).map(level).collect(),
        }
    }

    /// How many orders rest.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Side, price and order, if it rests.
    pub fn get(&self, order_id: &OrderId) -> Option<(OrderSide, Price, &RestingOrder)> {
        let place = self.places.get(order_id)?;
        let order = self.side(place.side).get(&place.price)?.orders.get(&place.arrival)?;
        Some((place.side, place.price, order))
    }

    /// Whom an order of `side` meets, with their prices: best price first, then earliest.
    pub fn opposite(&self, side: OrderSide) -> impl Iterator<Item = (Price, &RestingOrder)> {
        let (asks, bids) = match side {
            OrderSide::Buy => (Some(self.asks.iter()), None),
            OrderSide::Sell => (None, Some(self.bids.iter().rev())),
        };
        let levels = asks.into_iter().flatten().chain(bids.into_iter().flatten());
        levels.flat_map(|(price, level)| level.orders.values().map(move |order| (*price, order)))
    }

    /// Whether one more order fits at a price: the level's sum must be representable.
    ///
    /// # Errors
    /// [`crate::Code::AmountOutOfRange`].
    pub(super) fn check_room(
        &self,
        side: OrderSide,
        price: Price,
        quantity: Quantity,
    ) -> Result<(), Refusal> {
        match self.side(side).get(&price) {
            Some(level) => level.total.plus(quantity).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Puts an order behind those of its price.
    pub(super) fn insert(&mut self, side: OrderSide, price: Price, order: RestingOrder) {
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.places.insert(order.order_id.clone(), Place { side, price, arrival });
        let levels = self.side_mut(side);
        match levels.get_mut(&price) {
            Some(level) => {
                // The room was checked when the booking was decided.
                level.total = level.total.plus(order.quantity).unwrap_or(level.total);
                level.orders.insert(arrival, order);
            }
            None => {
                let total = order.quantity;
                levels.insert(price, Level { total, orders: OrdMap::unit(arrival, order) });
            }
        }
    }

    /// Leaves `remaining` of an order; zero takes it off.
    pub(super) fn leave(&mut self, order_id: &OrderId, remaining: Quantity) {
        let Some(Place { side, price, arrival }) = self.places.get(order_id).copied() else { return };
        if remaining.is_zero() {
            self.places.remove(order_id);
        }
        let levels = self.side_mut(side);
        let Some(level) = levels.get_mut(&price) else { return };
        let before = if remaining.is_zero() {
            level.orders.remove(&arrival).map(|order| order.quantity)
        } else {
            level.orders.get_mut(&arrival).map(|order| std::mem::replace(&mut order.quantity, remaining))
        };
        let total = before.and_then(|before| level.total.minus(before).and_then(|t| t.plus(remaining)).ok());
        level.total = total.unwrap_or(level.total);
        if level.orders.is_empty() {
            levels.remove(&price);
        }
    }

    /// Takes an order off.
    pub(super) fn remove(&mut self, order_id: &OrderId) {
        if let Some((_, _, order)) = self.get(order_id) {
            let nothing = Quantity::zero(order.quantity.asset());
            self.leave(order_id, nothing);
        }
    }

    fn side(&self, side: OrderSide) -> &OrdMap<Price, Level> {
        match side {
            OrderSide::Buy => &self.bids,
            OrderSide::Sell => &self.asks,
        }
    }

    fn side_mut(&mut self, side: OrderSide) -> &mut OrdMap<Price, Level> {
        match side {
            OrderSide::Buy => &mut self.bids,
            OrderSide::Sell => &mut self.asks,
        }
    }
}
