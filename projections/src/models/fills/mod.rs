//! Fills: each order's side of each of its trades.

use std::sync::Arc;

use domain::ids::{OrderId, PortfolioId, Symbol, TradeId};
use domain::order::{Liquidity, OrderEvent, OrderSide};
use domain::portfolio::PortfolioEvent;
use domain::{AnyEvent, Asset, Price, Timestamp};
use event_store::LogPosition;

use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// A fill. Quantity in smallest units of the base asset, money in those of the quote asset.
    FillRow in "fills", append_only
    key { log_position: LogPosition }
    order_id: OrderId,
    trade_id: TradeId,
    portfolio_id: PortfolioId,
    symbol: Symbol,
    base: Asset,
    quote: Asset,
    side: OrderSide,
    price: Price,
    quantity: i128,
    notional: i128,
    fee: i128,
    realized_pnl: Option<i128>,
    liquidity: Liquidity,
    recorded_at: Timestamp,
}

row! {
    /// What a fill does not say of its order.
    TermsRow in "fill_terms"
    key { order_id: OrderId }
    portfolio_id: PortfolioId,
    symbol: Symbol,
    side: OrderSide,
}

row_set!(FillRows { fills: FillRow, terms: TermsRow });

/// The projection.
pub(crate) struct Fills;

impl Projection for Fills {
    const NAME: &'static str = "fills";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = FillRows;

    fn touches(command: &Command, rows: &mut FillRows) {
        for fact in &command.facts {
            if let AnyEvent::Order(
                OrderEvent::OrderFilled { .. }
                | OrderEvent::OrderRejected { .. }
                | OrderEvent::OrderCanceled {}
                | OrderEvent::OrderExpired { .. },
            ) = &fact.event
            {
                rows.terms.want((OrderId::new(Arc::clone(&fact.stream)),));
            }
        }
    }

    fn fold(command: &Command, rows: &mut FillRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            let AnyEvent::Order(event) = &fact.event else { continue };
            let order_id = OrderId::new(Arc::clone(&fact.stream));
            match event {
                OrderEvent::OrderPlaced { ticket, .. } => rows.terms.put(TermsRow {
                    order_id,
                    portfolio_id: ticket.portfolio_id.clone(),
                    symbol: ticket.symbol.clone(),
                    side: ticket.side,
                }),
                OrderEvent::OrderFilled {
                    trade_id, price, quantity, notional, fee, liquidity, done, ..
                } => {
                    let key = (order_id,);
                    let terms = rows.terms.change(&key)?.clone();
                    rows.fills.put(FillRow {
                        log_position: fact.log_position,
                        realized_pnl: realized_pnl(command, &key.0, trade_id),
                        order_id: terms.order_id,
                        trade_id: trade_id.clone(),
                        portfolio_id: terms.portfolio_id,
                        symbol: terms.symbol,
                        base: quantity.asset(),
                        quote: notional.asset(),
                        side: terms.side,
                        price: *price,
                        quantity: quantity.units(),
                        notional: notional.units(),
                        fee: fee.units(),
                        liquidity: *liquidity,
                        recorded_at: fact.recorded_at,
                    });
                    if *done {
                        rows.terms.remove(&key);
                    }
                }
                OrderEvent::OrderRejected { .. }
                | OrderEvent::OrderCanceled {}
                | OrderEvent::OrderExpired { .. } => rows.terms.remove(&(order_id,)),
                OrderEvent::RiskStagePassed { .. } | OrderEvent::OrderAccepted { .. } => {}
            }
        }
        Ok(())
    }
}

/// What the same command says the fill has realised, if it reduced a position.
fn realized_pnl(command: &Command, order: &OrderId, trade: &TradeId) -> Option<i128> {
    command.facts.iter().find_map(|fact| match &fact.event {
        AnyEvent::Portfolio(PortfolioEvent::PositionReduced { order_id, trade_id, realized_pnl, .. })
            if order_id == order && trade_id == trade =>
        {
            Some(realized_pnl.units())
        }
        _ => None,
    })
}
