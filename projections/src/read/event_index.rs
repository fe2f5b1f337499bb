//! Where in the log the events of an actor, a command or a correlation are.

use event_store::LogPosition;

use super::query::{Bind, Which};
use super::{Read, ReadError, ReadModels};
use crate::models::event_index::CommandRow;

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

/// The most positions of one page.
const MAX_POSITIONS: usize = 1_000;

impl ReadModels {
    /// The log positions of the events that pass the filter.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn event_positions(&self, filter: &IndexFilter) -> Result<Read<IndexPage>, ReadError> {
        let limit = filter.limit.clamp(1, MAX_POSITIONS);
        let order = if filter.newest_first { "DESC" } else { "ASC" };
        let bound = |position: Option<LogPosition>| position.map(|position| Bind::Int(position.to_sql()));
        let which = Which::all()
            .filter_if("t.actor = ?", filter.actor.as_deref())
            .filter_if("t.command_id = ?", filter.command_id.as_deref())
            .filter_if("t.correlation_id = ?", filter.correlation_id.as_deref())
            .filter_if("t.last_position > ?", bound(filter.after))
            .filter_if("t.first_position < ?", bound(filter.before))
            .then(format!("ORDER BY t.first_position {order} LIMIT {}", limit + 1));
        let commands = self.rows::<CommandRow>(&["event_index"], which).await?;
        Ok(commands.map(|commands| {
            let inside = |position: &LogPosition| {
                filter.after.is_none_or(|after| *position > after)
                    && filter.before.is_none_or(|before| *position < before)
            };
            let mut positions: Vec<LogPosition> = commands
                .iter()
                .flat_map(|command| command.first_position.0..=command.last_position.0)
                .map(LogPosition)
                .filter(inside)
                .collect();
            if filter.newest_first {
                positions.sort_unstable_by(|a, b| b.cmp(a));
            }
            let has_more = positions.len() > limit;
            positions.truncate(limit);
            IndexPage { positions, has_more }
        }))
    }
}
