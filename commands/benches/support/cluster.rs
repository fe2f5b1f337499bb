//! The cluster that everything is measured on: Daybook's own settings, room for the peers' connections, everything durable.

use std::time::Duration;

use anyhow::{Context, bail};
use event_store::embedded::{Cluster, Options, Role, TemporaryCluster};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};

use super::load::Load;

/// In every measurement.
pub const ACCOUNTS: usize = 100_000;
/// Before each measurement.
const WARM_UP: Duration = Duration::from_secs(2);

/// Instead, after a change of leader: until it has read the idempotency keys in, a new one looks each key up.
pub const NEW_LEADER_WARM_UP: Duration = Duration::from_secs(8);

/// Length of one measurement: `BENCH_SECONDS`, 5 s if it is not set.
pub fn length() -> anyhow::Result<Duration> {
    let seconds = match std::env::var("BENCH_SECONDS") {
        Ok(text) => text.parse().context("BENCH_SECONDS must be a number of seconds")?,
        Err(_) => 5,
    };
    Ok(Duration::from_secs(seconds))
}

/// A cluster of its own with the settings that Daybook serves with; more connections, for the peers. `BENCH_SETTINGS` has
/// others to try, for ours and peers alike, such as `wal_compression=lz4,max_wal_size=8GB`.
pub async fn start() -> anyhow::Result<TemporaryCluster> {
    let settings = [
        ("shared_buffers", "512MB"),
        ("max_connections", "300"),
        ("min_wal_size", "128MB"),
        ("max_wal_size", "2GB"),
    ];
    let mut options =
        settings.iter().fold(Options::default(), |options, (name, value)| options.with_setting(name, value));
    let tried = std::env::var("BENCH_SETTINGS").unwrap_or_default();
    for setting in tried.split(',').filter(|setting| !setting.is_empty()) {
        let (name, value) = setting.split_once('=').context("BENCH_SETTINGS is a list of name=value")?;
        options = options.with_setting(name, value);
    }
    Ok(Cluster::start_temporary_with(options).await?)
}

/// Connections as that role, made before anything is measured.
pub async fn pool(cluster: &Cluster, role: Role, connections: u32) -> anyhow::Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(connections).min_connections(connections);
    Ok(options.acquire_timeout(Duration::from_secs(60)).connect_with(cluster.connect_options(role)).await?)
}

/// Prints what the figures depend on, and refuses to measure a server that loses commits.
pub async fn print_settings(pool: &PgPool) -> anyhow::Result<()> {
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

/// Says what is measured next and begins it just after a checkpoint, as every measurement does.
pub async fn begin(superuser: &PgPool, name: &str, clients: usize, length: Duration) -> anyhow::Result<Load> {
    sqlx::raw_sql("CHECKPOINT").execute(superuser).await?;
    println!("{name}");
    Ok(Load { clients, warm_up: WARM_UP, length })
}
