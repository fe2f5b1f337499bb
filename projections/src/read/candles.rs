//! Candles and statistics: exact sums of what was traded, from the coarsest rolled-up periods that fit.

use chrono::{DurationRound as _, TimeDelta};
use domain::ids::Symbol;
use domain::{Asset, Decimal, Money, Price, Quantity, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{Row as _, ValueRef as _};

use super::query::{Bind, checkpoint, checkpoint_of};
use super::ratio::ratio;
use super::{Read, ReadError, ReadModels, amount};
use crate::fold::next_field;

/// The most candles of one answer.
const MAX_CANDLES: usize = 1_500;

/// How long a candle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

const CANDLES: &[&str] = &["candles"];

/// The market, and where its open minute, hour and day begin: what lies before is rolled up.
const HEAD: &str = "head AS (SELECT base, quote, minute, date_trunc('hour', minute, 'UTC') AS hour, \
     date_trunc('day', minute, 'UTC') AS day FROM read.candle_heads WHERE symbol = $1)";

/// Sums of parts, in their order.
const SUMS: &str = "(array_agg(open ORDER BY open_time))[1]::text AS open, max(high)::text AS high, \
     min(low)::text AS low, (array_agg(close ORDER BY open_time DESC))[1]::text AS close, \
     sum(volume)::text AS volume, sum(quote_volume)::text AS quote_volume, sum(trade_count)::bigint AS trade_count";

impl CandleInterval {
    fn length(self) -> TimeDelta {
        match self {
            Self::S1 => TimeDelta::seconds(1),
            Self::M1 => TimeDelta::minutes(1),
            Self::M5 => TimeDelta::minutes(5),
            Self::M15 => TimeDelta::minutes(15),
            Self::H1 => TimeDelta::hours(1),
            Self::H4 => TimeDelta::hours(4),
            Self::D1 => TimeDelta::days(1),
        }
    }

    /// The stored periods it is made of: the coarsest that is rolled up, then what is not rolled up yet, each with the
    /// column of the head from which on it stands alone.
    fn parts(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::S1 => &[("S1", "")],
            Self::M1 | Self::M5 | Self::M15 => &[("M1", ""), ("S1", "minute")],
            Self::H1 | Self::H4 => &[("H1", ""), ("M1", "hour"), ("S1", "minute")],
            Self::D1 => &[("D1", ""), ("H1", "day"), ("M1", "hour"), ("S1", "minute")],
        }
    }

    /// How many rolled-up periods one candle has at most.
    fn parts_per_candle(self) -> usize {
        match self {
            Self::S1 | Self::M1 | Self::H1 | Self::D1 => 1,
            Self::M5 => 5,
            Self::M15 => 15,
            Self::H4 => 4,
        }
    }
}

impl StatsWindow {
    fn length(self) -> TimeDelta {
        match self {
            Self::M1 => TimeDelta::minutes(1),
            Self::M5 => TimeDelta::minutes(5),
            Self::H1 => TimeDelta::hours(1),
            Self::H24 => TimeDelta::hours(24),
        }
    }
}

/// The first moment at or after `at` at which a period begins.
fn ceil(at: Timestamp, period: TimeDelta) -> Timestamp {
    let floor = at.duration_trunc(period).unwrap_or(at);
    if floor < at { floor + period } else { floor }
}

impl ReadModels {
    /// Candles of a market, oldest first; the newest may still be open.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn candles(
        &self,
        symbol: &Symbol,
        interval: CandleInterval,
        range: CandleRange,
    ) -> Result<Read<Vec<Candle>>, ReadError> {
        let floor = self.ready(CANDLES).await?;
        let last = range.last.unwrap_or(MAX_CANDLES).clamp(1, MAX_CANDLES);
        // One candle more, because the parts of the oldest may be cut.
        let most_parts = (last + 1) * interval.parts_per_candle();
        let within = "open_time >= coalesce($2, '-infinity'::timestamptz) \
             AND open_time < coalesce($3, 'infinity'::timestamptz)";
        let parts: Vec<String> = interval
            .parts()
            .iter()
            .map(|(period, since)| {
                // What is not rolled up yet is at most a minute, an hour and a day.
                let rest = if since.is_empty() {
                    format!("ORDER BY open_time DESC LIMIT {most_parts}")
                } else {
                    format!("AND open_time >= head.{since}")
                };
                format!(
                    "(SELECT k.* FROM head, read.candles k WHERE k.symbol = $1 AND k.period = '{period}' AND {within} \
                      {rest})"
                )
            })
            .collect();
        let sql = format!(
            "WITH {}, {HEAD}, parts AS ({}) \
             SELECT c.least, head.base, head.quote, k.* FROM checkpoint c LEFT JOIN head ON true LEFT JOIN ( \
                 SELECT date_bin(make_interval(secs => {}), open_time, 'epoch'::timestamptz) AS bucket, {SUMS} \
                 FROM parts GROUP BY bucket ORDER BY bucket DESC LIMIT {last} \
             ) k ON true ORDER BY k.bucket",
            checkpoint(CANDLES),
            parts.join(" UNION ALL "),
            interval.length().num_seconds(),
        );
        let bound = |at: Option<Timestamp>| Bind::Time(at.map(|at| ceil(at, interval.length())));
        let binds = vec![symbol.as_str().into(), bound(range.from), bound(range.to)];
        let rows = self.fetch(CANDLES, &sql, binds).await?;
        let log_position = checkpoint_of(&rows, CANDLES, floor)?;
        let mut value = Vec::with_capacity(rows.len());
        for row in &rows {
            if !row.try_get_raw(3)?.is_null() {
                value.push(Candle::read(row)?);
            }
        }
        Ok(Read { value, log_position })
    }

    /// What was traded on a market in the window that ends at `now`, to the second; `None` when nothing is known of the
    /// market.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn stats(
        &self,
        symbol: &Symbol,
        window: StatsWindow,
        now: Timestamp,
    ) -> Result<Read<Option<MarketStats>>, ReadError> {
        let floor = self.ready(CANDLES).await?;
        let from = ceil(now - window.length(), CandleInterval::S1.length());
        let first_minute = ceil(from, CandleInterval::M1.length());
        let sql = format!(
            "WITH {}, {HEAD}, parts AS ( \
                 SELECT k.* FROM head, read.candles k WHERE k.symbol = $1 AND k.period = 'S1' \
                     AND open_time >= $2 AND open_time < least($3, head.minute) AND open_time <= $4 \
                 UNION ALL SELECT k.* FROM head, read.candles k WHERE k.symbol = $1 AND k.period = 'M1' \
                     AND open_time >= $3 AND open_time < head.minute AND open_time <= $4 \
                 UNION ALL SELECT k.* FROM head, read.candles k WHERE k.symbol = $1 AND k.period = 'S1' \
                     AND open_time >= greatest($2, head.minute) AND open_time <= $4) \
             SELECT c.least, head.base, head.quote, $2::timestamptz, s.* FROM checkpoint c \
             LEFT JOIN head ON true LEFT JOIN (SELECT {SUMS} FROM parts) s ON true",
            checkpoint(CANDLES),
        );
        let times = [from, first_minute, now].map(|time| Bind::Time(Some(time)));
        let binds = std::iter::once(symbol.as_str().into()).chain(times).collect();
        let rows = self.fetch(CANDLES, &sql, binds).await?;
        let log_position = checkpoint_of(&rows, CANDLES, floor)?;
        let Some(row) = rows.first() else { return Ok(Read { value: None, log_position }) };
        let base: Option<Asset> = next_field(row, &mut 1, "base")?;
        let value = match base {
            None => None,
            Some(base) if row.try_get_raw(4)?.is_null() => Some(MarketStats {
                vwap: None,
                volume: Quantity::zero(base),
                high: None,
                low: None,
                open: None,
                trade_count: 0,
            }),
            Some(_) => {
                let sums = Candle::read(row)?;
                Some(MarketStats {
                    vwap: ratio(sums.quote_volume, sums.volume),
                    volume: sums.volume,
                    high: Some(sums.high),
                    low: Some(sums.low),
                    open: Some(sums.open),
                    trade_count: sums.trade_count,
                })
            }
        };
        Ok(Read { value, log_position })
    }
}

impl Candle {
    /// From base, quote, time and sums, after the checkpoint.
    fn read(row: &PgRow) -> Result<Self, ReadError> {
        let mut index = 1;
        let base: Asset = next_field(row, &mut index, "base")?;
        let quote: Asset = next_field(row, &mut index, "quote")?;
        Ok(Self {
            open_time: next_field(row, &mut index, "open_time")?,
            open: next_field(row, &mut index, "open")?,
            high: next_field(row, &mut index, "high")?,
            low: next_field(row, &mut index, "low")?,
            close: next_field(row, &mut index, "close")?,
            volume: amount("candles", base, next_field(row, &mut index, "volume")?)?,
            quote_volume: amount("candles", quote, next_field(row, &mut index, "quote_volume")?)?,
            trade_count: next_field(row, &mut index, "trade_count")?,
        })
    }
}
