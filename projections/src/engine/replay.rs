//! Replaying the log into empty tables, in memory as far as it goes.

use std::time::{Duration, Instant};

use event_store::{Log, LogPosition, RecordedEvent};
use sqlx::PgConnection;
use tokio::sync::mpsc;

use super::{EngineError, batch, sql};
use crate::fold::{Folding, Model, commands_of};

/// What a replay may have in memory, and how often it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimits {
    /// Events that are read at once.
    pub events_per_read: usize,
    /// Changed rows after which they are written.
    pub rows_per_flush: usize,
    /// Rows in memory after which they are forgotten, to be loaded again when touched.
    pub rows_in_memory: usize,
}

impl Default for ReplayLimits {
    fn default() -> Self {
        Self { events_per_read: 10_000, rows_per_flush: 50_000, rows_in_memory: 500_000 }
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplayProgress {
    /// Name of the projection.
    pub projection: &'static str,
    /// Everything up to here is folded.
    pub log_position: LogPosition,
    /// Where it is going.
    pub target: LogPosition,
    /// Events a second since it began.
    pub events_per_second: u64,
    /// Time left at that rate; none before the first events.
    pub time_left: Option<Duration>,
}

/// A replay under way.
pub(super) struct Replay {
    model: Model,
    schema: &'static str,
    limits: ReplayLimits,
    folding: Box<dyn Folding>,
    /// All rows there are are in memory.
    complete: bool,
    /// Everything up to here is in memory.
    pub(super) position: LogPosition,
    began: Instant,
    began_at: LogPosition,
}

impl Replay {
    /// From a position whose rows are in the tables; at 0 they are empty.
    pub(super) fn new(
        model: Model,
        schema: &'static str,
        position: LogPosition,
        limits: ReplayLimits,
    ) -> Self {
        let mut folding = model.start();
        let complete = position == LogPosition::ZERO;
        if complete {
            folding.tables_mut().into_iter().for_each(|rows| rows.assume_complete());
        }
        Self { model, schema, limits, folding, complete, position, began: Instant::now(), began_at: position }
    }

    /// Folds on, until a flush is due or the target, the end of a command, is reached.
    pub(super) async fn fold_some(
        &mut self,
        connection: &mut PgConnection,
        events: &mut mpsc::Receiver<Result<Vec<RecordedEvent>, EngineError>>,
    ) -> Result<bool, EngineError> {
        loop {
            let Some(batch) = events.recv().await else { return Ok(false) };
            let batch = batch?;
            let (commands, unknown) = commands_of(&batch);
            if let Err(stop) =
                batch::fold(connection, self.schema, self.folding.as_mut(), &commands, !self.complete).await?
            {
                let log_position = commands.get(stop.folded).map_or(self.position, |command| command.start());
                return Err(self.unfoldable(log_position, stop.error.to_string()));
            }
            if let Some((log_position, unknown)) = unknown {
                return Err(self.unfoldable(log_position, unknown.to_string()));
            }
            if let Some(last) = batch.last() {
                self.position = last.log_position;
            }
            let changed: usize = self.folding.tables().iter().map(|rows| rows.changed_count()).sum();
            if changed >= self.limits.rows_per_flush {
                return Ok(true);
            }
        }
    }

    /// Writes what has changed, in the transaction of the connection.
    pub(super) async fn write(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        sql::write(connection, self.schema, self.folding.as_ref(), true).await
    }

    /// To be called when what was written is committed.
    pub(super) fn written(&mut self) {
        let mut rows_in_memory = 0;
        for rows in self.folding.tables_mut() {
            rows.flushed();
            rows_in_memory += rows.len();
        }
        if rows_in_memory > self.limits.rows_in_memory {
            self.complete = false;
            self.folding.tables_mut().into_iter().for_each(|rows| rows.forget());
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.model.name
    }

    pub(super) fn progress(&self, target: LogPosition) -> ReplayProgress {
        let done = self.position.0.saturating_sub(self.began_at.0);
        let elapsed_ms = self.began.elapsed().as_millis().max(1);
        let rate = u64::try_from(u128::from(done) * 1000 / elapsed_ms).unwrap_or(u64::MAX);
        let left = target.0.saturating_sub(self.position.0);
        ReplayProgress {
            projection: self.model.name,
            log_position: self.position,
            target,
            events_per_second: rate,
            time_left: (rate > 0).then(|| Duration::from_millis(left.saturating_mul(1000) / rate.max(1))),
        }
    }

    fn unfoldable(&self, log_position: LogPosition, reason: String) -> EngineError {
        EngineError::Unfoldable { projection: self.model.name, log_position, reason }
    }
}

/// Reads what is left up to the target, the end of a command, ahead of whoever folds it.
pub(super) fn read_ahead(
    log: &Log,
    replay: &Replay,
    target: LogPosition,
) -> mpsc::Receiver<Result<Vec<RecordedEvent>, EngineError>> {
    let (sender, receiver) = mpsc::channel(2);
    let log = log.clone();
    let (mut after, events_per_read) = (replay.position, replay.limits.events_per_read);
    tokio::spawn(async move {
        while after < target {
            let wanted = usize::try_from(target.0 - after.0).unwrap_or(usize::MAX).min(events_per_read);
            let read = log.read(after, wanted).await.map(|mut events| {
                events.retain(|event| event.log_position <= target);
                events
            });
            let reached = match &read {
                Ok(events) => events.last().map(|event| event.log_position),
                Err(_) => None,
            };
            if sender.send(read.map_err(EngineError::from)).await.is_err() {
                return;
            }
            match reached {
                Some(position) => after = position,
                None => return,
            }
        }
    });
    receiver
}
