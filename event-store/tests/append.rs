//! Appending: what is written, what is refused, and that a refusal writes nothing.

mod common;

use chrono::{TimeDelta, Utc};
use common::{Writer, event, event_with, key_row, keyed, one};
use event_store::{AppendError, Batch, Keys, Leadership, LogPosition};

#[tokio::test]
async fn an_appended_batch_is_read_back_as_it_was_written() {
    let mut writer = Writer::start().await;
    let spaced = event_with("a", 2, r#"{ "Counted" : { "by":  1.50, "by": "ü" } }"#);
    let batch = writer.batch(vec![one(vec![event("a", 1), event("b", 1)]), one(vec![spaced])]);

    assert_eq!(writer.appender.append(&batch).await, Ok(LogPosition(3)));

    let read = writer.stored(LogPosition::ZERO, 100).await;
    assert_eq!(read, batch.recorded());
    assert_eq!(read.iter().map(|event| event.remaining).collect::<Vec<_>>(), [1, 0, 0]);
    assert_eq!(writer.log.read(LogPosition::ZERO, 100).await.unwrap(), read, "the tail holds the same");
}

#[tokio::test]
async fn a_stale_expected_sequence_never_writes() {
    let mut writer = Writer::start().await;
    writer.append(vec![one(vec![event("a", 1), event("a", 2)])]).await;

    let stale = writer.batch(vec![keyed("k", vec![event("b", 1)]), one(vec![event("a", 2)])]);
    assert_eq!(writer.appender.append(&stale).await, Err(AppendError::SequenceConflict));

    assert_eq!(writer.count("events").await, 2);
    assert_eq!(writer.count("idempotency_keys").await, 0);
    assert_eq!(writer.log.read_head().await.unwrap(), LogPosition(2));
    assert_eq!(writer.append(vec![one(vec![event("a", 3)])]).await, LogPosition(3), "the next one goes on");
}

#[tokio::test]
async fn a_taken_key_writes_nothing_and_another_principals_key_does_not_meet_it() {
    let mut writer = Writer::start().await;
    writer.append(vec![keyed("k", vec![event("a", 1)])]).await;

    let again = writer.batch(vec![keyed("k", vec![event("a", 2)])]);
    assert_eq!(writer.appender.append(&again).await, Err(AppendError::KeyConflict));
    assert_eq!(writer.count("events").await, 1);

    let mut others = keyed("k", vec![event("a", 2)]);
    others.keys[0].principal = "bob".into();
    assert_eq!(writer.append(vec![others]).await, LogPosition(2));
}

#[tokio::test]
async fn a_key_is_stored_with_the_position_of_its_commands_last_event() {
    let mut writer = Writer::start().await;
    writer
        .append(vec![
            keyed("refused", vec![]),
            one(vec![event("a", 1)]),
            keyed("two", vec![event("b", 1), event("a", 2)]),
            keyed("one", vec![event("b", 2)]),
        ])
        .await;

    let pair = |key: &str| ("alice".to_owned(), key.to_owned());
    let keys = Keys::new(writer.database.app.clone());
    let found = keys.lookup(&[pair("refused"), pair("two"), pair("one"), pair("none")]).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[&pair("refused")].log_position, None);
    assert_eq!(found[&pair("two")].log_position, Some(LogPosition(3)));
    assert_eq!(found[&pair("one")].log_position, Some(LogPosition(4)));
    assert_eq!(found[&pair("one")].command_hash, key_row("one").command_hash);
    assert_eq!(found[&pair("one")].outcome, key_row("one").outcome);
}

#[tokio::test]
async fn a_refusal_alone_is_remembered_without_moving_the_head() {
    let mut writer = Writer::start().await;
    let batch = writer.batch(vec![keyed("refused", vec![])]);
    assert_eq!(writer.appender.append(&batch).await, Ok(LogPosition::ZERO));
    assert_eq!(writer.count("idempotency_keys").await, 1);
    assert_eq!(writer.log.read_head().await.unwrap(), LogPosition::ZERO);

    let mut earlier = writer.batch(vec![one(vec![event("a", 1)])]);
    earlier.recorded_at = batch.recorded_at - TimeDelta::milliseconds(1);
    assert!(
        matches!(writer.appender.append(&earlier).await, Err(AppendError::Invalid(_))),
        "its time is not gone back behind either"
    );
}

#[tokio::test]
async fn recorded_at_never_moves_backward() {
    let mut writer = Writer::start().await;
    let first = writer.batch(vec![one(vec![event("a", 1)])]);
    writer.appender.append(&first).await.unwrap();

    let mut second = writer.batch(vec![one(vec![event("a", 2)])]);
    second.recorded_at = first.recorded_at - TimeDelta::microseconds(1);
    assert!(matches!(writer.appender.append(&second).await, Err(AppendError::Invalid(_))));
    assert_eq!(writer.count("events").await, 1);

    second.recorded_at = first.recorded_at;
    assert_eq!(writer.appender.append(&second).await, Ok(LogPosition(2)), "equal is not backward");
}

#[tokio::test]
async fn poison_is_told_apart_and_writes_nothing() {
    let mut writer = Writer::start().await;
    let good = || one(vec![event("good", 1)]);
    let mut nul_in_key = keyed("k\0", vec![]);
    nul_in_key.keys[0].command_hash = [1; 32];
    let named = [
        one(vec![event_with("a", 1, "{\"Counted\":{\"memo\":\"a\0b\"}}")]),
        one(vec![event_with("a", 1, r#"{"Counted":{"memo":"a\u0000b"}}"#)]),
        one(vec![event("a\0", 1)]),
        nul_in_key,
    ];
    for poison in named {
        let batch = writer.batch(vec![good(), poison]);
        let answer = writer.appender.append(&batch).await;
        assert!(matches!(answer, Err(AppendError::Refused { command: Some(1), .. })), "{answer:?}");
    }
    let unnamed = [
        one(vec![event_with("a", 1, "{not json")]),
        one(vec![event(&random_text(9_600), 1)]),
        keyed(&random_text(9_600), vec![]),
    ];
    for poison in unnamed {
        let batch = writer.batch(vec![good(), poison]);
        let answer = writer.appender.append(&batch).await;
        assert!(matches!(answer, Err(AppendError::Refused { command: None, .. })), "{answer:?}");
    }
    assert_eq!(writer.count("events").await, 0);
    assert_eq!(writer.append(vec![good()]).await, LogPosition(1), "the connection is still good");
}

/// Text that does not compress, so that no index takes it.
fn random_text(bytes: usize) -> String {
    (0..=bytes / 32)
        .map(|i| uuid::Uuid::new_v5(&uuid::Uuid::nil(), &i.to_le_bytes()).simple().to_string())
        .collect()
}

#[tokio::test]
async fn a_batch_that_contradicts_itself_is_not_sent() {
    let mut writer = Writer::start().await;
    for events in [
        vec![event("a", 1), event("a", 3)],
        vec![event("a", 1), event("a", 1)],
        vec![event("a", 2), event("a", 1)],
        vec![event("a", 0)],
    ] {
        let batch = writer.batch(vec![one(events)]);
        assert!(matches!(writer.appender.append(&batch).await, Err(AppendError::Invalid(_))));
    }
    assert_eq!(writer.count("events").await, 0);
}

#[tokio::test]
async fn the_largest_command_fits_and_one_larger_is_refused() {
    let mut writer = Writer::start().await;
    let events = |count: u64| vec![one((1..=count).map(|sequence| event("a", sequence)).collect())];
    let batch = writer.batch(events(32_769));
    assert!(matches!(writer.appender.append(&batch).await, Err(AppendError::Invalid(_))));

    assert_eq!(writer.append(events(32_768)).await, LogPosition(32_768));
    let read = writer.stored(LogPosition::ZERO, 10).await;
    assert_eq!(read.len(), 32_768, "a reader gets it whole, however little it asked for");
    assert_eq!(read[0].remaining, 32_767);
    assert!(read.last().unwrap().ends_command());
}

#[tokio::test]
async fn an_append_extends_the_lease() {
    let mut writer = Writer::start().await;
    let leadership = Leadership::new(writer.database.app.clone());
    sqlx::query("UPDATE log.log_head SET lease_until = clock_timestamp()")
        .execute(&writer.database.app)
        .await
        .unwrap();
    assert!(!leadership.current().await.unwrap().holds);
    writer.append(vec![one(vec![event("a", 1)])]).await;
    assert!(leadership.current().await.unwrap().holds);
}

#[tokio::test]
async fn an_append_that_cannot_get_the_head_in_time_is_not_written() {
    let mut writer = Writer::start().await;
    let mut holder = writer.database.app.begin().await.unwrap();
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *holder).await.unwrap();
    let batch = Batch { recorded_at: Utc::now(), ..writer.batch(vec![one(vec![event("a", 1)])]) };
    assert!(matches!(writer.appender.append(&batch).await, Err(AppendError::Unavailable(_))));
    holder.rollback().await.unwrap();
    assert_eq!(writer.count("events").await, 0);
    assert_eq!(writer.appender.append(&batch).await, Ok(LogPosition(1)), "trying again helps");
}
