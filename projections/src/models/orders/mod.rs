//! Orders: what was asked for, and how far it has come.

use std::sync::Arc;

use domain::ids::{AccountId, OrderId, PortfolioId, Symbol};
use domain::market::Venue;
use domain::order::{OrderEvent, OrderSide, OrderStatus, OrderType, SelfTradePrevention, TimeInForce};
use domain::{AnyEvent, Asset, Code, Money, Price, Quantity, Timestamp};
use event_store::LogPosition;

use crate::changes::Changed;
use crate::fold::{Command, FoldError, Projection, add, row, row_set};

row! {
    /// An order. Quantities in smallest units of the base asset, money in those of the quote asset.
    OrderRow in "orders"
    key { order_id: OrderId }
    placed_position: LogPosition,
    portfolio_id: PortfolioId,
    account_id: AccountId,
    owner: String,
    client_order_id: Option<String>,
    symbol: Symbol,
    venue: Venue,
    base: Asset,
    quote: Asset,
    side: OrderSide,
    order_type: OrderType,
    time_in_force: TimeInForce,
    self_trade_prevention: SelfTradePrevention,
    quantity: Option<i128>,
    quote_quantity: Option<i128>,
    limit_price: Option<Price>,
    status: OrderStatus,
    filled_quantity: i128,
    filled_notional: i128,
    fees: i128,
    reason: Option<Code>,
    reason_message: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
    sequence: u64,
}

row_set!(OrderRows { orders: OrderRow });

/// The projection.
pub(crate) struct Orders;

impl Projection for Orders {
    const NAME: &'static str = "orders";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = OrderRows;

    fn touches(command: &Command, rows: &mut OrderRows) {
        for fact in &command.facts {
            if let AnyEvent::Order(_) = &fact.event {
                rows.orders.want((OrderId::new(Arc::clone(&fact.stream)),));
            }
        }
    }

    fn fold(command: &Command, rows: &mut OrderRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            let AnyEvent::Order(event) = &fact.event else { continue };
            if let OrderEvent::OrderPlaced { order_id, ticket } = event {
                rows.orders.put(OrderRow {
                    order_id: order_id.clone(),
                    placed_position: fact.log_position,
                    portfolio_id: ticket.portfolio_id.clone(),
                    account_id: ticket.account_id.clone(),
                    owner: ticket.owner.clone(),
                    client_order_id: ticket.client_order_id.clone(),
                    symbol: ticket.symbol.clone(),
                    venue: ticket.venue,
                    base: ticket.base,
                    quote: ticket.quote,
                    side: ticket.side,
                    order_type: ticket.order_type,
                    time_in_force: ticket.time_in_force,
                    self_trade_prevention: ticket.self_trade_prevention,
                    quantity: ticket.quantity.as_ref().map(Quantity::units),
                    quote_quantity: ticket.quote_quantity.as_ref().map(Money::units),
                    limit_price: ticket.limit_price,
                    status: OrderStatus::Pending,
                    filled_quantity: 0,
                    filled_notional: 0,
                    fees: 0,
                    reason: None,
                    reason_message: None,
                    created_at: fact.recorded_at,
                    updated_at: fact.recorded_at,
                    sequence: fact.sequence,
                });
                continue;
            }
            let order = rows.orders.change(&(OrderId::new(Arc::clone(&fact.stream)),))?;
            order.sequence = fact.sequence;
            order.updated_at = fact.recorded_at;
            match event {
                OrderEvent::OrderPlaced { .. } | OrderEvent::RiskStagePassed { .. } => {}
                OrderEvent::OrderRejected { code, message, .. } => {
                    order.status = OrderStatus::Rejected;
                    order.reason = Some(*code);
                    order.reason_message = Some(message.clone());
                }
                OrderEvent::OrderAccepted { .. } => order.status = OrderStatus::New,
                OrderEvent::OrderFilled { quantity, notional, fee, done, .. } => {
                    add(&mut order.filled_quantity, quantity.units())?;
                    add(&mut order.filled_notional, notional.units())?;
                    add(&mut order.fees, fee.units())?;
                    order.status = if *done { OrderStatus::Filled } else { OrderStatus::PartiallyFilled };
                }
                OrderEvent::OrderCanceled {} => order.status = OrderStatus::Canceled,
                OrderEvent::OrderExpired { code } => {
                    order.status = OrderStatus::Expired;
                    order.reason = Some(*code);
                }
            }
        }
        Ok(())
    }

    fn announce(rows: &OrderRows, changed: &mut Vec<Changed>) {
        changed.extend(rows.orders.changed().map(|order| Changed::Order {
            order_id: order.order_id.clone(),
            portfolio_id: order.portfolio_id.clone(),
        }));
    }
}
