//! Measures what an append costs as the log grows, and as one stream does.
//!
//! The log is filled through the event store's own append path with the rows of transfers between 100,000 accounts. The
//! same load is timed when the log is nearly empty, half full and full, each time just after a checkpoint. Everything is
//! durable, as in the server. The figures go to `target/bench/summary.json`.
//!
//! `--events N` is how far the log grows (default 20,000,000, which takes about 20 GB in the system's temporary folder for
//! some minutes); the long stream has a twentieth of that: `cargo bench -p commands --bench growth -- --events 400000`.
//! `BENCH_ONLY=append` or `stream` measures one of the two.

mod cpu;
mod fill;
mod long_stream;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use anyhow::Context;
use event_store::embedded::Role;
use sqlx::PgPool;

use fill::Filler;
use support::summary::{self, Measurement};
use support::{cluster, ours};

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How far the log grows.
const EVENTS: u64 = 20_000_000;
/// On disk with its share of keys and indexes, rounded up.
const BYTES_AN_EVENT: u64 = 900;
/// WAL that is kept for reuse, and room to spare.
const WAL_BYTES: u64 = 4_000_000_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let events = wanted_events()?;
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let mut rows = Vec::new();
    if only.is_empty() || only == "stream" {
        rows.extend(long_stream::measure(events / 20).await?);
        summary::write(&rows)?;
    }
    if only.is_empty() || only == "append" {
        let appended = appends(events).await?;
        summary::write(&appended)?;
    }
    Ok(())
}

fn wanted_events() -> anyhow::Result<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--events").skip(1);
    match arguments.next() {
        Some(number) => number.parse().context("--events takes a number of events"),
        None => Ok(EVENTS),
    }
}

/// Fills the log and times the same load at its beginning, its middle and its end.
async fn appends(events: u64) -> anyhow::Result<Vec<Measurement>> {
    check_space(events)?;
    let own = cluster::start().await?;
    let superuser = cluster::pool(&own, Role::Superuser, 2).await?;
    cluster::print_settings(&superuser).await?;
    event_store::migrate(&own.connect_options(Role::Migrator)).await?;
    let ours = ours::Ours::start(cluster::pool(&own, Role::App, 8).await?).await?;
    println!("opening {} accounts", cluster::ACCOUNTS);
    let accounts = ours.open_accounts(cluster::ACCOUNTS).await?;
    let rows = rows::Transfers::like_one_of(&ours, &superuser, accounts).await?;
    ours.stop().await;

    let mut filler = Filler::start(&ours.log, rows).await?;
    // Long enough for some of the work that a checkpoint puts off, short enough to be one place in the log.
    let window = events / 20;
    let mut costs = Vec::new();
    for mark in [0, events / 2, events] {
        filler.fill(mark).await?;
        sqlx::raw_sql("CHECKPOINT").execute(&superuser).await?;
        let before = cpu::used(&superuser).await?;
        let took = filler.append(window).await?;
        let cpu = cpu::used(&superuser).await? - before;
        let of_each = |time: Duration| time.as_secs_f64() * 1e6 / window as f64;
        let (micros, of_cpu) = (of_each(took), of_each(cpu));
        let sizes = sizes(&superuser).await?;
        println!("at {}: {micros:.2} µs an event, {of_cpu:.2} µs of PostgreSQL's CPU{sizes}", label(mark));
        costs.push(micros);
    }
    filler.stop().await?;
    let [empty, half, full] = costs[..] else { anyhow::bail!("three places are measured") };
    let row = |from: &str, value: f64, before: f64| {
        let name = format!("append/{from}-{}", label(events));
        Measurement::new(&name, "µs/event", value, &format!("at {from}"), before)
    };
    Ok(vec![row(&label(events / 2), full, half), row("0", full, empty)])
}

/// A full disk would stop everybody on this machine.
fn check_space(events: u64) -> anyhow::Result<()> {
    let folder = std::env::temp_dir();
    let disk = rustix::fs::statvfs(&folder)?;
    let (free, needed) = (disk.f_bavail * disk.f_frsize, events * BYTES_AN_EVENT + WAL_BYTES);
    anyhow::ensure!(
        free > needed,
        "{} has {} GB free and {} GB are needed; set TMPDIR to a larger disk, or take a smaller --events",
        folder.display(),
        free / 1_000_000_000,
        needed.div_ceil(1_000_000_000)
    );
    Ok(())
}

/// How much the log's tables and indexes take.
async fn sizes(superuser: &PgPool) -> anyhow::Result<String> {
    let sizes: Vec<(String, i64)> = sqlx::query_as(
        "SELECT relname::text, pg_relation_size(oid) / 1048576 FROM pg_class \
         WHERE relnamespace = 'log'::regnamespace AND relkind IN ('r', 'i') AND pg_relation_size(oid) > 8388608 \
         ORDER BY relname",
    )
    .fetch_all(superuser)
    .await?;
    Ok(sizes.into_iter().map(|(name, mib)| format!(", {name} {mib} MiB")).collect())
}

/// A number of events, in short.
fn label(events: u64) -> String {
    match events {
        millions if millions >= 1_000_000 && millions.is_multiple_of(1_000_000) => {
            format!("{}M", millions / 1_000_000)
        }
        thousands if thousands >= 1_000 => format!("{}k", thousands / 1_000),
        few => few.to_string(),
    }
}
