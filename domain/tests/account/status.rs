//! Opening, limits, freezing and closing.

use crate::words::*;

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
