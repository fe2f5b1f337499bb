//! The ceiling: `COPY` of the very rows that the bus has written (events and keys), into tables with the same indexes, in
//! the same batches, over one connection as the bus has one.

use std::time::{Duration, Instant};

use anyhow::Context;
use event_store::LogPosition;
use futures::TryStreamExt;
use sqlx::postgres::PgPoolCopyExt;
use sqlx::{Connection, PgPool};

/// Rows held in memory to be copied.
const MAX_ROWS: i64 = 300_000;

const TABLES: &str = "
    DROP SCHEMA IF EXISTS ceiling CASCADE;
    CREATE SCHEMA ceiling;
    CREATE TABLE ceiling.events (LIKE log.events INCLUDING ALL);
    CREATE TABLE ceiling.idempotency_keys (LIKE log.idempotency_keys INCLUDING ALL);
";

/// Commands a second: events after `from` with their keys.
pub async fn measure(superuser: &PgPool, from: LogPosition, length: Duration) -> anyhow::Result<f64> {
    sqlx::raw_sql(TABLES).execute(superuser).await?;
    let range = format!("log_position > {from} AND log_position <= {from} + {MAX_ROWS}");
    // The first column tells the batch.
    let events = batches(
        superuser,
        &format!(
            "SELECT recorded_at, log_position, sequence, recorded_at, event_id, remaining, aggregate_type, aggregate_id, \
             event_type, event_version, payload, metadata FROM log.events WHERE {range} ORDER BY log_position"
        ),
    )
    .await?;
    let keys = batches(
        superuser,
        &format!(
            "SELECT recorded_at, recorded_at, log_position, principal, key, command_hash, outcome \
             FROM log.idempotency_keys WHERE {range} ORDER BY log_position"
        ),
    )
    .await?;
    let mut connection = superuser.acquire().await?.detach();
    let (begun, mut copied) = (Instant::now(), 0);
    for (events, keys) in events.iter().zip(&keys) {
        let mut transaction = connection.begin().await?;
        for (columns, batch) in [
            (
                "ceiling.events (log_position, sequence, recorded_at, event_id, remaining, aggregate_type, aggregate_id, \
                 event_type, event_version, payload, metadata)",
                events,
            ),
            (
                "ceiling.idempotency_keys (recorded_at, log_position, principal, key, command_hash, outcome)",
                keys,
            ),
        ] {
            let mut copy = transaction.copy_in_raw(&format!("COPY {columns} FROM STDIN")).await?;
            copy.send(batch.text.as_slice()).await?;
            copy.finish().await?;
        }
        transaction.commit().await?;
        copied += events.rows;
        if begun.elapsed() >= length {
            break;
        }
    }
    Ok(f64::from(copied) / begun.elapsed().as_secs_f64())
}

/// Rows of one commit as COPY's text.
struct Batch {
    rows: u32,
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
