//! Deposits, withdrawals and transfers.

use crate::words::*;

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
