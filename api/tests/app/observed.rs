//! An outside market as its feed plays: live trades, ticker, depth, the archive of trades, candles.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{TestApp, text};

#[tokio::test(flavor = "multi_thread")]
async fn an_outside_market_is_seen_as_it_is_played() {
    let app = TestApp::start_with(|settings| {
        settings.demo = Some(true);
        settings.feed_speed = api::settings::FeedSpeed(Some("20".parse().unwrap()));
    })
    .await;
    let mut trades = app.live("demo").await;
    let query = "subscription { trades(symbol: \"ETH-USDT\") { id symbol price quantity takerSide at } }";
    trades.subscribe("1", query, json!({})).await;
    let mut ids = BTreeSet::new();
    for _ in 0..50 {
        let trade = trades.next("trades").await;
        assert_eq!(trade["symbol"], "ETH-USDT");
        assert!(ids.insert(text(&trade["id"])), "a trade came twice: {trade}");
    }
    let mut ticker = app.live("demo").await;
    let query = "subscription { ticker(symbols: [\"BTC-USDT\", \"ETH-USDT\"]) { symbol bid ask lastPrice } }";
    ticker.subscribe("1", query, json!({})).await;
    for symbol in ["BTC-USDT", "ETH-USDT"] {
        let market = ticker
            .until("ticker", |market| market["symbol"] == symbol && market["lastPrice"].is_string())
            .await;
        assert!(market["bid"].is_string() && market["ask"].is_string(), "{market}");
    }

    let query = "query($after: String) { market(symbol: \"ETH-USDT\") {
        depth(levels: 5) { bids { price quantity } asks { price quantity } }
        candles(interval: S1, last: 10) { volume tradeCount }
        trades(first: 20, after: $after) { edges { node { id } } pageInfo { hasNextPage endCursor } } } }";
    let market = app.data("demo", query, json!({})).await["market"].take();
    for side in ["bids", "asks"] {
        assert_eq!(market["depth"][side].as_array().unwrap().len(), 5, "{market}");
    }
    // The archive is written in batches, so what was sent live is there a moment later.
    let (mut after, mut archived) = (json!(null), BTreeSet::new());
    crate::support::soon("the archive", async {
        while !ids.is_subset(&archived) {
            let market = app.data("demo", query, json!({"after": after})).await["market"].take();
            for edge in market["trades"]["edges"].as_array().unwrap() {
                assert!(archived.insert(text(&edge["node"]["id"])), "a trade is listed twice");
            }
            if market["trades"]["pageInfo"]["endCursor"].is_string() {
                after = market["trades"]["pageInfo"]["endCursor"].clone();
            }
        }
    })
    .await;
    let market = app.data("demo", query, json!({})).await["market"].take();
    assert!(!market["candles"].as_array().unwrap().is_empty());
}
