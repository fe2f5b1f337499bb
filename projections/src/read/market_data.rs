//! What happened on a market: depth and trades of internal markets, candles and statistics of all.

use domain::ids::{Symbol, TradeId};
use domain::order::OrderSide;
use domain::{Decimal, Money, Price, Quantity, Timestamp};
use event_store::LogPosition;

use super::{Page, PageRequest, Read, ReadError, ReadModels};

/// How long a candle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CandleInterval {
    /// A second.
    S1,
    /// A minute.
    M1,
    /// Five minutes.
    M5,
    /// A quarter of an hour.
    M15,
    /// An hour.
    H1,
    /// Four hours.
    H4,
    /// A day, UTC.
    D1,
}

/// Over how long statistics are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatsWindow {
    /// A minute.
    M1,
    /// Five minutes.
    M5,
    /// An hour.
    H1,
    /// A day.
    H24,
}

/// Which candles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CandleRange {
    /// Only those that open at or after.
    pub from: Option<Timestamp>,
    /// Only those that open before.
    pub to: Option<Timestamp>,
    /// Only the last so many; at most, and if absent, 1,500.
    pub last: Option<usize>,
}

/// What was traded in one interval. Intervals without a trade have none.
#[derive(Clone, Debug, PartialEq)]
pub struct Candle {
    /// Start of the interval.
    pub open_time: Timestamp,
    /// Price of the first trade.
    pub open: Price,
    /// The highest.
    pub high: Price,
    /// The lowest.
    pub low: Price,
    /// Price of the last trade.
    pub close: Price,
    /// Base asset traded.
    pub volume: Quantity,
    /// Quote asset traded.
    pub quote_volume: Money,
    /// How many trades.
    pub trade_count: u64,
}

/// What was traded in the last minute, hour or day.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketStats {
    /// Quote volume by volume, half-even to eight digits.
    pub vwap: Option<Decimal>,
    /// Base asset traded.
    pub volume: Quantity,
    /// The highest price.
    pub high: Option<Price>,
    /// The lowest price.
    pub low: Option<Price>,
    /// Price of the first trade.
    pub open: Option<Price>,
    /// How many trades.
    pub trade_count: u64,
}

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
    pub async fn depth(&self, _symbol: &Symbol, _levels: usize) -> Result<Read<Depth>, ReadError> {
        Err(self.ready(&["book"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Trades of an internal market from a moment on and before another, in their order; none for other venues.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn trades(
        &self,
        _symbol: &Symbol,
        _from: Option<Timestamp>,
        _to: Option<Timestamp>,
        _page: &PageRequest,
    ) -> Result<Read<Page<Trade>>, ReadError> {
        Err(self.ready(&["trades"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Candles of a market, oldest first; the newest may still be open.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn candles(
        &self,
        _symbol: &Symbol,
        _interval: CandleInterval,
        _range: CandleRange,
    ) -> Result<Read<Vec<Candle>>, ReadError> {
        Err(self.ready(&["candles"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// What was traded on a market in the window that ends at `now`; `None` when nothing is known of the market.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn stats(
        &self,
        _symbol: &Symbol,
        _window: StatsWindow,
        _now: Timestamp,
    ) -> Result<Read<Option<MarketStats>>, ReadError> {
        Err(self.ready(&["candles"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
