//! Kept beside the log: stored outcomes, and where processes stand.

mod common;

use std::collections::HashSet;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use common::{Writer, event, keyed, lead};
use event_store::{Keys, LogPosition, ProcessStateError, ProcessStates};
use serde_json::json;

#[tokio::test]
async fn old_keys_are_pruned_in_small_steps_and_young_ones_stay() {
    let mut writer = Writer::start().await;
    let begun = Utc::now();
    for number in 0..5 {
        let mut batch = writer.batch(vec![keyed(&format!("old-{number}"), vec![event("a", number + 1)])]);
        batch.recorded_at = begun - TimeDelta::days(8);
        writer.appender.append(&batch).await.unwrap();
    }
    writer.append(vec![keyed("young", vec![])]).await;

    let keys = Keys::new(writer.database.app.clone());
    let week_ago = begun - TimeDelta::days(7);
    // A clock that is a year ahead takes them all for old; PostgreSQL's does not.
    let next_year = Utc::now() + TimeDelta::days(365);
    assert_eq!(keys.prune(next_year, Duration::from_secs(60 * 24 * 60 * 60), 100).await.unwrap(), 0);
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    assert_eq!(keys.prune(week_ago, week, 3).await.unwrap(), 3);
    assert_eq!(keys.prune(week_ago, week, 3).await.unwrap(), 2);
    assert_eq!(keys.prune(week_ago, week, 3).await.unwrap(), 0);
    let young = ("alice".to_owned(), "young".to_owned());
    let found = keys.lookup(&[young.clone(), ("alice".to_owned(), "old-1".to_owned())]).await.unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [young]);
    assert_eq!(writer.count("events").await, 5, "events are not pruned");
}

#[tokio::test]
async fn old_keys_are_looked_for_in_the_index_and_not_by_reading_all() {
    let mut writer = Writer::start().await;
    writer.append(vec![keyed("young", vec![])]).await;
    let keys = Keys::new(writer.database.app.clone());
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    // More often than a prepared statement is planned for its own values.
    for _ in 0..8 {
        assert_eq!(keys.prune(Utc::now() - week, week, 100).await.unwrap(), 0);
    }
    // Told by PostgreSQL within a second or so.
    let scans =
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'idempotency_keys_recorded_at'";
    let begun = std::time::Instant::now();
    while sqlx::query_scalar::<_, i64>(scans).fetch_one(&writer.database.superuser).await.unwrap() < 8 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the index is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn pages_of_keys_show_each_once_and_are_read_along_the_index() {
    const PAIRS: u32 = 60_000;
    const PAGE: u32 = 2_000;
    let writer = Writer::start().await;
    // Three principals have each of 20,000 keys, so pages end between them.
    sqlx::raw_sql(
        "INSERT INTO log.idempotency_keys SELECT clock_timestamp(), NULL, principal, md5(n::text), \
             sha256(''), '{}' FROM generate_series(1, 20000) AS n, unnest('{alice,bob,carol}'::text[]) AS principal; \
         ANALYZE log.idempotency_keys",
    )
    .execute(&writer.database.superuser)
    .await
    .unwrap();

    let keys = Keys::new(writer.database.app.clone());
    let (mut newest, mut pages, mut seen) = ((String::new(), String::new()), 0, Vec::new());
    loop {
        let page = keys.page_after(&newest, PAGE).await.unwrap();
        pages += 1;
        seen.extend(page.iter().cloned());
        match page.last() {
            Some(last) => newest = last.clone(),
            None => break,
        }
    }
    assert_eq!(pages, i64::from(PAIRS / PAGE + 1));
    let pairs: HashSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), pairs.len()), (PAIRS as usize, PAIRS as usize));

    // Told by PostgreSQL within a second or so.
    let scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'idempotency_keys_pkey'";
    let begun = std::time::Instant::now();
    while sqlx::query_scalar::<_, i64>(scans).fetch_one(&writer.database.superuser).await.unwrap() < pages {
        assert!(begun.elapsed() < Duration::from_secs(20), "the index is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn looking_up_no_keys_finds_none() {
    let writer = Writer::start().await;
    assert!(Keys::new(writer.database.app.clone()).lookup(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_process_goes_on_where_the_last_leader_saved_it() {
    let writer = Writer::start().await;
    let states = ProcessStates::new(writer.database.app.clone(), writer.lease.epoch());
    assert_eq!(states.load("feed").await.unwrap(), None);
    states.save("feed", LogPosition(7), &json!({"pass": 1})).await.unwrap();
    states.save("feed", LogPosition(9), &json!({"pass": 2})).await.unwrap();

    let next = lead(&writer.database, "node-2").await;
    let next = ProcessStates::new(writer.database.app.clone(), next.epoch());
    assert_eq!(next.load("feed").await.unwrap(), Some((LogPosition(9), json!({"pass": 2}))));
    assert_eq!(next.load("another").await.unwrap(), None);
}

#[tokio::test]
async fn a_deposed_leader_cannot_save_a_process_that_the_next_one_has_loaded() {
    let writer = Writer::start().await;
    let old = ProcessStates::new(writer.database.app.clone(), writer.lease.epoch());
    old.load("feed").await.unwrap();
    old.save("feed", LogPosition(1), &json!("old")).await.unwrap();

    let lease = lead(&writer.database, "node-2").await;
    let new = ProcessStates::new(writer.database.app.clone(), lease.epoch());
    new.load("feed").await.unwrap();
    let late = old.save("feed", LogPosition(2), &json!("late")).await;
    assert!(matches!(late, Err(ProcessStateError::Deposed(_))));
    assert!(matches!(old.load("feed").await, Err(ProcessStateError::Deposed(_))));
    assert_eq!(new.load("feed").await.unwrap(), Some((LogPosition(1), json!("old"))));
    assert!(
        matches!(
            new.save("never loaded", LogPosition(1), &json!(1)).await,
            Err(ProcessStateError::Deposed(_))
        ),
        "saving what was not loaded would overwrite what it says"
    );
}
