//! Measures the write path: durable commands of one event and transfers of two, per second, in a closed loop and their
//! latency in an open one, beside `postgres-es`, beside the same transfer in plain SQL, single and in batches, and beside
//! `COPY` of the very same rows, all on one cluster with the same settings.
//!
//! Everything is acknowledged only when it is durable. The figures go to `target/bench/summary.json` and, as a table, to
//! standard output. `BENCH_SECONDS` is the length of one measurement (default 5). With arguments, only rows whose names
//! begin with one of them are measured: `cargo bench -p commands --bench write_path -- transfer/`.

mod copy;
mod peer;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use event_store::embedded::Role;

use rows::Bench;
use support::{batched, cluster, ours, sql, summary};

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let length = cluster::length()?;
    let own = cluster::start().await?;
    let superuser = cluster::pool(&own, Role::Superuser, 8).await?;
    cluster::print_settings(&superuser).await?;
    event_store::migrate(&own.connect_options(Role::Migrator)).await?;
    event_store::check_durability(&superuser).await?;
    let app = cluster::pool(&own, Role::App, 24).await?;
    let ours = ours::Ours::start(app.clone()).await?;
    println!("opening {} accounts", cluster::ACCOUNTS);
    let accounts = ours.open_accounts(cluster::ACCOUNTS).await?.into();
    let peers = |connections| cluster::pool(&own, Role::Superuser, connections);
    let library = peer::Peer::start(&superuser, peers(peer::CONNECTIONS).await?).await?;
    let plain = sql::PlainSql::start(&superuser, peers(sql::CONNECTIONS).await?).await?;
    let batched = batched::Batched::start(&superuser, peers(batched::CONNECTIONS as u32).await?).await?;

    let wanted = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let mut bench =
        Bench { superuser, app, ours, library, plain, batched, accounts, length, wanted, rows: Vec::new() };
    bench.run().await?;
    summary::write(&bench.rows)
}
