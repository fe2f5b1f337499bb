//! What belongs to another owner can neither be read nor touched, and operators do not see personal data.

use serde_json::{Value, json};

use crate::support::TestApp;
use crate::support::text;

/// What bob has: money, a hold, a movement between his own accounts, a portfolio, an open order.
struct Bobs {
    account: String,
    other_account: String,
    hold: String,
    transfer: String,
    portfolio: String,
    order: String,
}

async fn bobs(app: &TestApp) -> Bobs {
    app.register_market("BTC-USDT", "INTERNAL").await;
    let account = app.funded("bob", "USDT", "1000").await;
    let other_account = app.open_account("bob", "USDT").await;
    let input = json!({"accountId": account, "amount": "10", "reference": "bob's secret hold"});
    let hold = text(&app.done("bob", "placeHold", input, "hold { id }").await["hold"]["id"]);
    let input =
        json!({"from": account, "to": other_account, "amount": "5", "reference": "bob's secret payment"});
    let transfer = text(&app.done("bob", "transfer", input, "transfer { id }").await["transfer"]["id"]);
    let portfolio = app.open_portfolio("bob", &account).await;
    let input = json!({
        "portfolioId": portfolio, "symbol": "BTC-USDT", "side": "BUY", "type": "LIMIT", "quantity": "1",
        "limitPrice": "100", "clientOrderId": "bob's secret order",
    });
    let order = text(&app.done("bob", "placeOrder", input, "order { id }").await["order"]["id"]);
    Bobs { account, other_account, hold, transfer, portfolio, order }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trader_cannot_read_what_belongs_to_another_owner() {
    let app = TestApp::start().await;
    let bob = bobs(&app).await;
    app.open_account("alice", "EUR").await;
    let at = app.head().await.to_string();
    for (query, id) in [
        ("account(id: $id, atLeast: $at) { balance }", &bob.account),
        ("transfer(id: $id, atLeast: $at) { amount }", &bob.transfer),
        ("portfolio(id: $id, atLeast: $at) { name }", &bob.portfolio),
        ("order(id: $id, atLeast: $at) { status }", &bob.order),
        ("orders(portfolioId: $id, atLeast: $at) { edges { node { id } } }", &bob.portfolio),
    ] {
        let query = format!("query($id: ID!, $at: LogPosition) {{ answer: {query} }}");
        let variables = json!({"id": id, "at": at});
        // It is there for its owner, so what alice is told is not that it does not exist.
        let owners = app.data("bob", &query, variables.clone()).await;
        assert!(!owners["answer"].is_null(), "{query}");
        assert_eq!(app.fails("alice", &query, variables).await, "FORBIDDEN", "{query}");
    }
    for list in ["accounts", "portfolios"] {
        let query =
            format!("{{ {list}(owner: \"bob\", atLeast: \"{at}\") {{ edges {{ node {{ id }} }} }} }}");
        assert_eq!(app.fails("alice", &query, json!({})).await, "FORBIDDEN", "{list}");
    }
    let query = format!(
        "{{ accounts(atLeast: \"{at}\") {{ edges {{ node {{ owner }} }} }} \
         portfolios(atLeast: \"{at}\") {{ edges {{ node {{ owner }} }} }} \
         orders(atLeast: \"{at}\") {{ edges {{ node {{ id }} }} }} }}"
    );
    let own = app.data("alice", &query, json!({})).await;
    assert_eq!(own["accounts"]["edges"], json!([{"node": {"owner": "alice"}}]));
    assert_eq!(own["portfolios"]["edges"], json!([]));
    assert_eq!(own["orders"]["edges"], json!([]));

    for (field, id) in [
        ("account(id", &bob.account),
        ("orders(portfolioId", &bob.portfolio),
        ("portfolio(id", &bob.portfolio),
    ] {
        let mut live = app.live("alice").await;
        let query = format!("subscription {{ {field}: \"{id}\") {{ id }} }}");
        live.subscribe("1", &query, json!({})).await;
        let error = live.receive().await;
        assert_eq!(error["payload"][0]["extensions"]["code"], "FORBIDDEN", "{query}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trader_cannot_touch_what_belongs_to_another_owner() {
    let app = TestApp::start().await;
    let bob = bobs(&app).await;
    let alice = app.funded("alice", "USDT", "100").await;
    let before = app.head().await;
    for (field, input) in [
        ("openAccount", json!({"owner": "bob", "currency": "EUR"})),
        // Credit is not a trader's to give, to nobody.
        ("openAccount", json!({"owner": "alice", "currency": "EUR", "overdraftLimit": "1"})),
        ("transfer", json!({"from": bob.account, "to": alice, "amount": "1"})),
        ("placeHold", json!({"accountId": bob.account, "amount": "1"})),
        ("captureHold", json!({"holdId": bob.hold, "to": alice})),
        ("releaseHold", json!({"holdId": bob.hold})),
        ("closeAccount", json!({"accountId": bob.other_account, "reason": "mischief"})),
        ("openPortfolio", json!({"owner": "bob", "name": "x", "cashAccountId": bob.account})),
        ("openPortfolio", json!({"owner": "alice", "name": "x", "cashAccountId": bob.account})),
        (
            "placeOrder",
            json!({"portfolioId": bob.portfolio, "symbol": "BTC-USDT", "side": "BUY", "type": "LIMIT",
                   "quantity": "1", "limitPrice": "1"}),
        ),
        ("cancelOrder", json!({"orderId": bob.order})),
    ] {
        assert_eq!(app.refused("alice", field, input.clone()).await, "FORBIDDEN", "{field} {input}");
    }
    let query = "mutation($inputs: [TransferInput!]!, $atomic: Boolean!) \
        { transfers(inputs: $inputs, atomic: $atomic) { errors { code } logPosition } }";
    for atomic in [false, true] {
        let inputs = json!([{"idempotencyKey": format!("steal-{atomic}"), "from": bob.account, "to": alice, "amount": "1"}]);
        let answer = app.data("alice", query, json!({"inputs": inputs, "atomic": atomic})).await;
        assert_eq!(answer["transfers"][0]["errors"][0]["code"], "FORBIDDEN", "{answer}");
    }
    assert_eq!(app.head().await, before, "something was done all the same");
    // Money may go to another owner's account.
    app.done("alice", "transfer", json!({"from": alice, "to": bob.account, "amount": "1"}), "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_parties_of_a_transfer_may_read_it_and_nobody_else() {
    let app = TestApp::start().await;
    let alice = app.funded("alice", "EUR", "10").await;
    let bob = app.open_account("bob", "EUR").await;
    let input = json!({"from": alice, "to": bob, "amount": "1"});
    let done = app.done("alice", "transfer", input, "transfer { id }").await;
    let variables = json!({"id": done["transfer"]["id"], "at": done["logPosition"]});
    let query = "query($id: ID!, $at: LogPosition) { transfer(id: $id, atLeast: $at) { amount } }";
    for party in ["alice", "bob", "auditor"] {
        assert_eq!(app.data(party, query, variables.clone()).await["transfer"]["amount"], "1.00");
    }
    assert_eq!(app.fails("demo", query, variables).await, "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_no_personal_data_anywhere() {
    let app = TestApp::start().await;
    let bob = bobs(&app).await;
    let everything = "query($account: ID!, $portfolio: ID!, $order: ID!, $transfer: ID!, $at: LogPosition) {
        account(id: $account, atLeast: $at) { owner
          entries { edges { node { reference } } } holds { edges { node { reference } } } }
        accounts(atLeast: $at) { edges { node { owner } } }
        portfolio(id: $portfolio, atLeast: $at) { owner name cashAccount { owner } }
        portfolios(atLeast: $at) { edges { node { owner name } } }
        order(id: $order, atLeast: $at) { clientOrderId }
        orders(atLeast: $at) { edges { node { clientOrderId } } }
        transfer(id: $transfer, atLeast: $at) { reference }
        events(first: 200) { edges { node { type payload } } }
        commands: events(first: 200, filter: {actor: \"bob\"}) { edges { node { type payload } } } }";
    let variables = json!({
        "account": bob.account, "portfolio": bob.portfolio, "order": bob.order, "transfer": bob.transfer,
        "at": app.head().await.to_string(),
    });
    for (who, sees) in
        [("operator", false), ("risk", true), ("compliance", true), ("auditor", true), ("admin", true)]
    {
        let answer = app.data(who, everything, variables.clone()).await.to_string();
        assert_eq!(answer.contains("bob"), sees, "{who}: {answer:.3000}");
        assert_eq!(answer.contains("secret"), sees, "{who}: {answer:.3000}");
        assert_eq!(answer.contains("\"***\""), !sees, "{who}: {answer:.3000}");
        for event in ["AccountOpened", "TransferSent", "HoldPlaced", "PortfolioOpened", "OrderPlaced"] {
            assert!(answer.contains(event), "{who} sees no {event}");
        }
    }

    let mut live = app.live("operator").await;
    live.subscribe("1", "subscription { events(after: \"0\") { logPosition payload } }", json!({})).await;
    let last = app.head().await.to_string();
    loop {
        let event = live.next("events").await;
        assert!(!event.to_string().contains("bob"), "{event}");
        if event["logPosition"] == last.as_str() {
            break;
        }
    }
    for (field, id) in [("account(id", &bob.account), ("portfolio(id", &bob.portfolio)] {
        let query = format!("subscription {{ {field}: \"{id}\") {{ owner }} }}");
        let mut live = app.live("operator").await;
        live.subscribe("1", &query, Value::Null).await;
        let name = field.split('(').next().unwrap();
        assert_eq!(live.next(name).await["owner"], "***", "{query}");
    }
}
