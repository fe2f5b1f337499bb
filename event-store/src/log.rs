//! Reading the log and following it: whole commands only, from the tail buffer where it reaches, else from the database.
//!
//! What this process appends is published to its readers at once. What other nodes append is announced by
//! `LISTEN/NOTIFY`; a slow poll finds what an announcement lost. Both feed one tail buffer, so a thousand subscribers cost
//! the database one read a node.

mod follow;
pub mod page;
mod subscribe;
mod tail;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use sqlx::{PgPool, Row};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::{LogPosition, RecordedEvent, StreamId};
use tail::Tail;

/// The most events that one read returns, whatever was asked for; only a larger command exceeds it.
pub const MAX_READ_EVENTS: usize = 50_000;

/// Names a log: data derived from another log is worth nothing here.
pub type LogId = Uuid;

/// Why the log cannot be read.
#[derive(Debug, Error)]
pub enum LogError {
    /// PostgreSQL did not answer; try again.
    #[error("the log cannot be read now: {0}")]
    Database(#[from] sqlx::Error),
    /// Events are missing or twice there: the database is damaged or was restored in part. Trying again does not help.
    #[error("the log is damaged: expected the event at log position {expected}, found {found}")]
    Damaged {
        /// The next position.
        expected: LogPosition,
        /// The position that the database returned.
        found: LogPosition,
    },
    /// The head did not reach the position in time.
    #[error("the log has not reached position {position} in time; its head is at {head}")]
    TimedOut {
        /// What was waited for.
        position: LogPosition,
        /// How far the log is.
        head: LogPosition,
    },
}

impl LogError {
    /// Whether trying again can help.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Damaged { .. })
    }
}

/// The log, to be read. Cheap to clone; all clones share one tail buffer and one connection that listens.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    log_id: LogId,
    tail: RwLock<Tail>,
    head: watch::Sender<LogPosition>,
    /// Appenders of this process. While there is one, it publishes most of what is announced itself.
    appenders: AtomicUsize,
    tasks: RwLock<Vec<AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

impl Log {
    /// Opens the log and starts to follow it, over a connection of its own beside the pool.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or has no log.
    pub async fn open(pool: PgPool) -> Result<Self, LogError> {
        Self::open_with_poll(pool, Duration::from_secs(1)).await
    }

    /// [`Log::open`] with another period of the poll that finds what announcements lose.
    ///
    /// # Errors
    /// When PostgreSQL does not answer or has no log.
    pub async fn open_with_poll(pool: PgPool, poll: Duration) -> Result<Self, LogError> {
        let row = sqlx::query("SELECT log_id, log_position FROM log.log_head").fetch_one(&pool).await?;
        let head = LogPosition::from_sql(row.try_get("log_position")?);
        let inner = Arc::new(Inner {
            log_id: row.try_get("log_id")?,
            tail: RwLock::new(Tail::starting_after(head)),
            head: watch::Sender::new(head),
            appenders: AtomicUsize::new(0),
            tasks: RwLock::new(Vec::new()),
            pool,
        });
        let tasks = follow::start(&inner, poll);
        *inner.tasks.write().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(Self { inner })
    }

    /// The pool that it reads through.
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// The name of this log.
    pub fn log_id(&self) -> LogId {
        self.inner.log_id
    }

    /// The newest log position this process knows to be durable; another node may be further.
    pub fn head(&self) -> LogPosition {
        *self.inner.head.borrow()
    }

    /// The newest log position of the database.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn read_head(&self) -> Result<LogPosition, LogError> {
        self.inner.read_head().await
    }

    /// The events after a position, in order: whole commands only, about `max_events` of them, more when the first
    /// command alone has more. Empty at the end of the log.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the log is damaged.
    pub async fn read(&self, after: LogPosition, max_events: usize) -> Result<Vec<RecordedEvent>, LogError> {
        let max_events = max_events.clamp(1, MAX_READ_EVENTS);
        if let Some(events) = self.inner.tail().read(after, max_events) {
            return Ok(events);
        }
        self.inner.read_database(after, max_events).await
    }

    /// The event at a position.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn event(&self, position: LogPosition) -> Result<Option<RecordedEvent>, LogError> {
        let sql = format!("SELECT {} FROM log.events WHERE log_position = $1", RecordedEvent::COLUMNS);
        let row = sqlx::query(&sql).bind(position.to_sql()).fetch_optional(&self.inner.pool).await?;
        Ok(row.as_ref().map(RecordedEvent::from_row).transpose()?)
    }

    /// The events of one stream after a sequence, in order, at most `limit`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn stream(
        &self,
        stream: &StreamId,
        after_sequence: u64,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let sql = format!(
            "SELECT {} FROM log.events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence > $3 \
             ORDER BY sequence LIMIT $4",
            RecordedEvent::COLUMNS
        );
        let rows = sqlx::query(&sql)
            .bind(&*stream.aggregate_type)
            .bind(&*stream.aggregate_id)
            .bind(i64::try_from(after_sequence).unwrap_or(i64::MAX))
            .bind(sql_limit(limit))
            .fetch_all(&self.inner.pool)
            .await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>()?)
    }

    /// The last position recorded at or before the moment: the place to stop for a read as of then. Events of one
    /// command have one time, so it never splits a command.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn position_at(&self, moment: DateTime<Utc>) -> Result<LogPosition, LogError> {
        let position: i64 =
            sqlx::query_scalar("SELECT log.position_at($1)").bind(moment).fetch_one(&self.inner.pool).await?;
        Ok(LogPosition::from_sql(position))
    }

    /// When the event at the position was recorded.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn recorded_at(&self, position: LogPosition) -> Result<Option<DateTime<Utc>>, LogError> {
        let moment = sqlx::query_scalar("SELECT recorded_at FROM log.events WHERE log_position = $1")
            .bind(position.to_sql())
            .fetch_optional(&self.inner.pool)
            .await?;
        Ok(moment)
    }

    /// Waits until this process knows the log to have reached the position, and returns the head.
    ///
    /// # Errors
    /// [`LogError::TimedOut`].
    pub async fn wait_for(&self, position: LogPosition, limit: Duration) -> Result<LogPosition, LogError> {
        let mut heads = self.inner.head.subscribe();
        match tokio::time::timeout(limit, heads.wait_for(|head| *head >= position)).await {
            Ok(Ok(head)) => Ok(*head),
            _ => Err(LogError::TimedOut { position, head: self.head() }),
        }
    }

    /// Follows [`Log::head`].
    pub fn heads(&self) -> watch::Receiver<LogPosition> {
        self.inner.head.subscribe()
    }

    /// Makes committed events known to the readers of this process.
    pub(crate) fn publish(&self, after: LogPosition, events: Vec<RecordedEvent>) {
        self.inner.publish(after, events);
    }

    pub(crate) fn appender_attached(&self) {
        self.inner.appenders.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn appender_detached(&self) {
        self.inner.appenders.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Inner {
    fn tail(&self) -> std::sync::RwLockReadGuard<'_, Tail> {
        // A panic while it was held leaves at worst a shorter tail.
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, after: LogPosition, events: Vec<RecordedEvent>) {
        let end = after.advance(events.len());
        self.tail.write().unwrap_or_else(PoisonError::into_inner).extend(after, events);
        self.advance_head(end);
    }

    fn advance_head(&self, position: LogPosition) {
        let advanced = self.head.send_if_modified(|head| {
            let advances = *head < position;
            *head = position.max(*head);
            advances
        });
        if advanced {
            metrics::gauge!("daybook_log_head").set(position.0 as f64);
        }
    }

    async fn read_head(&self) -> Result<LogPosition, LogError> {
        let position: i64 =
            sqlx::query_scalar("SELECT log_position FROM log.log_head").fetch_one(&self.pool).await?;
        Ok(LogPosition::from_sql(position))
    }

    async fn read_database(
        &self,
        after: LogPosition,
        max_events: usize,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let mut events = self.read_rows(after, max_events).await?;
        if let Some(end) = events.iter().rposition(RecordedEvent::ends_command) {
            events.truncate(end + 1);
        } else if let Some(missing) = events.last().map(|event| usize::from(event.remaining)) {
            // The first command alone is larger; it committed whole, so its rest is there.
            events.extend(self.read_rows(after.advance(events.len()), missing).await?);
        }
        Ok(events)
    }

    async fn read_rows(&self, after: LogPosition, count: usize) -> Result<Vec<RecordedEvent>, LogError> {
        // A range and not a LIMIT: positions are dense, and the planner then always takes the primary key.
        let sql = format!(
            "SELECT {} FROM log.events WHERE log_position > $1 AND log_position <= $2 ORDER BY log_position",
            RecordedEvent::COLUMNS
        );
        let last = after.advance(count);
        let mut rows = sqlx::query(&sql)
            .bind(after.to_sql())
            .bind(last.to_sql())
            .fetch(&self.pool)
            .map(|row| row.and_then(|row| RecordedEvent::from_row(&row)));
        let mut events = Vec::new();
        let mut expected = after.next();
        while let Some(event) = rows.try_next().await? {
            if event.log_position != expected {
                return Err(LogError::Damaged { expected, found: event.log_position });
            }
            expected = expected.next();
            events.push(event);
        }
        Ok(events)
    }
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit.min(MAX_READ_EVENTS)).unwrap_or(i64::MAX)
}
