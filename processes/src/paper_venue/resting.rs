//! The places of our own orders that rest on one market: best price first, then earliest.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use domain::Price;
use domain::ids::OrderId;
use domain::order::OrderSide;

/// Resting orders by price and arrival.
#[derive(Clone, Debug, Default)]
pub(super) struct RestingOrders {
    /// The best is the last.
    buys: BTreeSet<(Price, Reverse<u64>, OrderId)>,
    /// The best is the first.
    sells: BTreeSet<(Price, u64, OrderId)>,
}

impl RestingOrders {
    pub(super) fn insert(&mut self, side: OrderSide, price: Price, arrival: u64, id: OrderId) {
        match side {
            OrderSide::Buy => self.buys.insert((price, Reverse(arrival), id)),
            OrderSide::Sell => self.sells.insert((price, arrival, id)),
        };
    }

    pub(super) fn remove(&mut self, side: OrderSide, price: Price, arrival: u64, id: &OrderId) {
        match side {
            OrderSide::Buy => self.buys.remove(&(price, Reverse(arrival), id.clone())),
            OrderSide::Sell => self.sells.remove(&(price, arrival, id.clone())),
        };
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buys.is_empty() && self.sells.is_empty()
    }

    /// The orders that a trade at the price reaches: at their price or beyond it. Best first on each side.
    pub(super) fn reached_by(&self, price: Price) -> Vec<OrderId> {
        let buys = self.buys.range(lowest(price)..).rev().map(|(_, _, id)| id);
        let sells = self.sells.iter().take_while(|(limit, ..)| *limit <= price).map(|(_, _, id)| id);
        buys.chain(sells).cloned().collect()
    }

    /// The orders at exactly this price.
    pub(super) fn at(&self, side: OrderSide, price: Price) -> Vec<OrderId> {
        let at_price = |limit: Price| limit == price;
        match side {
            OrderSide::Buy => {
                let from = self.buys.range(lowest(price)..);
                from.take_while(|(limit, ..)| at_price(*limit)).map(|(_, _, id)| id.clone()).collect()
            }
            OrderSide::Sell => {
                let from = self.sells.range((price, 0, OrderId::new(""))..);
                from.take_while(|(limit, ..)| at_price(*limit)).map(|(_, _, id)| id.clone()).collect()
            }
        }
    }
}

/// Before every buy at the price.
fn lowest(price: Price) -> (Price, Reverse<u64>, OrderId) {
    (price, Reverse(u64::MAX), OrderId::new(""))
}
