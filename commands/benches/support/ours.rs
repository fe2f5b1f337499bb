//! Daybook: deposits and transfers through the bus.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use commands::bus::PeerSettings;
use commands::testing::{admin, deposit, open_account, request, transfer};
use commands::{Bus, BusContext, BusSettings, Command, Outcome, Receipt};
use domain::ids::AccountId;
use event_store::{Log, LogPosition};
use sqlx::PgPool;
use uuid::Uuid;

use super::load::{Load, own_account};
use super::open_loop::{Latencies, OpenLoop};
use super::spread::Spread;

/// Requests of one call while the accounts are prepared.
pub const CHUNK: usize = 4_096;

/// What is measured.
#[derive(Clone, Debug)]
pub enum Work {
    /// One event, on accounts of the client's own.
    Deposits,
    /// Two events.
    Transfers(Spread),
}

impl Work {
    /// What a client asks next.
    fn command(&self, accounts: &[AccountId], clients: usize, client: usize, number: usize) -> Command {
        match self {
            Self::Deposits => deposit(own_account(accounts, clients, client, number), "1.00"),
            Self::Transfers(spread) => {
                let (from, to) = spread.pair(accounts, client, number);
                transfer(from, to, "1.00")
            }
        }
    }

    fn events(&self) -> u64 {
        match self {
            Self::Deposits => 1,
            Self::Transfers(_) => 2,
        }
    }
}

pub struct Ours {
    pool: PgPool,
    /// Of the first node.
    pub log: Log,
    /// The first leads; clients are spread over all.
    nodes: Vec<Bus>,
}

impl Ours {
    pub async fn start(pool: PgPool) -> anyhow::Result<Self> {
        Self::start_with(pool, BusSettings::default()).await
    }

    pub async fn start_with(pool: PgPool, settings: BusSettings) -> anyhow::Result<Self> {
        let log = Log::open(pool.clone()).await?;
        let bus = Bus::start(BusContext { settings, ..BusContext::new("bench", log.clone()) }).await;
        if !*bus.leads().borrow() {
            bail!("the bus does not lead");
        }
        Ok(Self { pool, log, nodes: vec![bus] })
    }

    /// So many nodes on one database, each with a log of its own to follow; all but the first forward to it.
    pub async fn start_nodes(pool: PgPool, count: usize) -> anyhow::Result<Self> {
        let log = Log::open(pool.clone()).await?;
        let mut nodes = Vec::with_capacity(count);
        for number in 0..count {
            let own = if number == 0 { log.clone() } else { Log::open(pool.clone()).await? };
            let name = format!("bench-{number}");
            let context = BusContext { peer: Some(PeerSettings::loopback()), ..BusContext::new(name, own) };
            let bus = Bus::start(context).await;
            ensure!(bus.served_within(Duration::from_secs(20)).await, "no node leads");
            nodes.push(bus);
        }
        ensure!(*nodes[0].leads().borrow(), "the first node does not lead");
        Ok(Self { pool, log, nodes })
    }

    pub fn head(&self) -> LogPosition {
        self.log.head()
    }

    /// Opens accounts and pays into each what no measurement uses up.
    pub async fn open_accounts(&self, count: usize) -> anyhow::Result<Vec<AccountId>> {
        let mut accounts = Vec::with_capacity(count);
        while accounts.len() < count {
            let some = CHUNK.min(count - accounts.len());
            for receipt in self.accepted((0..some).map(|_| open_account("bench", "EUR"))).await? {
                let Outcome::Accepted(answer) = receipt.outcome else { continue };
                accounts.push(answer.account_id.context("an account's id")?);
            }
        }
        for some in accounts.chunks(CHUNK) {
            self.accepted(some.iter().map(|account| deposit(account, "10000000.00"))).await?;
        }
        Ok(accounts)
    }

    /// Pays a little into each account, so that a new leader has loaded all of them before anything is measured.
    pub async fn load(&self, accounts: &[AccountId]) -> anyhow::Result<()> {
        for some in accounts.chunks(CHUNK) {
            self.accepted(some.iter().map(|account| deposit(account, "1.00"))).await?;
        }
        Ok(())
    }

    /// Executes the commands in one call, at most [`CHUNK`] or so, each with a key of its own.
    pub async fn accepted(&self, commands: impl Iterator<Item = Command>) -> anyhow::Result<Vec<Receipt>> {
        let key = || Uuid::now_v7().to_string();
        let requests = commands.map(|command| request(&admin(), &key(), command)).collect();
        let replies = self.nodes[0].execute_all(requests).await.into_iter();
        replies.map(|reply| accepted(reply?)).collect()
    }

    /// Durable commands a second.
    pub async fn measure(&self, accounts: &Arc<[AccountId]>, work: &Work, load: Load) -> anyhow::Result<f64> {
        let before = self.log.read_head().await?;
        let (nodes, accounts, asked) = (self.nodes.clone(), Arc::clone(accounts), work.clone());
        let answered = load
            .run(move |client, number| {
                let command = asked.command(&accounts, load.clients, client, number);
                execute(nodes[client % nodes.len()].clone(), command)
            })
            .await?;
        check(&self.pool, before, answered.count, answered.count * work.events()).await?;
        Ok(answered.rate)
    }

    /// How long deposits take that come at a rate.
    pub async fn latencies(
        &self,
        accounts: &Arc<[AccountId]>,
        open_loop: OpenLoop,
    ) -> anyhow::Result<Latencies> {
        let before = self.log.read_head().await?;
        let (bus, accounts) = (self.nodes[0].clone(), Arc::clone(accounts));
        let latencies = open_loop
            .run(move |number| execute(bus.clone(), Work::Deposits.command(&accounts, 1, 0, number)))
            .await?;
        check(&self.pool, before, latencies.count, latencies.count).await?;
        Ok(latencies)
    }

    pub async fn stop(&self) {
        // The leader last: nobody takes over.
        for node in self.nodes.iter().rev() {
            node.stop().await;
        }
    }
}

/// The newest log position.
pub async fn head(pool: &PgPool) -> anyhow::Result<LogPosition> {
    let position: i64 = sqlx::query_scalar("SELECT log_position FROM log.log_head").fetch_one(pool).await?;
    Ok(LogPosition(position.unsigned_abs()))
}

/// What was acknowledged since a position is in the log, once.
pub async fn check(pool: &PgPool, before: LogPosition, acknowledged: u64, events: u64) -> anyhow::Result<()> {
    let (found, keys, batches): (i64, i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM log.events WHERE log_position > $1), \
                (SELECT count(*) FROM log.idempotency_keys WHERE log_position > $1), \
                (SELECT count(DISTINCT recorded_at) FROM log.events WHERE log_position > $1)",
    )
    .bind(i64::try_from(before.0)?)
    .fetch_one(pool)
    .await?;
    if (found.unsigned_abs(), keys.unsigned_abs()) != (events, acknowledged) {
        bail!("{acknowledged} commands were acknowledged, but there are {found} events and {keys} keys");
    }
    println!("  {acknowledged} commands in {batches} commits");
    Ok(())
}

async fn execute(bus: Bus, command: Command) -> anyhow::Result<()> {
    accepted(bus.execute(request(&admin(), &Uuid::now_v7().to_string(), command)).await?).map(|_| ())
}

fn accepted(receipt: Receipt) -> anyhow::Result<Receipt> {
    match receipt.outcome {
        Outcome::Refused(refusal) => bail!(refusal),
        Outcome::Accepted(_) => Ok(receipt),
    }
}
