//! Folding a batch of commands: load what they touch, fold, command by command.

use sqlx::PgConnection;

use super::Stop;
use super::sql;
use crate::fold::{Command, Folding};

/// Folds the commands into the rows. Nothing is written. Without `loads` all rows there are are in memory.
///
/// Most rows are loaded for the whole batch at once. What a command touches only because of what an earlier one of the
/// batch has done is loaded just before it, for projections that have such a thing.
pub(super) async fn fold(
    connection: &mut PgConnection,
    schema: &str,
    folding: &mut dyn Folding,
    commands: &[Command],
    loads: bool,
) -> Result<Result<(), Stop>, sqlx::Error> {
    if loads {
        for command in commands {
            folding.touches(command);
        }
        sql::load(connection, schema, folding).await?;
    }
    for (folded, command) in commands.iter().enumerate() {
        if loads && folding.looks_at_rows() {
            load_touched(connection, schema, folding, command).await?;
        } else if loads && cfg!(debug_assertions) {
            folding.touches(command);
            assert!(!folding.has_wanted(), "a projection looks at rows and does not say so");
        }
        if let Err(error) = folding.fold(command) {
            return Ok(Err(Stop { folded, error }));
        }
    }
    Ok(Ok(()))
}

/// Loads what the command touches and is not in memory; what was loaded may show that it touches more.
async fn load_touched(
    connection: &mut PgConnection,
    schema: &str,
    folding: &mut dyn Folding,
    command: &Command,
) -> Result<(), sqlx::Error> {
    loop {
        folding.touches(command);
        if !folding.has_wanted() {
            return Ok(());
        }
        sql::load(connection, schema, folding).await?;
    }
}
