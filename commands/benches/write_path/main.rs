//! Measures the write path: durable commands of one event and transfers of two, per second, in a closed loop, beside
//! `postgres-es`, beside the same transfer as a plain SQL transaction and beside `COPY` of the very same rows, all on one
//! cluster with the same settings.
//!
//! Everything is acknowledged only when it is durable. The figures go to `target/bench/summary.json` and, as a table, to
//! standard output. `BENCH_SECONDS` is the length of one measurement (default 5). With arguments, only rows whose names
//! begin with one of them are measured: `cargo bench -p commands --bench write_path -- transfer/`.

mod copy;
mod load;
mod ours;
mod peer;
mod sql;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use domain::ids::AccountId;
use event_store::embedded::{Cluster, Options, Role, TemporaryCluster};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use load::Load;
use ours::Work;
use summary::Measurement;

/// As in the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// In every measurement.
const ACCOUNTS: usize = 100_000;
/// Before each measurement.
const WARM_UP: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let seconds = match std::env::var("BENCH_SECONDS") {
        Ok(text) => text.parse().context("BENCH_SECONDS must be a number of seconds")?,
        Err(_) => 5,
    };
    let cluster = start_cluster().await?;
    let superuser = pool(&cluster, Role::Superuser, 8).await?;
    print_settings(&superuser).await?;
    event_store::migrate(&cluster.connect_options(Role::Migrator)).await?;
    event_store::check_durability(&superuser).await?;
    let ours = ours::Ours::start(pool(&cluster, Role::App, 16).await?).await?;
    println!("opening {ACCOUNTS} accounts");
    let accounts = ours.open_accounts(ACCOUNTS).await?.into();
    let peers = |connections| pool(&cluster, Role::Superuser, connections);
    let library = peer::Peer::start(&superuser, peers(peer::CONNECTIONS).await?).await?;
    let plain = sql::PlainSql::start(&superuser, peers(sql::CONNECTIONS).await?).await?;

    let mut bench = Bench {
        superuser,
        ours,
        library,
        plain,
        accounts,
        length: Duration::from_secs(seconds),
        rows: Vec::new(),
    };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let is_wanted =
        |row: String| wanted.is_empty() || wanted.iter().any(|name| row.starts_with(name.as_str()));
    for clients in [1, 64, 1_024] {
        if is_wanted(format!("command/{clients}")) {
            bench.deposits(clients).await?;
        }
    }
    for clients in [1_024, 4_096] {
        if is_wanted(format!("transfer/{clients}")) {
            bench.transfers(clients, clients == 1_024).await?;
        }
    }
    bench.ours.stop().await;
    summary::write(&bench.rows)
}

/// Everything that is measured, on one cluster.
struct Bench {
    superuser: PgPool,
    ours: ours::Ours,
    library: peer::Peer,
    plain: sql::PlainSql,
    accounts: Arc<[AccountId]>,
    length: Duration,
    rows: Vec<Measurement>,
}

impl Bench {
    async fn deposits(&mut self, clients: usize) -> anyhow::Result<()> {
        let name = format!("command/{clients}");
        let load = self.begin(&name, clients).await?;
        let from = self.ours.head();
        let value = self.ours.measure(&self.accounts, Work::Deposits, load).await?;
        let ceiling = self.ceiling(&name, from).await?;
        self.begin(&format!("{name}: postgres-es"), clients).await?;
        let library = self.library.measure(&self.accounts, load).await?;
        self.rows.push(Measurement::new(&name, "commands/s", value, "postgres-es", library));
        self.rows.push(Measurement::new(&format!("{name}-vs-copy"), "commands/s", value, "copy", ceiling));
        Ok(())
    }

    async fn transfers(&mut self, clients: usize, beside_sql: bool) -> anyhow::Result<()> {
        let name = format!("transfer/{clients}");
        let load = self.begin(&name, clients).await?;
        let from = self.ours.head();
        let value = self.ours.measure(&self.accounts, Work::Transfers, load).await?;
        let ceiling = self.ceiling(&name, from).await?;
        self.rows.push(Measurement::new(&name, "transfers/s", value, "copy", ceiling));
        if beside_sql {
            self.begin(&format!("{name}: plain SQL"), clients).await?;
            let plain = self.plain.measure(&self.accounts, load).await?;
            self.rows.push(Measurement::new(&format!("{name}-vs-sql"), "transfers/s", value, "sql", plain));
        }
        Ok(())
    }

    async fn ceiling(&self, name: &str, from: event_store::LogPosition) -> anyhow::Result<f64> {
        println!("{name}: COPY of the same rows");
        copy::measure(&self.superuser, from, self.length).await
    }

    /// Every measurement begins just after a checkpoint.
    async fn begin(&self, name: &str, clients: usize) -> anyhow::Result<Load> {
        sqlx::raw_sql("CHECKPOINT").execute(&self.superuser).await?;
        println!("{name}");
        Ok(Load { clients, warm_up: WARM_UP, length: self.length })
    }
}

/// A cluster of its own with the settings that Daybook serves with; more connections, for the peer.
async fn start_cluster() -> anyhow::Result<TemporaryCluster> {
    let settings = [
        ("shared_buffers", "512MB"),
        ("max_connections", "300"),
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
