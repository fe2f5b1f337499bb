//! Pay another account out of a hold: debit, end of the hold and credit in one commit.

use domain::account::{Account, AccountCommand, AccountEvent};

use crate::request::{Answer, CaptureHold};
use crate::unit::{Halt, Unit};
use crate::use_cases::{Blame, settlement};

pub(super) fn run(command: &CaptureHold, unit: &mut Unit<'_>) -> Result<Answer, Halt> {
    let payer = command.hold_id.account();
    unit.want::<Account>([payer.as_str(), command.to.as_str()])?;
    settlement::authorise_hold(unit, &command.hold_id)?;
    let events = unit
        .execute::<Account>(
            payer.as_str(),
            &AccountCommand::CaptureHold {
                hold_id: command.hold_id.clone(),
                to: command.to.clone(),
                amount: command.amount,
            },
        )
        .number_at("amount")?;
    let mut movement_id = None;
    for event in events {
        let AccountEvent::HoldCaptured { transfer_id, amount, .. } = event else { continue };
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
