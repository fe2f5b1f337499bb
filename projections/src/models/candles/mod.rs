//! Candles: seconds as they are traded, and minutes, hours and days rolled up from them once they are over.
//!
//! Every number is an exact sum. The period that is still open is not written but added up on reading: below the head's
//! minute everything is rolled up, from it on seconds stand alone. The same holds for the hour and the day of that
//! minute. So a market costs one new row a second and one update a minute.

use std::sync::Arc;

use chrono::{DurationRound, TimeDelta};
use domain::ids::Symbol;
use domain::market::MarketEvent;
use domain::price::Rounding;
use domain::quote::QuoteEvent;
use domain::{AnyEvent, Asset, Price, Timestamp};

use crate::fold::{Command, Fact, FoldError, Projection, add, row, row_set};
use crate::read::CandleInterval;

row! {
    /// What was traded in one period. Volume in smallest units of the base asset, quote volume of the quote asset.
    CandleRow in "candles"
    key { symbol: Symbol, period: CandleInterval, open_time: Timestamp }
    open: Price,
    high: Price,
    low: Price,
    close: Price,
    volume: i128,
    quote_volume: i128,
    trade_count: u64,
}

row! {
    /// A market with candles.
    HeadRow in "candle_heads"
    key { symbol: Symbol }
    base: Asset,
    quote: Asset,
    minute: Option<Timestamp>,
}

row_set!(CandleRows { candles: CandleRow, heads: HeadRow });

/// The projection.
pub(crate) struct Candles;

impl Projection for Candles {
    const NAME: &'static str = "candles";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = "";
    type Rows = CandleRows;
    const LOOKS_AT_ROWS: bool = true;

    fn touches(command: &Command, rows: &mut CandleRows) {
        for fact in &command.facts {
            let (symbol, at) = match &fact.event {
                AnyEvent::Market(MarketEvent::InstrumentRegistered { instrument }) => {
                    rows.heads.want((instrument.symbol.clone(),));
                    continue;
                }
                AnyEvent::Market(MarketEvent::TradeExecuted { .. }) => {
                    (Symbol::new(Arc::clone(&fact.stream)), fact.recorded_at)
                }
                AnyEvent::Quote(QuoteEvent::PriceObserved { window }) if window.traded.is_some() => {
                    (window.symbol.clone(), window.opened_at)
                }
                _ => continue,
            };
            rows.heads.want((symbol.clone(),));
            let open_minute = rows.heads.get(&(symbol.clone(),)).and_then(|head| head.minute);
            let second = start_of(at, SECOND).max(open_minute.unwrap_or(at));
            rows.candles.want((symbol.clone(), CandleInterval::S1, second));
            rows.candles.want((symbol.clone(), CandleInterval::S1, start_of(at, SECOND)));
            let Some(minute) = open_minute else { continue };
            for roll in rolls(minute, start_of(at, MINUTE)) {
                rows.candles.want((symbol.clone(), roll.into, roll.start));
                for part in roll.parts() {
                    rows.candles.want((symbol.clone(), roll.from, part));
                }
            }
        }
    }

    fn fold(command: &Command, rows: &mut CandleRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            match &fact.event {
                AnyEvent::Market(MarketEvent::InstrumentRegistered { instrument }) => {
                    let key = (instrument.symbol.clone(),);
                    // Prices may have been observed before the market was registered.
                    if rows.heads.get(&key).is_none() {
                        rows.heads.put(HeadRow {
                            symbol: instrument.symbol.clone(),
                            base: instrument.base,
                            quote: instrument.quote,
                            minute: None,
                        });
                    }
                }
                AnyEvent::Market(MarketEvent::TradeExecuted { price, quantity, .. }) => {
                    trade(fact, *price, quantity, rows)?;
                }
                AnyEvent::Quote(QuoteEvent::PriceObserved { window }) => {
                    let Some(traded) = &window.traded else { continue };
                    let symbol = &window.symbol;
                    if rows.heads.get(&(symbol.clone(),)).is_none() {
                        rows.heads.put(HeadRow {
                            symbol: symbol.clone(),
                            base: traded.volume.asset(),
                            quote: traded.quote_volume.asset(),
                            minute: None,
                        });
                    }
                    let traded = CandleRow {
                        symbol: symbol.clone(),
                        period: CandleInterval::S1,
                        open_time: window.opened_at,
                        open: traded.open,
                        high: traded.high,
                        low: traded.low,
                        close: traded.close,
                        volume: traded.volume.units(),
                        quote_volume: traded.quote_volume.units(),
                        trade_count: u64::from(traded.trade_count),
                    };
                    record(traded, rows)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A trade on an internal market.
fn trade(
    fact: &Fact,
    price: Price,
    quantity: &domain::Quantity,
    rows: &mut CandleRows,
) -> Result<(), FoldError> {
    let symbol = Symbol::new(Arc::clone(&fact.stream));
    let head = rows
        .heads
        .get(&(symbol.clone(),))
        .ok_or_else(|| FoldError::Missing { table: "candle_heads", key: symbol.to_string() })?;
    let notional = price.notional(*quantity, head.quote, Rounding::Exact)?;
    let traded = CandleRow {
        symbol,
        period: CandleInterval::S1,
        open_time: fact.recorded_at,
        open: price,
        high: price,
        low: price,
        close: price,
        volume: quantity.units(),
        quote_volume: notional.units(),
        trade_count: 1,
    };
    record(traded, rows)
}

/// Adds what was traded to its second, after rolling up what is over with it.
fn record(traded: CandleRow, rows: &mut CandleRows) -> Result<(), FoldError> {
    let head_key = (traded.symbol.clone(),);
    let open_minute = rows.heads.get(&head_key).and_then(|head| head.minute);
    // Neither windows nor the log's clock go back; were they to, what is rolled up would stay as it is.
    let at = traded.open_time.max(open_minute.unwrap_or(traded.open_time));
    let minute = start_of(at, MINUTE);
    if open_minute != Some(minute) {
        if let Some(open_minute) = open_minute {
            for roll in rolls(open_minute, minute) {
                roll.up(&traded.symbol, rows)?;
            }
        }
        rows.heads.change(&head_key)?.minute = Some(minute);
    }
    let second = CandleRow { open_time: start_of(at, SECOND), ..traded };
    include(second, rows)
}

/// Adds a part to the candle of the same period and time, as its newest part.
fn include(part: CandleRow, rows: &mut CandleRows) -> Result<(), FoldError> {
    let key = (part.symbol.clone(), part.period, part.open_time);
    if rows.candles.get(&key).is_none() {
        rows.candles.put(part);
        return Ok(());
    }
    let candle = rows.candles.change(&key)?;
    candle.high = candle.high.max(part.high);
    candle.low = candle.low.min(part.low);
    candle.close = part.close;
    add(&mut candle.volume, part.volume)?;
    add(&mut candle.quote_volume, part.quote_volume)?;
    candle.trade_count = candle.trade_count.saturating_add(part.trade_count);
    Ok(())
}

const SECOND: TimeDelta = TimeDelta::seconds(1);
const MINUTE: TimeDelta = TimeDelta::minutes(1);
const HOUR: TimeDelta = TimeDelta::hours(1);
const DAY: TimeDelta = TimeDelta::days(1);

/// Start of the period, in UTC, that a moment lies in.
fn start_of(at: Timestamp, period: TimeDelta) -> Timestamp {
    // Fails beyond the year 2262 only.
    at.duration_trunc(period).unwrap_or(at)
}

/// A period that is over and is rolled up from shorter ones.
#[derive(Clone, Copy, Debug)]
struct Roll {
    from: CandleInterval,
    part: TimeDelta,
    into: CandleInterval,
    whole: TimeDelta,
    start: Timestamp,
}

/// What is over when trading goes on from one minute in a later one, shortest first.
fn rolls(open_minute: Timestamp, minute: Timestamp) -> impl Iterator<Item = Roll> {
    let steps = [
        (CandleInterval::S1, SECOND, CandleInterval::M1, MINUTE),
        (CandleInterval::M1, MINUTE, CandleInterval::H1, HOUR),
        (CandleInterval::H1, HOUR, CandleInterval::D1, DAY),
    ];
    steps.into_iter().filter_map(move |(from, part, into, whole)| {
        let start = start_of(open_minute, whole);
        (start < start_of(minute, whole)).then_some(Roll { from, part, into, whole, start })
    })
}

impl Roll {
    fn parts(self) -> impl Iterator<Item = Timestamp> {
        let count = self.whole.num_seconds() / self.part.num_seconds();
        (0..count).filter_map(move |n| {
            Some(self.start + TimeDelta::seconds(self.part.num_seconds().checked_mul(n)?))
        })
    }

    fn up(self, symbol: &Symbol, rows: &mut CandleRows) -> Result<(), FoldError> {
        for part in self.parts() {
            let Some(part) = rows.candles.get(&(symbol.clone(), self.from, part)).cloned() else { continue };
            include(CandleRow { period: self.into, open_time: self.start, ..part }, rows)?;
        }
        Ok(())
    }
}
