//! Subscriptions: the log without loss or twin over reconnects, and states that are sent now and when they change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{TestApp, fresh_key, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_log_that_reconnects_misses_nothing_and_sees_nothing_twice() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "100000").await;
    let other = app.open_account("bob", "EUR").await;
    let writing = Arc::new(AtomicBool::new(true));
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (client, writing) = (app.client.clone(), writing.clone());
            let (account, other) = (account.clone(), other.clone());
            tokio::spawn(async move {
                while writing.load(Ordering::Relaxed) {
                    let input = json!({"from": account, "to": other, "amount": "0.01"});
                    client.done("alice", "transfer", input, "").await;
                }
            })
        })
        .collect();

    let query = "subscription($after: LogPosition) { events(after: $after) { logPosition id } }";
    let (mut after, mut ids) = (0_u64, std::collections::HashSet::new());
    // The last of the connections reads what the others have left.
    for connection in 0..20 {
        let mut live = app.live("auditor").await;
        live.subscribe("1", query, json!({"after": after.to_string()})).await;
        // Each goes away in the middle of what is being sent to it.
        for _ in 0..(3 + connection * 2) {
            let event = live.next("events").await;
            let position: u64 = text(&event["logPosition"]).parse().unwrap();
            assert_eq!(position, after + 1, "a gap or a twin");
            assert!(ids.insert(text(&event["id"])));
            after = position;
        }
    }
    writing.store(false, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let head = app.head().await;
    let mut live = app.live("auditor").await;
    live.subscribe("1", query, json!({"after": after.to_string()})).await;
    while after < head {
        let position: u64 = text(&live.next("events").await["logPosition"]).parse().unwrap();
        assert_eq!(position, after + 1, "a gap or a twin");
        after = position;
    }
    live.subscribe("2", query, json!({"after": (head + 1).to_string()})).await;
    let error = live.receive().await;
    assert_eq!(error["payload"][0]["extensions"]["code"], "BEYOND_HEAD", "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_reader_gets_what_passes_and_nothing_else() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "100").await;
    let other = app.open_account("bob", "EUR").await;
    let mut live = app.live("auditor").await;
    let query = "subscription($filter: EventFilter) { events(after: \"0\", filter: $filter) { type aggregateId metadata } }";
    let filter = json!({"types": ["TransferReceived", "FundsDeposited"], "actor": "alice"});
    live.subscribe("1", query, json!({"filter": filter})).await;
    for _ in 0..3 {
        app.deposit(&account, "1").await;
        app.done("alice", "transfer", json!({"from": account, "to": other, "amount": "1"}), "").await;
    }
    for _ in 0..3 {
        let event = live.next("events").await;
        assert_eq!((&event["type"], &event["aggregateId"]), (&json!("TransferReceived"), &json!(other)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_sent_now_after_every_change_and_not_again_after_what_was_seen() {
    let app = TestApp::start().await;
    let account = app.funded("alice", "EUR", "1").await;
    let query = "subscription($id: ID!, $after: LogPosition) { account(id: $id, after: $after) { balance logPosition } }";
    let mut live = app.live("alice").await;
    live.subscribe("1", query, json!({"id": account})).await;
    assert_eq!(live.next("account").await["balance"], "1.00");
    let mut seen = json!(null);
    for balance in ["2.00", "3.00", "4.00"] {
        app.deposit(&account, "1").await;
        seen = live.until("account", |state| state["balance"] == balance).await;
    }
    // After what was seen there is nothing until something changes.
    let mut again = app.live("alice").await;
    again.subscribe("1", query, json!({"id": account, "after": seen["logPosition"]})).await;
    again.send(json!({"type": "ping"})).await;
    assert_eq!(again.receive().await, json!({"type": "pong"}));
    app.open_account("bob", "EUR").await;
    app.deposit(&account, "1").await;
    assert_eq!(again.next("account").await["balance"], "5.00");
    // After something older the state comes at once.
    let mut late = app.live("alice").await;
    late.subscribe("1", query, json!({"id": account, "after": "1"})).await;
    assert_eq!(late.next("account").await["balance"], "5.00");
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_portfolio_ticker_and_trades_follow_a_trade() {
    let app = TestApp::start().await;
    app.register_market("BTC-USDT", "INTERNAL").await;
    let cash = app.funded("alice", "USDT", "1000").await;
    let portfolio = app.open_portfolio("alice", &cash).await;
    let seller_cash = app.open_account("bob", "USDT").await;
    let seller = app.open_portfolio("bob", &seller_cash).await;
    let input = json!({"portfolioId": seller, "asset": "BTC", "quantity": "10", "unitCost": "90"});
    app.done("operator", "depositAsset", input, "").await;
    let order = |portfolio: &str, side: &str, quantity: &str, price: &str| {
        json!({"idempotencyKey": fresh_key(), "portfolioId": portfolio, "symbol": "BTC-USDT", "side": side, "type": "LIMIT",
               "quantity": quantity, "limitPrice": price})
    };
    let resting = app.done("alice", "placeOrder", order(&portfolio, "BUY", "2", "100"), "order { id }").await;
    let resting = resting["order"]["id"].clone();
    app.data(
        "alice",
        "query($at: LogPosition) { orders(atLeast: $at) { edges { cursor } } }",
        json!({"at": app.head().await.to_string()}),
    )
    .await;

    let subscribe = async |query: &str, variables: Value| {
        let mut live = app.live("alice").await;
        live.subscribe("1", query, variables).await;
        live
    };
    let id = json!({"id": portfolio});
    let mut orders = subscribe(
        "subscription($id: ID!) { orders(portfolioId: $id) { id status filledQuantity logPosition } }",
        id.clone(),
    )
    .await;
    let mut portfolios = subscribe(
        "subscription($id: ID!) { portfolio(id: $id) { cashAccount { balance held } positions { asset quantity } totalValue } }",
        id,
    )
    .await;
    let mut ticker = subscribe(
        "subscription { ticker(symbols: [\"BTC-USDT\"]) { symbol bid ask lastPrice status } }",
        json!({}),
    )
    .await;
    let mut trades =
        subscribe("subscription { trades(symbol: \"BTC-USDT\") { id price quantity takerSide } }", json!({}))
            .await;

    let now = orders.next("orders").await;
    assert_eq!((&now["id"], &now["status"]), (&resting, &json!("NEW")));
    let now = portfolios.next("portfolio").await;
    assert_eq!(now["cashAccount"], json!({"balance": "1000.00000000", "held": "200.40000000"}));
    assert_eq!(now["positions"], json!([]));
    let now = ticker.next("ticker").await;
    assert_eq!((&now["bid"], &now["ask"], &now["lastPrice"]), (&json!("100"), &Value::Null, &Value::Null));
    // Trades have no state to send. What comes before the second trade below is all that it may miss.
    trades.send(json!({"type": "ping"})).await;
    assert_eq!(trades.receive().await["type"], "pong");

    app.done("bob", "placeOrder", order(&seller, "SELL", "0.5", "100"), "").await;
    let changed = orders.until("orders", |order| order["status"] != "NEW").await;
    assert_eq!(
        (&changed["status"], &changed["filledQuantity"]),
        (&json!("PARTIALLY_FILLED"), &json!("0.50000000"))
    );
    let changed = portfolios.until("portfolio", |state| state["positions"] != json!([])).await;
    assert_eq!(changed["positions"], json!([{"asset": "BTC", "quantity": "0.50000000"}]));
    // 50 and the maker's fee of 0.05.
    assert_eq!(changed["cashAccount"]["balance"], "949.95000000");
    let changed = ticker.until("ticker", |market| market["lastPrice"] == "100").await;
    assert_eq!(changed["bid"], "100");
    app.done("bob", "placeOrder", order(&seller, "SELL", "1", "100"), "").await;
    let trade = trades.until("trades", |trade| trade["quantity"] == "1.00000000").await;
    assert_eq!((&trade["price"], &trade["takerSide"]), (&json!("100"), &json!("SELL")));

    // A new order is sent, too, and a halt of the market.
    let placed = app.done("alice", "placeOrder", order(&portfolio, "BUY", "1", "50"), "order { id }").await;
    orders.until("orders", |order| order["id"] == placed["order"]["id"] && order["status"] == "NEW").await;
    app.done("alice", "cancelOrder", json!({"orderId": placed["order"]["id"]}), "").await;
    let ended = orders
        .until("orders", |order| order["id"] == placed["order"]["id"] && order["status"] != "NEW")
        .await;
    assert_eq!(ended["status"], "CANCELED");
    app.done("operator", "haltMarket", json!({"symbol": "BTC-USDT", "reason": "news"}), "").await;
    ticker.until("ticker", |market| market["status"] == "HALTED").await;

    // One that comes back after the last change is sent nothing old.
    let mut again = subscribe(
        "subscription($id: ID!, $after: LogPosition) { orders(portfolioId: $id, after: $after) { id status } }",
        json!({"id": portfolio, "after": app.head().await.to_string()}),
    )
    .await;
    app.done("operator", "resumeMarket", json!({"symbol": "BTC-USDT", "reason": "over"}), "").await;
    app.done("bob", "placeOrder", order(&seller, "SELL", "0.5", "100"), "").await;
    let next = again.next("orders").await;
    assert_eq!((&next["id"], &next["status"]), (&resting, &json!("FILLED")));
}
