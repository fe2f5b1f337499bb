//! An append whose outcome is unknown, and how it is settled.

mod common;

use common::proxy::{Mode, Proxy};
use common::{Writer, event, keyed, one, until, until_a_backend_waits_for_a_lock};
use event_store::embedded::Role;
use event_store::embedded::testing::{TestDatabase, shared_cluster};
use event_store::{AppendError, Appender, Batch, Log, LogPosition, Settled};
use sqlx::postgres::PgPoolOptions;

/// A leader whose appender reaches PostgreSQL through the proxy.
async fn behind_proxy() -> (Writer, Proxy) {
    let database = TestDatabase::create().await.unwrap();
    let proxy = Proxy::start(shared_cluster().await.unwrap().sockets());
    let options = proxy.through(database.connect_options(Role::App).await.unwrap());
    let log = Log::open(PgPoolOptions::new().max_connections(4).connect_lazy_with(options)).await.unwrap();
    let lease = common::lead(&database, "node-1").await;
    let appender = Appender::connect(&log, &lease).await.unwrap();
    (Writer { database, log, lease, appender }, proxy)
}

/// Appends while answers get lost, so that the batch commits and nobody hears of it.
async fn append_unheard(writer: &mut Writer, proxy: &Proxy, batch: &Batch, table: &str) {
    let database = writer.database.clone();
    let is_stored = || async {
        sqlx::query_scalar(&format!("SELECT EXISTS (SELECT FROM log.{table})"))
            .fetch_one(&database.superuser)
            .await
            .unwrap()
    };
    proxy.set(Mode::LoseAnswers);
    let (appended, ()) = tokio::join!(writer.appender.append(batch), async {
        until(is_stored).await;
        proxy.cut_clients();
    });
    assert!(matches!(appended, Err(AppendError::OutcomeUnknown(_))), "{appended:?}");
    proxy.set(Mode::Pass);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_settled_as_committed() {
    let (mut writer, proxy) = behind_proxy().await;
    let mut batch = writer.batch(vec![one(vec![event("a", 1), event("a", 2)])]);
    batch.recorded_at += chrono::TimeDelta::seconds(1);
    append_unheard(&mut writer, &proxy, &batch, "events").await;
    assert_eq!(writer.log.head(), LogPosition::ZERO, "nothing of unknown outcome is shown");

    assert!(matches!(writer.appender.append(&batch).await, Err(AppendError::Invalid(_))), "settle first");
    assert_eq!(writer.appender.settle(&batch).await, Ok(Settled::Committed(LogPosition(2))));
    assert_eq!(writer.log.read(LogPosition::ZERO, 10).await.unwrap(), batch.recorded());
    let next = Batch { recorded_at: batch.recorded_at, ..writer.batch(vec![one(vec![event("a", 3)])]) };
    assert_eq!(writer.appender.append(&next).await, Ok(LogPosition(3)));
}

#[tokio::test]
async fn a_lost_answer_to_refusals_alone_is_settled_by_their_keys() {
    let (mut writer, proxy) = behind_proxy().await;
    let mut batch = writer.batch(vec![keyed("refused", vec![])]);
    batch.recorded_at += chrono::TimeDelta::seconds(1);
    append_unheard(&mut writer, &proxy, &batch, "idempotency_keys").await;
    assert_eq!(writer.appender.settle(&batch).await, Ok(Settled::Committed(LogPosition::ZERO)));

    let other = writer.batch(vec![keyed("another", vec![])]);
    assert_eq!(writer.appender.settle(&other).await, Ok(Settled::NotCommitted));
}

#[tokio::test]
async fn a_session_killed_before_its_commit_is_settled_as_not_committed() {
    let mut writer = Writer::start().await;
    let mut holder = writer.database.app.begin().await.unwrap();
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *holder).await.unwrap();
    let batch = writer.batch(vec![keyed("k", vec![event("a", 1)])]);
    let database = writer.database.clone();
    let (appended, ()) = tokio::join!(writer.appender.append(&batch), async {
        until_a_backend_waits_for_a_lock(&database).await;
        sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'daybook appender'",
        )
        .execute(&database.superuser)
        .await
        .unwrap();
    });
    assert!(matches!(appended, Err(AppendError::OutcomeUnknown(_))), "{appended:?}");
    holder.rollback().await.unwrap();

    assert_eq!(writer.appender.settle(&batch).await, Ok(Settled::NotCommitted));
    assert_eq!(writer.count("events").await, 0);
    assert_eq!(writer.appender.append(&batch).await, Ok(LogPosition(1)), "it can be sent again");
}

#[tokio::test]
async fn what_is_settled_as_not_committed_cannot_commit_later() {
    let (mut writer, proxy) = behind_proxy().await;
    writer.append(vec![one(vec![event("a", 1)])]).await;
    let batch = writer.batch(vec![one(vec![event("a", 2)])]);

    // The client gives up while its statement is still on the way.
    proxy.hold_requests();
    {
        let append = std::pin::pin!(writer.appender.append(&batch));
        assert!(tokio::time::timeout(std::time::Duration::from_millis(100), append).await.is_err());
    }
    assert_eq!(writer.appender.settle(&batch).await, Ok(Settled::NotCommitted));

    // Now the statement arrives.
    proxy.set(Mode::Pass);
    until(|| async {
        sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'daybook appender'",
        )
        .fetch_one(&writer.database.superuser)
        .await
        .unwrap()
            == 1
    })
    .await;
    assert_eq!(writer.count("events").await, 1);
}

#[tokio::test]
async fn somebody_elses_events_in_its_place_are_not_taken_for_the_batch() {
    let mut writer = Writer::start().await;
    let lost = writer.batch(vec![one(vec![event("a", 1)])]);
    let successor = common::lead(&writer.database, "node-2").await;
    let log = writer.open_log().await;
    let mut appender = Appender::connect(&log, &successor).await.unwrap();
    appender
        .append(&Batch { recorded_at: chrono::Utc::now(), ..writer.batch(vec![one(vec![event("a", 1)])]) })
        .await
        .unwrap();

    assert_eq!(writer.appender.settle(&lost).await, Ok(Settled::NotCommitted));
}

#[tokio::test]
async fn an_append_that_was_dropped_half_way_has_to_be_settled() {
    let mut writer = Writer::start().await;
    let mut holder = writer.database.app.begin().await.unwrap();
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *holder).await.unwrap();
    let batch = writer.batch(vec![one(vec![event("a", 1)])]);
    let database = writer.database.clone();
    tokio::select! {
        _ = writer.appender.append(&batch) => panic!("the head is locked"),
        () = until_a_backend_waits_for_a_lock(&database) => {}
    }
    assert!(matches!(writer.appender.append(&batch).await, Err(AppendError::Invalid(_))));
    let (settled, ()) = tokio::join!(writer.appender.settle(&batch), async {
        // Settling ends the session that waits; only then is the head free.
        until(|| async {
            sqlx::query_scalar(
                "SELECT NOT EXISTS (SELECT FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid() \
                 AND state = 'active' AND query LIKE '%log.advance_head%')",
            )
            .fetch_one(&database.superuser)
            .await
            .unwrap()
        })
        .await;
        holder.rollback().await.unwrap();
    });
    assert_eq!(settled, Ok(Settled::NotCommitted));
    assert_eq!(writer.appender.append(&batch).await, Ok(LogPosition(1)));
}

#[tokio::test]
async fn settling_does_not_wait_for_ever_for_whoever_holds_the_head() {
    let mut writer = Writer::start().await;
    let batch = writer.batch(vec![one(vec![event("a", 1)])]);
    let mut holder = writer.database.app.begin().await.unwrap();
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *holder).await.unwrap();
    let settled =
        tokio::time::timeout(std::time::Duration::from_secs(10), writer.appender.settle(&batch)).await;
    let settled = settled.unwrap();
    assert!(matches!(settled, Err(AppendError::Unavailable(_))), "{settled:?}");
    holder.rollback().await.unwrap();
    assert_eq!(writer.appender.settle(&batch).await, Ok(Settled::NotCommitted));
}
