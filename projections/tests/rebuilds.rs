//! Rebuilt and live are equal row for row, and a changed row is found.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::house::House;
use common::{Writer, one, raw_event};
use event_store::LogPosition;
use projections::read::ProjectionState;
use projections::{EngineError, ReplayLimits, rebuild, rebuild_within, verify};

async fn lived(seed: u64) -> (Writer, House, LogPosition) {
    let mut writer = Writer::start().await;
    let (mut house, opening) = House::opened(seed);
    let projecting = writer.project().await;
    writer.append(house.now, opening).await;
    let head = writer.append(house.now, house.live(120)).await;
    projecting.reach(head).await;
    projecting.stop().await;
    (writer, house, head)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_projection_rebuilt_is_equal_to_the_live_one_row_for_row() {
    let (writer, _, head) = lived(101).await;
    let live = writer.dump().await;
    for name in projections::names() {
        let mut seen = Vec::new();
        let at =
            rebuild(&writer.database.app, &writer.log, name, |progress| seen.push(progress)).await.unwrap();
        assert_eq!(at, head);
        let last = seen.last().expect("progress is told");
        assert_eq!((last.projection, last.log_position, last.target), (name, head, head));
    }
    let rebuilt = writer.dump().await;
    for (table, rows) in &live {
        assert_eq!(rebuilt[table], *rows, "{table}");
    }
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM read_old.accounts")
        .fetch_one(&writer.database.app)
        .await
        .unwrap();
    assert!(kept > 0, "the replaced tables are kept");
    let empty = live.iter().filter(|(_, rows)| rows.is_empty()).map(|(table, _)| table.as_str());
    let empty: BTreeSet<_> = empty.collect();
    assert!(
        empty.is_subset(&BTreeSet::from([
            "book",
            "account_order_holds",
            "position_reservations",
            "fill_terms"
        ])),
        "nothing to compare in {empty:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_swaps_under_a_running_server_that_goes_on_folding() {
    let (mut writer, mut house, _) = lived(103).await;
    let projecting = writer.project().await;
    for name in ["accounts", "entries", "candles", "orders"] {
        let (pool, log) = (writer.database.app.clone(), writer.log.clone());
        let building = tokio::spawn(async move { rebuild(&pool, &log, name, |_| {}).await });
        while !building.is_finished() {
            let head = writer.append(house.now, house.live(2)).await;
            projecting.models.wait(&[name], head, Duration::from_secs(20)).await.unwrap();
        }
        building.await.unwrap().unwrap();
        let head = writer.append(house.now, house.live(10)).await;
        projecting.reach(head).await;
        writer.verify_all().await;
    }
    projecting.stop().await;
}

/// So small that a rebuild writes often, forgets all it knows and loads it again.
const TIGHT: ReplayLimits = ReplayLimits { events_per_read: 9, rows_per_flush: 6, rows_in_memory: 12 };

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_with_little_memory_makes_the_same_rows() {
    let (writer, _, _) = lived(105).await;
    let live = writer.dump().await;
    for name in projections::names() {
        rebuild_within(TIGHT, &writer.database.app, &writer.log, name, |_| {}).await.unwrap();
    }
    assert_eq!(writer.dump().await, live);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rebuild_goes_on_and_ends_equal() {
    let (writer, _, head) = lived(107).await;
    let app = &writer.database.app;
    let live = writer.dump().await;
    for name in ["entries", "accounts", "candles"] {
        let (pool, log) = (app.clone(), writer.log.clone());
        let building = tokio::spawn(async move {
            let mut flushes = 0;
            let dies_in_the_middle = move |_| {
                flushes += 1;
                assert!(flushes < 3, "the process dies");
            };
            rebuild_within(TIGHT, &pool, &log, name, dies_in_the_middle).await
        });
        assert!(building.await.unwrap_err().is_panic());
        let reached: i64 = sqlx::query_scalar("SELECT log_position FROM read.rebuilds WHERE name = $1")
            .bind(name)
            .fetch_one(app)
            .await
            .unwrap();
        assert!(LogPosition::from_sql(reached) > LogPosition::ZERO);
        assert!(LogPosition::from_sql(reached) < head, "it was not interrupted");

        let mut first = None;
        let at = loop {
            let tell = |at| {
                first.get_or_insert(at);
            };
            match rebuild_within(TIGHT, app, &writer.log, name, tell).await {
                // The session of the interrupted one is still ending.
                Err(EngineError::Busy { .. }) => tokio::task::yield_now().await,
                other => break other.unwrap(),
            }
        };
        assert_eq!(at, head);
        assert!(first.unwrap().log_position >= LogPosition::from_sql(reached), "it began again");
    }
    assert_eq!(writer.dump().await, live);
    writer.verify_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_a_missing_and_an_invented_row_are_named() {
    let (writer, _, head) = lived(109).await;
    let app = &writer.database.app;
    let account: String = sqlx::query_scalar(
        "UPDATE read.accounts SET balance = balance + 1 WHERE account_id = \
            (SELECT min(account_id) FROM read.accounts) RETURNING account_id",
    )
    .fetch_one(app)
    .await
    .unwrap();
    let found = verify(app, &writer.log, "accounts", 10, |_| {}).await.unwrap();
    assert_eq!((found.log_position, found.differing), (head, 1));
    let difference = &found.differences[0];
    assert_eq!(difference.table, "accounts");
    assert_eq!(difference.key["account_id"], account.as_str());
    assert_eq!(difference.columns(), ["balance"]);

    let entry: i64 = sqlx::query_scalar(
        "DELETE FROM read.entries WHERE log_position = (SELECT min(log_position) FROM read.entries) \
         AND leg = 0 RETURNING log_position",
    )
    .fetch_one(app)
    .await
    .unwrap();
    let found = verify(app, &writer.log, "entries", 10, |_| {}).await.unwrap();
    assert_eq!(found.differing, 1);
    assert_eq!(found.differences[0].key["log_position"], entry.to_string().as_str());
    assert!(found.differences[0].found.is_none() && found.differences[0].expected.is_some());

    sqlx::query("INSERT INTO read.parties VALUES ('nobody', 'USDT', 5)").execute(app).await.unwrap();
    let found = verify(app, &writer.log, "parties", 10, |_| {}).await.unwrap();
    assert_eq!(found.differing, 1);
    assert_eq!(found.differences[0].key["party"], "nobody");
    assert!(found.differences[0].found.is_some() && found.differences[0].expected.is_none());

    for name in ["accounts", "entries", "parties"] {
        rebuild(app, &writer.log, name, |_| {}).await.unwrap();
    }
    writer.verify_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_of_another_version_is_built_anew_beside_the_log() {
    let (writer, _, head) = lived(113).await;
    sqlx::query("UPDATE read.projections SET version = 0 WHERE name = 'holds'")
        .execute(&writer.database.app)
        .await
        .unwrap();
    let projecting = writer.project().await;
    projecting.reach(head).await;
    let status = projecting.models.status().await.unwrap();
    assert!(status.iter().all(|projection| projection.state == ProjectionState::Live), "{status:?}");
    writer.verify_all().await;
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_of_another_log_are_built_anew() {
    let (writer, _, head) = lived(127).await;
    sqlx::query("UPDATE read.live SET log_id = gen_random_uuid()")
        .execute(&writer.database.app)
        .await
        .unwrap();
    sqlx::query("UPDATE read.accounts SET balance = 0").execute(&writer.database.app).await.unwrap();
    let projecting = writer.project().await;
    projecting.reach(head).await;
    writer.verify_all().await;
    projecting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_meets_an_event_it_cannot_fold_names_it_and_leaves_the_live_one() {
    let (mut writer, house, _) = lived(131).await;
    let payload = r#"{"AccountFrozen":{"reason":"nobody opened it"}}"#;
    let frozen = one(raw_event("account", "nobody", 1, "AccountFrozen", payload));
    let head = writer.append(house.now, vec![frozen]).await;
    let projecting = writer.project().await;
    projecting.models.wait(&["entries"], head, Duration::from_secs(20)).await.unwrap();
    let before = writer.dump().await;
    let refused = rebuild(&writer.database.app, &writer.log, "accounts", |_| {}).await.unwrap_err();
    assert!(
        matches!(refused, EngineError::Unfoldable { log_position, .. } if log_position == head),
        "{refused}"
    );
    assert!(refused.to_string().contains("nobody"), "{refused}");
    assert_eq!(writer.dump().await["accounts"], before["accounts"]);
    let unknown = rebuild(&writer.database.app, &writer.log, "nothing", |_| {}).await.unwrap_err();
    assert!(matches!(unknown, EngineError::UnknownProjection { .. }));
    projecting.stop().await;
}
