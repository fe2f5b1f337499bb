//! Wrong input of every kind: a typed refusal or error, no event, and a server that goes on.

use serde_json::{Value, json};

use crate::support::{TestApp, fresh_key, text};

/// Nothing was written, and the server still works.
async fn unharmed(app: &TestApp, head: u64) {
    assert_eq!(app.head().await, head, "wrong input left an event");
    assert!(app.is_ready().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn amounts_that_are_none_are_refused_with_their_reason() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10").await;
    let yen = app.open_account("alice", "JPY").await;
    let head = app.head().await;
    let million = "9".repeat(1_000_000);
    let small = format!("0.{}1", "0".repeat(1_000_000));
    for (amount, code) in [
        ("0", "AMOUNT_NOT_POSITIVE"),
        ("0.00", "AMOUNT_NOT_POSITIVE"),
        ("-0", "AMOUNT_NOT_POSITIVE"),
        ("-1", "AMOUNT_NOT_POSITIVE"),
        ("1.001", "TOO_MANY_DECIMALS"),
        ("0.0000000000000000001", "TOO_MANY_DECIMALS"),
        ("99999999999999999999999999999999999999", "AMOUNT_OUT_OF_RANGE"),
        ("1e3", "INVALID_AMOUNT"),
        ("1E400", "INVALID_AMOUNT"),
        ("+1", "INVALID_AMOUNT"),
        ("", "INVALID_AMOUNT"),
        (" 1", "INVALID_AMOUNT"),
        ("1 ", "INVALID_AMOUNT"),
        ("1,5", "INVALID_AMOUNT"),
        ("1.", "INVALID_AMOUNT"),
        (".5", "INVALID_AMOUNT"),
        ("1.2.3", "INVALID_AMOUNT"),
        ("--1", "INVALID_AMOUNT"),
        ("0x10", "INVALID_AMOUNT"),
        ("NaN", "INVALID_AMOUNT"),
        ("Infinity", "INVALID_AMOUNT"),
        ("١٢", "INVALID_AMOUNT"),
        ("1\u{0}", "INVALID_AMOUNT"),
        ("ten", "INVALID_AMOUNT"),
    ] {
        let input = json!({"accountId": account, "amount": amount});
        assert_eq!(app.refused("operator", "deposit", input).await, code, "{amount:?}");
    }
    for amount in [&million, &small] {
        for field in ["deposit", "withdraw"] {
            let code = app.refused("operator", field, json!({"accountId": account, "amount": amount})).await;
            assert!(
                ["AMOUNT_OUT_OF_RANGE", "INVALID_AMOUNT", "TOO_MANY_DECIMALS"].contains(&code.as_str()),
                "{code}"
            );
        }
    }
    assert_eq!(
        app.refused("operator", "deposit", json!({"accountId": yen, "amount": "0.5"})).await,
        "TOO_MANY_DECIMALS"
    );
    // A JSON number has been a float somewhere; it is refused before anything runs.
    for amount in [json!(1), json!(1.5), json!(null), json!(true), json!(["1"]), json!({"value": "1"})] {
        let input = json!({"accountId": account, "amount": amount});
        assert_eq!(app.refused("operator", "deposit", input.clone()).await, "BAD_REQUEST", "{input}");
    }
    for literal in ["1", "1.5", "null", "true", "X"] {
        let query = format!(
            "mutation {{ deposit(input: {{idempotencyKey: \"l\", accountId: \"{account}\", amount: {literal}}}) {{ logPosition }} }}"
        );
        assert_eq!(app.fails("operator", &query, json!({})).await, "BAD_REQUEST", "{literal}");
    }
    unharmed(&app, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_that_do_not_fit_are_refused_and_change_nothing() {
    let app = TestApp::start().await;
    let account = app.open_account("alice", "EUR").await;
    let largest = |digits: usize| "9".repeat(digits);
    // The most digits that one deposit takes.
    let mut fits = 0;
    for digits in 1..=38 {
        let input = json!({"accountId": account, "amount": largest(digits)});
        let payload = app.payload("operator", "deposit", input, "").await;
        if payload["errors"] != json!([]) {
            assert_eq!(payload["errors"][0]["code"], "AMOUNT_OUT_OF_RANGE", "{payload}");
            break;
        }
        fits = digits;
    }
    assert!(fits >= 15, "{fits}");
    let balance = app.balances(&account).await[0].clone();
    let head = app.head().await;
    for _ in 0..3 {
        let input = json!({"accountId": account, "amount": largest(fits + 1)});
        assert_eq!(app.refused("operator", "deposit", input).await, "AMOUNT_OUT_OF_RANGE");
    }
    assert_eq!(app.balances(&account).await[0], balance);
    unharmed(&app, head).await;
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_are_told_as_such() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10").await;
    let head = app.head().await;
    let nobody = "01900000-0000-7000-8000-000000000000";
    let long = "a".repeat(1_000_000);
    for id in [nobody, "", "x", "'; DROP TABLE events; --", "../../etc/passwd", "\u{0}", "ü", &long] {
        for (who, field, input, code) in [
            ("operator", "deposit", json!({"accountId": id, "amount": "1"}), "ACCOUNT_NOT_FOUND"),
            ("admin", "transfer", json!({"from": id, "to": account, "amount": "1"}), "ACCOUNT_NOT_FOUND"),
            ("admin", "transfer", json!({"from": account, "to": id, "amount": "1"}), "ACCOUNT_NOT_FOUND"),
            ("admin", "releaseHold", json!({"holdId": id}), "HOLD_NOT_FOUND"),
            ("admin", "cancelOrder", json!({"orderId": id}), "ORDER_NOT_FOUND"),
            ("risk", "setRiskLimits", json!({"portfolioId": id}), "PORTFOLIO_NOT_FOUND"),
            ("operator", "haltMarket", json!({"symbol": id, "reason": "x"}), "MARKET_NOT_FOUND"),
        ] {
            let found = app.refused(who, field, input).await;
            // A hold's and an order's id name their stream, which is what may be missing.
            assert!(
                found == code || (found == "ACCOUNT_NOT_FOUND" && field == "releaseHold"),
                "{field} {id:.40}: {found}"
            );
        }
        let query = "query($id: ID!, $symbol: String!) { account(id: $id) { id } portfolio(id: $id) { id }
            order(id: $id) { id } transfer(id: $id) { id } market(symbol: $symbol) { symbol } }";
        let found = app.data("admin", query, json!({"id": id, "symbol": id})).await;
        assert!(found.as_object().unwrap().values().all(Value::is_null), "{id:.40}: {found}");
    }
    unharmed(&app, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_clean_is_refused() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10").await;
    let head = app.head().await;
    let megabytes = "x".repeat(3 * 1024 * 1024);
    for dirty in ["\u{0}", "a\u{0}b", "line\u{1b}[31m", &megabytes] {
        let reference = json!({"accountId": account, "amount": "1", "reference": dirty});
        assert_eq!(app.refused("operator", "deposit", reference).await, "INVALID_TEXT", "{dirty:.20?}");
        let owner = json!({"owner": dirty, "currency": "EUR"});
        assert_eq!(app.refused("admin", "openAccount", owner).await, "INVALID_TEXT", "{dirty:.20?}");
        let reason = json!({"accountId": account, "reason": dirty});
        assert_eq!(app.refused("compliance", "freezeAccount", reason).await, "INVALID_TEXT", "{dirty:.20?}");
        let currency = json!({"owner": "alice", "currency": dirty});
        assert_eq!(app.refused("admin", "openAccount", currency).await, "UNKNOWN_ASSET", "{dirty:.20?}");
        let key = json!({"idempotencyKey": dirty, "accountId": account, "amount": "1"});
        assert_eq!(app.refused("operator", "deposit", key).await, "INVALID_IDEMPOTENCY_KEY", "{dirty:.20?}");
    }
    for key in ["", "ключ", "a\nb", &"k".repeat(129)] {
        let input = json!({"idempotencyKey": key, "accountId": account, "amount": "1"});
        assert_eq!(app.refused("operator", "deposit", input).await, "INVALID_IDEMPOTENCY_KEY", "{key:.20?}");
    }
    for empty in ["", " "] {
        let code = app.refused("admin", "openAccount", json!({"owner": empty, "currency": "EUR"})).await;
        assert_eq!(code, "INVALID_TEXT", "{empty:?}");
    }
    for filter in [json!({"actor": "a\u{0}"}), json!({"aggregateId": megabytes}), json!({"types": ["\u{0}"]})]
    {
        let query = "query($filter: EventFilter) { events(filter: $filter) { edges { cursor } } }";
        assert_eq!(app.fails("auditor", query, json!({"filter": filter})).await, "BAD_REQUEST");
    }
    unharmed(&app, head).await;
    // Clean text of any language is welcome, as are keys of the longest length.
    let input = json!({"idempotencyKey": "k".repeat(128), "accountId": account, "amount": "1", "reference": "für Zoë 🎉 家賃"});
    let query = "account { entries { edges { node { reference } } } }";
    let done = app.done("admin", "deposit", input, query).await;
    assert_eq!(done["account"]["entries"]["edges"][1]["node"]["reference"], "für Zoë 🎉 家賃");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_are_none_or_ask_for_too_much_are_refused() {
    let app = TestApp::start().await;
    let head = app.head().await;
    let deep = format!("{}head{}", "{a".repeat(1_000), "}".repeat(1_000));
    let fields = format!("{{ {} }}", "head ".repeat(6_000));
    let costly = "{ accounts(first: 200) { edges { node { entries(first: 200) { edges { node { amount kind } } } } } } }";
    for (query, code) in [
        ("", "BAD_REQUEST"),
        ("{", "BAD_REQUEST"),
        ("}{", "BAD_REQUEST"),
        ("{ nothing }", "BAD_REQUEST"),
        ("{ head { sub } }", "BAD_REQUEST"),
        ("{ account(id: \"x\") }", "BAD_REQUEST"),
        ("{ account(identity: \"x\") { id } }", "BAD_REQUEST"),
        ("{ account(id: {}) { id } }", "BAD_REQUEST"),
        ("{ account { id } }", "BAD_REQUEST"),
        ("{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }", "BAD_REQUEST"),
        ("query($x: Nothing) { head }", "BAD_REQUEST"),
        ("query a { head } query b { head }", "BAD_REQUEST"),
        ("{ market(symbol: \"A-B\") { depth(levels: 1001) { bids { price } } } head }", ""),
        ("{ accounts(first: \"1\") { edges { cursor } } }", "BAD_REQUEST"),
        ("{ account(id: \"x\", asOf: {}) { id } }", "BAD_REQUEST"),
        (
            "{ account(id: \"x\", asOf: {logPosition: \"1\", recordedAt: \"2026-01-01T00:00:00Z\"}) { id } }",
            "BAD_REQUEST",
        ),
        ("mutation { deposit(input: {}) { logPosition } }", "BAD_REQUEST"),
        ("mutation { deposit { logPosition } }", "BAD_REQUEST"),
        (deep.as_str(), "QUERY_TOO_COMPLEX"),
        (fields.as_str(), "QUERY_TOO_COMPLEX"),
        (costly, "QUERY_TOO_COMPLEX"),
    ] {
        let answer = app.send(Some("admin"), json!({"query": query}).to_string()).await;
        assert_eq!(answer.code(), code, "{query:.100}: {:.400}", answer.text);
    }
    let open = "mutation($input: OpenAccountInput!) { openAccount(input: $input) { logPosition } }";
    for input in [
        json!({"idempotencyKey": "k", "owner": "alice"}),
        json!({"idempotencyKey": "k", "owner": "alice", "currency": "EUR", "colour": "red"}),
        json!({"idempotencyKey": "k", "owner": "alice", "currency": "EUR", "kind": "PIGGY_BANK"}),
        json!({"idempotencyKey": "k", "owner": 7, "currency": "EUR"}),
        json!({"idempotencyKey": "k", "owner": null, "currency": "EUR"}),
        json!({"idempotencyKey": null, "owner": "alice", "currency": "EUR"}),
        json!([]),
        json!("text"),
        json!(null),
    ] {
        assert_eq!(app.fails("admin", open, json!({"input": input})).await, "BAD_REQUEST", "{input}");
    }
    assert_eq!(app.fails("admin", open, json!({})).await, "BAD_REQUEST");
    unharmed(&app, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_variable_keeps_all_mutations_of_a_request_from_running() {
    let app = TestApp::start().await;
    let account = app.open_account("alice", "EUR").await;
    let head = app.head().await;
    let query = "mutation($a: MoneyInput!, $b: MoneyInput!) { a: deposit(input: $a) { logPosition } b: deposit(input: $b) { logPosition } }";
    let good = json!({"idempotencyKey": fresh_key(), "accountId": account, "amount": "1"});
    for bad in [json!({}), json!({"accountId": account}), json!(null)] {
        assert_eq!(app.fails("operator", query, json!({"a": good, "b": bad})).await, "BAD_REQUEST", "{bad}");
    }
    assert_eq!(app.fails("operator", query, json!({"a": good})).await, "BAD_REQUEST");
    unharmed(&app, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_request_are_refused() {
    let app = TestApp::start().await;
    let account = app.open_account("alice", "EUR").await;
    let head = app.head().await;
    let surrogate = format!(
        "{{\"query\": \"mutation($i: MoneyInput!) {{ deposit(input: $i) {{ logPosition }} }}\", \"variables\": {{\"i\": \
         {{\"idempotencyKey\": \"s\", \"accountId\": \"{account}\", \"amount\": \"1\", \"reference\": \"\\ud800\"}}}}}}"
    );
    let nested = format!(
        "{{\"query\": \"{{ head }}\", \"variables\": {{\"x\": {}{}}}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    for body in [
        Vec::new(),
        b"nonsense".to_vec(),
        b"{}".to_vec(),
        b"[]".to_vec(),
        b"null".to_vec(),
        b"{\"query\": 1}".to_vec(),
        b"{\"query\": null}".to_vec(),
        b"{\"query\": \"{ head }\", \"variables\": 7}".to_vec(),
        b"{\"query\": \"{ head }\", \"operationName\": []}".to_vec(),
        b"[{\"query\": \"{ head }\"}]".to_vec(),
        b"{\"query\": \"{ head }\"".to_vec(),
        b"\xff\xfe{\"query\": \"{ head }\"}".to_vec(),
        b"{\"query\": \"{ \xc3\x28 }\"}".to_vec(),
        surrogate.into_bytes(),
        nested.into_bytes(),
        vec![0; 100_000],
    ] {
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let answer = app.send(Some("operator"), body).await;
        assert_eq!(answer.code(), "BAD_REQUEST", "{start}: {:.400}", answer.text);
        assert!(answer.status.is_client_error(), "{start}: {}", answer.status);
    }
    unharmed(&app, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_hundred_megabytes_is_refused_before_it_is_read() {
    let app = TestApp::start().await;
    let account = app.open_account("alice", "EUR").await;
    let head = app.head().await;
    let mut body = format!(
        "{{\"query\": \"mutation {{ deposit(input: {{idempotencyKey: \\\"b\\\", accountId: \\\"{account}\\\", amount: \\\"1\\\"}}) {{ logPosition }} }}\", \"x\": \""
    )
    .into_bytes();
    body.resize(100 * 1024 * 1024, b'x');
    body.extend_from_slice(b"\"}");
    // The server may answer and close while the client still sends: then the client sees a broken connection.
    if let Ok(answer) = app.try_send(Some("operator"), body).await {
        assert_eq!(answer.status, 413, "{:.400}", answer.text);
        assert!(
            ["BAD_REQUEST", "QUERY_TOO_COMPLEX"].contains(&answer.code().as_str()),
            "{:.400}",
            answer.text
        );
    }
    unharmed(&app, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_transfers_in_one_request_are_refused_and_the_most_are_not() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "10000").await;
    let other = app.open_account("alice", "EUR").await;
    let head = app.head().await;
    let inputs = |count: usize| {
        let input = |n: usize| json!({"idempotencyKey": format!("many-{n}"), "from": account, "to": other, "amount": "0.01"});
        json!({"inputs": (0..count).map(input).collect::<Vec<_>>()})
    };
    let query =
        "mutation($inputs: [TransferInput!]!) { transfers(inputs: $inputs) { errors { code } logPosition } }";
    assert_eq!(app.fails("alice", query, inputs(8_191)).await, "QUERY_TOO_COMPLEX");
    unharmed(&app, head).await;
    assert_eq!(app.data("alice", query, inputs(0)).await["transfers"], json!([]));
    let done = app.data("alice", query, inputs(8_190)).await;
    let answers = done["transfers"].as_array().unwrap();
    assert_eq!(answers.len(), 8_190);
    assert!(answers.iter().all(|answer| answer["errors"] == json!([]) && answer["logPosition"].is_string()));
    assert_eq!(text(&json!(app.balances(&other).await[0])), "81.90");
}
