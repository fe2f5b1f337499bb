//! Positions are dense and in commit order, and no reader skips or splits, whatever writers do.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use common::{Writer, event, lead, one};
use event_store::{AppendError, Appender, Batch, CommandWrite, Log, LogPosition, RecordedEvent};
use futures::future::join_all;
use sqlx::{PgPool, Row};

/// Where a reader gets its events from.
#[derive(Clone, Copy, PartialEq)]
enum From {
    /// The tail buffer, which follows the database under the writers.
    Tail,
    /// The database itself: a log that is opened anew has no tail before its head.
    Database,
}

/// Reads on until the writers are done and the end is reached, and checks every step.
async fn read_and_check(
    pool: PgPool,
    done: Arc<AtomicBool>,
    from: From,
    max_events: usize,
) -> Vec<RecordedEvent> {
    let mut log = Log::open(pool.clone()).await.unwrap();
    let mut seen: Vec<RecordedEvent> = Vec::new();
    loop {
        let finished = done.load(Ordering::SeqCst);
        if from == From::Database {
            log = Log::open(pool.clone()).await.unwrap();
        }
        let after = seen.last().map_or(LogPosition::ZERO, |event| event.log_position);
        let events = log.read(after, max_events).await.unwrap();
        for event in &events {
            let expected = seen.last().map_or(LogPosition(1), |newest| newest.log_position.next());
            assert_eq!(event.log_position, expected, "nothing is skipped");
            if let Some(newest) = seen.last() {
                assert!(event.recorded_at >= newest.recorded_at, "time never moves backward");
                assert!(
                    newest.remaining == 0 || event.remaining == newest.remaining - 1,
                    "commands are in one piece"
                );
            }
            seen.push(event.clone());
        }
        if let Some(last) = events.last() {
            assert_eq!(last.remaining, 0, "a read never stops inside a command");
        } else if finished && log.head() == log.read_head().await.unwrap() {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

fn commands(writer: u64, round: u64) -> Vec<CommandWrite> {
    let id = format!("{writer}-{round}");
    (0..1 + round % 3)
        .map(|command| {
            let id = format!("{id}-{command}");
            one((1..=1 + (writer + round) % 4).map(|sequence| event(&id, sequence)).collect())
        })
        .collect()
}

/// Appends by hand in a transaction that takes its time, and commits or aborts. Returns the events it committed.
async fn append_slowly(pool: &PgPool, writer: u64, round: u64) -> usize {
    let mut transaction = pool.begin().await.unwrap();
    let head =
        sqlx::query("SELECT log_position, epoch, clock_timestamp() AS now FROM log.log_head FOR UPDATE")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
    let (position, epoch): (i64, i64) = (head.get("log_position"), head.get("epoch"));
    let events: Vec<_> = commands(writer, round)
        .into_iter()
        .flat_map(|command| {
            let last = command.events.len() - 1;
            command.events.into_iter().enumerate().map(move |(place, event)| (event, (last - place) as i16))
        })
        .collect();
    let now: chrono::DateTime<chrono::Utc> = head.get("now");
    sqlx::query(
        "INSERT INTO log.events (log_position, sequence, recorded_at, event_id, remaining, aggregate_type, aggregate_id, \
                                 event_type, event_version, payload, metadata) \
         SELECT $1 + place, sequence, $2, id, remaining, 'counter', stream, 'Counted', '1.0', '{}', '{}' \
         FROM unnest($3::uuid[], $4::text[], $5::bigint[], $6::smallint[]) \
              WITH ORDINALITY AS event (id, stream, sequence, remaining, place)",
    )
    .bind(position)
    .bind(now)
    .bind(events.iter().map(|(event, _)| event.event_id).collect::<Vec<_>>())
    .bind(events.iter().map(|(event, _)| &*event.stream.aggregate_id).collect::<Vec<_>>())
    .bind(events.iter().map(|(event, _)| event.sequence as i64).collect::<Vec<_>>())
    .bind(events.iter().map(|(_, remaining)| *remaining).collect::<Vec<_>>())
    .execute(&mut *transaction)
    .await
    .unwrap();
    sqlx::query("SELECT log.advance_head($1, $2, $3, $4, 10000)")
        .bind(epoch)
        .bind(position)
        .bind(position + events.len() as i64)
        .bind(now)
        .execute(&mut *transaction)
        .await
        .unwrap();
    // A commit that is slow to come, while others wait and readers read.
    sqlx::query("SELECT pg_sleep($1)")
        .bind((writer + round) as f64 % 5.0 / 1000.0)
        .execute(&mut *transaction)
        .await
        .unwrap();
    if round % 3 == 2 {
        transaction.rollback().await.unwrap();
        0
    } else {
        transaction.commit().await.unwrap();
        events.len()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn readers_never_skip_or_split_under_slow_and_aborting_writers() {
    let writer = Writer::start().await;
    // A leader that waits without appending would hide what others append until its next poll.
    drop(writer.appender);
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for (from, max_events) in
        [(From::Tail, 1), (From::Tail, 1_000), (From::Database, 3), (From::Database, 40)]
    {
        let pool = writer.database.app.clone();
        readers.push(tokio::spawn(read_and_check(pool, Arc::clone(&done), from, max_events)));
    }
    let pool = &writer.database.superuser;
    let written: usize = join_all((0..4).map(|writer| async move {
        let mut written = 0;
        for round in 0..25 {
            written += append_slowly(pool, writer, round).await;
        }
        written
    }))
    .await
    .iter()
    .sum();
    done.store(true, Ordering::SeqCst);
    assert!(written > 100);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen.len(), written, "every committed event once, and none of an aborted one");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_appenders_of_one_epoch_never_overwrite_each_other() {
    let writer = Writer::start().await;
    let done = Arc::new(AtomicBool::new(false));
    let reader =
        tokio::spawn(read_and_check(writer.database.app.clone(), Arc::clone(&done), From::Database, 7));
    // Both see the same head before either appends, so they meet at least once.
    let start = Arc::new(tokio::sync::Barrier::new(2));
    let log = writer.open_log().await;
    // One that connects ends the connections of others, so the second is made beside the first.
    let first = Appender::connect(&log, &writer.lease).await.unwrap();
    let second = first.beside();
    let fight = (0_u64..).zip([first, second]).map(|(number, mut appender)| {
        let (start, log) = (Arc::clone(&start), log.clone());
        tokio::spawn(async move {
            let (mut written, mut lost, mut round) = (0, 0, 0);
            while round < 40 {
                let after = log.read_head().await.unwrap();
                if round + lost == 0 {
                    start.wait().await;
                }
                let batch = Batch { after, recorded_at: Utc::now(), commands: commands(number, round) };
                match appender.append(&batch).await {
                    Ok(head) => {
                        assert_eq!(head, after.advance(batch.event_count()));
                        written += batch.event_count();
                        round += 1;
                    }
                    Err(AppendError::Deposed(_) | AppendError::Invalid(_)) => lost += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (written, lost)
        })
    });
    let results = join_all(fight).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    done.store(true, Ordering::SeqCst);
    let written: usize = results.iter().map(|(written, _)| written).sum();
    assert!(results.iter().any(|(_, lost)| *lost > 0));
    assert_eq!(reader.await.unwrap().len(), written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_takeover_in_the_middle_of_appending_loses_and_doubles_nothing() {
    let mut writer = Writer::start().await;
    let database = writer.database.clone();
    let mut acknowledged = 0;
    let mut successor = None;
    for round in 0..60 {
        let batch = writer.batch(commands(1, round));
        let takeover = async { if round == 30 { Some(lead(&database, "node-2").await) } else { None } };
        let (appended, lease) = tokio::join!(writer.appender.append(&batch), takeover);
        successor = successor.or(lease);
        match appended {
            Ok(_) => acknowledged += batch.event_count(),
            Err(AppendError::Deposed(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let successor = successor.expect("the takeover happened");
    let log = writer.open_log().await;
    assert_eq!(log.read_head().await.unwrap(), LogPosition(acknowledged as u64));

    let mut appender = Appender::connect(&log, &successor).await.unwrap();
    let batch =
        Batch { after: LogPosition(acknowledged as u64), recorded_at: Utc::now(), commands: commands(2, 0) };
    appender.append(&batch).await.unwrap();
    let stored = writer.stored(LogPosition::ZERO, 10_000).await;
    assert_eq!(stored.len(), acknowledged + batch.event_count());
    assert!(stored.iter().zip(1..).all(|(event, place)| event.log_position == LogPosition(place)));
}

#[tokio::test]
async fn a_missing_event_stops_a_reader_with_an_error() {
    let mut writer = Writer::start().await;
    writer.append(vec![one(vec![event("a", 1)])]).await;
    // As a damaged or half restored database would have it.
    sqlx::raw_sql(
        "INSERT INTO log.events SELECT log_position + 2, sequence + 1, recorded_at, event_id, remaining, \
                aggregate_type, aggregate_id, event_type, event_version, payload, metadata FROM log.events; \
         UPDATE log.log_head SET log_position = 3",
    )
    .execute(&writer.database.app)
    .await
    .unwrap();
    let log = writer.open_log().await;
    let error = log.read(LogPosition::ZERO, 10).await.unwrap_err();
    assert!(!error.is_transient());
    assert_eq!(error.to_string(), "the log is damaged: expected the event at log position 2, found 3");
}
