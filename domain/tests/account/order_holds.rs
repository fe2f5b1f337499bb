//! What orders set aside, and how their fills are paid.

use crate::words::*;

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
