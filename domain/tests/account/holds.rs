//! Holds of users: placed, captured, released, expired.

use crate::words::*;

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
