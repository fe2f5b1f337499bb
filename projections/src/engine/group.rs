//! The projections that fold together, with their rows in memory, and their commits.

use std::sync::Arc;
use std::time::Instant;

use event_store::LogPosition;
use sqlx::{Connection as _, PgConnection};

use super::checkpoint::{self, Checkpoints, LIVE};
use super::{EngineError, Stop, batch, sql};
use crate::fold::{Command, Folding, Model};
use crate::models;

/// Rows kept in memory between batches, of all projections. A row takes some 300 bytes. Few in a debug build, so that its
/// tests meet the limit.
const MEMORY_ROWS: usize = if cfg!(debug_assertions) { 300 } else { 250_000 };

/// A projection that folds, with what it keeps in memory.
pub(super) struct Member {
    pub(super) model: Model,
    pub(super) folding: Box<dyn Folding>,
    pub(super) stopped: Option<(LogPosition, String)>,
}

/// The members between two looks at the database.
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    /// The common checkpoint, in memory.
    pub(super) position: LogPosition,
    /// The same in the database.
    pub(super) written: LogPosition,
    pub(super) written_at: Instant,
    pub(super) generation: i64,
    /// Those that have stopped.
    pub(super) stopped: usize,
    /// The session that folds.
    pub(super) session: i32,
    /// The sessions of other nodes that hear of moves.
    pub(super) listeners: Vec<i32>,
}

impl Group {
    pub(super) fn of(checkpoints: &Checkpoints, session: i32, stopped: usize) -> Self {
        let members = models::ALL.iter().filter(|model| {
            let standing = checkpoints.standings.get(model.name);
            standing
                .is_some_and(|standing| standing.version == model.version && standing.log_position.is_none())
        });
        Self {
            members: members
                .map(|model| Member { model: *model, folding: model.start(), stopped: None })
                .collect(),
            position: checkpoints.log_position,
            written: checkpoints.log_position,
            written_at: Instant::now(),
            generation: checkpoints.generation,
            stopped,
            session,
            listeners: Vec::new(),
        }
    }

    pub(super) fn has_changes(&self) -> bool {
        self.members.iter().any(|member| member.stopped.is_some() || member.folding.has_changes())
    }

    pub(super) async fn commit(
        &mut self,
        connection: &mut PgConnection,
        end: LogPosition,
    ) -> Result<bool, EngineError> {
        let mut transaction = connection.begin().await?;
        // First, because a swap locks the checkpoint first, too.
        if !checkpoint::advance(&mut transaction, self.written, self.generation, end).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        for member in &self.members {
            if let Some((at, reason)) = &member.stopped {
                checkpoint::stop(&mut transaction, member.model.name, *at, reason).await?;
            }
            sql::write(&mut transaction, LIVE, member.folding.as_ref(), false).await?;
        }
        transaction.commit().await?;
        self.position = end;
        self.written = end;
        self.written_at = Instant::now();
        Ok(true)
    }

    /// To be called when what was written is committed.
    pub(super) fn flushed(&mut self) {
        for member in &mut self.members {
            member.folding.tables_mut().into_iter().for_each(|rows| rows.flushed());
        }
        while self.members.iter().map(Member::rows_in_memory).sum::<usize>() > MEMORY_ROWS
            && let Some(largest) = self.members.iter_mut().max_by_key(|member| member.rows_in_memory())
        {
            largest.folding.tables_mut().into_iter().for_each(|rows| rows.forget());
        }
    }
}

impl Member {
    /// Folds the commands; where that fails, only those before, and it has stopped.
    pub(super) async fn fold(
        &mut self,
        connection: &mut PgConnection,
        commands: &[Command],
        before: LogPosition,
    ) -> Result<(), EngineError> {
        let Err(Stop { folded, error }) =
            batch::fold(connection, LIVE, self.folding.as_mut(), commands, true).await?
        else {
            return Ok(());
        };
        let (done, failed) = commands.split_at(folded);
        let at = done.last().map_or(before, Command::end);
        let failed = failed.first().map_or(at, Command::start);
        self.stopped = Some((at, format!("log position {failed}: {error}")));
        // The rows hold half a command now: begin again without it.
        self.folding = self.model.start();
        if let Err(Stop { error, .. }) =
            batch::fold(connection, LIVE, self.folding.as_mut(), done, true).await?
        {
            tracing::error!(%error, projection = self.model.name, "a fold is not pure");
            self.folding = self.model.start();
            self.stopped = Some((before, error.to_string()));
        }
        Ok(())
    }

    pub(super) fn as_stopped(&self) -> Option<(&'static str, LogPosition, Arc<str>)> {
        let (at, reason) = self.stopped.as_ref()?;
        Some((self.model.name, *at, Arc::from(reason.as_str())))
    }

    fn rows_in_memory(&self) -> usize {
        self.folding.tables().iter().map(|rows| rows.len()).sum()
    }
}
