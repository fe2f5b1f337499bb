//! Let an account go below zero, down to a limit.

use domain::account::{Account, AccountCommand};

use crate::request::{Answer, SetOverdraftLimit};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account};

pub(super) fn run(command: &SetOverdraftLimit, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_account(unit, &command.account_id).at("accountId")?;
    let set = AccountCommand::SetOverdraftLimit { limit: command.limit, reason: command.reason.clone() };
    unit.execute::<Account>(command.account_id.as_str(), &set).number_at("limit")?;
    Ok(Answer { account_id: Some(command.account_id.clone()), ..Answer::default() })
}
