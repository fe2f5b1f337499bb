//! Where the events of an actor, a command or a correlation are: a row a command.
//!
//! Commands that only observe prices are left out: there is one a second for ever, and each says in itself which feed
//! it is from.

use domain::AnyEvent;
use event_store::{LogPosition, Metadata};

use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// The events of one command.
    CommandRow in "event_index", append_only
    key { first_position: LogPosition }
    last_position: LogPosition,
    actor: Option<String>,
    command_id: Option<String>,
    correlation_id: Option<String>,
}

row_set!(CommandRows { commands: CommandRow });

/// The projection.
pub(crate) struct EventIndex;

impl Projection for EventIndex {
    const NAME: &'static str = "event_index";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = CommandRows;

    fn touches(_command: &Command, _rows: &mut CommandRows) {}

    fn fold(command: &Command, rows: &mut CommandRows) -> Result<(), FoldError> {
        if command.facts.iter().all(|fact| matches!(fact.event, AnyEvent::Quote(_))) {
            return Ok(());
        }
        // What is not a flat map of strings has no names to be found by.
        let mut metadata: Metadata = serde_json::from_str(&command.metadata).unwrap_or_default();
        rows.commands.put(CommandRow {
            first_position: command.start(),
            last_position: command.end(),
            actor: metadata.remove("actor"),
            command_id: metadata.remove("command_id"),
            correlation_id: metadata.remove("correlation_id"),
        });
        Ok(())
    }
}
