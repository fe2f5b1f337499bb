//! The one connection that writes to the log.
//!
//! A batch is one statement and so one round trip and one transaction: the head is locked and moved first, on condition
//! of the leader's epoch and of the position the batch expects; then its events and keys are inserted. Success is
//! reported only after PostgreSQL has reported the commit, with `synchronous_commit` on.

mod error;

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};

use crate::batch::{Batch, remaining};
use crate::{Lease, Log, LogPosition};

pub use error::AppendError;

/// How long one append may take before its outcome counts as unknown.
const APPEND_LIMIT: Duration = Duration::from_secs(15);

/// Limits on the server's side are shorter, so that a frozen node cannot keep the head locked.
const SESSION: &str = "SET synchronous_commit = on; \
     SET default_transaction_isolation = 'read committed'; \
     SET statement_timeout = '10s'; \
     SET lock_timeout = '3s'; \
     SET idle_in_transaction_session_timeout = '5s'";

const APPEND: &str = "SELECT log.append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
     $17, $18)";

/// What became of a batch whose append ended in [`AppendError::OutcomeUnknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is durable, and the head was here when it committed.
    Committed(LogPosition),
    /// It is not in the log and can no longer get there.
    NotCommitted,
}

/// Appends batches under one lease, over a connection of its own.
///
/// Drop it when the lease is lost: while it lives, the [`Log`] it was made for expects new events from it, and learns of
/// another node's only at its next poll.
#[derive(Debug)]
pub struct Appender {
    log: Log,
    options: PgConnectOptions,
    epoch: i64,
    lease_ms: i64,
    /// Absent after a failure of the connection, and while an append is under way: an append that is dropped half-way
    /// takes the connection with it, because nobody knows what is still to come over it.
    session: Option<Session>,
    /// The backend that may still be working on a batch of unknown outcome.
    lost: Option<Backend>,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    backend: Backend,
}

/// Names a server process; with its start, because process ids come again.
#[derive(Clone, Debug)]
struct Backend {
    pid: i32,
    started: chrono::DateTime<chrono::Utc>,
}

impl Appender {
    /// Connects as the application does everywhere else, for the time of one lease. What is appended is published to
    /// the readers of `log` in this process.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] when PostgreSQL cannot be reached.
    pub async fn connect(log: &Log, lease: &Lease) -> Result<Self, AppendError> {
        let options = log.pool().connect_options().as_ref().clone().application_name("daybook appender");
        let mut appender = Self {
            log: log.clone(),
            options,
            epoch: lease.epoch_sql(),
            lease_ms: i64::try_from(lease.ttl().as_millis()).unwrap_or(i64::MAX),
            session: None,
            lost: None,
        };
        appender.session = Some(appender.open_session().await?);
        log.appender_attached();
        Ok(appender)
    }

    /// The epoch under which it appends.
    pub fn epoch(&self) -> u64 {
        self.epoch.unsigned_abs()
    }

    /// Appends the batch and returns the new head. When this returns, the batch is durable.
    ///
    /// An empty batch writes nothing but still shows that the lease holds.
    ///
    /// # Errors
    /// Nothing of the batch is in the log, except after [`AppendError::OutcomeUnknown`]: then [`Appender::settle`] says.
    pub async fn append(&mut self, batch: &Batch) -> Result<LogPosition, AppendError> {
        if self.lost.is_some() {
            return Err(AppendError::Invalid(
                "a batch of unknown outcome has to be settled before the next append".to_owned(),
            ));
        }
        batch.check()?;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open_session().await?,
        };
        let begun = Instant::now();
        // Set before the first await: a caller that drops this future has an unknown outcome, too.
        self.lost = Some(session.backend.clone());
        let sent = self.send(&mut session.connection, batch);
        let outcome = match tokio::time::timeout(APPEND_LIMIT, sent).await {
            Ok(answer) => answer,
            Err(_) => Err(AppendError::OutcomeUnknown("no answer within the time limit".to_owned())),
        };
        if !matches!(outcome, Err(AppendError::OutcomeUnknown(_))) {
            self.lost = None;
            self.session = Some(session);
        }
        metrics::histogram!("daybook_append_seconds").record(begun.elapsed().as_secs_f64());
        match outcome {
            Ok(()) => Ok(self.publish(batch)),
            Err(error) => {
                metrics::counter!("daybook_append_failures_total", "code" => error.code()).increment(1);
                Err(error)
            }
        }
    }

    /// Finds out what became of the batch whose append ended in [`AppendError::OutcomeUnknown`]: ends the server process
    /// that may still work on it, then compares what the log has in its place.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] when PostgreSQL does not answer; settle again.
    pub async fn settle(&mut self, batch: &Batch) -> Result<Settled, AppendError> {
        let mut session = self.open_session().await?;
        let settled = self.look_for(&mut session.connection, batch).await.map_err(|error| {
            // Nothing is committed by looking, so an outcome is never unknown here.
            AppendError::Unavailable(error.to_string())
        })?;
        self.lost = None;
        self.session = Some(session);
        if settled { Ok(Settled::Committed(self.publish(batch))) } else { Ok(Settled::NotCommitted) }
    }

    /// Ends the connection in order.
    pub async fn close(mut self) {
        if let Some(session) = self.session.take()
            && let Err(error) = session.connection.close().await
        {
            tracing::debug!(%error, "the appender's connection did not close in order");
        }
    }

    async fn look_for(&self, connection: &mut PgConnection, batch: &Batch) -> Result<bool, sqlx::Error> {
        if let Some(backend) = &self.lost {
            // Without this a statement still on its way could commit after we have looked.
            let ended = sqlx::query_scalar::<_, bool>(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2",
            )
            .bind(backend.pid)
            .bind(backend.started)
            .fetch_optional(&mut *connection)
            .await?;
            if ended == Some(false) {
                return Err(sqlx::Error::Protocol("the lost server process does not end".to_owned()));
            }
        }
        let mut transaction = connection.begin().await?;
        sqlx::query("SELECT FROM log.log_head FOR NO KEY UPDATE").execute(&mut *transaction).await?;
        let found = if let Some(event) = batch.first_event() {
            sqlx::query("SELECT FROM log.events WHERE log_position = $1 AND event_id = $2")
                .bind(batch.after.next().to_sql())
                .bind(event.event_id)
                .fetch_optional(&mut *transaction)
                .await?
                .is_some()
        } else if let Some(row) = batch.first_key() {
            sqlx::query(
                "SELECT FROM log.idempotency_keys \
                 WHERE principal = $1 AND key = $2 AND command_hash = $3 AND recorded_at = $4",
            )
            .bind(&row.principal)
            .bind(&row.key)
            .bind(row.command_hash)
            .bind(batch.recorded_at())
            .fetch_optional(&mut *transaction)
            .await?
            .is_some()
        } else {
            true
        };
        transaction.rollback().await?;
        Ok(found)
    }

    fn publish(&self, batch: &Batch) -> LogPosition {
        let events = batch.recorded();
        let head = batch.end();
        metrics::histogram!("daybook_append_batch_events").record(events.len() as f64);
        metrics::counter!("daybook_events_appended_total").increment(events.len() as u64);
        self.log.publish(batch.after, events);
        head
    }

    async fn open_session(&self) -> Result<Session, AppendError> {
        let connect = async {
            let mut connection = self.options.connect().await?;
            connection.execute(SESSION).await?;
            let row =
                sqlx::query("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
                    .fetch_one(&mut connection)
                    .await?;
            let backend = Backend { pid: row.try_get("pid")?, started: row.try_get("backend_start")? };
            Ok::<_, sqlx::Error>(Session { connection, backend })
        };
        match tokio::time::timeout(APPEND_LIMIT, connect).await {
            Ok(session) => session.map_err(|error| AppendError::Unavailable(error.to_string())),
            Err(_) => Err(AppendError::Unavailable("connecting took too long".to_owned())),
        }
    }

    async fn send(&self, connection: &mut PgConnection, batch: &Batch) -> Result<(), AppendError> {
        let rows = Rows::of(batch);
        // `execute` reads up to ReadyForQuery, which PostgreSQL sends after the commit; a row alone comes before it.
        sqlx::query(APPEND)
            .bind(self.epoch)
            .bind(batch.after.to_sql())
            .bind(batch.recorded_at())
            .bind(self.lease_ms)
            .bind(&rows.event_ids)
            .bind(&rows.aggregate_types)
            .bind(&rows.aggregate_ids)
            .bind(&rows.sequences)
            .bind(&rows.event_types)
            .bind(&rows.event_versions)
            .bind(&rows.payloads)
            .bind(&rows.metadatas)
            .bind(&rows.remainings)
            .bind(&rows.principals)
            .bind(&rows.keys)
            .bind(&rows.hashes)
            .bind(&rows.outcomes)
            .bind(&rows.key_positions)
            .execute(connection)
            .await
            .map(|_| ())
            .map_err(AppendError::from_append)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.log.appender_detached();
    }
}

/// The batch turned into one array a column.
#[derive(Default)]
struct Rows<'batch> {
    event_ids: Vec<uuid::Uuid>,
    aggregate_types: Vec<&'batch str>,
    aggregate_ids: Vec<&'batch str>,
    sequences: Vec<i64>,
    event_types: Vec<&'batch str>,
    event_versions: Vec<&'batch str>,
    payloads: Vec<&'batch str>,
    metadatas: Vec<&'batch str>,
    remainings: Vec<i16>,
    principals: Vec<&'batch str>,
    keys: Vec<&'batch str>,
    hashes: Vec<&'batch [u8]>,
    outcomes: Vec<&'batch str>,
    key_positions: Vec<Option<i64>>,
}

impl<'batch> Rows<'batch> {
    fn of(batch: &'batch Batch) -> Self {
        let mut rows = Self::default();
        let mut log_position = batch.after;
        for command in &batch.commands {
            log_position = log_position.advance(command.events.len());
            for (place, event) in command.events.iter().enumerate() {
                rows.event_ids.push(event.event_id);
                rows.aggregate_types.push(&event.stream.aggregate_type);
                rows.aggregate_ids.push(&event.stream.aggregate_id);
                rows.sequences.push(i64::try_from(event.sequence).unwrap_or(i64::MAX));
                rows.event_types.push(&event.event_type);
                rows.event_versions.push(&event.event_version);
                rows.payloads.push(&event.payload);
                rows.metadatas.push(&event.metadata);
                rows.remainings.push(i16::try_from(remaining(command, place)).unwrap_or(i16::MAX));
            }
            for row in &command.keys {
                rows.principals.push(&row.principal);
                rows.keys.push(&row.key);
                rows.hashes.push(&row.command_hash);
                rows.outcomes.push(&row.outcome);
                rows.key_positions.push((!command.events.is_empty()).then(|| log_position.to_sql()));
            }
        }
        rows
    }
}
