//! Why a process fails. Its supervisor starts it again, unless a later leader has taken over.

use domain::event::UnknownEvent;
use event_store::{LogError, ProcessStateError};

use crate::feed::FeedError;
use crate::tick_archive::TickArchiveError;

/// Why a process cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A feed failed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log holds an event of another version of Daybook.
    #[error(transparent)]
    UnknownEvent(#[from] UnknownEvent),
    /// Its state cannot be loaded or saved.
    #[error(transparent)]
    State(#[from] ProcessStateError),
    /// Its state is not one that this version wrote.
    #[error("the saved state of the process is malformed: {0}")]
    MalformedState(#[from] serde_json::Error),
    /// The tick archive failed.
    #[error(transparent)]
    TickArchive(#[from] TickArchiveError),
    /// The observed markets cannot be passed on to other nodes.
    #[error("the observed markets cannot be passed on: {0}")]
    Relay(#[from] sqlx::Error),
    /// More market data came than it could take in.
    #[error("it fell too far behind the market data")]
    FellBehind,
    /// It came to an end though nobody asked for it.
    #[error("it ended by itself")]
    Ended,
    /// A defect: it panicked.
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl ProcessError {
    /// Whether it must not be started again on this node: another one leads.
    pub fn is_deposed(&self) -> bool {
        matches!(self, Self::State(ProcessStateError::Deposed(_)))
    }
}
