//! Markets with their last, best bid and best ask prices.

use domain::ids::Symbol;
use domain::market::{Instrument, MarketStatus};
use domain::quote::BestLevel;
use domain::{Price, Timestamp};

use super::{Read, ReadError, ReadModels};

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

impl ReadModels {
    /// The market with this symbol.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn market(&self, _symbol: &Symbol) -> Result<Read<Option<Market>>, ReadError> {
        Err(self.ready(&["markets"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// All markets, by symbol.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn markets(&self) -> Result<Read<Vec<Market>>, ReadError> {
        Err(self.ready(&["markets"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
