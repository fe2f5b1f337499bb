//! Accounts, movements, holds: what a bank does, over GraphQL.

use serde_json::{Value, json};

use crate::support::{TestApp, fresh_key, text};

const ACCOUNT: &str =
    "account { id owner kind currency status balance held available overdraftLimit sequence }";

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_opened_fed_emptied_and_closed() {
    let app = TestApp::start().await;
    let input = json!({"owner": "alice", "currency": "EUR", "kind": "SAVINGS"});
    let opened = app.done("alice", "openAccount", input, ACCOUNT).await;
    let id = text(&opened["account"]["id"]);
    assert_eq!(
        opened["account"],
        json!({"id": id, "owner": "alice", "kind": "SAVINGS", "currency": "EUR", "status": "OPEN",
               "balance": "0.00", "held": "0.00", "available": "0.00", "overdraftLimit": "0.00", "sequence": "1"})
    );
    let money = |amount: &str| json!({"accountId": id, "amount": amount, "reference": "cash"});
    let deposited = app.done("operator", "deposit", money("12.5"), "account { balance available }").await;
    assert_eq!(deposited["account"], json!({"balance": "12.50", "available": "12.50"}));
    assert_eq!(app.refused("operator", "withdraw", money("12.51")).await, "INSUFFICIENT_FUNDS");
    let reason = json!({"accountId": id, "reason": "moved"});
    assert_eq!(app.refused("alice", "closeAccount", reason.clone()).await, "ACCOUNT_NOT_EMPTY");
    app.done("operator", "withdraw", money("12.50"), "").await;
    let closed = app.done("alice", "closeAccount", reason, "account { status balance }").await;
    assert_eq!(closed["account"], json!({"status": "CLOSED", "balance": "0.00"}));
    assert_eq!(app.refused("operator", "deposit", money("1")).await, "ACCOUNT_CLOSED");

    let query = "query($id: ID!) { account(id: $id) { entries { edges { node {
        accountId counterparty direction amount balanceAfter kind reference } } } } }";
    let entries = app.data("alice", query, json!({"id": id})).await["account"]["entries"]["edges"].take();
    let entry = |direction: &str, amount: &str, after: &str, kind: &str| {
        json!({"node": {"accountId": id, "counterparty": "world", "direction": direction, "amount": amount,
                        "balanceAfter": after, "kind": kind, "reference": "cash"}})
    };
    assert_eq!(
        entries,
        json!([entry("CREDIT", "12.50", "12.50", "DEPOSIT"), entry("DEBIT", "12.50", "0.00", "WITHDRAWAL")])
    );
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_moves_both_sides_and_can_be_read_again() {
    let app = TestApp::start().await;
    let (from, to) = (app.funded("alice", "EUR", "100").await, app.open_account("bob", "EUR").await);
    let input = json!({"from": from, "to": to, "amount": "33.33", "reference": "rent",
                       "effectiveAt": "2026-01-01T00:00:00+01:00"});
    let fields =
        "id from to amount currency reference reversedBy reverses effectiveAt logPosition recordedAt";
    let done = app.done("alice", "transfer", input, &format!("transfer {{ {fields} }}")).await;
    let transfer = &done["transfer"];
    assert_eq!((&transfer["from"], &transfer["to"]), (&json!(from), &json!(to)));
    assert_eq!((&transfer["amount"], &transfer["currency"]), (&json!("33.33"), &json!("EUR")));
    assert_eq!(transfer["effectiveAt"], "2025-12-31T23:00:00.000000Z");
    assert_eq!((&transfer["reversedBy"], &transfer["reverses"]), (&Value::Null, &Value::Null));
    let query = format!("query($id: ID!) {{ transfer(id: $id) {{ {fields} }} }}");
    assert_eq!(app.data("bob", &query, json!({"id": transfer["id"]})).await["transfer"], *transfer);
    assert_eq!(app.balances(&from).await, ["66.67", "0.00", "66.67"]);
    assert_eq!(app.balances(&to).await, ["33.33", "0.00", "33.33"]);

    let other = app.open_account("bob", "USD").await;
    for (input, code) in [
        (json!({"from": from, "to": from, "amount": "1"}), "SAME_ACCOUNT"),
        (json!({"from": from, "to": other, "amount": "1"}), "CURRENCY_MISMATCH"),
        (json!({"from": from, "to": to, "amount": "66.68"}), "INSUFFICIENT_FUNDS"),
        (
            json!({"from": from, "to": to, "amount": "1", "effectiveAt": "2999-01-01T00:00:00Z"}),
            "EFFECTIVE_IN_FUTURE",
        ),
    ] {
        let before = app.head().await;
        assert_eq!(app.refused("alice", "transfer", input).await, code);
        assert_eq!(app.head().await, before, "{code} left an event");
    }
    app.books_balance().await;
}

const TRANSFERS: &str = "mutation($inputs: [TransferInput!]!, $atomic: Boolean!) {
    transfers(inputs: $inputs, atomic: $atomic) { transfer { id amount } errors { code field } logPosition replayed } }";

#[tokio::test(flavor = "multi_thread")]
async fn transfers_succeed_or_fail_each_on_its_own_unless_they_are_atomic() {
    let app = TestApp::start().await;
    let (from, to) = (app.funded("alice", "EUR", "10").await, app.open_account("bob", "EUR").await);
    let input =
        |key: &str, amount: &str| json!({"idempotencyKey": key, "from": from, "to": to, "amount": amount});

    let inputs = json!([input("a", "4"), input("b", "40"), input("c", "-1"), input("d", "5")]);
    let variables = json!({"inputs": inputs, "atomic": false});
    let first = app.data("alice", TRANSFERS, variables.clone()).await["transfers"].take();
    assert_eq!(first[0]["transfer"]["amount"], "4.00");
    assert_eq!(first[1]["errors"][0]["code"], "INSUFFICIENT_FUNDS");
    assert_eq!(first[2]["errors"][0]["code"], "AMOUNT_NOT_POSITIVE");
    assert_eq!(first[2]["errors"][0]["field"], json!(["inputs", "2", "amount"]));
    assert_eq!(first[3]["transfer"]["amount"], "5.00");
    assert_eq!(app.balances(&from).await[0], "1.00");

    let head = app.head().await;
    let again = app.data("alice", TRANSFERS, variables).await["transfers"].take();
    for place in [0, 1, 3] {
        assert_eq!(again[place]["replayed"], true, "{again}");
        for field in ["transfer", "errors", "logPosition"] {
            assert_eq!(again[place][field], first[place][field], "{again}");
        }
    }
    assert_eq!(app.head().await, head);

    let all_or_none = |inputs: Value| json!({"inputs": inputs, "atomic": true});
    let linked = json!([input("e", "0.50"), input("f", "9"), input("g", "0.10")]);
    for _ in 0..2 {
        let failed = app.data("alice", TRANSFERS, all_or_none(linked.clone())).await["transfers"].take();
        let codes: Vec<_> = (0..3).map(|place| failed[place]["errors"][0]["code"].clone()).collect();
        assert_eq!(codes, ["LINKED_FAILED", "INSUFFICIENT_FUNDS", "LINKED_FAILED"], "{failed}");
    }
    assert_eq!(app.head().await, head, "a part of an atomic set was carried out");
    let malformed = json!([input("h", "0.50"), input("i", "none")]);
    let failed = app.data("alice", TRANSFERS, all_or_none(malformed)).await["transfers"].take();
    assert_eq!(failed[0]["errors"][0]["code"], "LINKED_FAILED");
    assert_eq!(failed[1]["errors"][0]["code"], "INVALID_AMOUNT");

    let good = json!([input("j", "0.50"), input("k", "0.25")]);
    let done = app.data("alice", TRANSFERS, all_or_none(good.clone())).await["transfers"].take();
    assert_eq!((&done[0]["errors"], &done[1]["errors"]), (&json!([]), &json!([])));
    let head = app.head().await;
    let replayed = app.data("alice", TRANSFERS, all_or_none(good)).await["transfers"].take();
    assert_eq!((&replayed[0]["replayed"], &replayed[1]["replayed"]), (&json!(true), &json!(true)));
    assert_eq!(replayed[1]["transfer"], done[1]["transfer"]);
    // A part of a set is another set.
    for part in [json!([input("j", "0.50")]), json!([input("j", "0.50"), input("l", "0.25")])] {
        let answer = app.data("alice", TRANSFERS, all_or_none(part)).await["transfers"].take();
        assert_eq!(answer[0]["errors"][0]["code"], "IDEMPOTENCY_CONFLICT", "{answer}");
    }
    assert_eq!(app.head().await, head);
    assert_eq!(app.balances(&from).await[0], "0.25");
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_captured_in_part_or_released_and_ends_once() {
    let app = TestApp::start().await;
    let (from, to) = (app.funded("alice", "EUR", "100").await, app.open_account("bob", "EUR").await);
    let hold_of = |amount: &str| json!({"accountId": from, "amount": amount, "reference": "hotel"});
    let fields =
        "hold { id accountId amount captured status expiresAt reference } account { held available }";
    let placed = app.done("alice", "placeHold", hold_of("60"), fields).await;
    let id = text(&placed["hold"]["id"]);
    assert_eq!(
        placed["hold"],
        json!({"id": id, "accountId": from, "amount": "60.00", "captured": "0.00", "status": "OPEN",
               "expiresAt": null, "reference": "hotel"})
    );
    assert_eq!(placed["account"], json!({"held": "60.00", "available": "40.00"}));
    assert_eq!(app.refused("alice", "placeHold", hold_of("40.01")).await, "INSUFFICIENT_FUNDS");
    let capture = |amount: &str| json!({"holdId": id, "to": to, "amount": amount});
    assert_eq!(app.refused("alice", "captureHold", capture("60.01")).await, "CAPTURE_EXCEEDS_HOLD");
    let captured = app.done("alice", "captureHold", capture("45.5"), fields).await;
    assert_eq!(
        (&captured["hold"]["status"], &captured["hold"]["captured"]),
        (&json!("CAPTURED"), &json!("45.50"))
    );
    assert_eq!(app.balances(&from).await, ["54.50", "0.00", "54.50"]);
    assert_eq!(app.balances(&to).await[0], "45.50");
    assert_eq!(app.refused("alice", "releaseHold", json!({"holdId": id})).await, "HOLD_NOT_OPEN");

    let second = text(&app.done("alice", "placeHold", hold_of("1"), "hold { id }").await["hold"]["id"]);
    let released = app.done("alice", "releaseHold", json!({"holdId": second}), fields).await;
    assert_eq!(released["hold"]["status"], "RELEASED");
    assert_eq!(
        app.refused("alice", "captureHold", json!({"holdId": second, "to": to})).await,
        "HOLD_NOT_OPEN"
    );
    assert_eq!(
        app.refused("alice", "releaseHold", json!({"holdId": format!("{from}.h99")})).await,
        "HOLD_NOT_FOUND"
    );
    let past = json!({"accountId": from, "amount": "1", "expiresAt": "2020-01-01T00:00:00Z"});
    assert_eq!(app.refused("alice", "placeHold", past).await, "EXPIRY_IN_PAST");

    let query = "query($id: ID!) { account(id: $id) {
        all: holds { edges { node { id } } } open: holds(open: true) { edges { node { id } } } } }";
    let answer = app.data("alice", query, json!({"id": from})).await["account"].take();
    assert_eq!(answer["all"]["edges"], json!([{"node": {"id": id}}, {"node": {"id": second}}]));
    assert_eq!(answer["open"]["edges"], json!([]));
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_itself_when_its_time_comes() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10").await;
    let soon = (chrono::Utc::now() + chrono::Duration::milliseconds(1_500)).to_rfc3339();
    let mut live = app.live("alice").await;
    let query = "subscription($id: ID!) { account(id: $id) { held available } }";
    live.subscribe("1", query, json!({"id": account})).await;
    let input = json!({"accountId": account, "amount": "4", "expiresAt": soon});
    app.done("alice", "placeHold", input, "").await;
    live.until("account", |state| state["held"] == "4.00").await;
    let free = live.until("account", |state| state["held"] == "0.00").await;
    assert_eq!(free["available"], "10.00");
    assert!(chrono::Utc::now().to_rfc3339() >= soon, "it ended early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_account_moves_nothing_until_it_is_unfrozen() {
    let app = TestApp::start().await;
    let (account, other) = (app.funded("alice", "EUR", "10").await, app.open_account("bob", "EUR").await);
    let reason = json!({"accountId": account, "reason": "court order"});
    assert_eq!(app.refused("compliance", "unfreezeAccount", reason.clone()).await, "ACCOUNT_NOT_FROZEN");
    let frozen = app.done("compliance", "freezeAccount", reason.clone(), "account { status }").await;
    assert_eq!(frozen["account"]["status"], "FROZEN");
    for (who, field, input) in [
        ("alice", "transfer", json!({"from": account, "to": other, "amount": "1"})),
        ("operator", "withdraw", json!({"accountId": account, "amount": "1"})),
        ("alice", "placeHold", json!({"accountId": account, "amount": "1"})),
        ("compliance", "freezeAccount", reason.clone()),
    ] {
        assert_eq!(app.refused(who, field, input).await, "ACCOUNT_FROZEN", "{field}");
    }
    app.done("compliance", "unfreezeAccount", reason, "").await;
    app.done("alice", "transfer", json!({"from": account, "to": other, "amount": "1"}), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdraft_limit_lets_a_balance_go_below_zero_so_far_and_no_further() {
    let app = TestApp::start().await;
    let (account, other) = (app.funded("alice", "EUR", "10").await, app.open_account("bob", "EUR").await);
    let limit = |limit: &str| json!({"accountId": account, "limit": limit, "reason": "good customer"});
    let set =
        app.done("risk", "setOverdraftLimit", limit("50"), "account { overdraftLimit available }").await;
    assert_eq!(set["account"], json!({"overdraftLimit": "50.00", "available": "60.00"}));
    let pay = |amount: &str| json!({"from": account, "to": other, "amount": amount});
    assert_eq!(app.refused("alice", "transfer", pay("60.01")).await, "INSUFFICIENT_FUNDS");
    app.done("alice", "transfer", pay("60"), "").await;
    assert_eq!(app.balances(&account).await, ["-50.00", "0.00", "0.00"]);
    assert_eq!(app.refused("risk", "setOverdraftLimit", limit("49.99")).await, "OVERDRAFT_IN_USE");
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_again_with_the_same_key_gives_the_first_answer_and_no_event() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10").await;
    let other = app.open_account("bob", "EUR").await;
    let key = fresh_key();
    let input = |amount: &str| json!({"idempotencyKey": key, "from": account, "to": other, "amount": amount});
    let first = app.done("alice", "transfer", input("3"), "transfer { id }").await;
    assert_eq!(first["replayed"], false);
    let head = app.head().await;
    // The same number, otherwise written, is the same request.
    for amount in ["3", "3.00", "3.0"] {
        let again = app.done("alice", "transfer", input(amount), "transfer { id }").await;
        assert_eq!(again["replayed"], true);
        assert_eq!((&again["transfer"], &again["logPosition"]), (&first["transfer"], &first["logPosition"]));
    }
    assert_eq!(app.refused("alice", "transfer", input("4")).await, "IDEMPOTENCY_CONFLICT");
    let open = json!({"idempotencyKey": key, "owner": "alice", "currency": "EUR"});
    assert_eq!(app.refused("alice", "openAccount", open.clone()).await, "IDEMPOTENCY_CONFLICT");
    assert_eq!(app.head().await, head);
    // Another principal's key of the same text is another key.
    app.done("admin", "openAccount", open, "").await;

    let refused = json!({"idempotencyKey": fresh_key(), "from": account, "to": other, "amount": "1000"});
    let first = app.payload("alice", "transfer", refused.clone(), "").await;
    app.deposit(&account, "5000").await;
    let again = app.payload("alice", "transfer", refused, "").await;
    assert_eq!(again["errors"], first["errors"], "a refusal is remembered");
    assert_eq!((&first["replayed"], &again["replayed"]), (&json!(false), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_at_once_with_one_key_have_one_effect() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "100").await;
    let input = json!({"idempotencyKey": fresh_key(), "accountId": account, "amount": "1"});
    let answers =
        futures::future::join_all((0..64).map(|_| app.done("operator", "withdraw", input.clone(), ""))).await;
    assert_eq!(answers.iter().filter(|answer| answer["replayed"] == false).count(), 1);
    assert!(answers.iter().all(|answer| answer["logPosition"] == answers[0]["logPosition"]));
    assert_eq!(app.balances(&account).await[0], "99.00");
}
