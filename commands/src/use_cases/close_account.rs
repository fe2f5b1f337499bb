//! Close an account for good.

use domain::account::{Account, AccountCommand};

use crate::request::{AccountStatusChange, Answer};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account};

pub(super) fn run(command: &AccountStatusChange, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_account(unit, &command.account_id).at("accountId")?;
    let change = AccountCommand::Close { reason: command.reason.clone() };
    unit.execute::<Account>(command.account_id.as_str(), &change)?;
    Ok(Answer { account_id: Some(command.account_id.clone()), ..Answer::default() })
}
