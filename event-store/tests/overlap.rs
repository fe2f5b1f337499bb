//! Batches that are on their way at the same time.
#![allow(missing_docs)]

mod common;

use std::time::Duration;

use common::{Writer, event, event_with, key_row, keyed, lead, one};
use event_store::{
    AppendError, Batch, CommandWrite, KeyRow, LogPosition, NewEvent, Settled, StreamId, Ticket,
};

/// A batch of one event of a stream of its own, behind another batch.
fn behind(writer: &Writer, before: &Batch, id: &str) -> Batch {
    Batch { after: before.end(), ..writer.batch(vec![keyed(id, vec![event(id, 1)])]) }
}

#[tokio::test]
async fn rows_of_two_batches_are_sent_ahead_and_their_commits_follow_each_other() {
    let mut writer = Writer::start().await;
    let first = writer.batch(vec![keyed("a", vec![event("a", 1), event("a", 2)]), one(vec![event("b", 1)])]);
    let second = behind(&writer, &first, "c");
    let mut beside = writer.appender.beside();
    // The later one may be ready first.
    beside.stage(&second).await.unwrap();
    writer.appender.stage(&first).await.unwrap();
    assert_eq!(writer.log.read_head().await.unwrap(), LogPosition::ZERO);
    assert_eq!(writer.count("events").await, 0);

    writer.appender.commit(&first).await.unwrap();
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await, first.recorded());
    beside.commit(&second).await.unwrap();
    let all = [first.recorded(), second.recorded()].concat();
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await, all);
    assert_eq!(writer.count("idempotency_keys").await, 2);

    writer.appender.publish(first.after, first.recorded());
    assert_eq!(beside.publish(second.after, second.recorded()), LogPosition(4));
    assert_eq!(writer.log.read(LogPosition::ZERO, 10).await.unwrap(), all);
}

#[tokio::test]
async fn rows_are_stored_by_stream_and_stand_in_the_log_as_they_were_decided() {
    let mut writer = Writer::start().await;
    let other_type = |id: &str| NewEvent { stream: StreamId::new("account", id), ..event(id, 1) };
    let batch = writer.batch(vec![
        one(vec![event("c", 1), event("a", 1)]),
        one(vec![event("b", 1), other_type("b")]),
        one(vec![event("a", 2), event("c", 2), event("b", 2), other_type("c")]),
    ]);
    writer.appender.stage(&batch).await.unwrap();
    writer.appender.commit(&batch).await.unwrap();
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await, batch.recorded());
    let stored: Vec<String> = sqlx::query_scalar(
        "SELECT format('%s %s %s', aggregate_id, aggregate_type, sequence) FROM log.events ORDER BY ctid",
    )
    .fetch_all(&writer.database.app)
    .await
    .unwrap();
    assert_eq!(
        stored,
        [
            "a counter 1",
            "a counter 2",
            "b account 1",
            "b counter 1",
            "b counter 2",
            "c account 1",
            "c counter 1",
            "c counter 2"
        ]
    );
}

#[rstest::rstest]
#[tokio::test]
async fn keys_are_stored_in_their_order_and_keep_the_positions_of_their_own_commands(
    #[values(true, false)] copied: bool,
) {
    let mut writer = Writer::start().await;
    let of = |principal: &str, key: &str| KeyRow {
        principal: principal.into(),
        outcome: format!(r#"{{"of":"{principal} {key}"}}"#),
        ..key_row(key)
    };
    // One command a request, one for several, a refusal, and one without a key, which takes positions all the same.
    let batch = writer.batch(vec![
        CommandWrite {
            keys: vec![of("bob", "m"), of("alice", "z")],
            events: vec![event("a", 1), event("b", 1)],
        },
        CommandWrite { keys: vec![of("bob", "c")], events: Vec::new() },
        one(vec![event("a", 2)]),
        CommandWrite { keys: vec![of("carol", "a"), of("alice", "m")], events: vec![event("c", 1)] },
        CommandWrite {
            keys: vec![of("alice", "b")],
            events: vec![event("a", 3), event("b", 2), event("c", 2)],
        },
    ]);
    if copied {
        writer.appender.stage(&batch).await.unwrap();
        writer.appender.commit(&batch).await.unwrap();
    } else {
        writer.appender.write(&batch).await.unwrap();
    }
    let stored: Vec<(String, String, Option<i64>, String)> = sqlx::query_as(
        "SELECT key, principal, log_position, outcome::text FROM log.idempotency_keys ORDER BY ctid",
    )
    .fetch_all(&writer.database.app)
    .await
    .unwrap();
    let row = |key: &str, principal: &str, position| {
        (key.to_owned(), principal.to_owned(), position, of(principal, key).outcome)
    };
    assert_eq!(
        stored,
        [
            row("a", "carol", Some(4)),
            row("b", "alice", Some(7)),
            row("c", "bob", None),
            row("m", "alice", Some(4)),
            row("m", "bob", Some(2)),
            row("z", "alice", Some(2)),
        ]
    );
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await, batch.recorded());
}

#[tokio::test]
async fn what_is_copied_equals_what_one_statement_writes() {
    let mut writer = Writer::start().await;
    let commands = |name: &str| {
        let payload = r#"{"Counted":{"by":-1,"why":"tab\tbackslash \\ \"quote\" é 漢 \u0001"}}"#;
        vec![
            keyed(
                &format!("key of {name}"),
                vec![event_with(name, 1, payload), event_with(name, 2, payload)],
            ),
            keyed(&format!("refused of {name}"), Vec::new()),
        ]
    };
    writer.append(commands("a")).await;
    let batch = writer.batch(commands("b"));
    writer.appender.stage(&batch).await.unwrap();
    writer.appender.commit(&batch).await.unwrap();
    assert_eq!(writer.stored(LogPosition(2), 10).await, batch.recorded());
    let kept: Vec<(Option<i64>, String, Vec<u8>, String)> = sqlx::query_as(
        "SELECT log_position, principal, command_hash, outcome::text FROM log.idempotency_keys ORDER BY recorded_at, key",
    )
    .fetch_all(&writer.database.app)
    .await
    .unwrap();
    let row = |position| (position, "alice".to_owned(), vec![7; 32], r#"{"ok":true}"#.to_owned());
    assert_eq!(kept, [row(Some(2)), row(None), row(Some(4)), row(None)]);
}

#[tokio::test]
async fn a_commit_before_its_turn_changes_nothing_and_the_right_one_still_can() {
    let mut writer = Writer::start().await;
    let first = writer.batch(vec![one(vec![event("a", 1)])]);
    let second = behind(&writer, &first, "b");
    let mut beside = writer.appender.beside();
    writer.appender.stage(&first).await.unwrap();
    beside.stage(&second).await.unwrap();
    let error = beside.commit(&second).await.unwrap_err();
    assert!(matches!(error, AppendError::Deposed(_)), "{error}");
    writer.appender.commit(&first).await.unwrap();
    beside.stage(&second).await.unwrap();
    beside.commit(&second).await.unwrap();
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await, [first.recorded(), second.recorded()].concat());
}

#[tokio::test]
async fn a_commit_waits_in_postgresql_until_the_batch_before_is_durable() {
    let mut writer = Writer::start().await;
    let first = writer.batch(vec![one(vec![event("a", 1)])]);
    // Without events its end is where it begins: tickets tell them apart, not positions.
    let second = Batch { after: first.end(), ..writer.batch(vec![keyed("refused", Vec::new())]) };
    let third = behind(&writer, &second, "b");
    let (mut beside, mut last) = (writer.appender.beside(), writer.appender.beside());
    writer.appender.begin(&first, Ticket(1)).await.unwrap();
    beside.begin(&second, Ticket(2)).await.unwrap();
    last.begin(&third, Ticket(3)).await.unwrap();
    beside.stage(&second).await.unwrap();
    last.stage(&third).await.unwrap();
    let rest = tokio::spawn(async move {
        tokio::try_join!(last.commit_behind(Ticket(2), &third), beside.commit_behind(Ticket(1), &second))?;
        Ok::<_, AppendError>(third)
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!rest.is_finished());
    assert_eq!(writer.count("idempotency_keys").await, 0);
    writer.appender.stage(&first).await.unwrap();
    writer.appender.commit(&first).await.unwrap();
    let third = rest.await.unwrap().unwrap();
    assert_eq!(writer.stored(LogPosition::ZERO, 10).await, [first.recorded(), third.recorded()].concat());
    assert_eq!(writer.count("idempotency_keys").await, 2);
}

#[rstest::rstest]
#[tokio::test]
async fn a_commit_behind_a_batch_that_fails_changes_nothing(#[values(true, false)] in_order: bool) {
    let mut writer = Writer::start().await;
    let first = writer.batch(vec![one(vec![event("a", 1)])]);
    let second = behind(&writer, &first, "b");
    let mut beside = writer.appender.beside();
    writer.appender.begin(&first, Ticket(1)).await.unwrap();
    writer.appender.stage(&first).await.unwrap();
    beside.begin(&second, Ticket(2)).await.unwrap();
    beside.stage(&second).await.unwrap();
    let waiting = tokio::spawn(async move {
        let outcome = beside.commit_behind(Ticket(1), &second).await;
        (beside, outcome)
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    if in_order {
        writer.appender.roll_back().await;
    } else {
        // The one before is lost; PostgreSQL ends its session.
        sqlx::query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'daybook appender' AND state = 'idle in transaction'",
        )
        .execute(&writer.database.superuser)
        .await
        .unwrap();
    }
    let (mut beside, outcome) = waiting.await.unwrap();
    assert!(matches!(outcome, Err(AppendError::Deposed(_))), "{outcome:?}");
    assert_eq!((writer.count("events").await, writer.count("idempotency_keys").await), (0, 0));
    // Its connection is as good as before.
    let anew = writer.batch(vec![one(vec![event("b", 1)])]);
    beside.append(&anew).await.unwrap();
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let mut writer = Writer::start().await;
    let batch = writer.batch(vec![keyed("k", vec![event("a", 1)])]);
    writer.appender.stage(&batch).await.unwrap();
    writer.appender.roll_back().await;
    assert!(matches!(writer.appender.commit(&batch).await, Err(AppendError::Invalid(_))));
    assert_eq!((writer.count("events").await, writer.count("idempotency_keys").await), (0, 0));
    assert_eq!(writer.append(vec![keyed("k", vec![event("a", 1)])]).await, LogPosition(1));
}

#[tokio::test]
async fn a_batch_that_the_database_refuses_leaves_its_connection_usable() {
    let mut writer = Writer::start().await;
    let bad = writer.batch(vec![one(vec![event("a", 1)]), one(vec![event_with("b", 1, "no JSON")])]);
    let error = writer.appender.stage(&bad).await.unwrap_err();
    assert!(matches!(error, AppendError::Refused { .. }), "{error}");
    writer.append(vec![keyed("k", vec![event("a", 1)])]).await;
    let twice = writer.batch(vec![keyed("k", vec![event("b", 1)])]);
    assert_eq!(writer.appender.stage(&twice).await, Err(AppendError::KeyConflict));
    let stale = writer.batch(vec![one(vec![event("a", 1)])]);
    assert_eq!(writer.appender.stage(&stale).await, Err(AppendError::SequenceConflict));
    let good = writer.batch(vec![one(vec![event("a", 2)])]);
    writer.appender.stage(&good).await.unwrap();
    writer.appender.commit(&good).await.unwrap();
    assert_eq!(writer.count("events").await, 2);
}

#[tokio::test]
async fn a_deposed_leader_commits_nothing_that_it_sent_ahead() {
    let mut writer = Writer::start().await;
    let batch = writer.batch(vec![keyed("k", vec![event("a", 1)])]);
    writer.appender.stage(&batch).await.unwrap();
    lead(&writer.database, "node-2").await;
    let error = writer.appender.commit(&batch).await.unwrap_err();
    assert!(matches!(error, AppendError::Deposed(_)), "{error}");
    assert_eq!((writer.count("events").await, writer.count("idempotency_keys").await), (0, 0));
}

#[tokio::test]
async fn a_commit_of_unknown_outcome_is_found_out() {
    let mut writer = Writer::start().await;
    let batch = writer.batch(vec![keyed("k", vec![event("a", 1)])]);
    writer.appender.stage(&batch).await.unwrap();
    sqlx::query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'daybook appender'",
    )
    .execute(&writer.database.superuser)
    .await
    .unwrap();
    let error = writer.appender.commit(&batch).await.unwrap_err();
    assert!(matches!(error, AppendError::OutcomeUnknown(_)), "{error}");
    assert_eq!(writer.appender.find_out(&batch).await, Ok(Settled::NotCommitted));
    writer.appender.stage(&batch).await.unwrap();
    writer.appender.commit(&batch).await.unwrap();
    assert_eq!(writer.appender.find_out(&batch).await, Ok(Settled::Committed(LogPosition(1))));
}

#[tokio::test]
async fn the_head_never_moves_over_events_that_are_not_there() {
    let writer = Writer::start().await;
    let moved = sqlx::query("SELECT log.advance_head($1, 0, 1, clock_timestamp(), 1000)")
        .bind(writer.lease.epoch() as i64)
        .execute(&writer.database.app)
        .await;
    assert_eq!(moved.unwrap_err().as_database_error().unwrap().code().as_deref(), Some("DB001"));
    assert_eq!(writer.log.read_head().await.unwrap(), LogPosition::ZERO);
}
