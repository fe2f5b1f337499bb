//! Sweep the due holds of an account that nobody touches.

use domain::account::{Account, AccountCommand};

use crate::request::{Answer, ExpireHolds};
use crate::unit::{Halt, Unit};

pub(super) fn run(command: &ExpireHolds, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    unit.execute::<Account>(command.account_id.as_str(), &AccountCommand::ExpireHolds)?;
    Ok(Answer { account_id: Some(command.account_id.clone()), ..Answer::default() })
}
