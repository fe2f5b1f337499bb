//! Trades on internal markets. Those of outside markets are in the tick archive.

use std::sync::Arc;

use domain::ids::{Symbol, TradeId};
use domain::market::MarketEvent;
use domain::order::OrderSide;
use domain::{AnyEvent, Asset, Price, Timestamp};
use event_store::LogPosition;

use crate::changes::Changed;
use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// A trade, with its quantity in smallest units of the base asset.
    TradeRow in "trades", append_only
    key { log_position: LogPosition }
    trade_id: TradeId,
    symbol: Symbol,
    price: Price,
    base: Asset,
    quantity: i128,
    taker_side: OrderSide,
    at: Timestamp,
}

row_set!(TradeRows { trades: TradeRow });

/// The projection.
pub(crate) struct Trades;

impl Projection for Trades {
    const NAME: &'static str = "trades";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = TradeRows;

    fn touches(_command: &Command, _rows: &mut TradeRows) {}

    fn fold(command: &Command, rows: &mut TradeRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            if let AnyEvent::Market(MarketEvent::TradeExecuted {
                trade_id,
                taker_side,
                price,
                quantity,
                ..
            }) = &fact.event
            {
                rows.trades.put(TradeRow {
                    log_position: fact.log_position,
                    trade_id: trade_id.clone(),
                    symbol: Symbol::new(Arc::clone(&fact.stream)),
                    price: *price,
                    base: quantity.asset(),
                    quantity: quantity.units(),
                    taker_side: *taker_side,
                    at: fact.recorded_at,
                });
            }
        }
        Ok(())
    }

    fn announce(rows: &TradeRows, changed: &mut Vec<Changed>) {
        changed.extend(rows.trades.changed().map(|trade| Changed::Trades(trade.symbol.clone())));
    }
}
