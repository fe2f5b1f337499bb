//! The tick archive: every trade of outside markets, kept for a time.
//!
//! It stands beside the log as a second, declared source: single trades would be most of the log's volume, and nothing is
//! rebuilt from them. The newest trades are in memory and are written every few seconds as one compressed row a market;
//! what a crash takes with it are these last seconds. Reads merge both.
//!
//! - [`tick`]: a trade and its place.
//! - [`batch`]: the compressed form.
//! - `keeper`: the process that fills it.

pub mod batch;
pub(crate) mod keeper;
pub mod tick;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use domain::ids::Symbol;
use domain::{Asset, Timestamp};
use event_store::backup::Companion;
use sqlx::{PgPool, Row};
use tokio::sync::broadcast;

pub use batch::BatchError;
pub use tick::{MalformedCursor, Tick, TickKey};

/// How long trades are kept unless set otherwise.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Trades on one page at most.
pub const MAX_PAGE: usize = 1_000;

/// Trades of one market that wait to be written at most; while PostgreSQL is away, the oldest are dropped beyond it.
const MAX_UNWRITTEN: usize = batch::MAX_TRADES;
/// How long a trade that another node writes is kept in memory: a few times as long as that takes.
const MIRRORED_FOR: TimeDelta = TimeDelta::seconds(60);
/// Trades a subscriber may lag behind before it misses some.
const SUBSCRIBER_LAG: usize = 4_096;
/// Rows one read takes from the database.
const ROWS_A_READ: i64 = 8;

/// The archive in a backup: what was traded before it began.
pub const BACKUP: Companion = Companion {
    table: "ticks.batches",
    columns: &["first_at", "last_at", "last_pass", "last_trade_id", "trade_count", "symbol", "trades"],
    up_to: Some("last_at"),
};

/// Why the archive cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TickArchiveError {
    /// PostgreSQL did not answer; try again.
    #[error("the tick archive cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// A row is damaged, or a trade does not fit the format.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

/// Some trades of one market, newest last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TickPage {
    /// In the order of their keys.
    pub ticks: Vec<Tick>,
    /// Whether there are more after the last.
    pub has_more: bool,
}

/// The archive. Cheap to clone; all clones are the same one.
#[derive(Clone, Debug)]
pub struct TickArchive {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    markets: BTreeMap<Symbol, ArchivedMarket>,
}

#[derive(Debug)]
struct ArchivedMarket {
    base: Asset,
    newest: Mutex<Newest>,
    live: broadcast::Sender<Arc<Tick>>,
}

/// What of a market is not written yet.
#[derive(Debug, Default)]
struct Newest {
    last: Option<TickKey>,
    unwritten: VecDeque<Tick>,
    /// The newest that another node has taken in, who writes them.
    mirrored: VecDeque<Tick>,
}

impl Newest {
    /// Trades that may not be in the database, oldest first.
    fn in_memory(&self) -> impl DoubleEndedIterator<Item = &Tick> {
        self.unwritten.iter().chain(&self.mirrored)
    }
}

impl TickArchive {
    /// The archive of these markets, each with its base asset, in a migrated database.
    ///
    /// # Errors
    /// [`TickArchiveError::Database`].
    pub async fn open(
        pool: PgPool,
        markets: impl IntoIterator<Item = (Symbol, Asset)>,
    ) -> Result<Self, TickArchiveError> {
        let mut archived = BTreeMap::new();
        for (symbol, base) in markets {
            let row = sqlx::query(
                "SELECT last_at, last_pass, last_trade_id FROM ticks.batches WHERE symbol = $1 \
                 ORDER BY last_at DESC, last_pass DESC, last_trade_id DESC LIMIT 1",
            )
            .bind(symbol.as_str())
            .fetch_optional(&pool)
            .await?;
            let last = row.as_ref().map(last_key).transpose()?;
            let newest = Mutex::new(Newest { last, ..Newest::default() });
            let live = broadcast::Sender::new(SUBSCRIBER_LAG);
            archived.insert(symbol, ArchivedMarket { base, newest, live });
        }
        Ok(Self { inner: Arc::new(Inner { pool, markets: archived }) })
    }

    /// The highest pass of the market of which a trade is kept.
    pub fn last_pass(&self, symbol: &Symbol) -> Option<u64> {
        self.inner.markets.get(symbol)?.newest().last.map(|key| key.pass)
    }

    /// Takes in a trade that is newer than every other of its market; its time moves on by as little as that needs. Trades of
    /// other markets than it was opened for are left out.
    pub fn record(&self, mut tick: Tick) {
        let Some(market) = self.inner.markets.get(&tick.symbol) else { return };
        let mut newest = market.newest();
        if let Some(last) = newest.last.filter(|last| tick.key() <= *last) {
            tick.at = last.at() + TimeDelta::microseconds(1);
        }
        newest.last = Some(tick.key());
        // What another node had not written is lost with it; what it had is in the database.
        newest.mirrored.clear();
        if newest.unwritten.len() >= MAX_UNWRITTEN {
            newest.unwritten.pop_front();
            metrics::counter!("daybook_ticks_dropped_total").increment(1);
        }
        newest.unwritten.push_back(tick.clone());
        // Sent under the lock, so that subscribers see the trades in their order. Nobody listening is no error.
        let _ = market.live.send(Arc::new(tick));
    }

    /// Takes over a trade that the node that leads has recorded and will write. One that is known already is left out.
    pub(crate) fn mirror(&self, tick: Tick) {
        let Some(market) = self.inner.markets.get(&tick.symbol) else { return };
        let mut newest = market.newest();
        if newest.last.is_some_and(|last| tick.key() <= last) {
            return;
        }
        newest.last = Some(tick.key());
        let oldest = tick.at - MIRRORED_FOR;
        while newest.mirrored.front().is_some_and(|first| first.at < oldest)
            || newest.mirrored.len() >= MAX_UNWRITTEN
        {
            newest.mirrored.pop_front();
        }
        newest.mirrored.push_back(tick.clone());
        let _ = market.live.send(Arc::new(tick));
    }

    /// The trades of a market that may not be in the database yet, oldest first.
    pub(crate) fn newest(&self, symbol: &Symbol) -> Vec<Tick> {
        self.inner
            .markets
            .get(symbol)
            .map(|market| market.newest().in_memory().cloned().collect())
            .unwrap_or_default()
    }

    /// Every trade of the market from now on; `None` if there is no such market. One that lags is told how many it missed.
    pub fn subscribe(&self, symbol: &Symbol) -> Option<broadcast::Receiver<Arc<Tick>>> {
        self.inner.markets.get(symbol).map(|market| market.live.subscribe())
    }

    /// The trades of a market at `from` or later and before `to` that come after a place, oldest first, at most `limit`
    /// and [`MAX_PAGE`].
    ///
    /// # Errors
    /// [`TickArchiveError`].
    pub async fn trades(
        &self,
        symbol: &Symbol,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
        after: Option<TickKey>,
        limit: usize,
    ) -> Result<TickPage, TickArchiveError> {
        let Some(market) = self.inner.markets.get(symbol) else { return Ok(TickPage::default()) };
        let wanted = limit.min(MAX_PAGE) + 1;
        let from = from.map_or(TickKey { at_us: 0, pass: 0, trade_id: 0 }, TickKey::start_of);
        let belongs = |tick: &Tick| {
            let key = tick.key();
            key >= from && after.is_none_or(|after| key > after) && to.is_none_or(|to| tick.at < to)
        };
        // Memory before database: a batch that is written in between is then seen twice, never missed.
        let unwritten: Vec<Tick> =
            market.newest().in_memory().filter(|t| belongs(t)).take(wanted).cloned().collect();

        let mut ticks: Vec<Tick> = Vec::new();
        // A batch that ends at the place has nothing more to give.
        let mut read_to = after.filter(|after| *after >= from);
        let start = read_to.unwrap_or(from);
        while ticks.len() < wanted {
            let place = read_to.unwrap_or(start);
            let rows = sqlx::query(
                "SELECT last_at, last_pass, last_trade_id, trades FROM ticks.batches \
                 WHERE symbol = $1 AND (last_at, last_pass, last_trade_id) >= ($2, $3, $4) \
                   AND ($5 OR (last_at, last_pass, last_trade_id) > ($2, $3, $4)) \
                   AND first_at < $6 \
                 ORDER BY last_at, last_pass, last_trade_id LIMIT $7",
            )
            .bind(symbol.as_str())
            .bind(place.at())
            .bind(place.pass.cast_signed())
            .bind(place.trade_id.cast_signed())
            .bind(read_to.is_none())
            .bind(to.unwrap_or(Timestamp::MAX_UTC).min(far_future()))
            .bind(ROWS_A_READ)
            .fetch_all(&self.inner.pool)
            .await?;
            for row in &rows {
                let batch = batch::decode(symbol, market.base, row.try_get("trades")?)?;
                ticks.extend(batch.into_iter().filter(|t| belongs(t)));
                read_to = Some(last_key(row)?);
            }
            if rows.len() < usize::try_from(ROWS_A_READ).unwrap_or(usize::MAX) {
                break;
            }
        }
        let last_read = ticks.last().map(Tick::key);
        ticks.extend(unwritten.into_iter().filter(|t| last_read.is_none_or(|last| t.key() > last)));
        let has_more = ticks.len() >= wanted;
        ticks.truncate(wanted - 1);
        Ok(TickPage { ticks, has_more })
    }

    /// The newest trades of a market, newest last, at most `limit` and [`MAX_PAGE`].
    ///
    /// # Errors
    /// [`TickArchiveError`].
    pub async fn latest(&self, symbol: &Symbol, limit: usize) -> Result<Vec<Tick>, TickArchiveError> {
        let Some(market) = self.inner.markets.get(symbol) else { return Ok(Vec::new()) };
        let limit = limit.min(MAX_PAGE);
        let mut ticks: Vec<Tick> = market.newest().in_memory().rev().take(limit).cloned().collect();
        let mut place = TickKey { at_us: far_future().timestamp_micros(), pass: 0, trade_id: 0 };
        while ticks.len() < limit {
            let row = sqlx::query(
                "SELECT last_at, last_pass, last_trade_id, trades FROM ticks.batches \
                 WHERE symbol = $1 AND (last_at, last_pass, last_trade_id) < ($2, $3, $4) \
                 ORDER BY last_at DESC, last_pass DESC, last_trade_id DESC LIMIT 1",
            )
            .bind(symbol.as_str())
            .bind(place.at())
            .bind(place.pass.cast_signed())
            .bind(place.trade_id.cast_signed())
            .fetch_optional(&self.inner.pool)
            .await?;
            let Some(row) = row else { break };
            place = last_key(&row)?;
            let oldest = ticks.last().map(Tick::key);
            let batch = batch::decode(symbol, market.base, row.try_get("trades")?)?;
            ticks.extend(batch.into_iter().rev().filter(|t| oldest.is_none_or(|oldest| t.key() < oldest)));
        }
        ticks.truncate(limit);
        ticks.reverse();
        Ok(ticks)
    }

    /// Writes what is in memory. What cannot be written stays there for the next time.
    ///
    /// # Errors
    /// [`TickArchiveError`].
    pub async fn flush(&self) -> Result<(), TickArchiveError> {
        for (symbol, market) in &self.inner.markets {
            let ticks: Vec<Tick> = market.newest().unwritten.iter().cloned().collect();
            let (Some(first), Some(last)) = (ticks.first(), ticks.last()) else { continue };
            // Written before, with the answer lost: the row is there already.
            sqlx::query(
                "INSERT INTO ticks.batches (first_at, last_at, last_pass, last_trade_id, trade_count, symbol, trades) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
            )
            .bind(first.at)
            .bind(last.at)
            .bind(last.pass.cast_signed())
            .bind(last.trade_id.cast_signed())
            .bind(i32::try_from(ticks.len()).unwrap_or(i32::MAX))
            .bind(symbol.as_str())
            .bind(batch::encode(&ticks)?)
            .execute(&self.inner.pool)
            .await?;
            let written_to = last.key();
            market.newest().unwritten.retain(|tick| tick.key() > written_to);
        }
        Ok(())
    }

    /// Deletes what is older than `retention`; returns how many rows that were.
    ///
    /// # Errors
    /// [`TickArchiveError::Database`].
    pub async fn sweep(&self, retention: Duration, now: Timestamp) -> Result<u64, TickArchiveError> {
        let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
        let Some(before) = now.checked_sub_signed(retention) else { return Ok(0) };
        let mut deleted = 0;
        for symbol in self.inner.markets.keys() {
            let result = sqlx::query("DELETE FROM ticks.batches WHERE symbol = $1 AND last_at < $2")
                .bind(symbol.as_str())
                .bind(before.max(Timestamp::UNIX_EPOCH))
                .execute(&self.inner.pool)
                .await?;
            deleted += result.rows_affected();
        }
        Ok(deleted)
    }
}

impl ArchivedMarket {
    fn newest(&self) -> MutexGuard<'_, Newest> {
        // Nothing between lock and unlock leaves it half changed.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last_key(row: &sqlx::postgres::PgRow) -> Result<TickKey, sqlx::Error> {
    let at: Timestamp = row.try_get("last_at")?;
    let (pass, trade_id): (i64, i64) = (row.try_get("last_pass")?, row.try_get("last_trade_id")?);
    Ok(TickKey { at_us: at.timestamp_micros(), pass: pass.unsigned_abs(), trade_id: trade_id.unsigned_abs() })
}

/// PostgreSQL's years end before chrono's.
fn far_future() -> Timestamp {
    Timestamp::UNIX_EPOCH + TimeDelta::days(365 * 8_000)
}
