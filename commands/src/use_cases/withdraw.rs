//! Money goes out to the world.

use domain::AnyEvent;
use domain::account::{Account, AccountCommand, AccountEvent};

use crate::request::{Answer, MoneyMovement};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account};

pub(super) fn run(command: &MoneyMovement, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_account(unit, &command.account_id).at("accountId")?;
    let movement_id = unit
        .execute::<Account>(
            command.account_id.as_str(),
            &AccountCommand::Withdraw {
                amount: command.amount,
                reference: command.reference.clone(),
                effective_at: command.effective_at,
            },
        )
        .number_at("amount")?
        .iter()
        .find_map(|decided| match &decided.event {
            AnyEvent::Account(AccountEvent::FundsWithdrawn { movement_id, .. }) => Some(movement_id.clone()),
            _ => None,
        });
    Ok(Answer { account_id: Some(command.account_id.clone()), movement_id, ..Answer::default() })
}
