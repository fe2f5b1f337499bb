//! Markets with their last, best bid and best ask prices.

use domain::ids::Symbol;
use domain::market::{Instrument, MarketStatus};
use domain::quote::BestLevel;
use domain::{Price, Timestamp};

use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use super::query::{Bind, checkpoint, checkpoint_of};
use super::{Read, ReadError, ReadModels, amount};
use crate::engine::selected;
use crate::fold::{Row as _, next_field};
use crate::models::markets::MarketRow;

/// A market.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    /// What is traded and within which filters and fees.
    pub instrument: Instrument,
    /// Whether it trades.
    pub status: MarketStatus,
    /// Price of the last trade.
    pub last_price: Option<Price>,
    /// Best bid: of our book on an internal market, else the last observed.
    pub bid: Option<BestLevel>,
    /// Best ask, likewise.
    pub ask: Option<BestLevel>,
    /// When the prices last changed or were last observed.
    pub priced_at: Option<Timestamp>,
}

/// A market's best levels come from its book.
const MARKETS: &[&str] = &["markets", "book"];

/// The best level of one side of a market's book, and of none when nothing rests there.
fn best(side: &str, order: &str) -> String {
    format!(
        "(SELECT b.price, sum(b.quantity) AS quantity FROM read.book b WHERE b.symbol = t.symbol AND b.side = '{side}' \
         GROUP BY b.price ORDER BY b.price {order} LIMIT 1)"
    )
}

impl ReadModels {
    /// The market with this symbol.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn market(&self, symbol: &Symbol) -> Result<Read<Option<Market>>, ReadError> {
        let markets = self.markets_where("WHERE t.symbol = $1", vec![symbol.as_str().into()]).await?;
        Ok(markets.map(|mut markets| markets.pop()))
    }

    /// All markets, by symbol.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn markets(&self) -> Result<Read<Vec<Market>>, ReadError> {
        self.markets_where("", Vec::new()).await
    }

    async fn markets_where(&self, condition: &str, binds: Vec<Bind>) -> Result<Read<Vec<Market>>, ReadError> {
        let floor = self.ready(MARKETS).await?;
        let sql = format!(
            "WITH {} SELECT c.least, m.* FROM checkpoint c LEFT JOIN ( \
                 SELECT {}, p.last_price::text, \
                     coalesce(bid.price, p.bid_price)::text, coalesce(bid.quantity, p.bid_quantity)::text, \
                     coalesce(ask.price, p.ask_price)::text, coalesce(ask.quantity, p.ask_quantity)::text, p.priced_at \
                 FROM read.markets t LEFT JOIN read.market_prices p USING (symbol) \
                 LEFT JOIN LATERAL {} bid ON true LEFT JOIN LATERAL {} ask ON true {condition} \
             ) m ON true ORDER BY m.symbol",
            checkpoint(MARKETS),
            selected(&MarketRow::TABLE, "t"),
            best("BUY", "DESC"),
            best("SELL", "ASC"),
        );
        let rows = self.fetch(MARKETS, &sql, binds).await?;
        let log_position = checkpoint_of(&rows, MARKETS, floor)?;
        let mut value = Vec::with_capacity(rows.len());
        for row in &rows {
            if !row.try_get_raw(1)?.is_null() {
                value.push(Market::read(row)?);
            }
        }
        Ok(Read { value, log_position })
    }
}

impl Market {
    fn read(row: &PgRow) -> Result<Self, ReadError> {
        let market = MarketRow::read_from(row, 1)?;
        let mut index = 1 + MarketRow::TABLE.columns.len();
        let last_price = next_field(row, &mut index, "last_price")?;
        let mut level = || -> Result<Option<BestLevel>, ReadError> {
            let price: Option<Price> = next_field(row, &mut index, "price")?;
            let quantity: Option<i128> = next_field(row, &mut index, "quantity")?;
            price
                .zip(quantity)
                .map(|(price, units)| {
                    Ok(BestLevel { price, quantity: amount("markets", market.base, units)? })
                })
                .transpose()
        };
        let (bid, ask) = (level()?, level()?);
        let priced_at = next_field(row, &mut index, "priced_at")?;
        let quantity = |units| amount("markets", market.base, units);
        Ok(Self {
            instrument: Instrument {
                lot_size: quantity(market.lot_size)?,
                min_quantity: quantity(market.min_quantity)?,
                max_quantity: quantity(market.max_quantity)?,
                min_notional: amount("markets", market.quote, market.min_notional)?,
                symbol: market.symbol,
                base: market.base,
                quote: market.quote,
                venue: market.venue,
                tick_size: market.tick_size,
                maker_fee: market.maker_fee,
                taker_fee: market.taker_fee,
                price_band: market.price_band,
            },
            status: market.status,
            last_price,
            bid,
            ask,
            priced_at,
        })
    }
}
