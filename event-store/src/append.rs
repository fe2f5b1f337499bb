//! The connections that write to the log.
//!
//! A batch is one transaction, in which the head moves on condition of the leader's epoch and of the position the batch
//! expects. All that stores its rows goes at once, before PostgreSQL has answered to any of it ([`wire`]). There are two ways:
//!
//! - [`Appender::append`] moves the head in the same message: one round trip, the quickest for a batch alone;
//! - [`Appender::begin`] sends the rows ahead, and [`Appender::commit`] moves the head and commits in a message of its own. So
//!   rows of several batches travel and are stored at the same time, each over an appender of its own, while their
//!   commits follow each other. A commit that comes before its turn would find the head where it does not expect it. It
//!   is sent when the one before it was answered, or waits in PostgreSQL until that one's transaction is over: each
//!   transaction that was begun with a [`Ticket`] holds an advisory lock for that.
//!
//! Success is reported only after PostgreSQL has reported the commit, with `synchronous_commit` on.

mod copy;
mod error;
mod session;
mod wire;

use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use self::session::{Backend, Session};
use self::wire::{Wire, WireError};
use crate::batch::Batch;
use crate::{Lease, Log, LogPosition, RecordedEvent};

pub use error::AppendError;
pub(crate) use session::APPLICATION_NAME;

/// How many batches of one leader are best under way at the same time, each over a connection of its own.
pub const CONNECTIONS: usize = 5;

/// How long one append may take before its outcome counts as unknown.
const APPEND_LIMIT: Duration = Duration::from_secs(15);

/// What became of a batch whose append ended in [`AppendError::OutcomeUnknown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is durable, and the head was here when it committed.
    Committed(LogPosition),
    /// It is not in the log and can no longer get there.
    NotCommitted,
}

/// The place of a batch in the line of those that commit one after the other, unique under one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

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
    transaction: Transaction,
    /// The backend that may still be working on a batch of unknown outcome.
    lost: Option<Backend>,
    /// The backend of a connection that broke with rows staged. Unless PostgreSQL has noticed, its transaction holds
    /// their positions: no time limit of PostgreSQL's ends a session that waits for the rest of a `COPY`.
    orphan: Option<Backend>,
}

/// What the session's transaction holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    /// There is none.
    None,
    /// Its place in the line; the rows of a batch are on their way.
    Begun,
    /// The rows of a batch.
    Staged,
}

impl Appender {
    /// Connects as the application does everywhere else, for the time of one lease. What is appended is published to
    /// the readers of `log` in this process. Connections of earlier leaders are ended: rows that one has staged and not
    /// committed would hold their positions for as long as PostgreSQL does not notice that it is gone.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] when PostgreSQL cannot be reached.
    pub async fn connect(log: &Log, lease: &Lease) -> Result<Self, AppendError> {
        let options = log.pool().connect_options().as_ref().clone().application_name(APPLICATION_NAME);
        let mut appender = Self {
            log: log.clone(),
            options,
            epoch: lease.epoch_sql(),
            lease_ms: i64::try_from(lease.ttl().as_millis()).unwrap_or(i64::MAX),
            session: None,
            transaction: Transaction::None,
            lost: None,
            orphan: None,
        };
        appender.session = Some(appender.open_session().await?);
        appender.end_predecessors().await?;
        log.appender_attached();
        Ok(appender)
    }

    /// The epoch under which it appends.
    pub fn epoch(&self) -> u64 {
        self.epoch.unsigned_abs()
    }

    /// Another appender under the same lease, for a batch that travels beside those of this one. It connects when it is
    /// needed.
    pub fn beside(&self) -> Self {
        self.log.appender_attached();
        Self {
            log: self.log.clone(),
            options: self.options.clone(),
            epoch: self.epoch,
            lease_ms: self.lease_ms,
            session: None,
            transaction: Transaction::None,
            lost: None,
            orphan: None,
        }
    }

    /// Appends the batch and returns the new head. When this returns, the batch is durable and readers of this process
    /// can see it.
    ///
    /// An empty batch writes nothing but still shows that the lease holds.
    ///
    /// # Errors
    /// Nothing of the batch is in the log, except after [`AppendError::OutcomeUnknown`]: then [`Appender::settle`] says.
    pub async fn append(&mut self, batch: &Batch) -> Result<LogPosition, AppendError> {
        self.write(batch).await?;
        Ok(self.publish(batch.after, batch.recorded()))
    }

    /// Does as [`Appender::append`] but leaves it to the caller to [`publish`](Appender::publish) the events.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub async fn write(&mut self, batch: &Batch) -> Result<(), AppendError> {
        let mut session = self.session_for(batch).await?;
        let begun = Instant::now();
        // Set before the first await: a caller that drops this future has an unknown outcome, too.
        self.lost = Some(session.backend.clone());
        let sent = async {
            // Without a transaction of their own, all statements of a query are one.
            session.wire.send(&copy::messages(batch, "", &self.advance_head(batch))?).await?;
            session.wire.answered().await
        };
        let outcome = within_limit(sent).await;
        self.end(session, begun, outcome).map_err(failed)
    }

    /// Sends the rows of the batch ahead, in a transaction that begins with a ticket behind which the next batch may wait;
    /// returns when it has begun. The rows are not there until [`Appender::commit`].
    ///
    /// # Errors
    /// Nothing of the batch is in the log. What PostgreSQL refuses of the rows is said by the commit.
    pub async fn begin(&mut self, batch: &Batch, ticket: Ticket) -> Result<(), AppendError> {
        let begin = format!("BEGIN;SELECT pg_advisory_xact_lock({})", self.lock(ticket));
        let session = self.session_for(batch).await?;
        self.send_ahead(session, Transaction::Begun, async |wire| {
            wire.send(&copy::messages(batch, &begin, "")?).await?;
            wire.statements(2).await
        })
        .await
    }

    /// Waits until the rows of the batch are stored, which were sent ahead by [`Appender::begin`] or are now.
    ///
    /// # Errors
    /// Nothing of the batch is in the log.
    pub async fn stage(&mut self, batch: &Batch) -> Result<(), AppendError> {
        let session = match self.transaction {
            Transaction::Begun => self.session.take(),
            _ => None,
        };
        if let Some(session) = session {
            return self.send_ahead(session, Transaction::Staged, Wire::answered).await;
        }
        let session = self.session_for(batch).await?;
        self.send_ahead(session, Transaction::Staged, async |wire| {
            wire.send(&copy::messages(batch, "BEGIN", "")?).await?;
            wire.answered().await
        })
        .await
    }

    /// Sends what commits nothing yet, and keeps the session if it succeeds.
    async fn send_ahead(
        &mut self,
        mut session: Session,
        then: Transaction,
        send: impl AsyncFnOnce(&mut Wire) -> Result<(), WireError>,
    ) -> Result<(), AppendError> {
        self.transaction = Transaction::None;
        match within_limit(send(&mut session.wire)).await {
            Ok(()) => {
                self.session = Some(session);
                self.transaction = then;
                Ok(())
            }
            // No commit was sent, so nothing can have been committed. PostgreSQL rolls back when the connection ends.
            Err(AppendError::OutcomeUnknown(reason)) => {
                self.abandon(session).await;
                Err(failed(AppendError::Unavailable(reason)))
            }
            Err(error) => {
                self.session = Some(session);
                self.roll_back().await;
                Err(failed(error))
            }
        }
    }

    /// Commits the batch that was staged last. Call it when the batch before is durable, and not earlier.
    ///
    /// # Errors
    /// As [`Appender::append`].
    pub async fn commit(&mut self, batch: &Batch) -> Result<(), AppendError> {
        self.commit_after("", batch).await.map_err(failed)
    }

    /// Commits the batch that was staged last as soon as the transaction of the batch before, which was begun with
    /// `ticket`, is over.
    ///
    /// # Errors
    /// As [`Appender::append`]; [`AppendError::Deposed`] also when the batch before has failed.
    pub async fn commit_behind(&mut self, ticket: Ticket, batch: &Batch) -> Result<(), AppendError> {
        // PostgreSQL frees a transaction's locks after it is durable and seen by all.
        let wait = format!("SELECT pg_advisory_xact_lock_shared({}); ", self.lock(ticket));
        self.commit_after(&wait, batch).await.map_err(|error| match error {
            // It says so itself if this node no longer leads.
            AppendError::Deposed(_) => error,
            error => failed(error),
        })
    }

    async fn commit_after(&mut self, wait: &str, batch: &Batch) -> Result<(), AppendError> {
        let transaction = std::mem::replace(&mut self.transaction, Transaction::None);
        // Without the rows, the head would move over nothing.
        let (true, Some(mut session)) = (transaction != Transaction::None, self.session.take()) else {
            return Err(AppendError::Invalid("no batch is staged".to_owned()));
        };
        let begun = Instant::now();
        self.lost = Some(session.backend.clone());
        let statements = format!("{wait}{}; COMMIT", self.advance_head(batch));
        let sent = async {
            session.wire.send_query(&statements).await?;
            if transaction == Transaction::Begun {
                session.wire.answered_both().await
            } else {
                session.wire.answered().await
            }
        };
        let outcome = within_limit(sent).await;
        let outcome = self.end(session, begun, outcome);
        if outcome.is_err() && self.lost.is_none() {
            self.roll_back().await;
        }
        outcome
    }

    /// The statement that moves the head over the batch.
    fn advance_head(&self, batch: &Batch) -> String {
        format!(
            "SELECT log.advance_head({}, {}, {}, '{}', {})",
            self.epoch,
            batch.after.to_sql(),
            batch.end().to_sql(),
            batch.recorded_at().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            self.lease_ms,
        )
    }

    /// Gives up what was staged.
    pub async fn roll_back(&mut self) {
        let transaction = std::mem::replace(&mut self.transaction, Transaction::None);
        let Some(mut session) = self.session.take() else { return };
        let rolled_back = async {
            if transaction == Transaction::Begun {
                session.wire.answered_anyhow().await?;
            }
            session.wire.query("ROLLBACK").await
        };
        match tokio::time::timeout(APPEND_LIMIT, rolled_back).await {
            Ok(Ok(_)) => self.session = Some(session),
            _ => self.abandon(session).await,
        }
    }

    /// Gives a broken connection up and ends what PostgreSQL has of it; later, if it does not answer now.
    async fn abandon(&mut self, session: Session) {
        self.orphan = Some(session.backend);
        drop(session.wire);
        match self.open_session().await {
            Ok(session) => self.session = Some(session),
            Err(error) => tracing::debug!(%error, "a broken connection of the appender cannot be ended yet"),
        }
    }

    /// Ends the appending connections of all others, if this lease is still the newest.
    async fn end_predecessors(&mut self) -> Result<(), AppendError> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let ended = session.end_others(self.epoch);
        match tokio::time::timeout(APPEND_LIMIT, ended).await {
            Ok(Ok(connections)) => {
                if connections > 0 {
                    tracing::info!(connections, "appending connections of an earlier leader were ended");
                }
                Ok(())
            }
            Ok(Err(error)) => Err(AppendError::Unavailable(error.to_string())),
            Err(_) => Err(AppendError::Unavailable("connecting took too long".to_owned())),
        }
    }

    /// Makes the events of a durable batch, which went after a log position, known to the readers of this process and returns
    /// the new head. Batches are published in their order.
    pub fn publish(&self, after: LogPosition, events: Vec<RecordedEvent>) -> LogPosition {
        metrics::histogram!("daybook_append_batch_events").record(events.len() as f64);
        metrics::counter!("daybook_events_appended_total").increment(events.len() as u64);
        let end = after.advance(events.len());
        self.log.publish(after, events);
        end
    }

    /// The advisory lock that the transaction of a ticket holds.
    fn lock(&self, ticket: Ticket) -> i64 {
        self.epoch << 32 | i64::from(ticket.0 as u32)
    }

    async fn session_for(&mut self, batch: &Batch) -> Result<Session, AppendError> {
        if self.lost.is_some() {
            return Err(AppendError::Invalid(
                "a batch of unknown outcome has to be settled before the next append".to_owned(),
            ));
        }
        if self.transaction != Transaction::None {
            return Err(AppendError::Invalid("another batch is begun and not committed".to_owned()));
        }
        batch.check()?;
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.open_session().await,
        }
    }

    /// Keeps the connection unless it may still have to say what became of the batch.
    fn end(
        &mut self,
        session: Session,
        begun: Instant,
        outcome: Result<(), AppendError>,
    ) -> Result<(), AppendError> {
        if !matches!(outcome, Err(AppendError::OutcomeUnknown(_))) {
            self.lost = None;
            self.session = Some(session);
        }
        metrics::histogram!("daybook_append_seconds").record(begun.elapsed().as_secs_f64());
        outcome
    }

    /// Finds out what became of the batch whose append ended in [`AppendError::OutcomeUnknown`], and makes its events known
    /// if it is durable.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] when PostgreSQL does not answer; settle again.
    pub async fn settle(&mut self, batch: &Batch) -> Result<Settled, AppendError> {
        let settled = self.find_out(batch).await?;
        if matches!(settled, Settled::Committed(_)) {
            self.publish(batch.after, batch.recorded());
        }
        Ok(settled)
    }

    /// Does as [`Appender::settle`] but leaves it to the caller to [`publish`](Appender::publish) the events: ends the
    /// server process that may still work on the batch, then compares what the log has in its place.
    ///
    /// # Errors
    /// As [`Appender::settle`].
    pub async fn find_out(&mut self, batch: &Batch) -> Result<Settled, AppendError> {
        let mut session = self.open_session().await?;
        let found = async {
            if let Some(backend) = &self.lost {
                // Without this a statement still on its way could commit after we have looked.
                session.end(backend).await.map_err(|error| error.to_string())?;
            }
            self.look_for(batch).await.map_err(|error| error.to_string())
        };
        // Nothing is committed by looking, so an outcome is never unknown here.
        let found = match tokio::time::timeout(APPEND_LIMIT, found).await {
            Ok(found) => found.map_err(AppendError::Unavailable)?,
            Err(_) => return Err(AppendError::Unavailable("looking for the batch took too long".to_owned())),
        };
        self.lost = None;
        self.session = Some(session);
        if found { Ok(Settled::Committed(batch.end())) } else { Ok(Settled::NotCommitted) }
    }

    /// Ends the connection in order.
    pub async fn close(mut self) {
        if let Some(session) = self.session.take()
            && let Err(error) = session.wire.close().await
        {
            tracing::debug!(%error, "the appender's connection did not close in order");
        }
    }

    async fn look_for(&self, batch: &Batch) -> Result<bool, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        // Whoever holds the head must not keep us for ever.
        connection.execute(session::SETTINGS).await?;
        let found = self.look_for_over(&mut connection, batch).await?;
        connection.close().await?;
        Ok(found)
    }

    async fn look_for_over(&self, connection: &mut PgConnection, batch: &Batch) -> Result<bool, sqlx::Error> {
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
            .bind(&*row.principal)
            .bind(&row.key)
            .bind(row.command_hash)
            .bind(batch.recorded_at())
            .fetch_optional(&mut *transaction)
            .await?
            .is_some()
        } else {
            // It writes nothing: it has happened if it could happen now.
            sqlx::query("SELECT FROM log.log_head WHERE epoch = $1 AND log_position = $2")
                .bind(self.epoch)
                .bind(batch.after.to_sql())
                .fetch_optional(&mut *transaction)
                .await?
                .is_some()
        };
        transaction.rollback().await?;
        Ok(found)
    }

    async fn open_session(&mut self) -> Result<Session, AppendError> {
        let connect = async {
            let mut session = Session::open(&self.options).await?;
            if let Some(orphan) = &self.orphan {
                session.end(orphan).await?;
                self.orphan = None;
            }
            Ok::<_, WireError>(session)
        };
        match tokio::time::timeout(APPEND_LIMIT, connect).await {
            Ok(session) => session.map_err(|error| AppendError::Unavailable(error.to_string())),
            Err(_) => Err(AppendError::Unavailable("connecting took too long".to_owned())),
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.log.appender_detached();
    }
}

/// One that takes longer has an unknown outcome.
async fn within_limit(sent: impl Future<Output = Result<(), WireError>>) -> Result<(), AppendError> {
    match tokio::time::timeout(APPEND_LIMIT, sent).await {
        Ok(answer) => answer.map_err(AppendError::from_append),
        Err(_) => Err(AppendError::OutcomeUnknown("no answer within the time limit".to_owned())),
    }
}

fn failed(error: AppendError) -> AppendError {
    metrics::counter!("daybook_append_failures_total", "code" => error.code()).increment(1);
    error
}
