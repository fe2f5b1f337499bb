//! Transfers between accounts: those of their own and those out of a hold.

use std::sync::Arc;

use domain::account::AccountEvent;
use domain::ids::{AccountId, MovementId};
use domain::{AnyEvent, Asset, Timestamp};
use event_store::LogPosition;

use crate::fold::{Command, FoldError, Projection, row, row_set};

row! {
    /// A transfer, told by its first leg.
    TransferRow in "transfers", append_only
    key { transfer_id: MovementId }
    from_account: AccountId,
    to_account: AccountId,
    currency: Asset,
    amount: i128,
    reference: Option<String>,
    effective_at: Timestamp,
    log_position: LogPosition,
    recorded_at: Timestamp,
}

row_set!(TransferRows { transfers: TransferRow });

/// The projection.
pub(crate) struct Transfers;

impl Projection for Transfers {
    const NAME: &'static str = "transfers";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = TransferRows;

    fn touches(_command: &Command, _rows: &mut TransferRows) {}

    fn fold(command: &Command, rows: &mut TransferRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            let AnyEvent::Account(event) = &fact.event else { continue };
            let (transfer_id, to, amount, reference, effective_at) = match event {
                AccountEvent::TransferSent { transfer_id, to, amount, reference, effective_at } => {
                    (transfer_id, to, amount, reference.clone(), *effective_at)
                }
                AccountEvent::HoldCaptured { transfer_id, to, amount, .. } => {
                    (transfer_id, to, amount, None, None)
                }
                _ => continue,
            };
            rows.transfers.put(TransferRow {
                transfer_id: transfer_id.clone(),
                from_account: AccountId::new(Arc::clone(&fact.stream)),
                to_account: to.clone(),
                currency: amount.asset(),
                amount: amount.units(),
                reference,
                effective_at: effective_at.unwrap_or(fact.recorded_at),
                log_position: fact.log_position,
                recorded_at: fact.recorded_at,
            });
        }
        Ok(())
    }
}
