//! The words in which the sentences about accounts are written: alice has the account, bob is the other side.

pub use crate::common::{Given, noon, noon_plus, read};
pub use domain::account::{
    Account, AccountCommand as Command, AccountEvent as Event, AccountKind, AccountStatus,
};
pub use domain::ids::{AccountId, HoldId, MovementId, OrderId, Party, TradeId};
pub use domain::{Code, Decimal, Money, Timestamp};

pub fn id(text: &str) -> AccountId {
    read(text)
}
pub fn usd(number: &str) -> Money {
    read(&format!("{number} USD"))
}
pub fn number(text: &str) -> Decimal {
    read(text)
}
pub fn hold(n: u64) -> HoldId {
    HoldId::nth(&id("alice"), n)
}
pub fn movement(n: u64) -> MovementId {
    MovementId::nth("alice", n)
}
pub fn order() -> OrderId {
    read("order-1")
}
pub fn trade() -> TradeId {
    read("BTC-USD.1")
}

pub fn opened_with_overdraft(limit: &str) -> Event {
    Event::AccountOpened {
        account_id: id("alice"),
        owner: "alice".into(),
        currency: read("USD"),
        kind: AccountKind::Current,
        overdraft_limit: usd(limit),
    }
}
pub fn opened() -> Event {
    opened_with_overdraft("0.00")
}
pub fn deposited(n: u64, amount: &str) -> Event {
    Event::FundsDeposited {
        movement_id: movement(n),
        from: Party::WORLD,
        amount: usd(amount),
        reference: None,
        effective_at: None,
    }
}
pub fn withdrawn(n: u64, amount: &str) -> Event {
    Event::FundsWithdrawn {
        movement_id: movement(n),
        to: Party::WORLD,
        amount: usd(amount),
        reference: None,
        effective_at: None,
    }
}
pub fn sent(n: u64, amount: &str) -> Event {
    Event::TransferSent {
        transfer_id: movement(n),
        to: id("bob"),
        amount: usd(amount),
        reference: None,
        effective_at: None,
    }
}
pub fn held_until(n: u64, amount: &str, expires_at: Option<Timestamp>) -> Event {
    Event::HoldPlaced { hold_id: hold(n), amount: usd(amount), expires_at, reference: None, order_id: None }
}
pub fn held(n: u64, amount: &str) -> Event {
    held_until(n, amount, None)
}
pub fn held_for_order(n: u64, amount: &str) -> Event {
    Event::HoldPlaced {
        hold_id: hold(n),
        amount: usd(amount),
        expires_at: None,
        reference: None,
        order_id: Some(order()),
    }
}
pub fn released(n: u64, amount: &str) -> Event {
    Event::HoldReleased { hold_id: hold(n), released: usd(amount) }
}
pub fn expired(n: u64, amount: &str) -> Event {
    Event::HoldExpired { hold_id: hold(n), released: usd(amount) }
}
pub fn captured(n: u64, transfer: u64, amount: &str, released: &str) -> Event {
    Event::HoldCaptured {
        hold_id: hold(n),
        transfer_id: movement(transfer),
        to: id("bob"),
        amount: usd(amount),
        released: usd(released),
    }
}
pub fn frozen() -> Event {
    Event::AccountFrozen { reason: "court order".into() }
}
pub fn closed() -> Event {
    Event::AccountClosed { reason: "moved away".into() }
}

pub fn open() -> Command {
    Command::Open {
        account_id: id("alice"),
        owner: "alice".into(),
        currency: read("USD"),
        kind: AccountKind::Current,
        overdraft_limit: Decimal::ZERO,
    }
}
pub fn deposit(amount: &str) -> Command {
    Command::Deposit { amount: number(amount), reference: None, effective_at: None }
}
pub fn withdraw(amount: &str) -> Command {
    Command::Withdraw { amount: number(amount), reference: None, effective_at: None }
}
pub fn send(amount: &str) -> Command {
    Command::SendTransfer { to: id("bob"), amount: number(amount), reference: None, effective_at: None }
}
pub fn receive(amount: &str) -> Command {
    Command::ReceiveTransfer {
        transfer_id: read("bob.m1"),
        from: id("bob"),
        amount: read(amount),
        reference: None,
        effective_at: None,
    }
}
pub fn place_hold(amount: &str) -> Command {
    Command::PlaceHold { amount: number(amount), expires_at: None, reference: None }
}
pub fn capture(n: u64, amount: Option<&str>) -> Command {
    Command::CaptureHold { hold_id: hold(n), to: id("bob"), amount: amount.map(number) }
}
pub fn release(n: u64) -> Command {
    Command::ReleaseHold { hold_id: hold(n) }
}
pub fn hold_for_order(amount: &str) -> Command {
    Command::HoldForOrder { order_id: order(), amount: read(amount) }
}
pub fn settle_purchase(notional: &str, fee: &str, hold_remaining: &str) -> Command {
    Command::SettlePurchase {
        trade_id: trade(),
        order_id: order(),
        hold_id: hold(1),
        counterparty: Party::PAPER_VENUE,
        notional: read(notional),
        fee: read(fee),
        hold_remaining: read(hold_remaining),
    }
}
pub fn settle_sale(notional: &str, fee: &str) -> Command {
    Command::SettleSale {
        trade_id: trade(),
        order_id: order(),
        counterparty: Party::PAPER_VENUE,
        notional: read(notional),
        fee: read(fee),
    }
}
pub fn release_order_hold(n: u64) -> Command {
    Command::ReleaseOrderHold { hold_id: hold(n) }
}
pub fn set_limit(limit: &str) -> Command {
    Command::SetOverdraftLimit { limit: number(limit), reason: None }
}
pub fn freeze() -> Command {
    Command::Freeze { reason: "court order".into() }
}
pub fn unfreeze() -> Command {
    Command::Unfreeze { reason: "lifted".into() }
}
pub fn close() -> Command {
    Command::Close { reason: "moved away".into() }
}

pub fn given(events: impl IntoIterator<Item = Event>) -> Given<Account> {
    crate::common::given(events)
}

/// An account of 100.00 USD without overdraft.
pub fn funded() -> Given<Account> {
    given([opened(), deposited(1, "100.00")])
}

/// Balance, held and available.
#[track_caller]
pub fn figures(given: Given<Account>) -> [String; 3] {
    let account = given.state();
    let account = account.opened().expect("it is open");
    [account.balance.number(), account.held.number(), account.available().expect("in range").number()]
}

/// One more than the largest amount of USD there is.
pub const TOO_LARGE: &str = "10000000000000000000000000.01";
/// The largest amount of USD there is.
pub const LARGEST: &str = "10000000000000000000000000.00";

pub fn purchase_settled(notional: &str, fee: &str, hold_remaining: &str) -> Event {
    Event::PurchaseSettled {
        trade_id: trade(),
        order_id: order(),
        hold_id: hold(1),
        counterparty: Party::PAPER_VENUE,
        notional: usd(notional),
        fee: usd(fee),
        hold_remaining: usd(hold_remaining),
    }
}

pub fn every_command_but_open() -> Vec<Command> {
    vec![
        deposit("1"),
        withdraw("1"),
        send("1"),
        receive("1.00 USD"),
        place_hold("1"),
        capture(1, None),
        release(1),
        Command::ExpireHolds,
        hold_for_order("1.00 USD"),
        settle_purchase("1.00 USD", "0.00 USD", "0.00 USD"),
        settle_sale("1.00 USD", "0.00 USD"),
        release_order_hold(1),
        set_limit("0"),
        freeze(),
        unfreeze(),
        close(),
    ]
}
