//! Markets: instrument and status, and apart from these, because they change every second, their prices.

use std::sync::Arc;

use domain::ids::Symbol;
use domain::market::{Instrument, MarketEvent, MarketStatus, Venue};
use domain::quote::{BestLevel, QuoteEvent};
use domain::{AnyEvent, Asset, Price, Rate, Timestamp};

use crate::changes::Changed;
use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// A market.
    MarketRow in "markets"
    key { symbol: Symbol }
    base: Asset,
    quote: Asset,
    venue: Venue,
    status: MarketStatus,
    tick_size: Price,
    lot_size: i128,
    min_quantity: i128,
    max_quantity: i128,
    min_notional: i128,
    maker_fee: Rate,
    taker_fee: Rate,
    price_band: Option<Rate>,
}

row! {
    /// The newest prices of a market. Best levels are observed ones; those of an internal market are in its book.
    PriceRow in "market_prices"
    key { symbol: Symbol }
    base: Asset,
    last_price: Option<Price>,
    bid_price: Option<Price>,
    bid_quantity: Option<i128>,
    ask_price: Option<Price>,
    ask_quantity: Option<i128>,
    priced_at: Timestamp,
}

row_set!(MarketRows { markets: MarketRow, prices: PriceRow });

/// The projection.
pub(crate) struct Markets;

impl Projection for Markets {
    const NAME: &'static str = "markets";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = MarketRows;

    fn touches(command: &Command, rows: &mut MarketRows) {
        for fact in &command.facts {
            match &fact.event {
                AnyEvent::Market(MarketEvent::TradingHalted { .. } | MarketEvent::TradingResumed { .. }) => {
                    rows.markets.want((Symbol::new(Arc::clone(&fact.stream)),));
                }
                AnyEvent::Market(MarketEvent::TradeExecuted { .. }) => {
                    rows.prices.want((Symbol::new(Arc::clone(&fact.stream)),));
                }
                AnyEvent::Quote(QuoteEvent::PriceObserved { window }) => {
                    rows.prices.want((window.symbol.clone(),));
                }
                _ => {}
            }
        }
    }

    fn fold(command: &Command, rows: &mut MarketRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            match &fact.event {
                AnyEvent::Market(event) => {
                    of_market(Symbol::new(Arc::clone(&fact.stream)), event, fact.recorded_at, rows)?;
                }
                AnyEvent::Quote(event) => of_quote(event, rows),
                AnyEvent::Account(_) | AnyEvent::Portfolio(_) | AnyEvent::Order(_) => {}
            }
        }
        Ok(())
    }

    fn announce(rows: &MarketRows, changed: &mut Vec<Changed>) {
        let keys = rows.markets.changed_keys().chain(rows.prices.changed_keys());
        changed.extend(keys.map(|(symbol,)| Changed::Market(symbol.clone())));
    }
}

fn of_market(
    symbol: Symbol,
    event: &MarketEvent,
    recorded_at: Timestamp,
    rows: &mut MarketRows,
) -> Result<(), FoldError> {
    match event {
        MarketEvent::InstrumentRegistered { instrument } => rows.markets.put(registered(instrument)),
        MarketEvent::TradingHalted { .. } => {
            rows.markets.change(&(symbol,))?.status = MarketStatus::Halted;
        }
        MarketEvent::TradingResumed { .. } => {
            rows.markets.change(&(symbol,))?.status = MarketStatus::Trading;
        }
        MarketEvent::TradeExecuted { price, quantity, .. } => {
            let row = prices(rows, symbol, quantity.asset());
            row.last_price = Some(*price);
            row.priced_at = recorded_at;
        }
        MarketEvent::OrderBooked { .. } | MarketEvent::OrderUnbooked { .. } => {}
    }
    Ok(())
}

fn of_quote(event: &QuoteEvent, rows: &mut MarketRows) {
    let QuoteEvent::PriceObserved { window } = event;
    let traded = window.traded.as_ref();
    let levels = [window.bid.as_ref(), window.ask.as_ref()];
    let base = levels.iter().flatten().map(|level| level.quantity.asset()).next();
    let Some(base) = base.or(traded.map(|traded| traded.volume.asset())) else { return };
    let row = prices(rows, window.symbol.clone(), base);
    let parts = |level: Option<&BestLevel>| {
        (level.map(|level| level.price), level.map(|level| level.quantity.units()))
    };
    (row.bid_price, row.bid_quantity) = parts(window.bid.as_ref());
    (row.ask_price, row.ask_quantity) = parts(window.ask.as_ref());
    if let Some(traded) = traded {
        row.last_price = Some(traded.close);
    }
    row.priced_at = window.opened_at + chrono::TimeDelta::milliseconds(i64::from(window.length_ms));
}

fn registered(instrument: &Instrument) -> MarketRow {
    MarketRow {
        symbol: instrument.symbol.clone(),
        base: instrument.base,
        quote: instrument.quote,
        venue: instrument.venue,
        status: MarketStatus::Trading,
        tick_size: instrument.tick_size,
        lot_size: instrument.lot_size.units(),
        min_quantity: instrument.min_quantity.units(),
        max_quantity: instrument.max_quantity.units(),
        min_notional: instrument.min_notional.units(),
        maker_fee: instrument.maker_fee,
        taker_fee: instrument.taker_fee,
        price_band: instrument.price_band,
    }
}

fn prices(rows: &mut MarketRows, symbol: Symbol, base: Asset) -> &mut PriceRow {
    rows.prices.change_or((symbol.clone(),), || PriceRow {
        symbol,
        base,
        last_price: None,
        bid_price: None,
        bid_quantity: None,
        ask_price: None,
        ask_quantity: None,
        priced_at: Timestamp::UNIX_EPOCH,
    })
}
