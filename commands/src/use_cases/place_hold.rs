//! Set money aside.

use domain::AnyEvent;
use domain::account::{Account, AccountCommand, AccountEvent};

use crate::request::{Answer, PlaceHold};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account};

pub(super) fn run(command: &PlaceHold, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    authorise_account(unit, &command.account_id).at("accountId")?;
    let hold_id = unit
        .execute::<Account>(
            command.account_id.as_str(),
            &AccountCommand::PlaceHold {
                amount: command.amount,
                expires_at: command.expires_at,
                reference: command.reference.clone(),
            },
        )
        .number_at("amount")?
        .iter()
        .find_map(|decided| match &decided.event {
            AnyEvent::Account(AccountEvent::HoldPlaced { hold_id, .. }) => Some(hold_id.clone()),
            _ => None,
        });
    Ok(Answer { account_id: Some(command.account_id.clone()), hold_id, ..Answer::default() })
}
