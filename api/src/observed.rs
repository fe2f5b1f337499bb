//! What was observed of outside markets: the tick archive's trades and the observed book's depth.

use std::sync::Arc;

use domain::Timestamp;
use domain::ids::Symbol;
use processes::ObservedMarkets as LiveMarkets;
use processes::tick_archive::{Tick, TickArchive, TickArchiveError, TickKey, TickPage};
use tokio::sync::broadcast;

use crate::errors::ApiError;
use crate::graphql::types::Depth;

/// What was observed of outside markets. Cheap to clone.
#[derive(Clone)]
pub struct ObservedMarkets {
    archive: TickArchive,
    live: LiveMarkets,
}

impl ObservedMarkets {
    /// Over the processes' tick archive and observed books.
    pub fn new(archive: TickArchive, live: LiveMarkets) -> Self {
        Self { archive, live }
    }

    /// Trades of an outside market, oldest first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or a row is damaged.
    pub async fn trades(
        &self,
        symbol: &Symbol,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        after: Option<TickKey>,
        limit: usize,
    ) -> Result<TickPage, ApiError> {
        Ok(self.archive.trades(symbol, from, to, after, limit).await?)
    }

    /// The observed book of an outside market, at most `levels` of each side; empty while it is not known.
    pub fn depth(&self, symbol: &Symbol, levels: usize) -> Depth {
        self.live.depth(symbol, levels).unwrap_or_default().into()
    }

    /// Every trade of an outside market from now on; `None` if there is no such market.
    pub fn subscribe(&self, symbol: &Symbol) -> Option<broadcast::Receiver<Arc<Tick>>> {
        self.archive.subscribe(symbol)
    }
}

impl From<TickArchiveError> for ApiError {
    fn from(error: TickArchiveError) -> Self {
        match error {
            TickArchiveError::Database(error) => error.into(),
            damaged @ TickArchiveError::Batch(_) => Self::internal("read the tick archive", &damaged),
        }
    }
}
