//! A first trade on the recorded market, computed again from nothing but the evidence in its fills and the recording.

use std::collections::BTreeMap;
use std::io::BufRead;

use serde_json::{Value, json};

use crate::support::{TestApp, text};

/// Hundred-millionths: every amount and price here has at most eight digits after the point.
const ONE: i128 = 100_000_000;

fn units(value: &Value) -> i128 {
    // The log writes an amount with its asset, as in "1.5 BTC".
    let text = text(value);
    let number = text.split(' ').next().unwrap();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    assert!(fraction.len() <= 8, "{number}");
    let sign = if whole.starts_with('-') { -1 } else { 1 };
    let whole: i128 = whole.trim_start_matches('-').parse().unwrap();
    sign * (whole * ONE + format!("{fraction:0<8}").parse::<i128>().unwrap())
}

fn written(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{}.{:08}", units.abs() / ONE, units.abs() % ONE)
}

/// `a × b / ONE`, which has to come out even.
fn exact_product(a: i128, b: i128) -> i128 {
    assert_eq!(a * b % ONE, 0);
    a * b / ONE
}

/// `a / b`, half to even.
fn half_even(a: i128, b: i128) -> i128 {
    let (quotient, rest) = (a / b, a % b);
    if rest * 2 > b || (rest * 2 == b && quotient % 2 == 1) { quotient + 1 } else { quotient }
}

/// Sums over the fills, as an accountant would make them.
#[derive(Default)]
struct Books {
    cash: i128,
    quantity: i128,
    cost: i128,
    realized: i128,
    fees: i128,
}

impl Books {
    fn take_in(&mut self, side: &str, quantity: i128, notional: i128, fee: i128) -> i128 {
        self.fees += fee;
        if side == "BUY" {
            self.cash -= notional + fee;
            self.quantity += quantity;
            self.cost += notional + fee;
            return 0;
        }
        let removed = half_even(self.cost * quantity, self.quantity);
        self.cash += notional - fee;
        self.quantity -= quantity;
        self.cost -= removed;
        self.realized += notional - fee - removed;
        notional - fee - removed
    }
}

/// The recording, read for the test alone: the books' levels after one update, and the trades.
#[derive(Default)]
struct Recorded {
    bids: BTreeMap<i128, i128>,
    asks: BTreeMap<i128, i128>,
}

fn recording() -> impl Iterator<Item = Value> {
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../processes/data/binance-spot/btcusdt-20240808.ndjson.gz");
    let lines =
        std::io::BufReader::new(flate2::read::MultiGzDecoder::new(std::fs::File::open(file).unwrap()))
            .lines();
    lines.map(|line| {
        let line = line.unwrap();
        let mut message: Value = serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        if message.get("data").is_some() { message["data"].take() } else { message }
    })
}

impl Recorded {
    /// The books with everything up to the update.
    fn at(update_id: u64) -> Self {
        let mut books = Self::default();
        let mut updates = Vec::new();
        let mut snapshot = None;
        for message in recording() {
            if message.get("lastUpdateId").is_some() {
                snapshot = Some(message);
            } else if message["e"] == "depthUpdate" && message["u"].as_u64().unwrap() <= update_id {
                updates.push(message);
            }
        }
        let snapshot = snapshot.unwrap();
        books.set(&snapshot["bids"], &snapshot["asks"]);
        let from = snapshot["lastUpdateId"].as_u64().unwrap();
        for update in updates.iter().filter(|update| update["u"].as_u64().unwrap() > from) {
            books.set(&update["b"], &update["a"]);
        }
        books
    }

    fn set(&mut self, bids: &Value, asks: &Value) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels.as_array().unwrap() {
                match units(&level[1]) {
                    0 => side.remove(&units(&level[0])),
                    quantity => side.insert(units(&level[0]), quantity),
                };
            }
        }
    }

    /// What an order of `side` takes for this quantity: price and quantity, best first, in whole lots.
    fn walk(&self, side: &str, mut quantity: i128) -> Vec<(i128, i128)> {
        let lot = ONE / 100_000;
        let levels: Vec<_> = match side {
            "BUY" => self.asks.iter().collect(),
            _ => self.bids.iter().rev().collect(),
        };
        let mut taken = Vec::new();
        for (price, there) in levels {
            let take = (there / lot * lot).min(quantity);
            if take > 0 {
                taken.push((*price, take));
                quantity -= take;
            }
        }
        taken
    }
}

async fn until_filled(app: &TestApp, portfolio: &str, order: &Value) {
    let mut live = app.live("demo").await;
    let query = "subscription($id: ID!) { orders(portfolioId: $id) { id status reason } }";
    live.subscribe("1", query, json!({"id": portfolio})).await;
    let ended = live
        .until("orders", |state| {
            state["id"] == *order && !["NEW", "PARTIALLY_FILLED"].contains(&state["status"].as_str().unwrap())
        })
        .await;
    assert_eq!(ended["status"], "FILLED", "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_trade_comes_to_what_its_evidence_says_to_the_last_digit() {
    let app = TestApp::start_with(|settings| {
        settings.demo = Some(true);
        settings.feed_speed = api::settings::FeedSpeed(Some("20".parse().unwrap()));
    })
    .await;
    let mut ticker = app.live("demo").await;
    ticker
        .subscribe("1", "subscription { ticker(symbols: [\"BTC-USDT\"]) { bid ask lastPrice } }", json!({}))
        .await;
    ticker.until("ticker", |market| market["bid"].is_string() && market["lastPrice"].is_string()).await;
    let found = app
        .data("demo", "{ portfolios { edges { node { id cashAccount { id balance } } } } }", json!({}))
        .await;
    let portfolio = &found["portfolios"]["edges"][0]["node"];
    assert_eq!(portfolio["cashAccount"]["balance"], "100000.00000000");
    let (portfolio, account) = (text(&portfolio["id"]), text(&portfolio["cashAccount"]["id"]));

    let place = async |mut order: Value| {
        order["portfolioId"] = portfolio.as_str().into();
        order["symbol"] = "BTC-USDT".into();
        app.done("demo", "placeOrder", order, "order { id }").await["order"]["id"].clone()
    };
    let bought = place(json!({"side": "BUY", "type": "MARKET", "quantity": "0.5"})).await;
    until_filled(&app, &portfolio, &bought).await;
    // At the best bid there is, so that it rests at first and the market comes to it.
    let bid =
        app.data("demo", "{ market(symbol: \"BTC-USDT\") { bid } }", json!({})).await["market"]["bid"].take();
    let rested = place(json!({"side": "BUY", "type": "LIMIT", "quantity": "0.01", "limitPrice": bid})).await;
    until_filled(&app, &portfolio, &rested).await;
    let sold = place(json!({"side": "SELL", "type": "MARKET", "quantity": "0.3"})).await;
    until_filled(&app, &portfolio, &sold).await;

    // What the log says, and what it comes to.
    let query = "query($id: ID!) { events(first: 200, filter: {aggregateType: \"order\", aggregateId: $id}) {
        edges { node { type payload } } } }";
    let mut books = Books::default();
    let mut expected_fills = Vec::new();
    for (order, side, ordered) in [(&bought, "BUY", "0.5"), (&rested, "BUY", "0.01"), (&sold, "SELL", "0.3")]
    {
        let events = app.data("auditor", query, json!({"id": order})).await["events"]["edges"].take();
        let fills: Vec<Value> = events
            .as_array()
            .unwrap()
            .iter()
            .filter(|edge| edge["node"]["type"] == "OrderFilled")
            .map(|edge| edge["node"]["payload"]["OrderFilled"].clone())
            .collect();
        let ordered = units(&json!(ordered));
        let (mut owed, mut charged, mut filled) = (0, 0, 0);
        for fill in &fills {
            let (price, quantity) = (units(&fill["price"]), units(&fill["quantity"]));
            let notional = exact_product(price, quantity);
            assert_eq!(units(&fill["notional"]), notional);
            // Ten basis points of everything so far, rounded up, less what was charged.
            owed += notional * 10;
            let fee = (owed + 9_999) / 10_000 - charged;
            charged += fee;
            filled += quantity;
            assert_eq!(units(&fill["fee"]), fee, "{fill}");
            assert_eq!(fill["evidence"]["feed"], "binance-spot/btcusdt-20240808");
            let realized = books.take_in(side, quantity, notional, fee);
            expected_fills.push((
                written(quantity),
                written(fee),
                (side == "SELL").then(|| written(realized)),
            ));
        }
        assert_eq!(filled, ordered);

        let evidence = &fills[0]["evidence"];
        let levels: Vec<(i128, i128)> = fills
            .iter()
            .filter(|fill| fill["liquidity"] == "TAKER")
            .flat_map(|fill| fill["evidence"]["levels"].as_array().unwrap().clone())
            .map(|level| (units(&level["price"]), units(&level["quantity"])))
            .collect();
        if *order != rested {
            let taken: Vec<_> =
                fills.iter().map(|fill| (units(&fill["price"]), units(&fill["quantity"]))).collect();
            assert_eq!(levels, taken, "the fills are not the levels that they say they used");
            let there = Recorded::at(evidence["update_id"].as_u64().unwrap());
            assert_eq!(taken, there.walk(side, ordered), "the recorded book had something else to take");
        }
        for fill in fills.iter().filter(|fill| fill["liquidity"] == "MAKER") {
            let (trade_id, limit) = (fill["evidence"]["trade_id"].as_u64().unwrap(), units(&bid));
            assert_eq!(units(&fill["price"]), limit);
            let trade =
                recording().find(|message| message["e"] == "trade" && message["t"] == trade_id).unwrap();
            let (price, quantity) = (units(&trade["p"]), units(&trade["q"]));
            assert!(price <= limit, "the market did not trade at the limit or through it");
            if price == limit {
                let left = quantity - units(&fill["evidence"]["ahead"]);
                assert!(units(&fill["quantity"]) <= left, "those ahead of it were to be filled first");
                assert_eq!(trade["m"], true, "sellers fill a resting buy order");
            }
        }
    }

    let head = app.head().await.to_string();
    let query = "query($id: ID!, $at: LogPosition) { portfolio(id: $id, atLeast: $at) { realizedPnl
        cashAccount { balance held available } positions { asset quantity reserved averageCost realizedPnl }
        fills { edges { node { quantity fee realizedPnl } } } } }";
    let answer = app.data("demo", query, json!({"id": portfolio, "at": head})).await["portfolio"].take();
    let balance = written(100_000 * ONE + books.cash);
    assert_eq!(
        answer["cashAccount"],
        json!({"balance": balance, "held": "0.00000000", "available": balance})
    );
    let position = &answer["positions"][0];
    assert_eq!(answer["positions"].as_array().unwrap().len(), 1);
    assert_eq!(
        (text(&position["asset"]), text(&position["quantity"])),
        ("BTC".to_owned(), written(books.quantity))
    );
    assert_eq!(units(&position["averageCost"]), half_even(books.cost * ONE, books.quantity));
    assert_eq!(position["realizedPnl"], written(books.realized));
    assert_eq!(answer["realizedPnl"], written(books.realized));
    let fills: Vec<_> = answer["fills"]["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            let fill = &edge["node"];
            (text(&fill["quantity"]), text(&fill["fee"]), fill["realizedPnl"].as_str().map(str::to_owned))
        })
        .collect();
    assert_eq!(fills, expected_fills);

    // Each asset sums to zero; the world paid 100,000 in, the venue has what we bought, and fees have ours.
    let query = "query($at: LogPosition) { trialBalance(atLeast: $at) { asset accounts positions outside difference } }";
    let lines = app.data("auditor", query, json!({"at": head})).await["trialBalance"].take();
    assert_eq!(
        lines,
        json!([
            {"asset": "BTC", "accounts": "0.00000000", "positions": written(books.quantity),
             "outside": written(-books.quantity), "difference": "0.00000000"},
            {"asset": "USDT", "accounts": balance, "positions": "0.00000000",
             "outside": written(-(100_000 * ONE + books.cash)), "difference": "0.00000000"},
        ])
    );
    let query =
        "query($id: ID!) { account(id: $id) { entries(first: 200) { edges { node { kind amount } } } } }";
    let entries = app.data("demo", query, json!({"id": account})).await["account"]["entries"]["edges"].take();
    let fees: i128 = entries
        .as_array()
        .unwrap()
        .iter()
        .filter(|edge| edge["node"]["kind"] == "FEE")
        .map(|edge| units(&edge["node"]["amount"]))
        .sum();
    assert_eq!(fees, books.fees);
}
