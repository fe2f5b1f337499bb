//! The rows: what is measured beside what.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::AccountId;
use event_store::LogPosition;
use sqlx::PgPool;

use crate::support::batched::{self, Batched};
use crate::support::cluster;
use crate::support::load::Load;
use crate::support::open_loop::OpenLoop;
use crate::support::ours::{Ours, Work};
use crate::support::spread::Spread;
use crate::support::sql::PlainSql;
use crate::support::summary::Measurement;
use crate::{copy, peer};

/// Clients with which the bus is at its peak, or near it.
const MANY: usize = 1_024;
/// The latencies that are told, with the names of their rows.
const QUANTILES: [(&str, f64); 3] =
    [("latency/half-peak-p50", 0.5), ("latency/half-peak-p99", 0.99), ("latency/half-peak-p999", 0.999)];

/// Nodes over which clients are spread.
const NODES: [usize; 2] = [2, 4];

/// Everything that is measured, on one cluster.
pub struct Bench {
    pub superuser: PgPool,
    pub app: PgPool,
    pub ours: Ours,
    pub library: peer::Peer,
    pub plain: PlainSql,
    pub batched: Batched,
    pub accounts: Arc<[AccountId]>,
    pub length: Duration,
    /// Beginnings of the names of the rows to measure; all when it is empty.
    pub wanted: Vec<String>,
    pub rows: Vec<Measurement>,
}

impl Bench {
    /// Measures the rows that are wanted, and stops the bus.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let mut peaks = None;
        for clients in [1, 64, MANY] {
            if self.wants(&format!("command/{clients}")) {
                let found = self.deposits(clients).await?;
                peaks = (clients == MANY).then_some(found);
            }
        }
        if QUANTILES.iter().any(|(row, _)| self.wants(row)) {
            let peaks = match peaks {
                Some(peaks) => peaks,
                None => self.peaks(MANY, "latency: the peak").await?,
            };
            self.latency(peaks).await?;
        }
        for clients in [MANY, 4 * MANY] {
            if self.wants(&format!("transfer/{clients}")) {
                self.transfers(clients).await?;
            }
        }
        for (row, spread) in [
            ("transfer/zipf-1024", Spread::zipf(self.accounts.len())),
            ("transfer/one-hot-account", Spread::OneHot),
        ] {
            if self.wants(row) {
                self.skewed(row, spread).await?;
            }
        }
        self.ours.stop().await;
        if NODES.iter().any(|nodes| self.wants(&format!("nodes/{nodes}"))) {
            self.nodes().await?;
        }
        Ok(())
    }

    fn wants(&self, row: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|name| row.starts_with(name.as_str()))
    }

    async fn begin(&self, name: &str, clients: usize) -> anyhow::Result<Load> {
        cluster::begin(&self.superuser, name, clients, self.length).await
    }

    fn push(&mut self, name: &str, unit: &str, value: f64, peer: &str, peer_value: f64) {
        self.rows.push(Measurement::new(name, unit, value, peer, peer_value));
    }

    /// The rates of ours and of `postgres-es`.
    async fn deposits(&mut self, clients: usize) -> anyhow::Result<(f64, f64)> {
        let name = format!("command/{clients}");
        let load = self.begin(&name, clients).await?;
        let from = self.ours.head();
        let value = self.ours.measure(&self.accounts, &Work::Deposits, load).await?;
        let ceiling = self.ceiling(&name, from).await?;
        let load = self.begin(&format!("{name}: postgres-es"), clients).await?;
        let library = self.library.measure(&self.accounts, load).await?;
        self.push(&name, "commands/s", value, "postgres-es", library);
        self.push(&format!("{name}-vs-copy"), "commands/s", value, "copy", ceiling);
        Ok((value, library))
    }

    /// The same rates without a row of their own.
    async fn peaks(&self, clients: usize, name: &str) -> anyhow::Result<(f64, f64)> {
        let load = self.begin(name, clients).await?;
        let ours = self.ours.measure(&self.accounts, &Work::Deposits, load).await?;
        let load = self.begin(&format!("{name}: postgres-es"), clients).await?;
        Ok((ours, self.library.measure(&self.accounts, load).await?))
    }

    async fn latency(&mut self, (our_peak, library_peak): (f64, f64)) -> anyhow::Result<()> {
        let name = "latency/half-peak";
        let at_half_of = |peak: f64, load: Load| OpenLoop {
            rate: peak / 2.0,
            warm_up: load.warm_up,
            // Twice as long: one request in a thousand is to be told.
            length: 2 * load.length,
        };
        let open_loop = at_half_of(our_peak, self.begin(name, MANY).await?);
        println!("  {:.0} commands/s", open_loop.rate);
        let ours = self.ours.latencies(&self.accounts, open_loop).await?;
        let open_loop = at_half_of(library_peak, self.begin(&format!("{name}: postgres-es"), MANY).await?);
        println!("  {:.0} commands/s", open_loop.rate);
        let library = self.library.latencies(&self.accounts, open_loop).await?;
        for (row, quantile) in QUANTILES {
            self.push(row, "ms", ours.at(quantile), "postgres-es", library.at(quantile));
        }
        Ok(())
    }

    async fn transfers(&mut self, clients: usize) -> anyhow::Result<()> {
        let name = format!("transfer/{clients}");
        let load = self.begin(&name, clients).await?;
        let from = self.ours.head();
        let value = self.ours.measure(&self.accounts, &Work::Transfers(Spread::Even), load).await?;
        let ceiling = self.ceiling(&name, from).await?;
        self.push(&name, "transfers/s", value, "copy", ceiling);
        if clients == MANY {
            let load = self.begin(&format!("{name}: plain SQL"), clients).await?;
            let plain = self.plain.measure(&self.accounts, &Spread::Even, load).await?;
            self.push(&format!("{name}-vs-sql"), "transfers/s", value, "sql", plain);
            let load = self.begin(&format!("{name}: SQL in batches"), batched::CONNECTIONS).await?;
            let batched = self.batched.measure(&self.accounts, &Spread::Even, batched::BATCH, load).await?;
            self.push(&format!("{name}-vs-sql-batched"), "transfers/s", value, "sql-batched", batched);
        }
        Ok(())
    }

    /// Transfers that meet in the same accounts, beside plain SQL ones that do the same.
    async fn skewed(&mut self, name: &str, spread: Spread) -> anyhow::Result<()> {
        let load = self.begin(name, MANY).await?;
        let value = self.ours.measure(&self.accounts, &Work::Transfers(spread.clone()), load).await?;
        let load = self.begin(&format!("{name}: plain SQL"), MANY).await?;
        let plain = self.plain.measure(&self.accounts, &spread, load).await?;
        self.push(name, "transfers/s", value, "sql", plain);
        Ok(())
    }

    /// Transfers of clients that are spread over nodes of one database, of which one decides.
    async fn nodes(&mut self) -> anyhow::Result<()> {
        let one = self.transfers_over(1).await?;
        for nodes in NODES {
            let name = format!("nodes/{nodes}");
            if self.wants(&name) {
                let value = self.transfers_over(nodes).await?;
                self.push(&name, "transfers/s", value, "one node", one);
            }
        }
        Ok(())
    }

    async fn transfers_over(&self, nodes: usize) -> anyhow::Result<f64> {
        let ours = Ours::start_nodes(self.app.clone(), nodes).await?;
        ours.load(&self.accounts).await?;
        let load = self.begin(&format!("nodes/{nodes}"), MANY).await?;
        let load = Load { warm_up: cluster::NEW_LEADER_WARM_UP, ..load };
        let value = ours.measure(&self.accounts, &Work::Transfers(Spread::Even), load).await?;
        ours.stop().await;
        Ok(value)
    }

    async fn ceiling(&self, name: &str, from: LogPosition) -> anyhow::Result<f64> {
        println!("{name}: COPY of the same rows");
        copy::measure(&self.superuser, from, self.length).await
    }
}
