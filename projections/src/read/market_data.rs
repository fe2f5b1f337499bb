//! What rests and what was traded on internal markets.

use domain::ids::{Symbol, TradeId};
use domain::order::OrderSide;
use domain::{Asset, Price, Quantity, Timestamp};
use event_store::LogPosition;
use sqlx::{Row as _, ValueRef as _};

use super::query::{Bind, Which, checkpoint, checkpoint_of};
use super::{Cursor, Edge, Page, PageRequest, Read, ReadError, ReadModels, amount};
use crate::fold::next_field;
use crate::models::trades::TradeRow;

/// The most levels of one side.
const MAX_LEVELS: usize = 1_000;

/// All orders at one price.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The price.
    pub price: Price,
    /// What rests there.
    pub quantity: Quantity,
}

/// A book aggregated by price, best first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Depth {
    /// Highest first.
    pub bids: Vec<Level>,
    /// Lowest first.
    pub asks: Vec<Level>,
}

/// A trade on an internal market.
#[derive(Clone, Debug, PartialEq)]
pub struct Trade {
    /// Its id.
    pub trade_id: TradeId,
    /// The market.
    pub symbol: Symbol,
    /// At this price.
    pub price: Price,
    /// How much of the base asset.
    pub quantity: Quantity,
    /// Whether the incoming order bought or sold.
    pub taker_side: OrderSide,
    /// When.
    pub at: Timestamp,
    /// Where the event is in the log.
    pub log_position: LogPosition,
}

impl ReadModels {
    /// The book of an internal market, at most `levels` (at most 1,000) of each side; empty for other venues.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn depth(&self, symbol: &Symbol, levels: usize) -> Result<Read<Depth>, ReadError> {
        let floor = self.ready(&["book"]).await?;
        let levels = i64::try_from(levels.clamp(1, MAX_LEVELS)).unwrap_or(1);
        let side = |side: &str, order: &str| {
            format!(
                "(SELECT side, base, price, sum(quantity) AS quantity FROM read.book \
                  WHERE symbol = $1 AND side = '{side}' GROUP BY side, base, price ORDER BY price {order} LIMIT $2)"
            )
        };
        let sql = format!(
            "WITH {} SELECT c.least, l.side, l.base, l.price::text, l.quantity::text FROM checkpoint c \
             LEFT JOIN ({} UNION ALL {}) l ON true ORDER BY l.price",
            checkpoint(&["book"]),
            side("BUY", "DESC"),
            side("SELL", "ASC"),
        );
        let rows = self.fetch(&["book"], &sql, vec![symbol.as_str().into(), Bind::Int(levels)]).await?;
        let log_position = checkpoint_of(&rows, &["book"], floor)?;
        let mut value = Depth::default();
        for row in &rows {
            if row.try_get_raw(1)?.is_null() {
                continue;
            }
            let mut index = 1;
            let side: OrderSide = next_field(row, &mut index, "side")?;
            let base: Asset = next_field(row, &mut index, "base")?;
            let price = next_field(row, &mut index, "price")?;
            let quantity = amount("book", base, next_field(row, &mut index, "quantity")?)?;
            match side {
                OrderSide::Buy => value.bids.push(Level { price, quantity }),
                OrderSide::Sell => value.asks.push(Level { price, quantity }),
            }
        }
        value.bids.reverse();
        Ok(Read { value, log_position })
    }

    /// Trades of an internal market from a moment on and before another, in their order; none for other venues.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn trades(
        &self,
        symbol: &Symbol,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        page: &PageRequest,
    ) -> Result<Read<Page<Trade>>, ReadError> {
        let time = |time: Option<Timestamp>| time.map(|time| Bind::Time(Some(time)));
        let which = Which::all()
            .filter("t.symbol = ?", symbol.as_str())
            .filter_if("t.at >= ?", time(from))
            .filter_if("t.at < ?", time(to))
            .page_by_number(page, "t.log_position")?;
        self.page(&["trades"], which, page, |row: TradeRow| {
            Ok(Edge {
                cursor: Cursor::of(row.log_position),
                node: Trade {
                    quantity: amount("trades", row.base, row.quantity)?,
                    trade_id: row.trade_id,
                    symbol: row.symbol,
                    price: row.price,
                    taker_side: row.taker_side,
                    at: row.at,
                    log_position: row.log_position,
                },
            })
        })
        .await
    }
}
