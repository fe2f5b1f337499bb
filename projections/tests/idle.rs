//! What following costs while nothing happens but prices.

mod common;

use chrono::TimeDelta;
use common::Writer;
use common::house::House;

async fn wal_bytes(writer: &Writer) -> i64 {
    sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint")
        .fetch_one(&writer.database.superuser)
        .await
        .unwrap()
}

/// What the database writes for so many seconds of one market's prices, with or without read models that follow.
async fn wal_bytes_of_prices(seconds: i64, follows: bool) -> i64 {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(301);
    let projecting = writer.project().await;
    let head = writer.append(house.now, opening).await;
    projecting.reach(head).await;
    let following = if follows {
        Some(projecting)
    } else {
        projecting.stop().await;
        None
    };
    let before = wal_bytes(&writer).await;
    for _ in 0..seconds {
        house.now += TimeDelta::seconds(1);
        let head = writer.append(house.now, house.observe().into_iter().collect()).await;
        if let Some(projecting) = &following {
            projecting.reach(head).await;
        }
    }
    let written = wal_bytes(&writer).await - before;
    if let Some(projecting) = following {
        projecting.stop().await;
    }
    written
}

/// Two markets have 250 MB a day in all, which is 2,900 bytes a second; most of that is the log's.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_of_one_markets_prices_costs_the_read_models_at_most_600_bytes() {
    const SECONDS: i64 = 300;
    let log_alone = wal_bytes_of_prices(SECONDS, false).await;
    let with_read_models = wal_bytes_of_prices(SECONDS, true).await;
    let a_second = (with_read_models - log_alone) / SECONDS;
    assert!(a_second > 0, "the read models were not written");
    assert!(a_second <= 600, "{a_second} bytes a second");
}
