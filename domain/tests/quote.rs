//! Quotes: what is written down of an outside market, given / when / then.

mod common;

use common::{given, noon, noon_plus, read};
use domain::Timestamp;
use domain::order::OrderSide;
use domain::quote::{BestLevel, ObservedWindow, Quote, QuoteCommand, QuoteEvent, TradedWindow};

fn level(price: &str) -> Option<BestLevel> {
    Some(BestLevel { price: read(price), quantity: read("1 BTC") })
}
fn window(opened_at: Timestamp, bid: Option<&str>, ask: Option<&str>, close: Option<&str>) -> ObservedWindow {
    ObservedWindow {
        symbol: read("BTC-USDT"),
        feed: "binance-spot/btcusdt-20240808".into(),
        pass: 1,
        opened_at,
        length_ms: 1000,
        bid: bid.and_then(level),
        ask: ask.and_then(level),
        traded: close.map(|close| TradedWindow {
            open: read("99"),
            high: read("101"),
            low: read("98"),
            close: read(close),
            volume: read("3 BTC"),
            quote_volume: read("300 USDT"),
            trade_count: 3,
        }),
    }
}
fn observe(window: ObservedWindow) -> QuoteCommand {
    QuoteCommand::Observe { window }
}
fn observed(window: ObservedWindow) -> QuoteEvent {
    QuoteEvent::PriceObserved { window }
}

#[test]
fn a_window_is_written_down_as_it_was_observed() {
    let first = window(noon(), Some("99"), Some("101"), Some("100.5"));
    given::<Quote>([]).when(observe(first.clone())).then([observed(first)]);
}

#[test]
fn a_feed_may_repeat_itself() {
    let first = window(noon(), Some("99"), Some("101"), None);
    let next = window(noon_plus(1), Some("98"), Some("100"), None);
    given::<Quote>([observed(first.clone())])
        .when(observe(first.clone()))
        .then_nothing()
        .when(observe(next.clone()))
        .then([observed(next)])
        .when(observe(first))
        .then_nothing();
}

#[test]
fn the_last_price_outlives_windows_without_trades() {
    let quote = given::<Quote>([
        observed(window(noon(), Some("99"), Some("101"), Some("100.5"))),
        observed(window(noon_plus(1), None, None, None)),
    ])
    .state();
    assert_eq!(quote.last_price, Some(read("100.5")));
    assert_eq!((quote.bid.clone(), quote.ask.clone()), (None, None));
    assert_eq!(quote.reference_price(), Some(read("100.5")));
}

#[test]
fn the_reference_price_is_the_middle_of_the_book_else_the_last_trade_else_one_side() {
    let after = |bid, ask, close| given::<Quote>([observed(window(noon(), bid, ask, close))]).state();
    assert_eq!(after(Some("99"), Some("102"), Some("98")).reference_price(), Some(read("100.5")));
    assert_eq!(after(Some("99"), None, Some("98")).reference_price(), Some(read("98")));
    assert_eq!(after(Some("99"), None, None).reference_price(), Some(read("99")));
    assert_eq!(after(None, Some("102"), None).reference_price(), Some(read("102")));
    assert_eq!(Quote::default().reference_price(), None);
}

#[test]
fn a_buy_meets_the_ask_and_a_sale_the_bid() {
    let quote = given::<Quote>([observed(window(noon(), Some("99"), Some("101"), None))]).state();
    assert_eq!(quote.best_opposite(OrderSide::Buy), Some(read("101")));
    assert_eq!(quote.best_opposite(OrderSide::Sell), Some(read("99")));
    assert_eq!(Quote::default().best_opposite(OrderSide::Buy), None);
}
