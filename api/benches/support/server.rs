//! `daybook serve` in its release build as a process of its own, on a database that is given, without demo and feed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use api::auth::Keys;
use commands::Role;
use event_store::LogPosition;
use event_store::embedded::{Cluster, Role as DatabaseRole};
use sqlx::PgPool;

use super::client::Client;

/// For the start, and for the read models to catch up with what was prepared.
const LIMIT: Duration = Duration::from_secs(120);

/// A server that is ready, with its read models at the end of the log. Killed when it goes.
pub struct Server {
    child: Child,
    pub client: Client,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Starts it on the cluster's log, which nobody else leads.
    pub async fn start(cluster: &Cluster, app: PgPool, head: LogPosition) -> anyhow::Result<Self> {
        let key = Keys::new(app).create("bench", Role::Admin, None).await?.reveal().to_owned();
        let folder = tempfile::tempdir()?;
        let mut child = Command::new(env!("CARGO_BIN_EXE_daybook"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DAYBOOK_DATA_DIR", folder.path())
            .env("DATABASE_URL", cluster.connection_uri(DatabaseRole::App))
            .env("DAYBOOK_LISTEN", "127.0.0.1:0")
            .env("DAYBOOK_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("the server's output")?;
        let url = tokio::task::spawn_blocking(move || {
            let mut lines = BufReader::new(stdout).lines();
            lines.find_map(|line| {
                line.ok()?.split_whitespace().find(|word| word.ends_with("/graphql")).map(str::to_owned)
            })
        });
        let url = url.await?.context("the server ended before it was ready")?;
        let server = Self { child, client: Client::new(url, key)?, _folder: folder };
        server.caught_up(head).await?;
        Ok(server)
    }

    /// Waits until the read models show everything up to the position.
    pub async fn caught_up(&self, head: LogPosition) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Err(error) = self.client.read_at_least(head).await {
            ensure!(begun.elapsed() < LIMIT, "the server does not catch up: {error:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// The server's own memory, in MiB, without PostgreSQL's.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .context("the server has ended")?;
        let line =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS in its status")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
