//! The queries: what every read model can be asked, as rows of the domain's types.
//!
//! Every answer is taken in one snapshot with the checkpoint it was read at, and says so ([`Read::log_position`]).
//! `models.at_least(position)` gives a view whose queries first wait for every projection they touch.

mod accounts;
mod candles;
mod error;
mod event_index;
mod ledger;
mod market_data;
mod markets;
mod orders;
mod page;
mod portfolios;
mod query;
mod ratio;
mod status;

pub use accounts::{Account, Direction, Entry, Hold, HoldStatus, Transfer};
pub use candles::{Candle, CandleInterval, CandleRange, MarketStats, StatsWindow};
pub use error::ReadError;
pub use event_index::{IndexFilter, IndexPage};
pub use ledger::TrialBalanceLine;
pub use market_data::{Depth, Level, Trade};
pub use markets::Market;
pub use orders::{Fill, FillsOf, Order, OrderFilter};
pub use page::{Cursor, Edge, MAX_PAGE, Page, PageRequest};
pub use portfolios::{Portfolio, Position};
pub use status::{ProjectionState, ProjectionStatus};

use std::time::Duration;

use event_store::{Log, LogPosition};
use sqlx::PgPool;
use tokio::sync::watch;

use crate::engine::Progress;

/// An answer and the log position it was read at.
#[derive(Clone, Debug, PartialEq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// The checkpoint of the read model in the same snapshot: the answer is the fold of the log up to here.
    pub log_position: LogPosition,
}

impl<T> Read<T> {
    /// The same place with another value.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Read<U> {
        Read { value: into(self.value), log_position: self.log_position }
    }

    fn try_map<U>(self, into: impl FnOnce(T) -> Result<U, ReadError>) -> Result<Read<U>, ReadError> {
        Ok(Read { value: into(self.value)?, log_position: self.log_position })
    }
}

/// Answers queries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReadModels {
    pool: PgPool,
    log: Log,
    progress: Option<watch::Receiver<Progress>>,
    at_least: Option<LogPosition>,
    patience: Duration,
}

impl ReadModels {
    /// Read models that another process folds.
    pub fn open(pool: PgPool, log: Log) -> Self {
        Self::new(pool, log, None, crate::Settings::default().patience)
    }

    pub(crate) fn new(
        pool: PgPool,
        log: Log,
        progress: Option<watch::Receiver<Progress>>,
        patience: Duration,
    ) -> Self {
        Self { pool, log, progress, at_least: None, patience }
    }

    /// The same read models, answering only from states that include `position`: a query waits for it, with a limit.
    /// Without a position it answers at once.
    #[must_use]
    pub fn at_least(&self, position: Option<LogPosition>) -> Self {
        Self { at_least: position, ..self.clone() }
    }

    /// How long a query waits for the position it was asked to include.
    #[must_use]
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// Waits until all of the projections include `position`, with a limit.
    ///
    /// # Errors
    /// [`ReadError::BeyondHead`] at once, [`ReadError::NotYetVisible`] after the limit.
    pub async fn wait(
        &self,
        projections: &[&'static str],
        position: LogPosition,
        limit: Duration,
    ) -> Result<(), ReadError> {
        self.at_least(Some(position)).with_patience(limit).ready(projections).await.map(drop)
    }
}

/// An amount from a row. A fold writes none that is out of range.
fn amount<K: domain::amount::Kind>(
    projection: &'static str,
    asset: domain::Asset,
    units: i128,
) -> Result<domain::amount::Amount<K>, ReadError> {
    domain::amount::Amount::from_units(asset, units)
        .map_err(|refusal| ReadError::Corrupt { projection, detail: refusal.to_string() })
}
