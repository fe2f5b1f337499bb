//! Holds: what was set aside, what was paid out of it, and how it ended.

use std::sync::Arc;

use domain::account::AccountEvent;
use domain::ids::{AccountId, HoldId, OrderId};
use domain::{AnyEvent, Asset, Timestamp};
use event_store::LogPosition;

use crate::fold::{Command, Fact, FoldError, Projection, add, row, row_set};
use crate::read::HoldStatus;

row! {
    /// A hold, with amounts in smallest units of the account's currency.
    HoldRow in "holds"
    key { hold_id: HoldId }
    account_id: AccountId,
    placed_position: LogPosition,
    currency: Asset,
    amount: i128,
    captured: i128,
    remaining: i128,
    status: HoldStatus,
    expires_at: Option<Timestamp>,
    reference: Option<String>,
    order_id: Option<OrderId>,
}

row_set!(HoldRows { holds: HoldRow });

/// The projection.
pub(crate) struct Holds;

impl Projection for Holds {
    const NAME: &'static str = "holds";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = HoldRows;

    fn touches(command: &Command, rows: &mut HoldRows) {
        for fact in &command.facts {
            if let AnyEvent::Account(
                AccountEvent::HoldCaptured { hold_id, .. }
                | AccountEvent::HoldReleased { hold_id, .. }
                | AccountEvent::HoldExpired { hold_id, .. }
                | AccountEvent::PurchaseSettled { hold_id, .. },
            ) = &fact.event
            {
                rows.holds.want((hold_id.clone(),));
            }
        }
    }

    fn fold(command: &Command, rows: &mut HoldRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            if let AnyEvent::Account(event) = &fact.event {
                apply(fact, event, rows)?;
            }
        }
        Ok(())
    }
}

fn apply(fact: &Fact, event: &AccountEvent, rows: &mut HoldRows) -> Result<(), FoldError> {
    match event {
        AccountEvent::HoldPlaced { hold_id, amount, expires_at, reference, order_id } => {
            rows.holds.put(HoldRow {
                hold_id: hold_id.clone(),
                account_id: AccountId::new(Arc::clone(&fact.stream)),
                placed_position: fact.log_position,
                currency: amount.asset(),
                amount: amount.units(),
                captured: 0,
                remaining: amount.units(),
                status: HoldStatus::Open,
                expires_at: *expires_at,
                reference: reference.clone(),
                order_id: order_id.clone(),
            });
        }
        AccountEvent::HoldCaptured { hold_id, amount, .. } => {
            let hold = rows.holds.change(&(hold_id.clone(),))?;
            add(&mut hold.captured, amount.units())?;
            hold.remaining = 0;
            hold.status = HoldStatus::Captured;
        }
        AccountEvent::HoldReleased { hold_id, .. } => {
            let hold = rows.holds.change(&(hold_id.clone(),))?;
            hold.remaining = 0;
            hold.status = HoldStatus::Released;
        }
        AccountEvent::HoldExpired { hold_id, .. } => {
            let hold = rows.holds.change(&(hold_id.clone(),))?;
            hold.remaining = 0;
            hold.status = HoldStatus::Expired;
        }
        AccountEvent::PurchaseSettled { hold_id, notional, fee, hold_remaining, .. } => {
            let hold = rows.holds.change(&(hold_id.clone(),))?;
            add(&mut hold.captured, notional.units())?;
            add(&mut hold.captured, fee.units())?;
            hold.remaining = hold_remaining.units();
            if hold_remaining.is_zero() {
                hold.status = HoldStatus::Captured;
            }
        }
        _ => {}
    }
    Ok(())
}
