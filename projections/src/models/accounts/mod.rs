//! Accounts: balance, what is held, limits and status.

use std::sync::Arc;

use domain::account::{AccountEvent, AccountKind, AccountStatus};
use domain::ids::{AccountId, HoldId};
use domain::{AnyEvent, Asset};

use crate::changes::Changed;
use crate::fold::{Command, Fact, FoldError, Projection, add, row, row_set};

row! {
    /// An account, with amounts in smallest units of its currency.
    AccountRow in "accounts"
    key { account_id: AccountId }
    owner: String,
    kind: AccountKind,
    currency: Asset,
    status: AccountStatus,
    balance: i128,
    held: i128,
    overdraft_limit: i128,
    sequence: u64,
}

row! {
    /// What the open hold of an order still holds: a fill says only what is left, and the account wants what came free.
    OrderHoldRow in "account_order_holds"
    key { hold_id: HoldId }
    remaining: i128,
}

row_set!(AccountRows { accounts: AccountRow, order_holds: OrderHoldRow });

/// The projection.
pub(crate) struct Accounts;

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    const VERSION: i32 = 1;
    const TABLES: &'static str = include_str!("tables.sql");
    const INDEXES: &'static str = include_str!("indexes.sql");
    type Rows = AccountRows;

    fn touches(command: &Command, rows: &mut AccountRows) {
        for fact in &command.facts {
            let AnyEvent::Account(event) = &fact.event else { continue };
            rows.accounts.want((AccountId::new(Arc::clone(&fact.stream)),));
            match event {
                AccountEvent::HoldPlaced { hold_id, order_id: Some(_), .. }
                | AccountEvent::PurchaseSettled { hold_id, .. }
                | AccountEvent::HoldReleased { hold_id, .. }
                | AccountEvent::HoldExpired { hold_id, .. } => rows.order_holds.want((hold_id.clone(),)),
                _ => {}
            }
        }
    }

    fn fold(command: &Command, rows: &mut AccountRows) -> Result<(), FoldError> {
        for fact in &command.facts {
            if let AnyEvent::Account(event) = &fact.event {
                apply(fact, event, rows)?;
            }
        }
        Ok(())
    }

    fn announce(rows: &AccountRows, changed: &mut Vec<Changed>) {
        changed.extend(rows.accounts.changed_keys().map(|(id,)| Changed::Account(id.clone())));
    }
}

fn apply(fact: &Fact, event: &AccountEvent, rows: &mut AccountRows) -> Result<(), FoldError> {
    let account_id = AccountId::new(Arc::clone(&fact.stream));
    if let AccountEvent::AccountOpened { account_id, owner, currency, kind, overdraft_limit } = event {
        rows.accounts.put(AccountRow {
            account_id: account_id.clone(),
            owner: owner.clone(),
            kind: *kind,
            currency: *currency,
            status: AccountStatus::Open,
            balance: 0,
            held: 0,
            overdraft_limit: overdraft_limit.units(),
            sequence: fact.sequence,
        });
        return Ok(());
    }
    let account = rows.accounts.change(&(account_id,))?;
    account.sequence = fact.sequence;
    match event {
        AccountEvent::AccountOpened { .. } => {}
        AccountEvent::FundsDeposited { amount, .. } | AccountEvent::TransferReceived { amount, .. } => {
            add(&mut account.balance, amount.units())?;
        }
        AccountEvent::FundsWithdrawn { amount, .. } | AccountEvent::TransferSent { amount, .. } => {
            add(&mut account.balance, -amount.units())?;
        }
        AccountEvent::HoldPlaced { hold_id, amount, order_id, .. } => {
            add(&mut account.held, amount.units())?;
            if order_id.is_some() {
                rows.order_holds.put(OrderHoldRow { hold_id: hold_id.clone(), remaining: amount.units() });
            }
        }
        AccountEvent::HoldCaptured { amount, released, .. } => {
            add(&mut account.balance, -amount.units())?;
            add(&mut account.held, -amount.units())?;
            add(&mut account.held, -released.units())?;
        }
        AccountEvent::HoldReleased { hold_id, released }
        | AccountEvent::HoldExpired { hold_id, released } => {
            add(&mut account.held, -released.units())?;
            rows.order_holds.remove(&(hold_id.clone(),));
        }
        AccountEvent::PurchaseSettled { hold_id, notional, fee, hold_remaining, .. } => {
            add(&mut account.balance, -notional.units())?;
            add(&mut account.balance, -fee.units())?;
            let key = (hold_id.clone(),);
            let hold = rows.order_holds.change(&key)?;
            let freed = hold.remaining - hold_remaining.units();
            hold.remaining = hold_remaining.units();
            add(&mut account.held, -freed)?;
            if hold_remaining.is_zero() {
                rows.order_holds.remove(&key);
            }
        }
        AccountEvent::SaleSettled { notional, fee, .. } => {
            add(&mut account.balance, notional.units())?;
            add(&mut account.balance, -fee.units())?;
        }
        AccountEvent::OverdraftLimitSet { limit, .. } => account.overdraft_limit = limit.units(),
        AccountEvent::AccountFrozen { .. } => account.status = AccountStatus::Frozen,
        AccountEvent::AccountUnfrozen { .. } => account.status = AccountStatus::Open,
        AccountEvent::AccountClosed { .. } => account.status = AccountStatus::Closed,
    }
    Ok(())
}
