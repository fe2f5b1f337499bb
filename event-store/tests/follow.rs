//! Following the log: subscriptions, other nodes' appends, waiting.

mod common;

use std::time::Duration;

use common::{Writer, event, lead, one, until};
use event_store::{Appender, Batch, Log, LogError, LogPosition, RecordedEvent};
use futures::{Stream, StreamExt};

const LIMIT: Duration = Duration::from_secs(10);

async fn next(
    subscription: &mut (impl Stream<Item = Result<Vec<RecordedEvent>, LogError>> + Unpin),
) -> Vec<u64> {
    let batch =
        tokio::time::timeout(LIMIT, subscription.next()).await.expect("in time").expect("not ended").unwrap();
    assert!(batch.last().unwrap().ends_command());
    batch.iter().map(|event| event.log_position.0).collect()
}

async fn append_counts(writer: &mut Writer, id: &str, sequences: std::ops::RangeInclusive<u64>) {
    writer.append(vec![one(sequences.map(|sequence| event(id, sequence)).collect())]).await;
}

#[tokio::test]
async fn a_subscription_gives_what_was_and_what_comes_and_resumes_without_loss_or_twin() {
    let mut writer = Writer::start().await;
    append_counts(&mut writer, "a", 1..=2).await;
    let mut subscription = writer.log.subscribe(LogPosition::ZERO);
    assert_eq!(next(&mut subscription).await, [1, 2]);

    append_counts(&mut writer, "a", 3..=3).await;
    assert_eq!(next(&mut subscription).await, [3]);
    drop(subscription);

    append_counts(&mut writer, "a", 4..=5).await;
    let mut resumed = writer.log.subscribe(LogPosition(3));
    assert_eq!(next(&mut resumed).await, [4, 5]);
}

#[tokio::test]
async fn a_subscription_never_splits_a_command_however_small_its_batches() {
    let mut writer = Writer::start().await;
    append_counts(&mut writer, "a", 1..=3).await;
    append_counts(&mut writer, "a", 4..=4).await;
    append_counts(&mut writer, "a", 5..=6).await;
    for log in [writer.log.clone(), writer.open_log().await] {
        let mut subscription = log.subscribe_by(LogPosition::ZERO, 2);
        assert_eq!(next(&mut subscription).await, [1, 2, 3]);
        assert_eq!(next(&mut subscription).await, [4]);
        assert_eq!(next(&mut subscription).await, [5, 6]);
    }
}

#[tokio::test]
async fn another_node_is_woken_by_the_announcement_of_an_append() {
    let mut writer = Writer::start().await;
    // No poll helps within this test's time.
    let other = Log::open_with_poll(writer.database.app.clone(), Duration::from_secs(3_600)).await.unwrap();
    until_listening(&writer, 2).await;
    let mut subscription = other.subscribe(LogPosition::ZERO);
    append_counts(&mut writer, "a", 1..=2).await;
    assert_eq!(next(&mut subscription).await, [1, 2]);
    assert_eq!(other.head(), LogPosition(2));
}

async fn end_listeners(writer: &Writer) {
    sqlx::query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    )
    .execute(&writer.database.superuser)
    .await
    .unwrap();
}

/// Returns when so many sessions of this database listen.
async fn until_listening(writer: &Writer, sessions: i64) {
    until(|| async {
        let listening: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_one(&writer.database.superuser)
        .await
        .unwrap();
        listening == sessions
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_was_cut_off_reads_what_it_missed_as_soon_as_it_listens_again() {
    let mut writer = Writer::start().await;
    // No poll helps within this test's time.
    let other = Log::open_with_poll(writer.database.app.clone(), Duration::from_secs(3_600)).await.unwrap();
    let mut subscription = other.subscribe(LogPosition::ZERO);
    for round in 1..=5 {
        until_listening(&writer, 2).await;
        end_listeners(&writer).await;
        append_counts(&mut writer, "a", round..=round).await;
        assert_eq!(next(&mut subscription).await, [round]);
    }
}

#[tokio::test]
async fn a_deposed_leader_that_still_has_its_appender_follows_the_new_one() {
    let mut writer = Writer::start().await;
    append_counts(&mut writer, "a", 1..=1).await;
    // No poll helps within this test's time.
    let deposed = Log::open_with_poll(writer.database.app.clone(), Duration::from_secs(3_600)).await.unwrap();
    let _appender = Appender::connect(&deposed, &writer.lease).await.unwrap();
    until_listening(&writer, 2).await;
    let lease = lead(&writer.database, "node-2").await;
    let mut successor = Appender::connect(&writer.log, &lease).await.unwrap();
    let mut subscription = deposed.subscribe(LogPosition(1));
    for position in 2..=4 {
        let batch = Batch {
            after: LogPosition(position - 1),
            recorded_at: chrono::Utc::now(),
            commands: vec![one(vec![event("a", position)])],
        };
        successor.append(&batch).await.unwrap();
        assert_eq!(next(&mut subscription).await, [position]);
    }
}

#[tokio::test]
async fn the_poll_finds_what_an_announcement_lost() {
    let mut writer = Writer::start().await;
    let other = Log::open_with_poll(writer.database.app.clone(), Duration::from_millis(50)).await.unwrap();
    let mut subscription = other.subscribe(LogPosition::ZERO);
    for round in 1..=3 {
        end_listeners(&writer).await;
        append_counts(&mut writer, "a", round..=round).await;
        assert_eq!(next(&mut subscription).await, [round]);
    }
}

#[tokio::test]
async fn a_subscriber_that_is_far_behind_gets_everything_once() {
    let mut writer = Writer::start().await;
    let other = writer.open_log().await;
    for round in 0..10_u64 {
        let commands =
            (1..=1_000).map(|sequence| one(vec![event(&format!("{round}"), sequence)])).collect::<Vec<_>>();
        writer.append(commands).await;
    }
    let mut subscription = other.subscribe_by(LogPosition::ZERO, 700);
    let mut expected = 1;
    while expected <= 10_000 {
        for position in next(&mut subscription).await {
            assert_eq!(position, expected);
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_subscription_outlives_a_restart_of_its_sessions() {
    let mut writer = Writer::start().await;
    append_counts(&mut writer, "a", 1..=1).await;
    let other = writer.open_log().await;
    let mut subscription = other.subscribe(LogPosition::ZERO);
    assert_eq!(next(&mut subscription).await, [1]);
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = 'daybook_app' AND application_name <> 'daybook appender'",
    )
    .execute(&writer.database.superuser)
    .await
    .unwrap();
    append_counts(&mut writer, "a", 2..=2).await;
    assert_eq!(next(&mut subscription).await, [2]);
}

#[tokio::test]
async fn waiting_for_a_position_ends_when_it_is_reached_or_when_time_is_up() {
    let mut writer = Writer::start().await;
    let log = writer.log.clone();
    let waiting = tokio::spawn(async move { log.wait_for(LogPosition(2), LIMIT).await });
    append_counts(&mut writer, "a", 1..=2).await;
    assert_eq!(waiting.await.unwrap().unwrap(), LogPosition(2));

    let late = writer.log.wait_for(LogPosition(3), Duration::from_millis(20)).await;
    assert!(matches!(late, Err(LogError::TimedOut { head: LogPosition(2), .. })));
}

#[tokio::test]
async fn a_log_that_is_dropped_lets_its_connections_go() {
    let writer = Writer::start().await;
    let other = writer.open_log().await;
    let superuser = writer.database.superuser.clone();
    let listening = || async {
        sqlx::query_scalar::<_, i64>(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
        )
        .fetch_one(&superuser)
        .await
        .unwrap()
    };
    until(|| async { listening().await == 2 }).await;
    drop(other);
    until(|| async { listening().await == 1 }).await;
}
