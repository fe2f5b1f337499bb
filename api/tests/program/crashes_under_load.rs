//! Crashes in the middle of a stream of transfers and orders: what was acknowledged is there exactly once, what was refused
//! is absent, and what is unknown settles to exactly once when asked again with its key.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use event_store::Log;
use event_store::embedded::{Cluster, Role};
use rustix::process::Signal;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;

use crate::daybook::{Daybook, command, folder};
use crate::support::{Client, soon, text};

/// Acknowledged commands before the crash.
const BEFORE: usize = 200;
/// Clients that send at the same time.
const CLIENTS: usize = 8;

const DONE: &str = "errors { code } logPosition replayed";

/// Two accounts that pay each other, and two portfolios that trade on two markets.
#[derive(Clone)]
struct Scene {
    from: String,
    to: String,
    buyer: String,
    seller: String,
    paper: String,
}

async fn scene(client: &Client) -> Scene {
    let from = client.funded("demo", "EUR", "1000000").await;
    let to = client.open_account("other", "EUR").await;
    let buyer_cash = client.funded("buyer", "USDT", "10000000").await;
    let seller_cash = client.open_account("seller", "USDT").await;
    let buyer = client.open_portfolio("buyer", &buyer_cash).await;
    let seller = client.open_portfolio("seller", &seller_cash).await;
    let paper = client.open_portfolio("buyer", &buyer_cash).await;
    client.register_market("ACME-USDT", "INTERNAL").await;
    let input = json!({"portfolioId": seller, "asset": "ACME", "quantity": "1000000", "unitCost": "1"});
    client.done("operator", "depositAsset", input, "").await;
    Scene { from, to, buyer, seller, paper }
}

/// What a client has asked and what it was told.
struct Asked {
    field: &'static str,
    input: Value,
    told: Told,
}

#[derive(Debug)]
enum Told {
    Accepted(Value),
    Refused(Value),
    Nothing,
}

/// Requests of every kind, told apart by their key.
fn request(scene: &Scene, number: usize) -> (&'static str, Value) {
    let key = format!("crash-{number}");
    let order = |portfolio: &str, symbol: &str, rest: Value| {
        let mut input =
            json!({"idempotencyKey": key, "portfolioId": portfolio, "symbol": symbol, "clientOrderId": key});
        input.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        ("placeOrder", input)
    };
    let limit = |side: &str| json!({"side": side, "type": "LIMIT", "quantity": "1.5", "limitPrice": "10"});
    match number % 6 {
        0 => order(&scene.seller, "ACME-USDT", limit("SELL")),
        1 => order(&scene.buyer, "ACME-USDT", limit("BUY")),
        2 => order(&scene.paper, "BTC-USDT", json!({"side": "BUY", "type": "MARKET", "quantity": "0.001"})),
        // More than there is.
        3 => (
            "transfer",
            json!({"idempotencyKey": key, "from": scene.to, "to": scene.from, "amount": "999999999"}),
        ),
        _ => {
            ("transfer", json!({"idempotencyKey": key, "from": scene.from, "to": scene.to, "amount": "0.01"}))
        }
    }
}

fn document(field: &str) -> String {
    let input = if field == "transfer" { "TransferInput" } else { "PlaceOrderInput" };
    format!("mutation($input: {input}!) {{ {field}(input: $input) {{ {DONE} }} }}")
}

async fn ask(client: &Client, field: &str, input: &Value) -> Told {
    let body = json!({"query": document(field), "variables": {"input": input}}).to_string();
    let Ok(reply) = client.try_send(Some("admin"), body.into_bytes()).await else { return Told::Nothing };
    let mut answer = reply.json();
    if let Some(error) = answer["errors"].get(0) {
        let code = error["extensions"]["code"].as_str().unwrap();
        assert!(
            ["UNAVAILABLE", "OVERLOADED"].contains(&code),
            "an error that a crash does not explain: {answer}"
        );
        return Told::Nothing;
    }
    let payload = answer["data"][field].take();
    if payload["logPosition"].is_string() { Told::Accepted(payload) } else { Told::Refused(payload) }
}

/// Sends from many clients until `stop`; the last request of each may have no answer.
async fn stream(
    client: &Client,
    scene: &Scene,
    numbers: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Asked> {
    let clients = (0..CLIENTS).map(|_| {
        let (client, scene) = (client.clone(), scene.clone());
        let (numbers, acknowledged, stop) = (numbers.clone(), acknowledged.clone(), stop.clone());
        tokio::spawn(async move {
            let mut asked = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let (field, input) = request(&scene, numbers.fetch_add(1, Ordering::Relaxed));
                let told = ask(&client, field, &input).await;
                match told {
                    Told::Accepted(_) => {
                        acknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                    // The machinery is down: not so fast.
                    Told::Nothing => tokio::time::sleep(Duration::from_millis(50)).await,
                    Told::Refused(_) => {}
                }
                asked.push(Asked { field, input, told });
            }
            asked
        })
    });
    let mut all = Vec::new();
    for asked in futures::future::join_all(clients).await {
        all.extend(asked.unwrap());
    }
    all
}

async fn reached(counter: &AtomicUsize, wanted: usize) {
    soon("enough acknowledged commands", async {
        while counter.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Asks everything again and holds the answers to the first ones, then counts what is there.
async fn settled(client: &Client, scene: &Scene, asked: Vec<Asked>) {
    let (mut transfers, mut orders, mut unknown) = (0_usize, HashSet::new(), 0);
    for Asked { field, input, told } in asked {
        let first = match told {
            Told::Nothing => {
                unknown += 1;
                settle(client, field, &input).await
            }
            Told::Accepted(payload) | Told::Refused(payload) => payload,
        };
        let again = settle(client, field, &input).await;
        assert_eq!(again["replayed"], true, "{input}: {again}");
        assert_eq!(again["errors"], first["errors"], "{input}: another answer");
        assert_eq!(again["logPosition"], first["logPosition"], "{input}: another answer");
        match field {
            "transfer" => transfers += usize::from(first["logPosition"].is_string()),
            _ => {
                assert!(orders.insert(text(&input["clientOrderId"])));
                assert!(first["logPosition"].is_string(), "{input}: {first}");
            }
        }
    }
    println!("{transfers} transfers, {} orders, {unknown} unknown at first", orders.len());

    let paid = format!("{}.{:02}", transfers / 100, transfers % 100);
    assert_eq!(client.balances(&scene.to).await[0], paid, "transfers were lost or doubled");
    let mut after = "0".to_owned();
    let (mut sent, mut placed) = (0, HashSet::new());
    loop {
        let query = "query($after: String) { events(first: 200, after: $after, filter: {types: [\"TransferSent\", \"OrderPlaced\"]}) {
            edges { node { type aggregateId payload } } pageInfo { endCursor hasNextPage } } }";
        let page = client.data("auditor", query, json!({"after": after})).await["events"].take();
        for edge in page["edges"].as_array().unwrap() {
            match edge["node"]["type"].as_str().unwrap() {
                "TransferSent" => sent += 1,
                _ => {
                    let ticket = &edge["node"]["payload"]["OrderPlaced"]["ticket"];
                    assert!(placed.insert(text(&ticket["client_order_id"])), "an order is there twice");
                }
            }
        }
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        after = text(&page["pageInfo"]["endCursor"]);
    }
    assert_eq!(sent, transfers);
    assert_eq!(placed, orders);
    client.books_balance().await;
}

/// The answer to a request, asked until there is one.
async fn settle(client: &Client, field: &str, input: &Value) -> Value {
    soon("an answer", async {
        loop {
            match ask(client, field, input).await {
                Told::Accepted(payload) | Told::Refused(payload) => return payload,
                Told::Nothing => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    })
    .await
}

/// Folds the whole log aside and compares it with every read model.
async fn verified(data_dir: &Path) {
    let cluster = Cluster::attach(data_dir).await.unwrap();
    let pool = PgPoolOptions::new()
        .max_connections(4)
        .connect_with(cluster.connect_options(Role::App))
        .await
        .unwrap();
    let log = Log::open(pool.clone()).await.unwrap();
    for name in projections::names() {
        let found = projections::verify(&pool, &log, name, 5, |_| {}).await.unwrap();
        assert_eq!(found.differing, 0, "{name}: {found:?}");
    }
    pool.close().await;
    cluster.stop().await;
}

#[derive(Clone, Copy, PartialEq)]
enum Crash {
    Server,
    PostgreSql,
    Both,
}

async fn crashed_in_the_middle(crash: Crash) {
    let folder = folder();
    let data = folder.path().join("data");
    let start = || {
        let mut command = command(&data);
        command.env("DAYBOOK_FEED_SPEED", "5");
        Daybook::start_by(command, &data)
    };
    let mut daybook = start();
    daybook.ready().await;
    let client = daybook.client();
    let scene = scene(&client).await;
    let (numbers, acknowledged) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let streaming = {
        let (scene, numbers, acknowledged, stop) =
            (scene.clone(), numbers.clone(), acknowledged.clone(), stop.clone());
        tokio::spawn(async move { stream(&client, &scene, numbers, acknowledged, stop).await })
    };
    reached(&acknowledged, BEFORE).await;
    if crash != Crash::Server {
        daybook.kill_postgres();
    }
    if crash == Crash::PostgreSql {
        // It comes back by itself, and the clients go on.
        let so_far = acknowledged.load(Ordering::Relaxed);
        reached(&acknowledged, so_far + BEFORE).await;
    } else {
        daybook.kill();
        daybook = start();
    }
    stop.store(true, Ordering::Relaxed);
    let asked = streaming.await.unwrap();
    daybook.ready().await;
    settled(&daybook.client(), &scene, asked).await;
    // The server goes on writing prices meanwhile, as it does when an operator verifies.
    verified(&data).await;
    daybook.signal(Signal::TERM);
    let (status, _) = daybook.ended();
    assert!(status.success(), "{status}");
    verified(&data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_by_kill_9_of_the_server_settles_to_exactly_once() {
    crashed_in_the_middle(Crash::Server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_by_kill_9_of_postgresql_goes_on_and_settles_to_exactly_once() {
    crashed_in_the_middle(Crash::PostgreSql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_by_kill_9_of_both_settles_to_exactly_once() {
    crashed_in_the_middle(Crash::Both).await;
}
