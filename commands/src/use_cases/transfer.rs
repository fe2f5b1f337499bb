//! Money from one account to another: both legs in one commit.

use domain::AnyEvent;
use domain::account::{Account, AccountCommand, AccountEvent};

use crate::request::{Answer, Transfer};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, authorise_account, settlement};

pub(super) fn run(command: &Transfer, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    unit.want::<Account>([command.from.as_str(), command.to.as_str()])?;
    authorise_account(unit, &command.from).at("from")?;
    let sent = unit
        .execute::<Account>(
            command.from.as_str(),
            &AccountCommand::SendTransfer {
                to: command.to.clone(),
                amount: command.amount,
                reference: command.reference.clone(),
                effective_at: command.effective_at,
            },
        )
        .number_at("amount")?
        .iter()
        .find_map(|decided| match &decided.event {
            AnyEvent::Account(AccountEvent::TransferSent { transfer_id, amount, .. }) => {
                Some((transfer_id.clone(), *amount))
            }
            _ => None,
        });
    let Some((transfer_id, amount)) = sent else { return Ok(Answer::default()) };
    settlement::receive(
        unit,
        &command.to,
        &AccountCommand::ReceiveTransfer {
            transfer_id: transfer_id.clone(),
            from: command.from.clone(),
            amount,
            reference: command.reference.clone(),
            effective_at: command.effective_at,
        },
    )?;
    Ok(Answer { account_id: Some(command.from.clone()), movement_id: Some(transfer_id), ..Answer::default() })
}
