//! Two nodes on one database: what one answers, the other answers, too, a moment later; and subscriptions on one outlive
//! the other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, TestApp, fresh_key, soon, text};

/// A deposit that is asked for again with its key until it is done.
async fn deposit_until_done(client: &Client, account: &str, amount: &str) -> Value {
    let input = json!({"accountId": account, "amount": amount, "idempotencyKey": fresh_key()});
    soon("a deposit", async {
        loop {
            let mut answer = client.ask("operator", "deposit", input.clone(), "").await;
            let payload = answer["data"]["deposit"].take();
            if payload["logPosition"].is_string() {
                return payload;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

fn print_percentiles(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
    at(50)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_on_another_node_includes_the_write_at_once_whichever_took_it() {
    let leader = TestApp::start().await;
    let follower = leader.beside(|_| {}).await;
    let account = leader.funded("alice", "EUR", "0.01").await;
    let query =
        "query($id: ID!, $at: LogPosition) { account(id: $id, atLeast: $at) { balance logPosition } }";
    let (mut forwards, mut back) = (Vec::new(), Vec::new());
    for round in 2..=101_u32 {
        let (writes, reads) = if round % 2 == 0 { (&leader, &follower) } else { (&follower, &leader) };
        let payload = writes.deposit(&account, "0.01").await;
        let begun = Instant::now();
        let variables = json!({"id": account, "at": payload["logPosition"]});
        let read = reads.data("alice", query, variables).await["account"].take();
        if round % 2 == 0 {
            forwards.push(begun.elapsed())
        } else {
            back.push(begun.elapsed())
        }
        assert_eq!(text(&read["balance"]), format!("{}.{:02}", round / 100, round % 100));
    }
    print_percentiles("written on the leader, read on the other node", forwards.clone());
    print_percentiles("written on the other node, read on the leader", back);
    forwards.sort();
    // Asking the database now and then would take 250 ms.
    assert!(forwards[forwards.len() / 2] < Duration::from_millis(150), "{forwards:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_answers_the_same_on_both_nodes() {
    let leader = TestApp::start().await;
    let follower = leader.beside(|_| {}).await;
    leader.register_market("BTC-USDT", "INTERNAL").await;
    let cash = leader.funded("alice", "USDT", "1000").await;
    let portfolio = leader.open_portfolio("alice", &cash).await;
    let input = json!({"portfolioId": portfolio, "asset": "BTC", "quantity": "10", "unitCost": "90"});
    leader.done("operator", "depositAsset", input, "").await;
    for (side, price) in [("SELL", "101"), ("BUY", "99"), ("SELL", "102")] {
        let input = json!({"portfolioId": portfolio, "symbol": "BTC-USDT", "side": side, "type": "LIMIT",
            "quantity": "0.5", "limitPrice": price});
        follower.done("alice", "placeOrder", input, "").await;
    }
    let at = leader.head().await.to_string();
    let query = "query($cash: ID!, $portfolio: ID!, $at: LogPosition) {
        account(id: $cash, atLeast: $at) { balance held available entries(first: 50) { edges { node { amount } } } }
        accounts(first: 10, atLeast: $at) { edges { node { id balance } } }
        portfolio(id: $portfolio, atLeast: $at) { positions { asset quantity reserved } }
        orders(portfolioId: $portfolio, first: 10, atLeast: $at) { edges { node { id status side limitPrice } } }
        market(symbol: \"BTC-USDT\", atLeast: $at) { symbol bid ask status depth(levels: 10) { bids { price quantity } asks { price quantity } } }
        markets { symbol venue }
        trialBalance(atLeast: $at) { asset debits credits difference }
        events(first: 200) { edges { node { id type logPosition } } }
        head
    }";
    let variables = json!({"cash": cash, "portfolio": portfolio, "at": at});
    let here = leader.data("admin", query, variables.clone()).await;
    let there = follower.data("admin", query, variables).await;
    assert_eq!(here, there);
    assert_eq!(here["market"]["depth"]["asks"].as_array().unwrap().len(), 2, "{here}");

    let status = "{ projections { name state lag } }";
    for node in [&leader, &follower] {
        let all = node.data("operator", status, json!({})).await["projections"].take();
        assert_eq!(all.as_array().unwrap().len(), 14);
        for one in all.as_array().unwrap() {
            assert_eq!((&one["state"], text(&one["lag"]).as_str()), (&json!("LIVE"), "0"), "{one}");
        }
        assert!(node.is_ready().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_on_a_node_outlive_the_one_that_led_without_loss_or_twin() {
    let first = TestApp::start().await;
    let second = first.beside(|_| {}).await;
    let account = first.funded("alice", "EUR", "0.01").await;
    let begins_after = second.data("admin", "{ head }", json!({})).await["head"].take();
    let mut events = second.live("auditor").await;
    let query = "subscription($after: LogPosition) { events(after: $after) { logPosition } }";
    events.subscribe("1", query, json!({"after": begins_after})).await;
    let mut states = second.live("alice").await;
    let query = "subscription($id: ID!) { account(id: $id) { balance logPosition } }";
    states.subscribe("1", query, json!({"id": account})).await;

    for _ in 0..20 {
        first.deposit(&account, "1").await;
    }
    let client = second.client.clone();
    let paid_to = account.clone();
    let writing = tokio::spawn(async move {
        for _ in 0..40 {
            deposit_until_done(&client, &paid_to, "1").await;
        }
    });
    let begun = Instant::now();
    first.stop().await;
    writing.await.unwrap();
    println!("40 deposits while the leader stops took {:?}", begun.elapsed());

    // Each event once and in order.
    let head = second.head().await;
    let mut after: u64 = text(&begins_after).parse().unwrap();
    while after < head {
        let position: u64 = text(&events.next("events").await["logPosition"]).parse().unwrap();
        assert_eq!(position, after + 1, "a gap or a twin");
        after = position;
    }
    // States never go back, and the last one arrives.
    let seen = std::cell::Cell::new(0);
    states
        .until("account", |state| {
            let position: u64 = text(&state["logPosition"]).parse().unwrap();
            assert!(position >= seen.get(), "{state} comes after {}", seen.get());
            seen.set(position);
            state["balance"] == "60.01"
        })
        .await;
    second.books_balance().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_market_is_seen_on_the_node_that_does_not_play_it() {
    let play = |settings: &mut api::settings::ServeSettings| {
        settings.demo = Some(true);
        settings.feed_speed = api::settings::FeedSpeed(Some("20".parse().unwrap()));
    };
    let leader = TestApp::start_with(play).await;
    let follower = leader.beside(play).await;
    let query = "subscription { trades(symbol: \"ETH-USDT\") { id price quantity takerSide at } }";
    let (mut here, mut there) = (leader.live("demo").await, follower.live("demo").await);
    there.subscribe("1", query, json!({})).await;
    there.next("trades").await;
    here.subscribe("1", query, json!({})).await;
    let first = here.next("trades").await;
    there.until("trades", |trade| *trade == first).await;
    for _ in 0..100 {
        assert_eq!(there.next("trades").await, here.next("trades").await);
    }

    let query = "query($after: String) { market(symbol: \"ETH-USDT\") { bid ask lastPrice
        depth(levels: 1000) { bids { price quantity } asks { price quantity } }
        candles(interval: S1, last: 3) { volume }
        trades(first: 200, after: $after) { edges { node { id } } pageInfo { endCursor } } } }";
    // Its book goes on, too.
    let mut books = std::collections::HashSet::new();
    soon("a book that changes", async {
        while books.len() < 3 {
            let depth = follower.data("demo", query, json!({})).await["market"]["depth"].take();
            if !depth["bids"].as_array().unwrap().is_empty() && !depth["asks"].as_array().unwrap().is_empty()
            {
                books.insert(depth.to_string());
            }
        }
    })
    .await;
    // What was sent live is listed, each trade once.
    let wanted = text(&first["id"]);
    let (mut after, mut ids) = (json!(null), std::collections::HashSet::new());
    soon("the trade in the list", async {
        while !ids.contains(&wanted) {
            let market = follower.data("demo", query, json!({"after": after})).await["market"].take();
            for edge in market["trades"]["edges"].as_array().unwrap() {
                assert!(ids.insert(text(&edge["node"]["id"])), "a trade is listed twice");
            }
            if market["trades"]["pageInfo"]["endCursor"].is_string() {
                after = market["trades"]["pageInfo"]["endCursor"].clone();
            }
        }
    })
    .await;

    // The other node plays on when this one stops.
    leader.stop().await;
    let query = "subscription { trades(symbol: \"BTC-USDT\") { id } }";
    let mut goes_on = follower.live("demo").await;
    goes_on.subscribe("1", query, json!({})).await;
    goes_on.next("trades").await;
    soon("a book", async {
        loop {
            let query = "{ market(symbol: \"BTC-USDT\") { depth(levels: 5) { bids { price } } } }";
            let market = follower.data("demo", query, json!({})).await["market"].take();
            if market["depth"]["bids"].as_array().unwrap().len() == 5 {
                break;
            }
        }
    })
    .await;
}

/// Milliseconds from an event's decision (before its commit) to its arrival at the last and the middle of 1,000 subscribers.
async fn deliveries(what: &str, writes: &Client, reads: &Client, account: &str) -> f64 {
    const SOCKETS: usize = 100;
    const EACH: usize = 10;
    const EVENTS: usize = 50;
    let query = "subscription { events { recordedAt } }";
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut live = reads.live("auditor").await;
        for id in 0..EACH {
            live.subscribe(&id.to_string(), query, json!({})).await;
        }
        // The answer shows that the subscriptions before it are taken in.
        live.send(json!({"type": "ping"})).await;
        assert_eq!(live.receive().await, json!({"type": "pong"}));
        sockets.push(live);
    }
    let readers: Vec<_> = sockets
        .into_iter()
        .map(|mut live| {
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(EACH * EVENTS);
                for _ in 0..EACH * EVENTS {
                    let event = live.next("events").await;
                    let recorded_at: chrono::DateTime<chrono::Utc> =
                        text(&event["recordedAt"]).parse().unwrap();
                    times.push(
                        (chrono::Utc::now() - recorded_at).num_microseconds().unwrap() as f64 / 1_000.0,
                    );
                }
                times
            })
        })
        .collect();
    for _ in 0..EVENTS {
        writes.deposit(account, "0.01").await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut times = Vec::new();
    for reader in readers {
        times.extend(reader.await.unwrap());
    }
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what}: p50 {:.1} ms, p99 {:.1} ms, longest {:.1} ms", at(50), at(99), at(100));
    at(99)
}

/// `cargo test --release -p api --test app -- --ignored --nocapture thousand`
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, for a machine that is quiet"]
async fn a_thousand_subscribers_on_either_node_get_an_event_within_50_ms() {
    let leader = TestApp::start().await;
    let follower = leader.beside(|_| {}).await;
    let account = leader.funded("alice", "EUR", "1").await;
    let here = deliveries("on the leader", &leader, &leader, &account).await;
    let there = deliveries("on another node", &leader, &follower, &account).await;
    assert!(here <= 50.0 && there <= 50.0, "p99 {here} ms and {there} ms");
}
