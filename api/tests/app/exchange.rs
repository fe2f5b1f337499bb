//! Portfolios, assets, limits and an INTERNAL market where two traders trade, over GraphQL.

use serde_json::{Value, json};

use crate::support::{TestApp, text};

/// Alice with 10 BTC and 1,000 USDT, bob with 10,000 USDT, and a market that takes 10 and 20 basis points.
struct Traders {
    alice: String,
    alice_cash: String,
    bob: String,
    bob_cash: String,
}

async fn traders(app: &TestApp) -> Traders {
    app.register_market("BTC-USDT", "INTERNAL").await;
    let alice_cash = app.funded("alice", "USDT", "1000").await;
    let bob_cash = app.funded("bob", "USDT", "10000").await;
    let alice = app.open_portfolio("alice", &alice_cash).await;
    let bob = app.open_portfolio("bob", &bob_cash).await;
    let input = json!({"portfolioId": alice, "asset": "BTC", "quantity": "10", "unitCost": "80"});
    app.done("operator", "depositAsset", input, "").await;
    Traders { alice, alice_cash, bob, bob_cash }
}

fn order(portfolio: &str, side: &str, quantity: &str, price: Option<&str>) -> Value {
    let kind = if price.is_some() { "LIMIT" } else { "MARKET" };
    json!({"portfolioId": portfolio, "symbol": "BTC-USDT", "side": side, "type": kind, "quantity": quantity,
           "limitPrice": price})
}

const ORDER: &str = "order { id clientOrderId portfolioId symbol side type timeInForce quantity quoteQuantity limitPrice
    stopPrice expiresAt selfTradePrevention status filledQuantity averagePrice fees reason createdAt updatedAt logPosition
    fills { edges { node { tradeId orderId symbol side price quantity notional fee realizedPnl liquidity } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn two_traders_trade_and_every_view_of_it_agrees() {
    let app = TestApp::start().await;
    let t = traders(&app).await;
    let sell = |quantity: &str, price: &str| order(&t.alice, "SELL", quantity, Some(price));
    let first = app.done("alice", "placeOrder", sell("1", "100"), ORDER).await;
    assert_eq!(first["order"]["status"], "NEW");
    app.done("alice", "placeOrder", sell("2", "101"), "").await;
    app.done("alice", "placeOrder", sell("3", "101"), "").await;
    let query = "query($at: LogPosition) { market(symbol: \"BTC-USDT\", atLeast: $at) { bid ask lastPrice
        depth(levels: 1000) { bids { price quantity } asks { price quantity } } } }";
    let at = |app: &TestApp| {
        let client = app.client.clone();
        async move { json!({"at": client.head().await.to_string()}) }
    };
    let book = app.data("bob", query, at(&app).await).await["market"].take();
    assert_eq!(
        book["depth"]["asks"],
        json!([{"price": "100", "quantity": "1.00000000"}, {"price": "101", "quantity": "5.00000000"}])
    );
    assert_eq!((&book["bid"], &book["ask"], &book["lastPrice"]), (&Value::Null, &json!("100"), &Value::Null));

    // Takes 1 at 100 and 2 at 101, rests nothing.
    let taken = app.done("bob", "placeOrder", order(&t.bob, "BUY", "3", Some("101")), ORDER).await;
    let taken = &taken["order"];
    assert_eq!(taken["status"], "FILLED");
    assert_eq!(taken["filledQuantity"], "3.00000000");
    assert_eq!(taken["averagePrice"], "100.66666667");
    // 302 at 20 basis points.
    assert_eq!(taken["fees"], "0.60400000");
    let fills = taken["fills"]["edges"].as_array().unwrap();
    assert_eq!(fills.len(), 2);
    assert_eq!(
        (&fills[0]["node"]["price"], &fills[0]["node"]["quantity"]),
        (&json!("100"), &json!("1.00000000"))
    );
    assert_eq!(
        (&fills[1]["node"]["price"], &fills[1]["node"]["quantity"]),
        (&json!("101"), &json!("2.00000000"))
    );
    assert!(fills.iter().all(|fill| fill["node"]["liquidity"] == "TAKER"));

    let head = at(&app).await;
    let query = "query($id: ID!, $at: LogPosition) { order(id: $id, atLeast: $at) { status fees
        fills { edges { node { liquidity fee realizedPnl } } } } }";
    let maker =
        app.data("alice", query, json!({"id": first["order"]["id"], "at": head["at"]})).await["order"].take();
    assert_eq!((&maker["status"], &maker["fees"]), (&json!("FILLED"), &json!("0.10000000")));
    let fill = &maker["fills"]["edges"][0]["node"];
    assert_eq!((&fill["liquidity"], &fill["fee"]), (&json!("MAKER"), &json!("0.10000000")));
    // Sold for 100 less the fee of 0.1 what had cost 80.
    assert_eq!(fill["realizedPnl"], "19.90000000");

    // Alice has 1,000 + 302 - 0.302, bob 10,000 - 302 - 0.604.
    assert_eq!(app.balances(&t.alice_cash).await[0], "1301.69800000");
    assert_eq!(app.balances(&t.bob_cash).await[0], "9697.39600000");
    let query = "query($id: ID!, $at: LogPosition) { portfolio(id: $id, atLeast: $at) { totalValue realizedPnl
        unrealizedPnl cashAccount { balance } fills { edges { node { tradeId } } }
        positions { asset symbol quantity reserved averageCost lastPrice marketValue unrealizedPnl realizedPnl } } }";
    let alices = app.data("alice", query, json!({"id": t.alice, "at": head["at"]})).await["portfolio"].take();
    let position = &alices["positions"][0];
    assert_eq!((&position["quantity"], &position["reserved"]), (&json!("7.00000000"), &json!("3.00000000")));
    assert_eq!((&position["lastPrice"], &position["marketValue"]), (&json!("101"), &json!("707.00000000")));
    assert_eq!(alices["realizedPnl"], "61.69800000");
    assert_eq!(alices["totalValue"], "2008.69800000");
    assert_eq!(alices["unrealizedPnl"], "147.00000000");
    let bobs = app.data("bob", query, json!({"id": t.bob, "at": head["at"]})).await["portfolio"].take();
    assert_eq!(bobs["positions"][0]["quantity"], "3.00000000");
    assert_eq!(bobs["totalValue"], "10000.39600000");
    assert_eq!(bobs["fills"]["edges"].as_array().unwrap().len(), 2);

    let query = "query($at: LogPosition) { market(symbol: \"BTC-USDT\", atLeast: $at) { lastPrice bid ask
        depth { asks { price quantity } } trades { edges { node { id symbol price quantity takerSide } } }
        candles(interval: D1) { open high low close volume quoteVolume tradeCount }
        stats { vwap volume high low open tradeCount } } }";
    let market = app.data("demo", query, head).await["market"].take();
    assert_eq!((&market["lastPrice"], &market["ask"]), (&json!("101"), &json!("101")));
    assert_eq!(market["depth"]["asks"], json!([{"price": "101", "quantity": "3.00000000"}]));
    let trades = market["trades"]["edges"].as_array().unwrap();
    assert_eq!(trades.len(), 2);
    assert_eq!(
        (&trades[1]["node"]["price"], &trades[1]["node"]["takerSide"]),
        (&json!("101"), &json!("BUY"))
    );
    let candles = market["candles"].as_array().unwrap();
    let candle = candles.last().unwrap();
    // The day may end between the placing and the asking, but both trades are of one commit.
    assert_eq!(
        *candle,
        json!({"open": "100", "high": "101", "low": "100", "close": "101", "volume": "3.00000000",
               "quoteVolume": "302.00000000", "tradeCount": 2})
    );
    assert_eq!(
        market["stats"],
        json!({"vwap": "100.66666667", "volume": "3.00000000", "high": "101", "low": "100", "open": "100", "tradeCount": 2})
    );
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_refused_rejected_canceled_and_expired_each_for_its_reason() {
    let app = TestApp::start().await;
    let t = traders(&app).await;
    let buy = |quantity: &str, price: &str| order(&t.bob, "BUY", quantity, Some(price));
    let before = app.head().await;
    for (input, code) in [
        (buy("1.001", "100"), "LOT_SIZE"),
        (buy("1001", "1"), "LOT_SIZE"),
        (buy("1", "100.001"), "TICK_SIZE"),
        (buy("0.01", "99"), "MIN_NOTIONAL"),
        (
            order(&t.bob, "BUY", "1", None)
                .as_object()
                .map(|_| {
                    json!({
            "portfolioId": t.bob, "symbol": "BTC-USDT", "side": "BUY", "type": "LIMIT", "quantity": "1"})
                })
                .unwrap(),
            "INVALID_ORDER",
        ),
    ] {
        assert_eq!(app.refused("bob", "placeOrder", input.clone()).await, code, "{input}");
    }
    assert_eq!(app.head().await, before);

    // Turned down by risk: an order with events, a log position and an error.
    let rejected = app.payload("bob", "placeOrder", buy("101", "100"), ORDER).await;
    assert_eq!(rejected["errors"][0]["code"], "INSUFFICIENT_FUNDS");
    assert_eq!(
        (&rejected["order"]["status"], &rejected["order"]["reason"]),
        (&json!("REJECTED"), &json!("INSUFFICIENT_FUNDS"))
    );
    assert!(rejected["logPosition"].is_string());
    assert_eq!(app.balances(&t.bob_cash).await, ["10000.00000000", "0.00000000", "10000.00000000"]);

    let named = |mut input: Value, id: &str| {
        input["clientOrderId"] = id.into();
        input
    };
    let placed = app.done("bob", "placeOrder", named(buy("2", "50"), "mine"), ORDER).await;
    let id = text(&placed["order"]["id"]);
    assert_eq!(placed["order"]["clientOrderId"], "mine");
    // 100 and the worst fee, 20 basis points.
    assert_eq!(app.balances(&t.bob_cash).await[1], "100.20000000");
    assert_eq!(
        app.refused("bob", "placeOrder", named(buy("1", "50"), "mine")).await,
        "DUPLICATE_CLIENT_ORDER_ID"
    );
    let canceled = app.done("bob", "cancelOrder", json!({"orderId": id}), ORDER).await;
    assert_eq!(canceled["order"]["status"], "CANCELED");
    assert_eq!(app.balances(&t.bob_cash).await[1], "0.00000000");
    assert_eq!(app.refused("bob", "cancelOrder", json!({"orderId": id})).await, "ORDER_NOT_OPEN");

    app.done("alice", "placeOrder", order(&t.alice, "SELL", "1", Some("100")), "").await;
    let with = |mut input: Value, field: &str, value: &str| {
        input[field] = value.into();
        input
    };
    for (input, status, filled) in [
        (with(buy("1", "100"), "type", "LIMIT_MAKER"), "REJECTED", "0.00000000"),
        (with(buy("2", "100"), "timeInForce", "FOK"), "EXPIRED", "0.00000000"),
        (with(buy("2", "100"), "timeInForce", "IOC"), "EXPIRED", "1.00000000"),
        (with(buy("1", "100"), "timeInForce", "IOC"), "EXPIRED", "0.00000000"),
    ] {
        let ended = app.payload("bob", "placeOrder", input.clone(), ORDER).await;
        let order = &ended["order"];
        assert_eq!((&order["status"], &order["filledQuantity"]), (&json!(status), &json!(filled)), "{input}");
        assert!(order["reason"].is_string(), "{ended}");
    }

    let query = "query($id: ID!, $at: LogPosition) { orders(portfolioId: $id, status: [EXPIRED, CANCELED], atLeast: $at)
        { edges { node { status } } } }";
    let variables = json!({"id": t.bob, "at": app.head().await.to_string()});
    let edges = app.data("bob", query, variables).await["orders"]["edges"].take();
    assert_eq!(edges.as_array().unwrap().len(), 4);
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_come_in_and_go_out_and_limits_bind() {
    let app = TestApp::start().await;
    let t = traders(&app).await;
    let asset = |quantity: &str| json!({"portfolioId": t.alice, "asset": "BTC", "quantity": quantity});
    let fields = "portfolio { positions { asset quantity averageCost } }";
    let out = app.done("operator", "withdrawAsset", asset("4"), fields).await;
    assert_eq!(
        out["portfolio"]["positions"],
        json!([{"asset": "BTC", "quantity": "6.00000000", "averageCost": "80"}])
    );
    assert_eq!(app.refused("operator", "withdrawAsset", asset("6.00000001")).await, "INSUFFICIENT_POSITION");
    let cash = json!({"portfolioId": t.alice, "asset": "EUR", "quantity": "1", "unitCost": "1"});
    assert_eq!(app.refused("operator", "depositAsset", cash).await, "ASSET_IS_CASH");

    let limits = json!({"portfolioId": t.bob, "maxOrderNotional": "500", "maxOpenOrders": 1});
    app.done("risk", "setRiskLimits", limits, "portfolio { id }").await;
    let buy = |quantity: &str| order(&t.bob, "BUY", quantity, Some("100"));
    let rejected = |payload: &Value| text(&payload["errors"][0]["code"]);
    assert_eq!(rejected(&app.payload("bob", "placeOrder", buy("5.01"), "").await), "MAX_ORDER_NOTIONAL");
    app.done("bob", "placeOrder", buy("5"), "").await;
    assert_eq!(rejected(&app.payload("bob", "placeOrder", buy("1"), "").await), "MAX_OPEN_ORDERS");
    app.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_market_takes_no_order_until_it_is_resumed() {
    let app = TestApp::start().await;
    let t = traders(&app).await;
    let market = json!({"symbol": "BTC-USDT", "reason": "news"});
    assert_eq!(app.refused("operator", "resumeMarket", market.clone()).await, "MARKET_NOT_HALTED");
    let halted = app.done("operator", "haltMarket", market.clone(), "market { symbol status }").await;
    assert_eq!(halted["market"], json!({"symbol": "BTC-USDT", "status": "HALTED"}));
    let answer = app.payload("bob", "placeOrder", order(&t.bob, "BUY", "1", Some("100")), ORDER).await;
    assert_eq!(answer["errors"][0]["code"], "MARKET_HALTED", "{answer}");
    app.done("operator", "resumeMarket", market, "").await;
    app.done("bob", "placeOrder", order(&t.bob, "BUY", "1", Some("100")), "").await;
    let twice = json!({
        "symbol": "BTC-USDT", "base": "BTC", "quote": "USDT", "venue": "PAPER", "tickSize": "0.01", "lotSize": "0.01",
        "minQuantity": "0.01", "maxQuantity": "1", "minNotional": "1",
    });
    assert_eq!(app.refused("operator", "registerMarket", twice).await, "ALREADY_EXISTS");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_yet_says_so_and_does_nothing() {
    let app = TestApp::start().await;
    let t = traders(&app).await;
    let before = app.head().await;
    let base = order(&t.bob, "BUY", "1", Some("100"));
    for (field, value) in [
        ("type", json!("STOP_LOSS")),
        ("type", json!("STOP_LOSS_LIMIT")),
        ("type", json!("TAKE_PROFIT")),
        ("type", json!("TAKE_PROFIT_LIMIT")),
        ("timeInForce", json!("GTD")),
        ("selfTradePrevention", json!("DECREMENT")),
        ("stopPrice", json!("1")),
        ("expiresAt", json!("2999-01-01T00:00:00Z")),
    ] {
        let mut input = base.clone();
        input[field] = value;
        let payload = app.payload("bob", "placeOrder", input, "").await;
        assert_eq!(payload["errors"][0]["code"], "NOT_SUPPORTED", "{field}");
        assert_eq!(payload["errors"][0]["field"], json!(["input", field]));
    }
    let place = "{idempotencyKey: \"k\", portfolioId: \"p\", symbol: \"S-T\", side: BUY, type: LIMIT}";
    for call in [
        "amendOrder(input: {idempotencyKey: \"k\", orderId: \"o\"})".to_owned(),
        format!("placeOco(input: {{idempotencyKey: \"k\", first: {place}, second: {place}}})"),
        "reverse(input: {idempotencyKey: \"k\", movementId: \"m\", reason: \"r\"})".to_owned(),
        "applyForCredit(input: {idempotencyKey: \"k\", accountId: \"a\", amount: \"1\", termMonths: 12, purpose: \"car\"})"
            .to_owned(),
        "decideCredit(input: {idempotencyKey: \"k\", loanId: \"l\", approve: true, reason: \"r\"})".to_owned(),
        "disburseLoan(input: {idempotencyKey: \"k\", loanId: \"l\"})".to_owned(),
        "repayLoan(input: {idempotencyKey: \"k\", loanId: \"l\", from: \"a\", amount: \"1\"})".to_owned(),
        "pauseTrading(input: {idempotencyKey: \"k\", scope: PLATFORM, reason: \"r\"})".to_owned(),
        "resumeTrading(input: {idempotencyKey: \"k\", scope: MARKET, id: \"BTC-USDT\", reason: \"r\"})".to_owned(),
    ] {
        let query = format!("mutation {{ answer: {call} {{ errors {{ code }} logPosition replayed }} }}");
        let answer = app.data("admin", &query, json!({})).await["answer"].take();
        assert_eq!(answer["errors"], json!([{"code": "NOT_SUPPORTED"}]), "{call}");
        assert_eq!(answer["logPosition"], Value::Null, "{call}");
    }
    for call in [
        "statement(accountId: \"a\", from: \"2026-01-01T00:00:00Z\", to: \"2026-02-01T00:00:00Z\") { opening }".to_owned(),
        "loan(id: \"l\") { id }".to_owned(),
        format!("account(id: \"{}\", asOf: {{logPosition: \"1\"}}) {{ id }}", t.bob_cash),
        format!("portfolio(id: \"{}\", asOf: {{recordedAt: \"2026-01-01T00:00:00Z\"}}) {{ id }}", t.bob),
        "order(id: \"o\", asOf: {effectiveAt: \"2026-01-01T00:00:00Z\"}) { id }".to_owned(),
    ] {
        assert_eq!(app.fails("admin", &format!("{{ {call} }}"), json!({})).await, "NOT_SUPPORTED", "{call}");
    }
    assert_eq!(app.head().await, before);
}
