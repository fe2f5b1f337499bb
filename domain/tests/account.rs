//! Accounts: every command and every refusal, given / when / then.

mod common;

use common::{Given, noon, noon_plus, read};
use domain::account::{
    Account, AccountCommand as Command, AccountEvent as Event, AccountKind, AccountStatus,
};
use domain::ids::{AccountId, HoldId, MovementId, OrderId, Party, TradeId};
use domain::{Code, Decimal, Money, Timestamp};

// ---- words

fn id(text: &str) -> AccountId {
    read(text)
}
fn usd(number: &str) -> Money {
    read(&format!("{number} USD"))
}
fn number(text: &str) -> Decimal {
    read(text)
}
fn hold(n: u64) -> HoldId {
    HoldId::nth(&id("alice"), n)
}
fn movement(n: u64) -> MovementId {
    MovementId::nth("alice", n)
}
fn order() -> OrderId {
    read("order-1")
}
fn trade() -> TradeId {
    read("BTC-USD.1")
}

fn opened_with_overdraft(limit: &str) -> Event {
    Event::AccountOpened {
        account_id: id("alice"),
        owner: "alice".into(),
        currency: read("USD"),
        kind: AccountKind::Current,
        overdraft_limit: usd(limit),
    }
}
fn opened() -> Event {
    opened_with_overdraft("0.00")
}
fn deposited(n: u64, amount: &str) -> Event {
    Event::FundsDeposited {
        movement_id: movement(n),
        from: Party::WORLD,
        amount: usd(amount),
        reference: None,
        effective_at: None,
    }
}
fn withdrawn(n: u64, amount: &str) -> Event {
    Event::FundsWithdrawn {
        movement_id: movement(n),
        to: Party::WORLD,
        amount: usd(amount),
        reference: None,
        effective_at: None,
    }
}
fn sent(n: u64, amount: &str) -> Event {
    Event::TransferSent {
        transfer_id: movement(n),
        to: id("bob"),
        amount: usd(amount),
        reference: None,
        effective_at: None,
    }
}
fn held_until(n: u64, amount: &str, expires_at: Option<Timestamp>) -> Event {
    Event::HoldPlaced { hold_id: hold(n), amount: usd(amount), expires_at, reference: None, order_id: None }
}
fn held(n: u64, amount: &str) -> Event {
    held_until(n, amount, None)
}
fn held_for_order(n: u64, amount: &str) -> Event {
    Event::HoldPlaced {
        hold_id: hold(n),
        amount: usd(amount),
        expires_at: None,
        reference: None,
        order_id: Some(order()),
    }
}
fn released(n: u64, amount: &str) -> Event {
    Event::HoldReleased { hold_id: hold(n), released: usd(amount) }
}
fn expired(n: u64, amount: &str) -> Event {
    Event::HoldExpired { hold_id: hold(n), released: usd(amount) }
}
fn captured(n: u64, transfer: u64, amount: &str, released: &str) -> Event {
    Event::HoldCaptured {
        hold_id: hold(n),
        transfer_id: movement(transfer),
        to: id("bob"),
        amount: usd(amount),
        released: usd(released),
    }
}
fn frozen() -> Event {
    Event::AccountFrozen { reason: "court order".into() }
}
fn closed() -> Event {
    Event::AccountClosed { reason: "moved away".into() }
}

fn open() -> Command {
    Command::Open {
        account_id: id("alice"),
        owner: "alice".into(),
        currency: read("USD"),
        kind: AccountKind::Current,
        overdraft_limit: Decimal::ZERO,
    }
}
fn deposit(amount: &str) -> Command {
    Command::Deposit { amount: number(amount), reference: None, effective_at: None }
}
fn withdraw(amount: &str) -> Command {
    Command::Withdraw { amount: number(amount), reference: None, effective_at: None }
}
fn send(amount: &str) -> Command {
    Command::SendTransfer { to: id("bob"), amount: number(amount), reference: None, effective_at: None }
}
fn receive(amount: &str) -> Command {
    Command::ReceiveTransfer {
        transfer_id: read("bob.m1"),
        from: id("bob"),
        amount: read(amount),
        reference: None,
        effective_at: None,
    }
}
fn place_hold(amount: &str) -> Command {
    Command::PlaceHold { amount: number(amount), expires_at: None, reference: None }
}
fn capture(n: u64, amount: Option<&str>) -> Command {
    Command::CaptureHold { hold_id: hold(n), to: id("bob"), amount: amount.map(number) }
}
fn release(n: u64) -> Command {
    Command::ReleaseHold { hold_id: hold(n) }
}
fn hold_for_order(amount: &str) -> Command {
    Command::HoldForOrder { order_id: order(), amount: read(amount) }
}
fn settle_purchase(notional: &str, fee: &str, hold_remaining: &str) -> Command {
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
fn settle_sale(notional: &str, fee: &str) -> Command {
    Command::SettleSale {
        trade_id: trade(),
        order_id: order(),
        counterparty: Party::PAPER_VENUE,
        notional: read(notional),
        fee: read(fee),
    }
}
fn release_order_hold(n: u64) -> Command {
    Command::ReleaseOrderHold { hold_id: hold(n) }
}
fn set_limit(limit: &str) -> Command {
    Command::SetOverdraftLimit { limit: number(limit), reason: None }
}
fn freeze() -> Command {
    Command::Freeze { reason: "court order".into() }
}
fn unfreeze() -> Command {
    Command::Unfreeze { reason: "lifted".into() }
}
fn close() -> Command {
    Command::Close { reason: "moved away".into() }
}

fn given(events: impl IntoIterator<Item = Event>) -> Given<Account> {
    common::given(events)
}

/// An account of 100.00 USD without overdraft.
fn funded() -> Given<Account> {
    given([opened(), deposited(1, "100.00")])
}

/// Balance, held and available.
#[track_caller]
fn figures(given: Given<Account>) -> [String; 3] {
    let account = given.state();
    let account = account.opened().expect("it is open");
    [account.balance.number(), account.held.number(), account.available().expect("in range").number()]
}

/// One more than the largest amount of USD there is.
const TOO_LARGE: &str = "10000000000000000000000000000000000.01";
/// The largest amount of USD there is.
const LARGEST: &str = "10000000000000000000000000000000000.00";

// ---- opening

#[test]
fn an_account_is_opened_once() {
    given([]).when(open()).then([opened()]).when(open()).then_refused(Code::AlreadyExists);
}

#[test]
fn an_account_may_be_opened_with_an_overdraft_at_the_scale_of_its_currency() {
    let open_with = |limit: &str| {
        let Command::Open { account_id, owner, currency, kind, .. } = open() else { unreachable!() };
        Command::Open { account_id, owner, currency, kind, overdraft_limit: number(limit) }
    };
    given([]).when(open_with("50.5")).then([opened_with_overdraft("50.50")]);
    given([])
        .when(open_with("-0.01"))
        .then_refused_at(Code::AmountNotPositive, "overdraftLimit")
        .when(open_with("0.001"))
        .then_refused_at(Code::TooManyDecimals, "overdraftLimit")
        .when(open_with(TOO_LARGE))
        .then_refused_at(Code::AmountOutOfRange, "overdraftLimit");
}

#[test]
fn an_account_is_kept_in_a_currency_by_someone_with_a_clean_name() {
    let open_as = |currency: &str, owner: &str| Command::Open {
        account_id: id("alice"),
        owner: owner.into(),
        currency: read(currency),
        kind: AccountKind::Savings,
        overdraft_limit: Decimal::ZERO,
    };
    given([])
        .when(open_as("ACME", "alice"))
        .then_refused_at(Code::UnknownAsset, "currency")
        .when(open_as("XAU", "alice"))
        .then_refused_at(Code::UnknownAsset, "currency")
        .when(open_as("USDT", ""))
        .then_refused_at(Code::InvalidText, "owner")
        .when(open_as("USDT", "a\0b"))
        .then_refused_at(Code::InvalidText, "owner")
        .when(open_as("USDT", &"x".repeat(65)))
        .then_refused_at(Code::InvalidText, "owner");
    assert_eq!(given([]).when(open_as("USDT", &"é".repeat(64))).events().len(), 1);
}

#[test]
fn nothing_can_be_asked_of_an_account_that_was_never_opened() {
    for command in every_command_but_open() {
        given([]).when(command).then_refused(Code::AccountNotFound);
    }
}

// ---- deposits and withdrawals

#[test]
fn a_deposit_raises_the_balance() {
    let after = given([opened()])
        .when(deposit("12.5"))
        .then([deposited(1, "12.50")])
        .when(deposit("0.01"))
        .then([deposited(2, "0.01")]);
    assert_eq!(figures(after), ["12.51", "0.00", "12.51"]);
}

#[test]
fn a_withdrawal_lowers_the_balance_down_to_the_overdraft_limit() {
    let after = given([opened_with_overdraft("10.00"), deposited(1, "5.00")])
        .when(withdraw("15.01"))
        .then_refused_at(Code::InsufficientFunds, "amount")
        .when(withdraw("15"))
        .then([withdrawn(2, "15.00")])
        .when(withdraw("0.01"))
        .then_refused(Code::InsufficientFunds);
    assert_eq!(figures(after), ["-10.00", "0.00", "0.00"]);
}

#[test]
fn an_amount_is_above_zero_at_the_scale_of_the_currency_and_not_too_large() {
    let amounts: [(&str, Code); 4] = [
        ("0", Code::AmountNotPositive),
        ("-1", Code::AmountNotPositive),
        ("0.001", Code::TooManyDecimals),
        (TOO_LARGE, Code::AmountOutOfRange),
    ];
    for (amount, code) in amounts {
        for command in [deposit(amount), withdraw(amount), send(amount), place_hold(amount)] {
            funded().when(command).then_refused_at(code, "amount");
        }
        funded().and([held(1, "1.00")]).when(capture(1, Some(amount))).then_refused_at(code, "amount");
    }
}

#[test]
fn the_largest_amount_there_is_can_be_held_and_nothing_beyond_it() {
    let after = given([opened()])
        .when(deposit(LARGEST))
        .then([deposited(1, LARGEST)])
        .when(deposit("0.01"))
        .then_refused(Code::AmountOutOfRange)
        .when(receive("0.01 USD"))
        .then_refused(Code::AmountOutOfRange)
        .when(settle_sale("0.01 USD", "0.00 USD"))
        .then_refused(Code::AmountOutOfRange)
        .when(set_limit("0.01"))
        .then_refused(Code::AmountOutOfRange)
        .when(place_hold(LARGEST))
        .then([held(1, LARGEST)])
        .when(release(1))
        .then([released(1, LARGEST)]);
    assert_eq!(figures(after), [LARGEST, "0.00", LARGEST]);
}

#[test]
fn what_is_available_always_fits_though_balance_and_overdraft_limit_are_both_large() {
    given([opened_with_overdraft(LARGEST)])
        .when(deposit("0.01"))
        .then_refused(Code::AmountOutOfRange)
        .when(withdraw(LARGEST))
        .then([withdrawn(1, LARGEST)])
        .when(deposit(LARGEST))
        .then([deposited(2, LARGEST)]);
    // A limit must leave room for what comes free when a hold ends.
    given([opened(), deposited(1, LARGEST), held(1, LARGEST)])
        .when(set_limit("0.01"))
        .then_refused(Code::AmountOutOfRange);
}

#[test]
fn a_movement_may_count_earlier_but_not_later_than_it_is_made() {
    let deposit_at = |effective_at| Command::Deposit { amount: number("1"), reference: None, effective_at };
    let late = Some(noon_plus(1));
    funded()
        .when(deposit_at(late))
        .then_refused_at(Code::EffectiveInFuture, "effectiveAt")
        .when(Command::Withdraw { amount: number("1"), reference: None, effective_at: late })
        .then_refused(Code::EffectiveInFuture)
        .when(Command::SendTransfer {
            to: id("bob"),
            amount: number("1"),
            reference: None,
            effective_at: late,
        })
        .then_refused(Code::EffectiveInFuture);
    for effective_at in [Some(noon()), Some(noon_plus(-86_400))] {
        funded().when(deposit_at(effective_at)).then([Event::FundsDeposited {
            movement_id: movement(2),
            from: Party::WORLD,
            amount: usd("1.00"),
            reference: None,
            effective_at,
        }]);
    }
}

#[test]
fn times_are_kept_to_the_microsecond() {
    let nanosecond = chrono::Duration::nanoseconds(1);
    funded()
        .when(Command::Deposit {
            amount: number("1"),
            reference: None,
            effective_at: Some(noon_plus(-1) + nanosecond),
        })
        .then([Event::FundsDeposited {
            movement_id: movement(2),
            from: Party::WORLD,
            amount: usd("1.00"),
            reference: None,
            effective_at: Some(noon_plus(-1)),
        }])
        .when(Command::PlaceHold {
            amount: number("1"),
            expires_at: Some(noon() + nanosecond),
            reference: None,
        })
        .then_refused(Code::ExpiryInPast);
}

#[test]
fn a_reference_is_short_and_clean() {
    let long = Some("x".repeat(257));
    let with_nul = Some("rent\0".to_owned());
    for reference in [long, with_nul] {
        funded()
            .when(Command::Deposit { amount: number("1"), reference: reference.clone(), effective_at: None })
            .then_refused_at(Code::InvalidText, "reference")
            .when(Command::Withdraw { amount: number("1"), reference: reference.clone(), effective_at: None })
            .then_refused_at(Code::InvalidText, "reference")
            .when(Command::PlaceHold { amount: number("1"), expires_at: None, reference })
            .then_refused_at(Code::InvalidText, "reference");
    }
    for reason in ["x".repeat(257), "\u{7}".to_owned()] {
        funded()
            .when(Command::Freeze { reason: reason.clone() })
            .then_refused_at(Code::InvalidText, "reason")
            .when(Command::SetOverdraftLimit { limit: number("1"), reason: Some(reason) })
            .then_refused_at(Code::InvalidText, "reason");
    }
}

// ---- transfers

#[test]
fn a_transfer_leaves_one_account() {
    let after = funded().when(send("100")).then([sent(2, "100.00")]).when(send("0.01"));
    assert_eq!(figures(after.then_refused(Code::InsufficientFunds)), ["0.00", "0.00", "0.00"]);
}

#[test]
fn a_transfer_arrives_at_the_other_under_the_id_it_left_with() {
    let after = funded().when(receive("7.00 USD")).then([Event::TransferReceived {
        transfer_id: read("bob.m1"),
        from: id("bob"),
        amount: usd("7.00"),
        reference: None,
        effective_at: None,
    }]);
    // It began elsewhere, so it takes no number here.
    let after = after.when(withdraw("1")).then([withdrawn(2, "1.00")]);
    assert_eq!(figures(after), ["106.00", "0.00", "106.00"]);
}

#[test]
fn a_transfer_stays_within_one_currency_and_between_two_accounts() {
    funded()
        .when(receive("7.00 EUR"))
        .then_refused(Code::CurrencyMismatch)
        .when(receive("0.00 USD"))
        .then_refused(Code::AmountNotPositive)
        .when(Command::SendTransfer {
            to: id("alice"),
            amount: number("1"),
            reference: None,
            effective_at: None,
        })
        .then_refused_at(Code::SameAccount, "to")
        .when(Command::ReceiveTransfer {
            transfer_id: read("alice.m2"),
            from: id("alice"),
            amount: usd("1.00"),
            reference: None,
            effective_at: None,
        })
        .then_refused(Code::SameAccount);
}

// ---- holds

#[test]
fn a_hold_sets_money_aside_and_leaves_the_balance() {
    let after = funded()
        .when(place_hold("60"))
        .then([held(1, "60.00")])
        .when(place_hold("40.01"))
        .then_refused(Code::InsufficientFunds)
        .when(withdraw("40.01"))
        .then_refused(Code::InsufficientFunds)
        .when(place_hold("40"))
        .then([held(2, "40.00")]);
    assert_eq!(figures(after), ["100.00", "100.00", "0.00"]);
}

#[test]
fn a_hold_may_use_the_overdraft() {
    let after = given([opened_with_overdraft("10.00")]).when(place_hold("10")).then([held(1, "10.00")]);
    assert_eq!(figures(after), ["0.00", "10.00", "0.00"]);
}

#[test]
fn a_capture_pays_out_of_the_hold_and_the_rest_comes_free() {
    let after = funded()
        .and([held(1, "60.00")])
        .when(capture(1, Some("45.5")))
        .then([captured(1, 2, "45.50", "14.50")])
        .when(capture(1, None))
        .then_refused_at(Code::HoldNotOpen, "holdId");
    assert_eq!(figures(after), ["54.50", "0.00", "54.50"]);
}

#[test]
fn a_capture_without_an_amount_takes_the_whole_hold() {
    let after =
        funded().and([held(1, "60.00")]).when(capture(1, None)).then([captured(1, 2, "60.00", "0.00")]);
    assert_eq!(figures(after), ["40.00", "0.00", "40.00"]);
}

#[test]
fn a_capture_never_exceeds_the_hold_and_never_goes_back_to_the_account() {
    funded()
        .and([held(1, "60.00")])
        .when(capture(1, Some("60.01")))
        .then_refused_at(Code::CaptureExceedsHold, "amount")
        .when(Command::CaptureHold { hold_id: hold(1), to: id("alice"), amount: None })
        .then_refused(Code::SameAccount);
}

#[test]
fn a_release_ends_a_hold_without_paying() {
    let after = funded()
        .and([held(1, "60.00")])
        .when(release(1))
        .then([released(1, "60.00")])
        .when(release(1))
        .then_refused(Code::HoldNotOpen)
        .when(capture(1, None))
        .then_refused(Code::HoldNotOpen);
    assert_eq!(figures(after), ["100.00", "0.00", "100.00"]);
}

#[test]
fn a_hold_that_never_was_is_not_found() {
    for hold_id in ["alice.h2", "alice.h0", "alice.h01", "bob.h1", "alice.m1", "nonsense", "alice.h"] {
        let hold_id: HoldId = read(hold_id);
        funded()
            .and([held(1, "60.00")])
            .when(Command::ReleaseHold { hold_id: hold_id.clone() })
            .then_refused_at(Code::HoldNotFound, "holdId")
            .when(Command::CaptureHold { hold_id, to: id("bob"), amount: None })
            .then_refused_at(Code::HoldNotFound, "holdId");
    }
}

#[test]
fn a_hold_must_expire_in_the_future() {
    let place_until =
        |expires_at| Command::PlaceHold { amount: number("1"), expires_at, reference: Some("hotel".into()) };
    funded()
        .when(place_until(Some(noon())))
        .then_refused_at(Code::ExpiryInPast, "expiresAt")
        .when(place_until(Some(noon_plus(-1))))
        .then_refused_at(Code::ExpiryInPast, "expiresAt")
        .when(place_until(Some(noon_plus(1))))
        .then([Event::HoldPlaced {
            hold_id: hold(1),
            amount: usd("1.00"),
            expires_at: Some(noon_plus(1)),
            reference: Some("hotel".into()),
            order_id: None,
        }]);
}

#[test]
fn holds_expire_when_their_time_has_come_and_not_before() {
    let microsecond = chrono::Duration::microseconds(1);
    let given = || {
        funded().and([
            held_until(1, "30.00", Some(noon_plus(20))),
            held_until(2, "20.00", Some(noon_plus(10))),
            held(3, "10.00"),
        ])
    };
    given().at(noon_plus(10) - microsecond).when(Command::ExpireHolds).then_nothing();
    given()
        .at(noon_plus(10))
        .when(Command::ExpireHolds)
        .then([expired(2, "20.00")])
        .when(Command::ExpireHolds)
        .then_nothing();
    let after =
        given().at(noon_plus(20)).when(Command::ExpireHolds).then([expired(2, "20.00"), expired(1, "30.00")]);
    assert_eq!(figures(after), ["100.00", "10.00", "90.00"]);
}

#[test]
fn every_command_first_expires_due_holds_and_then_decides_on_what_that_leaves() {
    let given = || funded().and([held_until(1, "60.00", Some(noon_plus(10)))]);
    given().at(noon_plus(9)).when(withdraw("100")).then_refused(Code::InsufficientFunds);
    let after =
        given().at(noon_plus(10)).when(withdraw("100")).then([expired(1, "60.00"), withdrawn(2, "100.00")]);
    assert_eq!(figures(after), ["0.00", "0.00", "0.00"]);
    given()
        .at(noon_plus(10))
        .when(capture(1, None))
        .then_refused(Code::HoldNotOpen)
        .when(release(1))
        .then_refused(Code::HoldNotOpen);
    given().at(noon_plus(10)).when(freeze()).then([expired(1, "60.00"), frozen()]);
}

#[test]
fn users_have_a_thousand_open_holds_at_most() {
    let full = given([opened(), deposited(1, "5000.00")]).and((1..=1_000).map(|n| held(n, "1.00")));
    full.when(place_hold("1"))
        .then_refused(Code::TooManyHolds)
        // An order's hold is not one of the thousand.
        .when(hold_for_order("1.00 USD"))
        .then([held_for_order(1_001, "1.00")])
        .when(release(7))
        .then([released(7, "1.00")])
        .when(place_hold("1"))
        .then([held(1_002, "1.00")]);
}

#[test]
fn orders_have_ten_thousand_open_holds_at_most() {
    let full =
        given([opened(), deposited(1, "50000.00")]).and((1..=10_000).map(|n| held_for_order(n, "1.00")));
    full.when(hold_for_order("1.00 USD"))
        .then_refused(Code::TooManyHolds)
        .when(release_order_hold(1))
        .then([released(1, "1.00")])
        .when(hold_for_order("1.00 USD"))
        .then([held_for_order(10_001, "1.00")]);
}

// ---- holds of orders

#[test]
fn an_order_sets_money_aside_that_users_cannot_touch() {
    funded()
        .when(hold_for_order("100.01 USD"))
        .then_refused(Code::InsufficientFunds)
        .when(hold_for_order("1.00 EUR"))
        .then_refused(Code::CurrencyMismatch)
        .when(hold_for_order("0.00 USD"))
        .then_refused(Code::AmountNotPositive)
        .when(hold_for_order("100.00 USD"))
        .then([held_for_order(1, "100.00")])
        .when(release(1))
        .then_refused_at(Code::HoldBelongsToOrder, "holdId")
        .when(capture(1, Some("1")))
        .then_refused_at(Code::HoldBelongsToOrder, "holdId");
}

fn purchase_settled(notional: &str, fee: &str, hold_remaining: &str) -> Event {
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

#[test]
fn a_purchase_is_paid_out_of_the_orders_hold_and_what_is_above_comes_free() {
    let partly = funded()
        .and([held_for_order(1, "80.00")])
        .when(settle_purchase("30.00 USD", "0.30 USD", "40.00 USD"))
        .then([purchase_settled("30.00", "0.30", "40.00")]);
    assert_eq!(figures(partly), ["69.70", "40.00", "29.70"]);
}

#[test]
fn a_purchase_that_leaves_nothing_of_the_hold_ends_it() {
    let whole = funded()
        .and([held_for_order(1, "80.00")])
        .when(settle_purchase("79.00 USD", "1.00 USD", "0.00 USD"))
        .then([purchase_settled("79.00", "1.00", "0.00")])
        .when(settle_purchase("1.00 USD", "0.00 USD", "0.00 USD"))
        .then_refused(Code::HoldNotOpen)
        .when(release_order_hold(1))
        .then_nothing();
    assert_eq!(figures(whole), ["20.00", "0.00", "20.00"]);
}

#[test]
fn a_purchase_never_costs_more_than_its_own_orders_hold() {
    let given = || funded().and([held_for_order(1, "80.00")]);
    for (notional, fee, remaining, code) in [
        ("80.00 USD", "0.01 USD", "0.00 USD", Code::FillOutOfBounds),
        ("40.00 USD", "0.00 USD", "40.01 USD", Code::FillOutOfBounds),
        ("80.00 USD", "-1.00 USD", "0.00 USD", Code::FillOutOfBounds),
        ("80.00 USD", "0.00 USD", "-1.00 USD", Code::FillOutOfBounds),
        ("0.00 USD", "0.00 USD", "0.00 USD", Code::AmountNotPositive),
        ("1.00 EUR", "0.00 USD", "0.00 USD", Code::CurrencyMismatch),
        ("1.00 USD", "0.00 EUR", "0.00 USD", Code::CurrencyMismatch),
        ("1.00 USD", "0.00 USD", "0.00 EUR", Code::CurrencyMismatch),
    ] {
        given().when(settle_purchase(notional, fee, remaining)).then_refused(code);
    }
    let of_a_user = funded().and([held(1, "80.00")]);
    of_a_user.when(settle_purchase("1.00 USD", "0.00 USD", "0.00 USD")).then_refused(Code::FillOutOfBounds);
    funded().when(settle_purchase("1.00 USD", "0.00 USD", "0.00 USD")).then_refused(Code::HoldNotFound);
}

#[test]
fn a_sale_brings_its_proceeds_less_the_fee() {
    let after = funded().when(settle_sale("50.00 USD", "0.05 USD")).then([Event::SaleSettled {
        trade_id: trade(),
        order_id: order(),
        counterparty: Party::PAPER_VENUE,
        notional: usd("50.00"),
        fee: usd("0.05"),
    }]);
    assert_eq!(figures(after), ["149.95", "0.00", "149.95"]);
    for (notional, fee, code) in [
        ("0.00 USD", "0.00 USD", Code::AmountNotPositive),
        ("1.00 USD", "1.01 USD", Code::FillOutOfBounds),
        ("1.00 USD", "-0.01 USD", Code::FillOutOfBounds),
        ("1.00 EUR", "0.00 USD", Code::CurrencyMismatch),
        ("1.00 USD", "0.00 EUR", Code::CurrencyMismatch),
    ] {
        funded().when(settle_sale(notional, fee)).then_refused(code);
    }
}

#[test]
fn the_hold_of_an_order_that_ended_comes_free_once() {
    let after = funded()
        .and([held_for_order(1, "80.00")])
        .when(release_order_hold(1))
        .then([released(1, "80.00")])
        .when(release_order_hold(1))
        .then_nothing();
    assert_eq!(figures(after), ["100.00", "0.00", "100.00"]);
    funded().and([held(1, "1.00")]).when(release_order_hold(1)).then_refused(Code::HoldNotFound);
}

// ---- overdraft, freezing, closing

#[test]
fn an_overdraft_limit_is_never_below_what_is_used() {
    let limit_set = |limit: &str| Event::OverdraftLimitSet { limit: usd(limit), reason: None };
    given([opened_with_overdraft("50.00"), withdrawn(1, "20.00"), held(1, "10.00")])
        .when(set_limit("29.99"))
        .then_refused_at(Code::OverdraftInUse, "limit")
        .when(set_limit("-1"))
        .then_refused_at(Code::AmountNotPositive, "limit")
        .when(set_limit("30.001"))
        .then_refused_at(Code::TooManyDecimals, "limit")
        .when(set_limit("30"))
        .then([limit_set("30.00")])
        .when(set_limit("100"))
        .then([limit_set("100.00")]);
}

#[test]
fn a_frozen_account_neither_gives_nor_takes() {
    let given = || funded().and([held(1, "10.00"), held_for_order(2, "10.00"), frozen()]);
    let settle = Command::SettlePurchase {
        trade_id: trade(),
        order_id: order(),
        hold_id: hold(2),
        counterparty: Party::PAPER_VENUE,
        notional: usd("1.00"),
        fee: usd("0.00"),
        hold_remaining: usd("0.00"),
    };
    for command in [
        deposit("1"),
        withdraw("1"),
        send("1"),
        receive("1.00 USD"),
        place_hold("1"),
        capture(1, None),
        hold_for_order("1.00 USD"),
        settle,
        settle_sale("1.00 USD", "0.00 USD"),
        freeze(),
        close(),
    ] {
        given().when(command).then_refused(Code::AccountFrozen);
    }
}

#[test]
fn holds_on_a_frozen_account_may_end_and_its_limit_may_change() {
    funded()
        .and([
            held(1, "10.00"),
            held_for_order(2, "20.00"),
            held_until(3, "30.00", Some(noon_plus(5))),
            frozen(),
        ])
        .when(release(1))
        .then([released(1, "10.00")])
        .when(release_order_hold(2))
        .then([released(2, "20.00")])
        .when(set_limit("5"))
        .then([Event::OverdraftLimitSet { limit: usd("5.00"), reason: None }])
        .at(noon_plus(5))
        .when(Command::ExpireHolds)
        .then([expired(3, "30.00")]);
}

#[test]
fn an_account_is_frozen_and_unfrozen_in_turn() {
    funded()
        .when(unfreeze())
        .then_refused(Code::AccountNotFrozen)
        .when(freeze())
        .then([frozen()])
        .when(freeze())
        .then_refused(Code::AccountFrozen)
        .when(unfreeze())
        .then([Event::AccountUnfrozen { reason: "lifted".into() }])
        .when(withdraw("100"))
        .then([withdrawn(2, "100.00")]);
}

#[test]
fn only_an_empty_account_can_be_closed() {
    funded().when(close()).then_refused(Code::AccountNotEmpty);
    given([opened_with_overdraft("10.00"), withdrawn(1, "1.00")])
        .when(close())
        .then_refused(Code::AccountNotEmpty);
    given([opened_with_overdraft("10.00")]).when(close()).then_refused(Code::AccountNotEmpty);
    given([opened_with_overdraft("10.00"), held(1, "10.00")])
        .when(close())
        .then_refused(Code::AccountNotEmpty);
    let after = given([opened()]).when(close()).then([closed()]).state();
    assert_eq!(after.opened().map(|account| account.status), Ok(AccountStatus::Closed));
}

#[test]
fn nothing_can_be_asked_of_a_closed_account() {
    for command in every_command_but_open() {
        given([opened(), closed()]).when(command).then_refused(Code::AccountClosed);
    }
    given([opened(), closed()]).when(open()).then_refused(Code::AlreadyExists);
}

fn every_command_but_open() -> Vec<Command> {
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

// ---- the library's own kit

#[test]
fn the_test_framework_of_cqrs_es_tells_the_same() {
    let framework = || cqrs_es::test::TestFramework::<Account>::with(());
    framework()
        .given(vec![opened(), deposited(1, "100.00"), held_until(1, "60.00", Some(noon_plus(10)))])
        .when((withdraw("100"), noon_plus(10)))
        .then_expect_events(vec![expired(1, "60.00"), withdrawn(2, "100.00")]);
    framework()
        .given(vec![opened()])
        .when((withdraw("1"), noon()))
        .then_expect_error_message("INSUFFICIENT_FUNDS: 0.00 USD is available, which is less than 1.00 USD");
}
