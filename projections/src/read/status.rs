//! How far each projection is.

use std::fmt;

use event_store::LogPosition;

use super::{ReadError, ReadModels};
use crate::engine::read_checkpoints;
use crate::models;

/// What a projection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProjectionState {
    /// It follows the log.
    Live,
    /// It is being built, and not yet readable.
    Building,
    /// It has stopped at an event that it cannot fold; what it holds is right up to there.
    Stopped,
}

impl fmt::Display for ProjectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "LIVE",
            Self::Building => "BUILDING",
            Self::Stopped => "STOPPED",
        })
    }
}

/// How far a projection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// The version of its tables and fold.
    pub version: u32,
    /// Its checkpoint.
    pub log_position: LogPosition,
    /// Events between its checkpoint and the end of the log.
    pub lag: u64,
    /// What it is doing.
    pub state: ProjectionState,
    /// Why it has stopped.
    pub error: Option<String>,
}

impl ReadModels {
    /// The status of every projection, by name.
    ///
    /// # Errors
    /// [`ReadError::Database`].
    pub async fn status(&self) -> Result<Vec<ProjectionStatus>, ReadError> {
        let head = self.log.read_head().await?;
        let mut connection = self.pool.acquire().await?;
        let made: bool = sqlx::query_scalar("SELECT to_regclass('read.projections') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
        let checkpoints = if made { Some(read_checkpoints(&mut connection).await?) } else { None };
        let known = self.progress.as_ref().map(|progress| progress.borrow().clone());
        let known = known.filter(|progress| progress.is_known());
        let status = models::ALL.iter().map(|model| {
            let standing = checkpoints
                .as_ref()
                .and_then(|checkpoints| checkpoints.standings.get(model.name))
                .filter(|standing| standing.version == model.version);
            let stored = checkpoints.as_ref().and_then(|checkpoints| checkpoints.of(model));
            let log_position = stored.max(known.as_ref().and_then(|progress| progress.of(model.name)));
            let log_position = log_position.unwrap_or(LogPosition::ZERO);
            ProjectionStatus {
                name: model.name.to_owned(),
                version: model.version.unsigned_abs(),
                log_position,
                lag: head.0.saturating_sub(log_position.0),
                state: match standing {
                    None => ProjectionState::Building,
                    Some(standing) if standing.log_position.is_some() => ProjectionState::Stopped,
                    Some(_) => ProjectionState::Live,
                },
                error: standing.and_then(|standing| standing.error.clone()),
            }
        });
        Ok(status.collect())
    }
}
