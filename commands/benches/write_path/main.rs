//! Measures the write path: durable commands of one event each, per second, in a closed loop with 64 and with 1,024
//! clients, beside `postgres-es` and beside `COPY` of the very same rows, on one cluster with the same settings.
//!
//! Everything is acknowledged only when it is durable. The figures go to `target/bench/summary.json` and, as a table, to
//! standard output. `DAYBOOK_BENCH_SECONDS` is the length of one measurement (default 6).

mod copy;
mod ours;
mod peer;
mod summary;

use std::time::Duration;

use anyhow::{Context, bail};
use event_store::embedded::{Cluster, Options, Role, TemporaryCluster};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use summary::Measurement;

/// Clients of a measurement.
const CLIENTS: [usize; 2] = [64, 1_024];
/// Accounts that the deposits go to; clients have disjoint ones, so that no peer loses time to conflicts.
const ACCOUNTS: usize = 16_384;
/// Before each measurement.
const WARM_UP: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let seconds = match std::env::var("DAYBOOK_BENCH_SECONDS") {
        Ok(text) => text.parse().context("DAYBOOK_BENCH_SECONDS must be a number of seconds")?,
        Err(_) => 6,
    };
    let length = Duration::from_secs(seconds);
    let cluster = start_cluster().await?;
    let superuser = pool(&cluster, Role::Superuser, 4).await?;
    print_settings(&superuser).await?;

    event_store::migrate(&cluster.connect_options(Role::Migrator)).await?;
    event_store::check_durability(&superuser).await?;
    let ours = ours::Ours::start(pool(&cluster, Role::App, 16).await?).await?;
    println!("opening {ACCOUNTS} accounts");
    let accounts = ours.open_accounts(ACCOUNTS).await?;
    let peer =
        peer::Peer::start(&superuser, pool(&cluster, Role::Superuser, peer::CONNECTIONS).await?).await?;

    let mut measurements = Vec::new();
    for clients in CLIENTS {
        let name = format!("command/{clients}");
        println!("{name}: daybook");
        let from = ours.head();
        let value = ours.measure(&accounts, clients, WARM_UP, length).await?;
        println!("{name}: postgres-es");
        let peer_value = peer.measure(&accounts, clients, WARM_UP, length).await?;
        measurements.push(Measurement::new(&name, value, "postgres-es", peer_value));
        println!("{name}: COPY of the same rows");
        let ceiling = copy::measure(&superuser, from, length).await?;
        measurements.push(Measurement::new(&name, value, "COPY", ceiling));
    }
    ours.stop().await;
    summary::write(&measurements)
}

/// A cluster of its own with the settings that Daybook serves with; more connections, for the peer.
async fn start_cluster() -> anyhow::Result<TemporaryCluster> {
    let settings = [
        ("shared_buffers", "512MB"),
        ("max_connections", "200"),
        ("min_wal_size", "128MB"),
        ("max_wal_size", "2GB"),
    ];
    let options =
        settings.iter().fold(Options::default(), |options, (name, value)| options.with_setting(name, value));
    Ok(Cluster::start_temporary_with(options).await?)
}

async fn pool(cluster: &Cluster, role: Role, connections: u32) -> anyhow::Result<PgPool> {
    // Connections are made before anything is measured.
    let options = PgPoolOptions::new().max_connections(connections).min_connections(connections);
    Ok(options.acquire_timeout(Duration::from_secs(60)).connect_with(cluster.connect_options(role)).await?)
}

/// Prints what the figures depend on, and refuses to measure a server that loses commits.
async fn print_settings(pool: &PgPool) -> anyhow::Result<()> {
    let version: String =
        sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(pool).await?;
    println!("PostgreSQL {version}, {} cores", std::thread::available_parallelism()?);
    let rows = sqlx::query(
        "SELECT name, current_setting(name) AS value FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', \
         'full_page_writes', 'shared_buffers', 'max_wal_size', 'wal_compression', 'checkpoint_timeout') ORDER BY name",
    )
    .fetch_all(pool)
    .await?;
    for row in rows {
        let (name, value): (String, String) = (row.try_get("name")?, row.try_get("value")?);
        println!("  {name} = {value}");
        if matches!(name.as_str(), "fsync" | "synchronous_commit" | "full_page_writes") && value != "on" {
            bail!("{name} is {value}: what is measured would not be durable");
        }
    }
    Ok(())
}
