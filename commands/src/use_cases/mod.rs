//! The use cases, one file each: scripts over aggregates in a unit of work.

use crate::request::{Answer, Command};
use crate::unit::{Halt, Unit};

/// Runs the command's script. On `Err` the caller abandons the unit.
///
/// # Errors
/// [`Halt`], which says whether to load streams and run it again, or why it was refused.
pub fn run(_command: &Command, _unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    Ok(Answer::default())
}
