//! End a hold without paying.

use domain::account::{Account, AccountCommand};

use crate::request::{Answer, ReleaseHold};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, settlement};

pub(super) fn run(command: &ReleaseHold, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let account_id = command.hold_id.account();
    settlement::authorise_hold(unit, &command.hold_id)?;
    let release = AccountCommand::ReleaseHold { hold_id: command.hold_id.clone() };
    unit.execute::<Account>(account_id.as_str(), &release).at("holdId")?;
    Ok(Answer { account_id: Some(account_id), hold_id: Some(command.hold_id.clone()), ..Answer::default() })
}
