//! The ceiling: `COPY` of the very rows that the bus has written (events and keys), into tables with the same columns and
//! indexes, in the same batches, over a connection a processor, and in no order at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use event_store::LogPosition;
use futures::TryStreamExt;
use futures::future::try_join_all;
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{Connection, PgConnection, PgPool};

/// Events held in memory to be copied, twice the ceiling of a machine that is measured in seconds.
const MAX_EVENTS: i64 = 1_000_000;

const TABLES: &str = "
    DROP SCHEMA IF EXISTS ceiling CASCADE;
    CREATE SCHEMA ceiling;
    CREATE TABLE ceiling.events (LIKE log.events INCLUDING ALL);
    CREATE TABLE ceiling.idempotency_keys (LIKE log.idempotency_keys INCLUDING ALL);
";

const EVENTS: &str = "log_position, sequence, recorded_at, event_id, remaining, aggregate_type, aggregate_id, event_type, \
     event_version, payload, metadata";
const KEYS: &str = "recorded_at, log_position, principal, key, command_hash, outcome";

/// Commands a second: events after `from` with their keys.
pub async fn measure(superuser: &PgPool, from: LogPosition, length: Duration) -> anyhow::Result<f64> {
    let range = format!("log_position > {from} AND log_position <= {from} + {MAX_EVENTS}");
    // The first column tells the batch.
    let select = |columns, table| {
        format!("SELECT recorded_at, {columns} FROM log.{table} WHERE {range} ORDER BY log_position")
    };
    let events = batches(superuser, &select(EVENTS, "events")).await?;
    let keys = batches(superuser, &select(KEYS, "idempotency_keys")).await?;
    let batches: Arc<Vec<(Batch, Batch)>> = Arc::new(events.into_iter().zip(keys).collect());
    // The indexes are as large as ours were.
    let fill = format!(
        "{TABLES}
         INSERT INTO ceiling.events SELECT * FROM log.events WHERE log_position <= {from} ORDER BY log_position;
         INSERT INTO ceiling.idempotency_keys SELECT * FROM log.idempotency_keys WHERE log_position <= {from};"
    );
    sqlx::raw_sql(&fill).execute(superuser).await?;
    sqlx::raw_sql("CHECKPOINT").execute(superuser).await?;
    let (next, copied) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let mut connections = Vec::new();
    // One a processor: more would only make it slower.
    for _ in 0..std::thread::available_parallelism()?.get() {
        connections.push(superuser.acquire().await?.detach());
    }
    let begun = Instant::now();
    let copiers = connections.into_iter().map(|mut connection| {
        let (batches, next, copied) = (Arc::clone(&batches), Arc::clone(&next), Arc::clone(&copied));
        tokio::spawn(async move {
            while begun.elapsed() < length
                && let Some((events, keys)) = batches.get(next.fetch_add(1, Ordering::Relaxed))
            {
                copy(&mut connection, events, keys).await?;
                copied.fetch_add(keys.rows, Ordering::Relaxed);
            }
            anyhow::Ok(())
        })
    });
    for outcome in try_join_all(copiers.collect::<Vec<_>>()).await? {
        outcome?;
    }
    Ok(copied.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

async fn copy(connection: &mut PgConnection, events: &Batch, keys: &Batch) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    for (table, columns, batch) in [("events", EVENTS, events), ("idempotency_keys", KEYS, keys)] {
        let statement = format!("COPY ceiling.{table} ({columns}) FROM STDIN");
        let mut copy = transaction.copy_in_raw(&statement).await?;
        copy.send(batch.text.as_slice()).await?;
        copy.finish().await?;
    }
    Ok(transaction.commit().await?)
}

/// Rows of one commit as COPY's text.
struct Batch {
    rows: u64,
    text: Vec<u8>,
}

/// Reads rows out as `COPY` writes them, grouped by their first column, which is taken off.
async fn batches(pool: &PgPool, select: &str) -> anyhow::Result<Vec<Batch>> {
    let mut out = pool.copy_out_raw(&format!("COPY ({select}) TO STDOUT")).await?;
    let mut text = Vec::new();
    while let Some(chunk) = out.try_next().await? {
        text.extend_from_slice(&chunk);
    }
    let mut batches: Vec<Batch> = Vec::new();
    let mut newest: &[u8] = b"";
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let tab = line.iter().position(|byte| *byte == b'\t').context("a row of several columns")?;
        let (batch, row) = (&line[..tab], &line[tab + 1..]);
        if batch != newest {
            newest = batch;
            batches.push(Batch { rows: 0, text: Vec::new() });
        }
        if let Some(batch) = batches.last_mut() {
            batch.rows += 1;
            batch.text.extend_from_slice(row);
        }
    }
    Ok(batches)
}
