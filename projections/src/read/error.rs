//! Why a query has no answer.

use domain::Code;
use event_store::{LogError, LogPosition};

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The position asked for is not in the log.
    #[error("log position {at_least} lies beyond the end of the log, which is at {head}")]
    BeyondHead {
        /// What was asked for.
        at_least: LogPosition,
        /// The end of the log.
        head: LogPosition,
    },
    /// The read model did not get there in time: ask again.
    #[error(
        "the read model {projection} is at log position {reached} and has not reached {at_least} in time: ask again"
    )]
    NotYetVisible {
        /// The read model that is behind.
        projection: &'static str,
        /// What was asked for.
        at_least: LogPosition,
        /// How far it is.
        reached: LogPosition,
    },
    /// The read model is being built for the first time: ask again later.
    #[error("the read model {projection} is being built: ask again later")]
    NotReady {
        /// The read model.
        projection: &'static str,
    },
    /// The cursor is not one that this query has given out.
    #[error("the cursor is not one that this list has given out")]
    InvalidCursor,
    /// The database did not answer.
    #[error("the read models cannot be read now: {0}")]
    Database(#[from] sqlx::Error),
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A row holds what no fold writes: rebuild the projection.
    #[error(
        "the read model {projection} holds a value that cannot be read ({detail}): verify and rebuild it"
    )]
    Corrupt {
        /// The read model.
        projection: &'static str,
        /// What is wrong with it.
        detail: String,
    },
}

impl ReadError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::BeyondHead { .. } => Code::BeyondHead,
            Self::NotYetVisible { .. } | Self::NotReady { .. } => Code::NotYetVisible,
            Self::InvalidCursor => Code::MalformedInput,
            Self::Database(_) | Self::Log(_) => Code::Unavailable,
            Self::Corrupt { .. } => Code::Internal,
        }
    }
}
