//! The books of internal markets: what rests in them.

use std::sync::Arc;

use domain::ids::{OrderId, Symbol};
use domain::market::MarketEvent;
use domain::order::OrderSide;
use domain::{AnyEvent, Asset, Price};

use crate::changes::Changed;
use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// An order that rests, with what remains of it in smallest units of the base asset.
    BookRow in "book"
    key { order_id: OrderId }
    symbol: Symbol,
    side: OrderSide,
    price: Price,
    base: Asset,
    quantity: i128,
}

row_set!(BookRows { orders: BookRow });

/// The projection.
pub(crate) struct Book;

impl Projection for Book {
    const NAME: &'static str = "book";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = BookRows;

    fn touches(command: &Command, rows: &mut BookRows) {
        for fact in &command.facts {
            if let AnyEvent::Market(
                MarketEvent::TradeExecuted { maker_order_id: order_id, .. }
                | MarketEvent::OrderBooked { order_id, .. }
                | MarketEvent::OrderUnbooked { order_id, .. },
            ) = &fact.event
            {
                rows.orders.want((order_id.clone(),));
            }
        }
    }

    fn fold(command: &Command, rows: &mut BookRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            match &fact.event {
                AnyEvent::Market(MarketEvent::OrderBooked { order_id, side, price, quantity, .. }) => {
                    rows.orders.put(BookRow {
                        order_id: order_id.clone(),
                        symbol: Symbol::new(Arc::clone(&fact.stream)),
                        side: *side,
                        price: *price,
                        base: quantity.asset(),
                        quantity: quantity.units(),
                    });
                }
                AnyEvent::Market(MarketEvent::TradeExecuted { maker_order_id, maker_remaining, .. }) => {
                    let key = (maker_order_id.clone(),);
                    rows.orders.change(&key)?.quantity = maker_remaining.units();
                    if maker_remaining.is_zero() {
                        rows.orders.remove(&key);
                    }
                }
                AnyEvent::Market(MarketEvent::OrderUnbooked { order_id, .. }) => {
                    rows.orders.remove(&(order_id.clone(),));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn announce(rows: &BookRows, changed: &mut Vec<Changed>) {
        changed.extend(rows.orders.changed().map(|order| Changed::Market(order.symbol.clone())));
    }
}
