//! The rules of an account: what follows from each command.
//!
//! Whatever is asked of an open account, holds whose time has come expire first, and the rest is decided on what that leaves.

use std::borrow::Cow;

use chrono::SubsecRound;

use crate::Timestamp;
use crate::account::state::{Account, AccountStatus, Hold, Opened};
use crate::account::{AccountCommand, AccountEvent};
use crate::amount::Money;
use crate::asset::Asset;
use crate::decider::Decider;
use crate::decimal::Decimal;
use crate::ids::{AccountId, HoldId, MovementId, OrderId, Party};
use crate::refusal::{Code, Refusal};
use crate::text;

/// How many open holds users may have on one account.
pub const MAX_OPEN_HOLDS: usize = 1_000;
/// How many open holds of orders one account may have, beside those of users.
pub const MAX_ORDER_HOLDS: usize = 10_000;

type Decision = Result<Vec<AccountEvent>, Refusal>;

pub(super) fn decide(account: &Account, command: &AccountCommand, now: Timestamp) -> Decision {
    if let AccountCommand::Open { .. } = command {
        return open(account, command);
    }
    let opened = account.opened()?;
    if opened.status == AccountStatus::Closed {
        return Err(Refusal::new(Code::AccountClosed, "the account is closed"));
    }
    let mut events = expire_holds(opened, now);
    if events.is_empty() {
        return decide_opened(opened, command, now);
    }
    let account = after(account, &events);
    events.extend(decide_opened(account.opened()?, command, now)?);
    Ok(events)
}

/// The account as these events leave it.
fn after<'a>(account: &'a Account, events: &[AccountEvent]) -> Cow<'a, Account> {
    let mut account = Cow::Borrowed(account);
    for event in events {
        account.to_mut().apply(event);
    }
    account
}

fn decide_opened(account: &Opened, command: &AccountCommand, now: Timestamp) -> Decision {
    use AccountCommand as C;
    match command {
        C::Open { .. } | C::ExpireHolds => Ok(Vec::new()),
        C::Deposit { amount, reference, effective_at } => {
            deposit(account, *amount, reference, *effective_at, now)
        }
        C::Withdraw { amount, reference, effective_at } => {
            withdraw(account, *amount, reference, *effective_at, now)
        }
        C::SendTransfer { to, amount, reference, effective_at } => {
            send_transfer(account, to, *amount, reference, *effective_at, now)
        }
        C::ReceiveTransfer { transfer_id, from, amount, reference, effective_at } => {
            receive_transfer(account, transfer_id, from, *amount, reference, *effective_at, now)
        }
        C::PlaceHold { amount, expires_at, reference } => {
            place_hold(account, *amount, *expires_at, reference, now)
        }
        C::CaptureHold { hold_id, to, amount } => capture_hold(account, hold_id, to, *amount),
        C::ReleaseHold { hold_id } => release_hold(account, hold_id),
        C::HoldForOrder { order_id, amount } => hold_for_order(account, order_id, *amount),
        C::SettlePurchase { .. } => settle_purchase(account, command),
        C::SettleSale { .. } => settle_sale(account, command),
        C::ReleaseOrderHold { hold_id } => release_order_hold(account, hold_id),
        C::SetOverdraftLimit { limit, reason } => set_overdraft_limit(account, *limit, reason),
        C::Freeze { reason } => freeze(account, reason),
        C::Unfreeze { reason } => unfreeze(account, reason),
        C::Close { reason } => close(account, reason),
    }
}

// ---- opening and closing

fn open(account: &Account, command: &AccountCommand) -> Decision {
    let AccountCommand::Open { account_id, owner, currency, kind, overdraft_limit } = command else {
        return Ok(Vec::new());
    };
    if account.opened().is_ok() {
        return Err(Refusal::new(Code::AlreadyExists, "the account is open already"));
    }
    if !currency.is_cash() {
        return Err(Refusal::new(
            Code::UnknownAsset,
            format!("accounts are kept in currencies, and {currency} is none"),
        )
        .at("currency"));
    }
    Ok(vec![AccountEvent::AccountOpened {
        account_id: account_id.clone(),
        owner: text::clean_name(owner.clone(), text::MAX_NAME).map_err(|r| r.at("owner"))?,
        currency: *currency,
        kind: *kind,
        overdraft_limit: limit_at_least_zero(*currency, *overdraft_limit)
            .map_err(|r| r.at("overdraftLimit"))?,
    }])
}

fn close(account: &Opened, reason: &str) -> Decision {
    allow_movement(account)?;
    if !account.balance.is_zero() || !account.holds.is_empty() || !account.overdraft_limit.is_zero() {
        return Err(Refusal::new(
            Code::AccountNotEmpty,
            "an account can be closed when its balance and overdraft limit are zero and it has no open hold",
        ));
    }
    Ok(vec![AccountEvent::AccountClosed { reason: clean_reason(reason)? }])
}

fn freeze(account: &Opened, reason: &str) -> Decision {
    allow_movement(account)?;
    Ok(vec![AccountEvent::AccountFrozen { reason: clean_reason(reason)? }])
}

fn unfreeze(account: &Opened, reason: &str) -> Decision {
    if account.status != AccountStatus::Frozen {
        return Err(Refusal::new(Code::AccountNotFrozen, "the account is not frozen"));
    }
    Ok(vec![AccountEvent::AccountUnfrozen { reason: clean_reason(reason)? }])
}

fn set_overdraft_limit(account: &Opened, limit: Decimal, reason: &Option<String>) -> Decision {
    let limit = limit_at_least_zero(account.currency(), limit).map_err(|r| r.at("limit"))?;
    if account.balance.minus(account.held)?.plus(limit)?.is_negative() {
        return Err(Refusal::new(
            Code::OverdraftInUse,
            "more than this limit is in use; pay money in or end holds first",
        )
        .at("limit"));
    }
    fits(account.balance, limit)?;
    let reason = reason.as_deref().map(clean_reason).transpose()?;
    Ok(vec![AccountEvent::OverdraftLimitSet { limit, reason }])
}

// ---- movements

fn deposit(
    account: &Opened,
    amount: Decimal,
    reference: &Option<String>,
    effective_at: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    allow_movement(account)?;
    let amount = positive(account.currency(), amount)?;
    allow_credit(account, amount)?;
    Ok(vec![AccountEvent::FundsDeposited {
        movement_id: account.next_movement(),
        from: Party::WORLD,
        amount,
        reference: clean_reference(reference)?,
        effective_at: not_in_future(effective_at, now)?,
    }])
}

fn withdraw(
    account: &Opened,
    amount: Decimal,
    reference: &Option<String>,
    effective_at: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    allow_movement(account)?;
    let amount = positive(account.currency(), amount)?;
    allow_spending(account, amount)?;
    Ok(vec![AccountEvent::FundsWithdrawn {
        movement_id: account.next_movement(),
        to: Party::WORLD,
        amount,
        reference: clean_reference(reference)?,
        effective_at: not_in_future(effective_at, now)?,
    }])
}

fn send_transfer(
    account: &Opened,
    to: &AccountId,
    amount: Decimal,
    reference: &Option<String>,
    effective_at: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    allow_movement(account)?;
    not_to_itself(account, to)?;
    let amount = positive(account.currency(), amount)?;
    allow_spending(account, amount)?;
    Ok(vec![AccountEvent::TransferSent {
        transfer_id: account.next_movement(),
        to: to.clone(),
        amount,
        reference: clean_reference(reference)?,
        effective_at: not_in_future(effective_at, now)?,
    }])
}

fn receive_transfer(
    account: &Opened,
    transfer_id: &MovementId,
    from: &AccountId,
    amount: Money,
    reference: &Option<String>,
    effective_at: Option<Timestamp>,
    now: Timestamp,
) -> Decision {
    allow_movement(account)?;
    not_to_itself(account, from)?;
    same_currency(account, amount)?;
    above_zero(amount)?;
    allow_credit(account, amount)?;
    Ok(vec![AccountEvent::TransferReceived {
        transfer_id: transfer_id.clone(),
        from: from.clone(),
        amount,
        reference: clean_reference(reference)?,
        effective_at: not_in_future(effective_at, now)?,
    }])
}

// ---- holds of users

fn expire_holds(account: &Opened, now: Timestamp) -> Vec<AccountEvent> {
    account
        .due_holds(now)
        .map(|(hold_id, hold)| AccountEvent::HoldExpired {
            hold_id: hold_id.clone(),
            released: hold.remaining,
        })
        .collect()
}

fn place_hold(
    account: &Opened,
    amount: Decimal,
    expires_at: Option<Timestamp>,
    reference: &Option<String>,
    now: Timestamp,
) -> Decision {
    allow_movement(account)?;
    let amount = positive(account.currency(), amount)?;
    allow_spending(account, amount)?;
    let expires_at = expires_at.map(to_the_microsecond);
    if expires_at.is_some_and(|at| at <= now) {
        return Err(Refusal::new(Code::ExpiryInPast, "a hold must expire in the future").at("expiresAt"));
    }
    if account.user_hold_count() >= MAX_OPEN_HOLDS {
        return Err(Refusal::new(
            Code::TooManyHolds,
            format!("an account may have {MAX_OPEN_HOLDS} open holds; end some first"),
        ));
    }
    Ok(vec![AccountEvent::HoldPlaced {
        hold_id: account.next_hold(),
        amount,
        expires_at,
        reference: clean_reference(reference)?,
        order_id: None,
    }])
}

fn capture_hold(account: &Opened, hold_id: &HoldId, to: &AccountId, amount: Option<Decimal>) -> Decision {
    allow_movement(account)?;
    not_to_itself(account, to)?;
    let hold = open_hold_of_user(account, hold_id)?;
    let amount = match amount {
        Some(amount) => positive(account.currency(), amount)?,
        None => hold.remaining,
    };
    if hold.remaining.is_less_than(amount)? {
        return Err(Refusal::new(
            Code::CaptureExceedsHold,
            format!("the hold holds {}, which is less than {amount}", hold.remaining),
        )
        .at("amount"));
    }
    Ok(vec![AccountEvent::HoldCaptured {
        hold_id: hold_id.clone(),
        transfer_id: account.next_movement(),
        to: to.clone(),
        amount,
        released: hold.remaining.minus(amount)?,
    }])
}

fn release_hold(account: &Opened, hold_id: &HoldId) -> Decision {
    let hold = open_hold_of_user(account, hold_id)?;
    Ok(vec![AccountEvent::HoldReleased { hold_id: hold_id.clone(), released: hold.remaining }])
}

// ---- holds of orders

fn hold_for_order(account: &Opened, order_id: &OrderId, amount: Money) -> Decision {
    allow_movement(account)?;
    same_currency(account, amount)?;
    above_zero(amount)?;
    allow_spending(account, amount)?;
    if account.order_hold_count >= MAX_ORDER_HOLDS {
        return Err(Refusal::new(
            Code::TooManyHolds,
            format!("an account may pay for {MAX_ORDER_HOLDS} open orders; cancel some first"),
        ));
    }
    Ok(vec![AccountEvent::HoldPlaced {
        hold_id: account.next_hold(),
        amount,
        expires_at: None,
        reference: None,
        order_id: Some(order_id.clone()),
    }])
}

fn settle_purchase(account: &Opened, command: &AccountCommand) -> Decision {
    let AccountCommand::SettlePurchase {
        trade_id,
        order_id,
        hold_id,
        counterparty,
        notional,
        fee,
        hold_remaining,
    } = command
    else {
        return Ok(Vec::new());
    };
    allow_movement(account)?;
    for part in [notional, fee, hold_remaining] {
        same_currency(account, *part)?;
    }
    above_zero(*notional)?;
    let hold = open_hold(account, hold_id)?;
    let is_this_orders = hold.order_id.as_ref() == Some(order_id);
    let needed = notional.plus(*fee)?.plus(*hold_remaining)?;
    if !is_this_orders
        || fee.is_negative()
        || hold_remaining.is_negative()
        || hold.remaining.is_less_than(needed)?
    {
        return Err(Refusal::new(Code::FillOutOfBounds, "the fill costs more than the order's hold holds"));
    }
    Ok(vec![AccountEvent::PurchaseSettled {
        trade_id: trade_id.clone(),
        order_id: order_id.clone(),
        hold_id: hold_id.clone(),
        counterparty: counterparty.clone(),
        notional: *notional,
        fee: *fee,
        hold_remaining: *hold_remaining,
    }])
}

fn settle_sale(account: &Opened, command: &AccountCommand) -> Decision {
    let AccountCommand::SettleSale { trade_id, order_id, counterparty, notional, fee } = command else {
        return Ok(Vec::new());
    };
    allow_movement(account)?;
    for part in [notional, fee] {
        same_currency(account, *part)?;
    }
    above_zero(*notional)?;
    if fee.is_negative() || notional.is_less_than(*fee)? {
        return Err(Refusal::new(Code::FillOutOfBounds, "the fee is larger than what the sale brings"));
    }
    allow_credit(account, *notional)?;
    Ok(vec![AccountEvent::SaleSettled {
        trade_id: trade_id.clone(),
        order_id: order_id.clone(),
        counterparty: counterparty.clone(),
        notional: *notional,
        fee: *fee,
    }])
}

fn release_order_hold(account: &Opened, hold_id: &HoldId) -> Decision {
    let Some(hold) = account.holds.get(hold_id) else {
        return Ok(Vec::new());
    };
    if hold.order_id.is_none() {
        return Err(Refusal::new(Code::HoldNotFound, "no order has a hold with that id"));
    }
    Ok(vec![AccountEvent::HoldReleased { hold_id: hold_id.clone(), released: hold.remaining }])
}

// ---- what the rules are made of

/// A frozen account neither gives nor takes; holds on it may still end, which sets nothing in motion.
fn allow_movement(account: &Opened) -> Result<(), Refusal> {
    if account.status == AccountStatus::Frozen {
        return Err(Refusal::new(Code::AccountFrozen, "the account is frozen"));
    }
    Ok(())
}

fn allow_spending(account: &Opened, amount: Money) -> Result<(), Refusal> {
    let available = account.available()?;
    if available.is_less_than(amount)? {
        return Err(Refusal::new(
            Code::InsufficientFunds,
            format!("{available} is available, which is less than {amount}"),
        )
        .at("amount"));
    }
    Ok(())
}

fn allow_credit(account: &Opened, amount: Money) -> Result<(), Refusal> {
    fits(account.balance.plus(amount)?, account.overdraft_limit)
}

/// Were every hold to end at once, all of this would be available, so it must be a number that can be written down. What is
/// held is never more than this either.
fn fits(balance: Money, overdraft_limit: Money) -> Result<(), Refusal> {
    balance.plus(overdraft_limit).map(|_| ())
}

fn not_to_itself(account: &Opened, other: &AccountId) -> Result<(), Refusal> {
    if account.account_id == *other {
        return Err(Refusal::new(Code::SameAccount, "money cannot go from an account to itself").at("to"));
    }
    Ok(())
}

fn same_currency(account: &Opened, amount: Money) -> Result<(), Refusal> {
    if account.currency() == amount.asset() {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CurrencyMismatch,
        format!("the account is kept in {}, not in {}", account.currency(), amount.asset()),
    ))
}

fn open_hold<'a>(account: &'a Opened, hold_id: &HoldId) -> Result<&'a Hold, Refusal> {
    account.holds.get(hold_id).ok_or_else(|| {
        if account.had_hold(hold_id) {
            Refusal::new(Code::HoldNotOpen, "the hold was captured, released or has expired").at("holdId")
        } else {
            Refusal::new(Code::HoldNotFound, "there is no such hold").at("holdId")
        }
    })
}

fn open_hold_of_user<'a>(account: &'a Opened, hold_id: &HoldId) -> Result<&'a Hold, Refusal> {
    let hold = open_hold(account, hold_id)?;
    if hold.order_id.is_some() {
        return Err(Refusal::new(
            Code::HoldBelongsToOrder,
            "the hold pays for an open order; cancel the order instead",
        )
        .at("holdId"));
    }
    Ok(hold)
}

fn positive(currency: Asset, amount: Decimal) -> Result<Money, Refusal> {
    Money::positive(currency, amount).map_err(|r| r.at("amount"))
}

fn above_zero(amount: Money) -> Result<(), Refusal> {
    if amount.is_positive() {
        return Ok(());
    }
    Err(Refusal::new(Code::AmountNotPositive, "the amount must be above zero"))
}

fn limit_at_least_zero(currency: Asset, limit: Decimal) -> Result<Money, Refusal> {
    let limit = Money::from_decimal(currency, limit)?;
    if limit.is_negative() {
        return Err(Refusal::new(Code::AmountNotPositive, "an overdraft limit may not be below zero"));
    }
    Ok(limit)
}

fn clean_reference(reference: &Option<String>) -> Result<Option<String>, Refusal> {
    let clean = |text: &String| text::clean(text.clone(), text::MAX_REFERENCE).map_err(|r| r.at("reference"));
    reference.as_ref().map(clean).transpose()
}

fn clean_reason(reason: &str) -> Result<String, Refusal> {
    text::clean(reason.to_owned(), text::MAX_REFERENCE).map_err(|r| r.at("reason"))
}

fn to_the_microsecond(time: Timestamp) -> Timestamp {
    time.trunc_subsecs(6)
}

fn not_in_future(effective_at: Option<Timestamp>, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    if effective_at.is_some_and(|at| at > now) {
        return Err(Refusal::new(Code::EffectiveInFuture, "a movement cannot count before it was made")
            .at("effectiveAt"));
    }
    Ok(effective_at.map(to_the_microsecond))
}
