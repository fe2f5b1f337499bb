//! Measures what clients of the whole server get: deposits and transfers a second over HTTP and GraphQL, acknowledged when
//! they are durable, while the server keeps its read models up to date as always.
//!
//! The server is `daybook serve` as a process of its own; clients, peers and PostgreSQL share the machine with it. The
//! figures go to `target/bench/summary.json`. `BENCH_SECONDS` is the length of one measurement (default 5). With arguments,
//! only rows whose names begin with one of them are measured: `cargo bench -p api --bench graphql -- graphql/transfers`.

#[path = "../../../commands/benches/support/mod.rs"]
mod support;
#[path = "../support/mod.rs"]
mod whole;

use std::sync::Arc;

use anyhow::ensure;
use domain::ids::AccountId;
use event_store::embedded::Role;
use sqlx::PgPool;

use support::batched::{self, Batched};
use support::load::{Load, own_account};
use support::ours::{self, Ours, Work};
use support::spread::Spread;
use support::summary::Measurement;
use support::{cluster, summary};
use whole::client::{Client, Deposited};
use whole::server::Server;

/// As in the server.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const DEPOSITORS: usize = 64;
/// Transfers a request, the clients that send them, and how many measurements' time they get: of large requests few are
/// answered a second.
const TRANSFERS: [(usize, usize, u32); 2] = [(100, 16, 1), (8_190, 4, 2)];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let length = cluster::length()?;
    let own = cluster::start().await?;
    let superuser = cluster::pool(&own, Role::Superuser, 4).await?;
    cluster::print_settings(&superuser).await?;
    event_store::migrate(&own.connect_options(Role::Migrator)).await?;
    let app = cluster::pool(&own, Role::App, 16).await?;
    let bus = Ours::start(app.clone()).await?;
    println!("opening {} accounts", cluster::ACCOUNTS);
    let accounts: Arc<[AccountId]> = bus.open_accounts(cluster::ACCOUNTS).await?.into();
    let peers = cluster::pool(&own, Role::Superuser, batched::CONNECTIONS as u32).await?;
    let batched = Batched::start(&superuser, peers).await?;

    let wanted: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let wants = |row: &str| wanted.is_empty() || wanted.iter().any(|name| row.starts_with(name.as_str()));
    let deposits = format!("graphql/deposit-{DEPOSITORS}");
    let mut without_http = None;
    if wants(&deposits) {
        let load = cluster::begin(&superuser, &format!("command/{DEPOSITORS}"), DEPOSITORS, length).await?;
        without_http = Some(bus.measure(&accounts, &Work::Deposits, load).await?);
    }
    bus.stop().await;

    println!("starting the server");
    let server = Server::start(&own, app, bus.log.read_head().await?).await?;
    let whole = Whole { superuser, client: server.client.clone(), accounts };
    let unmeasured = cluster::NEW_LEADER_WARM_UP;
    whole.deposits(cluster::begin(&whole.superuser, "warming up", DEPOSITORS, unmeasured).await?).await?;
    whole.load().await?;
    let mut rows = Vec::new();
    if let Some(peer) = without_http {
        let load = cluster::begin(&whole.superuser, &deposits, DEPOSITORS, length).await?;
        let value = whole.deposits(load).await?;
        rows.push(Measurement::new(&deposits, "deposits/s", value, "command/64", peer));
    }
    for (batch, clients, lengths) in TRANSFERS {
        let name = format!("graphql/transfers-{batch}");
        if !wants(&name) {
            continue;
        }
        let load = cluster::begin(&whole.superuser, &name, clients, lengths * length).await?;
        let value = whole.transfers(batch, load).await?;
        // The read models are not to catch up while the peer is measured.
        server.caught_up(bus.log.read_head().await?).await?;
        let peer = format!("{name}: SQL in batches");
        let load = cluster::begin(&whole.superuser, &peer, batched::CONNECTIONS, lengths * length).await?;
        let peer = batched.measure(&whole.accounts, &Spread::Even, batch, load).await?;
        rows.push(Measurement::new(&name, "transfers/s", value, "sql-batched", peer));
    }
    drop(server);
    summary::write(&rows)
}

/// The server and its log.
struct Whole {
    superuser: PgPool,
    client: Client,
    accounts: Arc<[AccountId]>,
}

impl Whole {
    /// Uses each account once, so that a new leader has loaded all of them before anything is measured.
    async fn load(&self) -> anyhow::Result<()> {
        for some in self.accounts.chunks(ours::CHUNK) {
            let pairs = some.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
            self.client.transfers(pairs).await?;
        }
        Ok(())
    }

    /// Durable deposits a second, one a request.
    async fn deposits(&self, load: Load) -> anyhow::Result<f64> {
        let before = ours::head(&self.superuser).await?;
        let (client, accounts) = (self.client.clone(), Arc::clone(&self.accounts));
        let answered = load
            .run(move |place, number| {
                let account = own_account(&accounts, load.clients, place, number).clone();
                let client = client.clone();
                async move {
                    ensure!(
                        client.deposit(&account).await? == Deposited::Accepted,
                        "a deposit was not answered"
                    );
                    Ok(())
                }
            })
            .await?;
        ours::check(&self.superuser, before, answered.count, answered.count).await?;
        Ok(answered.rate)
    }

    /// Durable transfers a second, so many a request.
    async fn transfers(&self, batch: usize, load: Load) -> anyhow::Result<f64> {
        let before = ours::head(&self.superuser).await?;
        let (client, accounts) = (self.client.clone(), Arc::clone(&self.accounts));
        let answered = load
            .run(move |place, number| {
                let (client, accounts) = (client.clone(), Arc::clone(&accounts));
                async move {
                    let numbers = number * batch..(number + 1) * batch;
                    client.transfers(numbers.map(|number| Spread::Even.pair(&accounts, place, number))).await
                }
            })
            .await?;
        let transfers = answered.count * u64::try_from(batch)?;
        ours::check(&self.superuser, before, transfers, 2 * transfers).await?;
        Ok(answered.rate * batch as f64)
    }
}
