//! The tick archive on a real database: what goes in comes out once, in order, wherever it is kept.

use std::time::Duration;

use domain::Timestamp;
use domain::ids::Symbol;
use event_store::embedded::testing::TestDatabase;
use processes::feed::recording::BTC_USDT;
use processes::feed::{MarketData, PassPlayback, Speed};
use processes::tick_archive::{Tick, TickArchive, TickKey};
use sqlx::PgPool;

fn symbol() -> Symbol {
    Symbol::new("BTC-USDT")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

async fn archive(pool: &PgPool) -> TickArchive {
    TickArchive::open(pool.clone(), [(symbol(), "BTC".parse().unwrap())]).await.unwrap()
}

fn ticks_of_pass(pass: u64, started_at: Timestamp) -> Vec<Tick> {
    PassPlayback::new(&BTC_USDT, pass, started_at, Speed::REAL)
        .unwrap()
        .map(Result::unwrap)
        .filter_map(|message| match &*message.data {
            MarketData::Trade(trade) => Some(Tick {
                symbol: symbol(),
                at: message.at,
                pass,
                trade_id: trade.trade_id,
                price: trade.price,
                quantity: trade.quantity,
                taker_side: trade.taker_side,
            }),
            _ => None,
        })
        .collect()
}

async fn all(
    archive: &TickArchive,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    page: usize,
) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = Vec::new();
    loop {
        let after = ticks.last().map(Tick::key);
        let next = archive.trades(&symbol(), from, to, after, page).await.unwrap();
        assert!(next.ticks.len() <= page);
        ticks.extend(next.ticks);
        if !next.has_more {
            return ticks;
        }
    }
}

#[tokio::test]
async fn every_trade_of_a_pass_is_read_once_in_order_half_written_half_in_memory() {
    let database = TestDatabase::create().await.unwrap();
    let archive = archive(&database.app).await;
    let ticks = ticks_of_pass(1, at("2030-01-01T00:00:00Z"));
    for batch in ticks[..7_000].chunks(311) {
        batch.iter().cloned().for_each(|tick| archive.record(tick));
        archive.flush().await.unwrap();
    }
    ticks[7_000..].iter().cloned().for_each(|tick| archive.record(tick));

    assert_eq!(all(&archive, None, None, 1_000).await, ticks);
    assert_eq!(all(&archive, None, None, 997).await, ticks);
    assert_eq!(archive.latest(&symbol(), 900).await.unwrap(), ticks[ticks.len() - 900..]);
}

#[tokio::test]
async fn a_range_takes_its_start_and_leaves_its_end() {
    let database = TestDatabase::create().await.unwrap();
    let archive = archive(&database.app).await;
    let ticks = ticks_of_pass(1, at("2030-01-01T00:00:00Z"));
    ticks.iter().cloned().for_each(|tick| archive.record(tick));
    archive.flush().await.unwrap();
    let (from, to) = (ticks[100].at, ticks[5_000].at);
    let expected: Vec<Tick> = ticks.iter().filter(|t| t.at >= from && t.at < to).cloned().collect();
    assert_eq!(all(&archive, Some(from), Some(to), 1_000).await, expected);
    assert!(archive.trades(&symbol(), Some(to), Some(from), None, 10).await.unwrap().ticks.is_empty());
    assert!(archive.trades(&Symbol::new("X-Y"), None, None, None, 10).await.unwrap().ticks.is_empty());
}

#[tokio::test]
async fn after_a_restart_written_trades_are_there_and_later_ones_come_after_them() {
    let database = TestDatabase::create().await.unwrap();
    let first = archive(&database.app).await;
    let ticks = ticks_of_pass(1, at("2030-01-01T00:00:00Z"));
    ticks.iter().take(500).cloned().for_each(|tick| first.record(tick));
    first.flush().await.unwrap();
    drop(first);

    let second = archive(&database.app).await;
    assert_eq!(second.last_pass(&symbol()), Some(1));
    // The clock has stepped back: what comes later is still later.
    second.record(Tick { at: at("2029-01-01T00:00:00Z"), pass: 2, ..ticks[0].clone() });
    let page = all(&second, None, None, 100).await;
    assert_eq!(page[..500], ticks[..500]);
    assert_eq!(page.len(), 501);
    assert!(page[500].key() > page[499].key());
    assert_eq!((page[500].pass, page[500].trade_id), (2, ticks[0].trade_id));
}

#[tokio::test]
async fn a_sweep_deletes_what_is_older_than_retention_and_nothing_else() {
    let database = TestDatabase::create().await.unwrap();
    let archive = archive(&database.app).await;
    let (old, new) =
        (ticks_of_pass(1, at("2030-01-01T00:00:00Z")), ticks_of_pass(2, at("2030-01-02T00:00:00Z")));
    for ticks in [&old, &new] {
        ticks.iter().cloned().for_each(|tick| archive.record(tick));
        archive.flush().await.unwrap();
    }
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(archive.sweep(day, at("2030-01-02T12:00:00Z")).await.unwrap(), 1);
    assert_eq!(all(&archive, None, None, 1_000).await, new);
}

#[tokio::test]
async fn a_subscriber_gets_every_trade_from_then_on() {
    let database = TestDatabase::create().await.unwrap();
    let archive = archive(&database.app).await;
    let ticks = ticks_of_pass(1, at("2030-01-01T00:00:00Z"));
    archive.record(ticks[0].clone());
    let mut live = archive.subscribe(&symbol()).unwrap();
    ticks[1..4].iter().cloned().for_each(|tick| archive.record(tick));
    for expected in &ticks[1..4] {
        assert_eq!(*live.recv().await.unwrap(), *expected);
    }
    assert!(archive.subscribe(&Symbol::new("X-Y")).is_none());
}

#[test]
fn a_cursor_is_text_and_comes_back() {
    let key = TickKey { at_us: 1_893_456_000_000_001, pass: 3, trade_id: 3_735_683_259 };
    assert_eq!(key.to_string().parse(), Ok(key));
    for malformed in ["", "1", "1.2", "1.2.x", "1.2.3.4"] {
        assert!(malformed.parse::<TickKey>().is_err(), "{malformed}");
    }
}
