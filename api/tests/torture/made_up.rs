//! Made-up logs and answers: what is checked of holds can fail, and does not where all is well.

use std::collections::BTreeSet;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rstest::rstest;
use serde_json::{Value, json};

use crate::asking::{Answer, read};
use crate::findings::{Check, Findings};
use crate::hold_check::{captured, released};
use crate::holds::OpenHolds;
use crate::journal::{Entry, Request, Told};
use crate::log_check::{Event, LogCheck};
use crate::snapshots::is_available;

/// An event: its second, its stream, its type and its fields.
type Made = (i64, &'static str, &'static str, Value);

fn deposited(account: &'static str, amount: &str) -> Made {
    (0, account, "FundsDeposited", json!({"amount": amount}))
}

fn sent(second: i64, amount: &str) -> Made {
    (second, "a", "TransferSent", json!({"amount": amount, "to": "c"}))
}

/// A hold on `a` of ten euros, placed by `k1`.
fn placed() -> Made {
    (0, "a", "HoldPlaced", json!({"hold_id": "a.h1", "amount": "10.00 EUR", "reference": "k1"}))
}

/// The same, until the tenth second.
fn placed_until_10() -> Made {
    let mut placed = placed();
    placed.3["expires_at"] = "1970-01-01T00:00:10Z".into();
    placed
}

fn capture(amount: &str, free: &str) -> Made {
    (1, "a", "HoldCaptured", json!({"hold_id": "a.h1", "to": "b", "amount": amount, "released": free}))
}

fn release(free: &str) -> Made {
    (1, "a", "HoldReleased", json!({"hold_id": "a.h1", "released": free}))
}

fn expiry(second: i64) -> Made {
    (second, "a", "HoldExpired", json!({"hold_id": "a.h1", "released": "10.00 EUR"}))
}

fn on(account: &'static str, made: Made) -> Made {
    (made.0, account, made.2, made.3)
}

/// `k1` places the hold.
fn place_asked(told: Told) -> Entry {
    asked("k1", "placeHold", json!({}), "k1".to_owned(), told, Some("a.h1"))
}

/// `k2` captures so many cents of it.
fn capture_asked(cents: i128, told: Told) -> Entry {
    let input = json!({"holdId": "a.h1", "amount": format!("{}.{:02}", cents / 100, cents % 100)});
    asked("k2", "captureHold", input, captured("a.h1", "b", cents), told, None)
}

/// `k3` releases it.
fn release_asked(told: Told) -> Entry {
    asked("k3", "releaseHold", json!({"holdId": "a.h1"}), released("a.h1"), told, None)
}

fn asked(
    key: &str,
    field: &'static str,
    input: Value,
    effect: String,
    told: Told,
    hold: Option<&str>,
) -> Entry {
    let request = Request { key: key.to_owned(), who: "admin", field, input, effect };
    Entry { request, told, hold: hold.map(str::to_owned) }
}

fn refused(code: &str) -> Told {
    Told::Refused(code.to_owned())
}

use Told::Accepted;

fn log_of(made: &[Made], findings: &Findings) -> LogCheck {
    let mut log = LogCheck::default();
    for (position, (second, stream, event_type, fields)) in (1..).zip(made) {
        let recorded_at = second * 1_000_000;
        log.apply(&Event { position, end: position, recorded_at, stream, event_type, fields }, findings);
    }
    log
}

/// The checks that find something in a log in which `a` has a hundred euros at first, the hold of `k1` at 2.
fn found(made: Vec<Made>, entries: Vec<Entry>) -> Vec<Check> {
    let findings = Findings::default();
    let made: Vec<Made> = [deposited("a", "100.00 EUR")].into_iter().chain(made).collect();
    let mut log = log_of(&made, &findings);
    log.judge(&entries, &findings);
    log.nothing_else(&entries, &findings);
    findings.checks().into_iter().collect()
}

#[rstest]
#[case::captured_in_part_against_a_release(
    vec![placed(), capture("6.00 EUR", "4.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(600, Accepted(3)), release_asked(refused("HOLD_NOT_OPEN"))],
)]
#[case::released_against_a_capture(
    vec![placed(), release("10.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(600, refused("HOLD_NOT_OPEN")), release_asked(Accepted(3))],
)]
#[case::released_after_a_capture_of_too_much(
    vec![placed(), release("10.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(1001, refused("CAPTURE_EXCEEDS_HOLD")), release_asked(Accepted(3))],
)]
#[case::expired_before_all_else_against_both(
    vec![placed_until_10(), sent(9, "1.00 EUR"), expiry(10), sent(10, "1.00 EUR")],
    vec![
        place_asked(Accepted(2)),
        capture_asked(600, refused("HOLD_NOT_OPEN")),
        release_asked(refused("HOLD_NOT_OPEN")),
    ],
)]
#[case::of_an_order_which_ends_with_it(
    vec![(0, "a", "HoldPlaced", json!({"hold_id": "a.h2", "amount": "500.00 EUR", "order_id": "o"})),
         (0, "a", "HoldReleased", json!({"hold_id": "a.h2", "released": "0.00 EUR"}))],
    vec![],
)]
fn a_hold_that_is_as_it_should_be_is_no_finding(#[case] made: Vec<Made>, #[case] entries: Vec<Entry>) {
    assert_eq!(found(made, entries), []);
}

#[rstest]
#[case::a_hold_that_is_placed_twice(vec![placed(), placed()], Check::HoldEnds)]
#[case::an_end_of_no_hold(vec![release("10.00 EUR")], Check::HoldEnds)]
#[case::a_second_end(vec![placed(), release("10.00 EUR"), release("10.00 EUR")], Check::HoldEnds)]
#[case::an_expiry_after_the_end(vec![placed_until_10(), release("10.00 EUR"), expiry(10)], Check::HoldEnds)]
#[case::an_end_on_another_account(vec![placed(), on("b", release("10.00 EUR"))], Check::HoldEnds)]
#[case::more_captured_than_held(vec![placed(), capture("10.01 EUR", "0.00 EUR")], Check::HoldEnds)]
#[case::more_captured_and_less_free_than_nothing(
    vec![placed(), capture("11.00 EUR", "-1.00 EUR")], Check::HoldEnds
)]
#[case::nothing_captured(vec![placed(), capture("0.00 EUR", "10.00 EUR")], Check::HoldEnds)]
#[case::a_part_that_is_lost(vec![placed(), capture("6.00 EUR", "3.99 EUR")], Check::HoldEnds)]
#[case::a_release_of_a_part(vec![placed(), release("9.99 EUR")], Check::HoldEnds)]
#[case::an_expiry_before_its_time(vec![placed_until_10(), expiry(9)], Check::HoldExpiry)]
#[case::an_expiry_of_what_has_no_time(vec![placed(), expiry(10)], Check::HoldExpiry)]
#[case::a_debit_before_a_due_expiry(
    vec![placed_until_10(), sent(10, "1.00 EUR"), expiry(10)], Check::HoldExpiry
)]
#[case::a_release_after_its_time(
    vec![placed_until_10(), (10, "a", "HoldReleased", release("10.00 EUR").3)], Check::HoldExpiry
)]
#[case::a_debit_of_what_is_held(vec![placed(), sent(1, "90.01 EUR")], Check::Available)]
fn a_log_that_breaks_a_rule_of_holds_is_seen(#[case] made: Vec<Made>, #[case] check: Check) {
    assert!(found(made, vec![]).contains(&check));
}

#[rstest]
#[case::a_hold_that_was_acknowledged_is_lost(vec![], vec![place_asked(Accepted(2))], Check::ExactlyOnce)]
#[case::another_hold_was_told(
    vec![placed()],
    vec![Entry { hold: Some("a.h9".to_owned()), ..place_asked(Accepted(2)) }],
    Check::ExactlyOnce,
)]
#[case::a_refused_hold_is_there(
    vec![placed()], vec![place_asked(refused("INSUFFICIENT_FUNDS"))], Check::RefusedIsAbsent
)]
#[case::a_capture_that_was_acknowledged_is_lost(
    vec![placed()], vec![place_asked(Accepted(2)), capture_asked(600, Accepted(3))], Check::ExactlyOnce
)]
#[case::a_capture_is_elsewhere(
    vec![placed(), capture("6.00 EUR", "4.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(600, Accepted(4))],
    Check::ExactlyOnce,
)]
#[case::another_amount_was_captured(
    vec![placed(), capture("5.00 EUR", "5.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(600, Accepted(3))],
    Check::ExactlyOnce,
)]
#[case::a_refused_release_is_there(
    vec![placed(), release("10.00 EUR")],
    vec![place_asked(Accepted(2)), release_asked(refused("HOLD_NOT_OPEN"))],
    Check::RefusedIsAbsent,
)]
#[case::nobody_has_asked_for_a_release(
    vec![placed(), release("10.00 EUR")], vec![place_asked(Accepted(2))], Check::NothingElse
)]
#[case::both_won(
    vec![placed(), release("10.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(600, Accepted(3)), release_asked(Accepted(3))],
    Check::HoldRaces,
)]
#[case::both_lost(
    vec![placed()],
    vec![
        place_asked(Accepted(2)),
        capture_asked(600, refused("HOLD_NOT_OPEN")),
        release_asked(refused("HOLD_NOT_OPEN")),
    ],
    Check::HoldRaces,
)]
#[case::a_part_was_too_much(
    vec![placed()],
    vec![place_asked(Accepted(2)), capture_asked(1000, refused("CAPTURE_EXCEEDS_HOLD"))],
    Check::HoldRaces,
)]
#[case::the_loser_was_told_something_else(
    vec![placed(), capture("6.00 EUR", "4.00 EUR")],
    vec![place_asked(Accepted(2)), capture_asked(600, Accepted(3)), release_asked(refused("HOLD_NOT_FOUND"))],
    Check::HoldRaces,
)]
#[case::a_hold_that_was_told_is_unknown_to_the_log(
    vec![], vec![release_asked(refused("HOLD_NOT_OPEN"))], Check::HoldRaces
)]
fn an_answer_that_the_log_belies_is_seen(
    #[case] made: Vec<Made>,
    #[case] entries: Vec<Entry>,
    #[case] check: Check,
) {
    assert!(found(made, entries).contains(&check));
}

#[test]
fn what_is_held_is_what_open_holds_hold_and_captures_move_money() {
    let received = (1, "b", "TransferReceived", json!({"amount": "6.00 EUR"}));
    let other = (1, "a", "HoldPlaced", json!({"hold_id": "a.h2", "amount": "3.00 EUR", "reference": "k4"}));
    let until = (
        1,
        "a",
        "HoldPlaced",
        json!({"hold_id": "a.h3", "amount": "2.00 EUR", "reference": "k5",
                 "expires_at": "1970-01-01T00:00:10Z"}),
    );
    let capture = capture("6.00 EUR", "4.00 EUR");
    let findings = Findings::default();
    let log = log_of(&[deposited("a", "100.00 EUR"), placed(), capture, received, other, until], &findings);
    assert_eq!((log.balance("a"), log.balance("b")), (9_400, 600));
    assert_eq!((log.holds.held("a"), log.holds.held("b")), (500, 0));
    assert_eq!(log.holds.expiring(), ["a.h3"]);
    assert_eq!(findings.checks(), BTreeSet::new());
}

#[rstest]
#[case::nothing_left("10.00", "10.00", "0.00", "0.00", true)]
#[case::an_overdraft("-5.00", "1.00", "4.00", "10.00", true)]
#[case::held_left_out("10.00", "4.00", "10.00", "0.00", false)]
#[case::below_zero("1.00", "4.00", "-3.00", "0.00", false)]
fn what_is_available_follows_from_the_rest(
    #[case] balance: &str,
    #[case] held: &str,
    #[case] available: &str,
    #[case] limit: &str,
    #[case] is_right: bool,
) {
    let account = json!({"balance": balance, "held": held, "available": available, "overdraftLimit": limit});
    assert_eq!(is_available(&account), Some(is_right));
}

#[rstest]
#[case::it_is_seen("captureHold", json!({"id": "a.h1", "status": "CAPTURED"}), true)]
#[case::it_is_not_visible_yet("captureHold", Value::Null, true)]
#[case::a_new_one_has_ended_already("placeHold", json!({"id": "a.h1", "status": "EXPIRED"}), true)]
#[case::it_is_still_open("captureHold", json!({"id": "a.h1", "status": "OPEN"}), false)]
#[case::it_ended_otherwise("releaseHold", json!({"id": "a.h1", "status": "CAPTURED"}), false)]
fn a_receipt_shows_the_hold_with_its_effect(
    #[case] field: &str,
    #[case] hold: Value,
    #[case] is_right: bool,
) {
    let findings = Findings::default();
    let payload = json!({"hold": hold, "logPosition": "3", "errors": [], "replayed": false});
    assert_eq!(read(field, &payload, &findings).told, Accepted(3));
    assert_eq!(findings.checks().contains(&Check::ReadsOwnWrites), !is_right);
}

#[test]
fn twins_are_told_of_the_same_hold_which_is_to_be_ended_once() {
    let answer =
        |hold: Option<&str>| Answer { told: Accepted(2), replayed: false, hold: hold.map(str::to_owned) };
    assert!(answer(Some("a.h1")).agrees_with(&answer(Some("a.h1"))));
    assert!(answer(Some("a.h1")).agrees_with(&answer(None)));
    assert!(!answer(Some("a.h1")).agrees_with(&answer(Some("a.h2"))));

    let (holds, random) = (OpenHolds::default(), &mut StdRng::seed_from_u64(1));
    let mut placed = place_asked(Accepted(2)).request;
    placed.input = json!({"accountId": "a", "amount": "10.00"});
    holds.add(&placed, "a.h1");
    assert_eq!(holds.look(random), holds.take(random));
    holds.add(&placed, "a.h1");
    assert_eq!(holds.take(random), None);
}
