//! Markets: prices, depth, trades, candles and statistics.

use async_graphql::connection::Edge;
use async_graphql::{Context, ID, Object, SimpleObject};
use chrono::Utc;
use domain::Code;
use domain::ids::Symbol;
use domain::market::Venue as DomainVenue;
use event_store::LogPosition as Place;
use processes::tick_archive::{Tick, TickKey};
use projections::read;

use super::{Connection, connection};
use crate::errors::{ApiError, Result};
use crate::graphql::context::{bounded, models, page, page_size, services};
use crate::graphql::enums::{CandleInterval, MarketStatus, OrderSide, StatsWindow, Venue};
use crate::graphql::limits::{MAX_CANDLES, MAX_LEVELS, list_cost, page_cost};
use crate::graphql::scalars::{DateTime, Decimal, LogPosition};

/// A market.
pub struct Market {
    row: read::Market,
    read_at: Place,
    at_least: Option<Place>,
}

impl Market {
    /// The market as it was read; what hangs on it is read at `at_least` or later.
    pub fn new(row: read::Market, read_at: Place, at_least: Option<Place>) -> Self {
        Self { row, read_at, at_least }
    }

    /// The market of an answer, if there is one.
    pub fn of(answer: read::Read<Option<read::Market>>, at_least: Option<Place>) -> Option<Self> {
        let read_at = answer.log_position;
        answer.value.map(|row| Self::new(row, read_at, at_least))
    }

    fn symbol_id(&self) -> &Symbol {
        &self.row.instrument.symbol
    }
}

/// A market: what is traded, within which filters, and at which prices.
#[Object]
impl Market {
    /// BASE-QUOTE.
    async fn symbol(&self) -> &str {
        self.symbol_id().as_str()
    }

    /// What is bought and sold.
    async fn base(&self) -> String {
        self.row.instrument.base.to_string()
    }

    /// What it is paid in.
    async fn quote(&self) -> String {
        self.row.instrument.quote.to_string()
    }

    /// Where orders trade.
    async fn venue(&self) -> Venue {
        self.row.instrument.venue.into()
    }

    /// Whether it trades.
    async fn status(&self) -> MarketStatus {
        self.row.status.into()
    }

    /// Prices are multiples of this.
    async fn tick_size(&self) -> Decimal {
        self.row.instrument.tick_size.into()
    }

    /// Quantities are multiples of this.
    async fn lot_size(&self) -> Decimal {
        self.row.instrument.lot_size.into()
    }

    /// The least quantity of an order.
    async fn min_quantity(&self) -> Decimal {
        self.row.instrument.min_quantity.into()
    }

    /// The greatest quantity of an order.
    async fn max_quantity(&self) -> Decimal {
        self.row.instrument.max_quantity.into()
    }

    /// The least notional of an order.
    async fn min_notional(&self) -> Decimal {
        self.row.instrument.min_notional.into()
    }

    /// Fee of the maker, as a fraction.
    async fn maker_fee(&self) -> Decimal {
        self.row.instrument.maker_fee.to_decimal().into()
    }

    /// Fee of the taker, as a fraction.
    async fn taker_fee(&self) -> Decimal {
        self.row.instrument.taker_fee.to_decimal().into()
    }

    /// How far a limit price may lie from the reference price, as a fraction; null: no band.
    async fn price_band(&self) -> Option<Decimal> {
        self.row.instrument.price_band.map(|band| band.to_decimal().into())
    }

    /// Price of the last trade.
    async fn last_price(&self) -> Option<Decimal> {
        self.row.last_price.map(Into::into)
    }

    /// Best bid: of our book on an INTERNAL market, else the last observed.
    async fn bid(&self) -> Option<Decimal> {
        self.row.bid.as_ref().map(|level| level.price.into())
    }

    /// Best ask, likewise.
    async fn ask(&self) -> Option<Decimal> {
        self.row.ask.as_ref().map(|level| level.price.into())
    }

    /// The log position that this answer was read at.
    async fn log_position(&self) -> LogPosition {
        self.read_at.into()
    }

    /// Aggregated by price, best first.
    #[graphql(complexity = "list_cost(levels.unwrap_or(20).clamp(1, 1_000) as usize, child_complexity)")]
    async fn depth(&self, ctx: &Context<'_>, #[graphql(default = 20)] levels: Option<i32>) -> Result<Depth> {
        let levels = bounded("levels", levels.unwrap_or(20), MAX_LEVELS)?;
        match self.row.instrument.venue {
            DomainVenue::Internal => {
                Ok(Depth::from(models(ctx, self.at_least)?.depth(self.symbol_id(), levels).await?.value))
            }
            DomainVenue::Paper => Ok(services(ctx)?.observed.depth(self.symbol_id(), levels)),
        }
    }

    /// Trades, oldest first; those of an outside market come from the tick archive and are kept for a time.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn trades(
        &self,
        ctx: &Context<'_>,
        from: Option<DateTime>,
        to: Option<DateTime>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Trade>> {
        let (from, to) = (from.map(|moment| moment.0), to.map(|moment| moment.0));
        if self.row.instrument.venue == DomainVenue::Internal {
            let request = page(first, after)?;
            let answer = models(ctx, self.at_least)?.trades(self.symbol_id(), from, to, &request).await?;
            return Ok(connection(answer.value, request.after.is_some(), Trade::from));
        }
        let limit = page_size("first", first.unwrap_or(50))?;
        let after = after.map(|cursor| cursor.parse::<TickKey>()).transpose().map_err(|_| {
            ApiError::new(Code::BadRequest, "the cursor is not one that this list has given out")
        })?;
        let found = services(ctx)?.observed.trades(self.symbol_id(), from, to, after, limit).await?;
        let mut trades = Connection::new(after.is_some(), found.has_more);
        trades.edges =
            found.ticks.iter().map(|tick| Edge::new(tick.key().to_string(), Trade::from(tick))).collect();
        Ok(trades)
    }

    /// Candles that open at `from` or later and before `to`, oldest first, at most 1,500; the newest may still be open. With
    /// `last` only the last so many.
    #[graphql(complexity = "list_cost(last.unwrap_or(1_500).clamp(1, 1_500) as usize, child_complexity)")]
    async fn candles(
        &self,
        ctx: &Context<'_>,
        interval: CandleInterval,
        from: Option<DateTime>,
        to: Option<DateTime>,
        last: Option<i32>,
    ) -> Result<Vec<Candle>> {
        let range = read::CandleRange {
            from: from.map(|moment| moment.0),
            to: to.map(|moment| moment.0),
            last: last.map(|last| bounded("last", last, MAX_CANDLES)).transpose()?,
        };
        let interval = match interval {
            CandleInterval::S1 => read::CandleInterval::S1,
            CandleInterval::M1 => read::CandleInterval::M1,
            CandleInterval::M5 => read::CandleInterval::M5,
            CandleInterval::M15 => read::CandleInterval::M15,
            CandleInterval::H1 => read::CandleInterval::H1,
            CandleInterval::H4 => read::CandleInterval::H4,
            CandleInterval::D1 => read::CandleInterval::D1,
        };
        let answer = models(ctx, self.at_least)?.candles(self.symbol_id(), interval, range).await?;
        Ok(answer.value.into_iter().map(Candle::from).collect())
    }

    /// What was traded in the window that ends now.
    async fn stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "StatsWindow::H24")] window: StatsWindow,
    ) -> Result<MarketStats> {
        let window = match window {
            StatsWindow::M1 => read::StatsWindow::M1,
            StatsWindow::M5 => read::StatsWindow::M5,
            StatsWindow::H1 => read::StatsWindow::H1,
            StatsWindow::H24 => read::StatsWindow::H24,
        };
        let answer = models(ctx, self.at_least)?.stats(self.symbol_id(), window, Utc::now()).await?;
        Ok(match answer.value {
            Some(stats) => MarketStats::from(stats),
            None => MarketStats::nothing(domain::Quantity::zero(self.row.instrument.base).into()),
        })
    }
}

/// A book aggregated by price, best first.
#[derive(SimpleObject)]
pub struct Depth {
    /// Highest first.
    pub bids: Vec<Level>,
    /// Lowest first.
    pub asks: Vec<Level>,
}

impl From<read::Depth> for Depth {
    fn from(depth: read::Depth) -> Self {
        let levels = |levels: Vec<read::Level>| {
            levels
                .into_iter()
                .map(|level| Level { price: level.price.into(), quantity: level.quantity.into() })
                .collect()
        };
        Self { bids: levels(depth.bids), asks: levels(depth.asks) }
    }
}

impl From<processes::Depth> for Depth {
    fn from(depth: processes::Depth) -> Self {
        let levels = |levels: Vec<processes::feed::Level>| {
            levels
                .into_iter()
                .map(|level| Level { price: level.price.into(), quantity: level.quantity.into() })
                .collect()
        };
        Self { bids: levels(depth.bids), asks: levels(depth.asks) }
    }
}

/// All orders at one price.
#[derive(SimpleObject)]
pub struct Level {
    /// The price.
    pub price: Decimal,
    /// What rests there.
    pub quantity: Decimal,
}

/// A trade.
#[derive(SimpleObject)]
pub struct Trade {
    /// Unique among the market's trades.
    id: ID,
    /// The market.
    symbol: String,
    /// At this price.
    price: Decimal,
    /// How much of the base asset.
    quantity: Decimal,
    /// Whether the incoming order bought or sold.
    taker_side: OrderSide,
    /// When.
    at: DateTime,
}

impl From<read::Trade> for Trade {
    fn from(row: read::Trade) -> Self {
        Self {
            id: ID::from(row.trade_id.as_str()),
            symbol: row.symbol.to_string(),
            price: row.price.into(),
            quantity: row.quantity.into(),
            taker_side: row.taker_side.into(),
            at: row.at.into(),
        }
    }
}

impl From<&Tick> for Trade {
    fn from(tick: &Tick) -> Self {
        Self {
            id: ID::from(tick.id()),
            symbol: tick.symbol.to_string(),
            price: tick.price.into(),
            quantity: tick.quantity.into(),
            taker_side: tick.taker_side.into(),
            at: tick.at.into(),
        }
    }
}

/// What was traded in one interval.
#[derive(SimpleObject)]
pub struct Candle {
    /// Start of the interval.
    open_time: DateTime,
    /// Price of the first trade.
    open: Decimal,
    /// The highest.
    high: Decimal,
    /// The lowest.
    low: Decimal,
    /// Price of the last trade.
    close: Decimal,
    /// Base asset traded.
    volume: Decimal,
    /// Quote asset traded.
    quote_volume: Decimal,
    /// How many trades.
    trade_count: i32,
}

fn count(trades: u64) -> i32 {
    i32::try_from(trades).unwrap_or(i32::MAX)
}

impl From<read::Candle> for Candle {
    fn from(row: read::Candle) -> Self {
        Self {
            open_time: row.open_time.into(),
            open: row.open.into(),
            high: row.high.into(),
            low: row.low.into(),
            close: row.close.into(),
            volume: row.volume.into(),
            quote_volume: row.quote_volume.into(),
            trade_count: count(row.trade_count),
        }
    }
}

/// What was traded in a window of time.
#[derive(SimpleObject)]
pub struct MarketStats {
    /// Quote volume by volume, half-even to eight digits.
    vwap: Option<Decimal>,
    /// Base asset traded.
    volume: Decimal,
    /// The highest price.
    high: Option<Decimal>,
    /// The lowest price.
    low: Option<Decimal>,
    /// Price of the first trade.
    open: Option<Decimal>,
    /// How many trades.
    trade_count: i32,
}

impl MarketStats {
    fn nothing(volume: Decimal) -> Self {
        Self { vwap: None, volume, high: None, low: None, open: None, trade_count: 0 }
    }
}

impl From<read::MarketStats> for MarketStats {
    fn from(row: read::MarketStats) -> Self {
        Self {
            vwap: row.vwap.map(Into::into),
            volume: row.volume.into(),
            high: row.high.map(Into::into),
            low: row.low.map(Into::into),
            open: row.open.map(Into::into),
            trade_count: count(row.trade_count),
        }
    }
}
