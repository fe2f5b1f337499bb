//! Pay another account out of a hold: debit, end of the hold and credit in one commit.

use domain::AnyEvent;
use domain::account::{Account, AccountCommand, AccountEvent};

use crate::request::{Answer, CaptureHold};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, settlement};

pub(super) fn run(command: &CaptureHold, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let payer = command.hold_id.account();
    unit.want::<Account>([payer.as_str(), command.to.as_str()])?;
    settlement::authorise_hold(unit, &command.hold_id)?;
    let captured = unit
        .execute::<Account>(
            payer.as_str(),
            &AccountCommand::CaptureHold {
                hold_id: command.hold_id.clone(),
                to: command.to.clone(),
                amount: command.amount,
            },
        )
        .number_at("amount")?
        .iter()
        .find_map(|decided| match &decided.event {
            AnyEvent::Account(AccountEvent::HoldCaptured { transfer_id, amount, .. }) => {
                Some((transfer_id.clone(), *amount))
            }
            _ => None,
        });
    let mut movement_id = None;
    if let Some((transfer_id, amount)) = captured {
        settlement::receive(
            unit,
            &command.to,
            &AccountCommand::ReceiveTransfer {
                transfer_id: transfer_id.clone(),
                from: payer.clone(),
                amount,
                reference: None,
                effective_at: None,
            },
        )?;
        movement_id = Some(transfer_id);
    }
    Ok(Answer {
        account_id: Some(payer),
        hold_id: Some(command.hold_id.clone()),
        movement_id,
        ..Answer::default()
    })
}
