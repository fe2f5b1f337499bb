//! Where background processes stand, so that the next leader goes on from there.
//!
//! Loading claims the row for an epoch; from then on no earlier leader can save it. So a deposed leader's late save
//! changes nothing, without a lock on the head.

use sqlx::{PgPool, Row};
use thiserror::Error;

use crate::LogPosition;

/// Why a process's state could not be loaded or saved.
#[derive(Debug, Error)]
pub enum ProcessStateError {
    /// A later leader has taken the process over: stop.
    #[error("a later leader has taken the process {0:?} over")]
    Deposed(String),
    /// PostgreSQL did not answer.
    #[error("the state of a process cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
}

/// The states of all processes, on behalf of the leader of one epoch.
#[derive(Clone, Debug)]
pub struct ProcessStates {
    pool: PgPool,
    epoch: i64,
}

impl ProcessStates {
    /// Works through the application's pool for the leader of this epoch.
    pub fn new(pool: PgPool, epoch: u64) -> Self {
        Self { pool, epoch: i64::try_from(epoch).unwrap_or(i64::MAX) }
    }

    /// The log position and state that were saved last, if any were. Load before the first save: it takes the process
    /// over from earlier leaders.
    ///
    /// # Errors
    /// [`ProcessStateError::Deposed`] when a later leader has taken it over already.
    pub async fn load(
        &self,
        name: &str,
    ) -> Result<Option<(LogPosition, serde_json::Value)>, ProcessStateError> {
        let row = sqlx::query(
            "INSERT INTO log.process_states AS kept (name, epoch) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET epoch = excluded.epoch WHERE kept.epoch <= excluded.epoch \
             RETURNING log_position, state",
        )
        .bind(name)
        .bind(self.epoch)
        .fetch_optional(&self.pool)
        .await?
        .ok_or_else(|| ProcessStateError::Deposed(name.to_owned()))?;
        let state: Option<serde_json::Value> = row.try_get("state")?;
        let log_position = LogPosition::from_sql(row.try_get("log_position")?);
        Ok(state.map(|state| (log_position, state)))
    }

    /// Saves what the process has reached.
    ///
    /// # Errors
    /// [`ProcessStateError::Deposed`] when it was not loaded under this epoch, or a later leader has taken it over.
    pub async fn save(
        &self,
        name: &str,
        log_position: LogPosition,
        state: &serde_json::Value,
    ) -> Result<(), ProcessStateError> {
        let saved = sqlx::query(
            "UPDATE log.process_states SET log_position = $3, state = $4, saved_at = clock_timestamp() \
             WHERE name = $1 AND epoch = $2",
        )
        .bind(name)
        .bind(self.epoch)
        .bind(log_position.to_sql())
        .bind(sqlx::types::Json(state))
        .execute(&self.pool)
        .await?;
        if saved.rows_affected() == 1 { Ok(()) } else { Err(ProcessStateError::Deposed(name.to_owned())) }
    }
}
