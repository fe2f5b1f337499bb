//! Daybook: deposits and transfers through the bus.

use std::sync::Arc;

use anyhow::{Context, bail};
use commands::testing::{admin, deposit, open_account, request, transfer};
use commands::{Bus, BusContext, Command, Outcome, Receipt};
use domain::ids::AccountId;
use event_store::{Log, LogPosition};
use sqlx::PgPool;
use uuid::Uuid;

use crate::load::{Load, own_account, pair};

/// Requests of one call while the accounts are prepared.
const CHUNK: usize = 4_096;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One event.
    Deposits,
    /// Two events.
    Transfers,
}

pub struct Ours {
    pool: PgPool,
    log: Log,
    bus: Bus,
}

impl Ours {
    pub async fn start(pool: PgPool) -> anyhow::Result<Self> {
        let log = Log::open(pool.clone()).await?;
        let bus = Bus::start(BusContext::new("bench", log.clone())).await;
        if !*bus.leads().borrow() {
            bail!("the bus does not lead");
        }
        Ok(Self { pool, log, bus })
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

    async fn accepted(&self, commands: impl Iterator<Item = Command>) -> anyhow::Result<Vec<Receipt>> {
        let key = || Uuid::now_v7().to_string();
        let requests = commands.map(|command| request(&admin(), &key(), command)).collect();
        let replies = self.bus.execute_all(requests).await.into_iter();
        replies.map(|reply| accepted(reply?)).collect()
    }

    /// Durable commands a second.
    pub async fn measure(&self, accounts: &Arc<[AccountId]>, work: Work, load: Load) -> anyhow::Result<f64> {
        let before = self.log.read_head().await?;
        let (bus, accounts) = (self.bus.clone(), Arc::clone(accounts));
        let answered = load
            .run(move |client, number| {
                let command = match work {
                    Work::Deposits => deposit(own_account(&accounts, load.clients, client, number), "1.00"),
                    Work::Transfers => {
                        let (from, to) = pair(&accounts, client, number);
                        transfer(from, to, "1.00")
                    }
                };
                let (bus, asked) = (bus.clone(), request(&admin(), &Uuid::now_v7().to_string(), command));
                async move { accepted(bus.execute(asked).await?).map(|_| ()) }
            })
            .await?;
        self.check(before, work, answered.count).await?;
        Ok(answered.rate)
    }

    /// What was acknowledged is in the log, once.
    async fn check(&self, before: LogPosition, work: Work, acknowledged: u64) -> anyhow::Result<()> {
        let (events, keys, batches): (i64, i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM log.events WHERE log_position > $1), \
                    (SELECT count(*) FROM log.idempotency_keys WHERE log_position > $1), \
                    (SELECT count(DISTINCT recorded_at) FROM log.events WHERE log_position > $1)",
        )
        .bind(before.to_sql())
        .fetch_one(&self.pool)
        .await?;
        let expected = acknowledged * if work == Work::Transfers { 2 } else { 1 };
        if (events.unsigned_abs(), keys.unsigned_abs()) != (expected, acknowledged) {
            bail!("{acknowledged} commands were acknowledged, but there are {events} events and {keys} keys");
        }
        println!("  {acknowledged} commands in {batches} commits");
        Ok(())
    }

    pub async fn stop(&self) {
        self.bus.stop().await;
    }
}

fn accepted(receipt: Receipt) -> anyhow::Result<Receipt> {
    match receipt.outcome {
        Outcome::Refused(refusal) => bail!(refusal),
        Outcome::Accepted(_) => Ok(receipt),
    }
}
