//! The engine: feeds projections from the log and keeps their tables and checkpoints in step.
//!
//! Projections that stand at the end of the log fold together ([`live`]): one batch of whole commands, one transaction,
//! one checkpoint. That keeps commits few, and the columns of a trial balance at one place. One that is new or of
//! another version is built aside ([`rebuild`]) and joins by a swap of its tables. They fold on one node ([`folder`]),
//! which tells the others ([`announce`], [`hear`]).

mod announce;
mod batch;
mod checkpoint;
mod folder;
mod group;
mod hear;
mod live;
mod progress;
mod rebuild;
mod replay;
mod sql;
mod verify;

use event_store::LogError;

use crate::fold::FoldError;

pub(crate) use checkpoint::{read as read_checkpoints, set_up};
pub(crate) use live::Leader;
pub(crate) use progress::Progress;
pub use rebuild::{rebuild, rebuild_within};
pub use replay::{ReplayLimits, ReplayProgress};
pub(crate) use sql::{run, selected};
pub use verify::{Difference, Verification, verify};

/// Why projections cannot be folded, built or verified.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// PostgreSQL did not answer, or refused.
    #[error("the database does not do what the projections need: {0}")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The database was prepared by an older version.
    #[error("the schemas read, read_next and read_old are not all there: run migrations/bootstrap.sql again")]
    MissingSchemas,
    /// PostgreSQL took too long: the connection may be cut off.
    #[error("the database did not answer the projections within {seconds} s")]
    Silent {
        /// How long was waited.
        seconds: u64,
    },
    /// There is no projection of that name.
    #[error("there is no projection {name}; there are {known}")]
    UnknownProjection {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// An event cannot be decoded or folded.
    #[error("the projection {projection} cannot fold the event at log position {log_position}: {reason}")]
    Unfoldable {
        /// The projection.
        projection: &'static str,
        /// Where the event is.
        log_position: event_store::LogPosition,
        /// Why, naming the event.
        reason: String,
    },
    /// Another process is building the same projection.
    #[error("the projection {projection} is being built by another process")]
    Busy {
        /// The projection.
        projection: &'static str,
    },
    /// The projection is not there, or of another version.
    #[error("the projection {projection} is not built yet: start the server, or rebuild it")]
    NotBuilt {
        /// The projection.
        projection: &'static str,
    },
}

/// Where a fold had to stop, and why.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Number of commands that were folded before.
    pub(crate) folded: usize,
    pub(crate) error: FoldError,
}
