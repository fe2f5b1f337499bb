//! One trade of an outside market in the archive, and its place among the others.

use std::fmt;
use std::str::FromStr;

use chrono::DateTime;
use domain::ids::Symbol;
use domain::order::OrderSide;
use domain::{Price, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

/// A trade of an outside market.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// The market.
    pub symbol: Symbol,
    /// When, in the present, to the microsecond.
    pub at: Timestamp,
    /// Which pass of the feed; with the trade id it is unique.
    pub pass: u64,
    /// The exchange's number of the trade.
    pub trade_id: u64,
    /// Its price.
    pub price: Price,
    /// In the base asset.
    pub quantity: Quantity,
    /// Which side came to trade.
    pub taker_side: OrderSide,
}

impl Tick {
    /// Its place.
    pub fn key(&self) -> TickKey {
        TickKey { at_us: self.at.timestamp_micros(), pass: self.pass, trade_id: self.trade_id }
    }

    /// Its id among the trades of its market: `<pass>-<trade id>`.
    pub fn id(&self) -> String {
        format!("{}-{}", self.pass, self.trade_id)
    }
}

/// The place of a trade among those of its market: by time, then pass, then trade id. As text it is a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TickKey {
    /// Microseconds since 1970.
    pub at_us: i64,
    /// The pass.
    pub pass: u64,
    /// The exchange's number of the trade.
    pub trade_id: u64,
}

impl TickKey {
    /// Before every trade at the moment.
    pub fn start_of(moment: Timestamp) -> Self {
        Self { at_us: moment.timestamp_micros(), pass: 0, trade_id: 0 }
    }

    /// The moment.
    pub fn at(self) -> Timestamp {
        DateTime::from_timestamp_micros(self.at_us).unwrap_or_default()
    }
}

impl fmt::Display for TickKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at_us, self.pass, self.trade_id)
    }
}

impl FromStr for TickKey {
    type Err = MalformedCursor;

    fn from_str(text: &str) -> Result<Self, MalformedCursor> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(MalformedCursor);
        let (at_us, pass, trade_id) = (part()?, part()?, part()?);
        Ok(Self {
            at_us: at_us.parse().map_err(|_| MalformedCursor)?,
            pass: pass.parse().map_err(|_| MalformedCursor)?,
            trade_id: trade_id.parse().map_err(|_| MalformedCursor)?,
        })
    }
}

/// A text that is not the place of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one of a trade; use one that a page of trades gave")]
pub struct MalformedCursor;
