//! Daybook: deposits through the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use commands::testing::{admin, deposit, open_account, request};
use commands::{Bus, BusContext, Outcome};
use domain::ids::AccountId;
use event_store::{Log, LogPosition};
use futures::future::try_join_all;
use sqlx::PgPool;
use uuid::Uuid;

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

    pub async fn open_accounts(&self, count: usize) -> anyhow::Result<Vec<AccountId>> {
        let mut accounts = Vec::with_capacity(count);
        while accounts.len() < count {
            let open = || request(&admin(), &Uuid::now_v7().to_string(), open_account("bench", "EUR"));
            let requests = (accounts.len()..count).take(2_048).map(|_| open()).collect();
            for reply in self.bus.execute_all(requests).await {
                match reply?.outcome {
                    Outcome::Accepted(answer) => accounts.push(answer.account_id.context("an account's id")?),
                    Outcome::Refused(refusal) => bail!(refusal),
                }
            }
        }
        Ok(accounts)
    }

    /// Commands a second. Every client sends its next deposit when the last one is acknowledged as durable.
    pub async fn measure(
        &self,
        accounts: &[AccountId],
        clients: usize,
        warm_up: Duration,
        length: Duration,
    ) -> anyhow::Result<f64> {
        let before = self.log.read_head().await?;
        let (acknowledged, running) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let tasks = (0..clients).map(|client| {
            let own: Vec<AccountId> = accounts.iter().skip(client).step_by(clients).cloned().collect();
            let (bus, acknowledged, running) =
                (self.bus.clone(), Arc::clone(&acknowledged), Arc::clone(&running));
            tokio::spawn(async move {
                let principal = admin();
                for account in own.iter().cycle() {
                    if !running.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = Uuid::now_v7().to_string();
                    let receipt = bus.execute(request(&principal, &key, deposit(account, "1.00"))).await?;
                    if let Outcome::Refused(refusal) = receipt.outcome {
                        bail!(refusal);
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            })
        });
        let tasks: Vec<_> = tasks.collect();
        tokio::time::sleep(warm_up).await;
        let (begun, first) = (Instant::now(), acknowledged.load(Ordering::Relaxed));
        tokio::time::sleep(length).await;
        let rate = (acknowledged.load(Ordering::Relaxed) - first) as f64 / begun.elapsed().as_secs_f64();
        running.store(false, Ordering::Relaxed);
        for outcome in try_join_all(tasks).await? {
            outcome?;
        }
        self.check(before, acknowledged.load(Ordering::Relaxed)).await?;
        Ok(rate)
    }

    /// What was acknowledged is in the log, once.
    async fn check(&self, before: LogPosition, acknowledged: u64) -> anyhow::Result<()> {
        let (events, keys): (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM log.events WHERE log_position > $1), \
                    (SELECT count(*) FROM log.idempotency_keys WHERE log_position > $1)",
        )
        .bind(before.to_sql())
        .fetch_one(&self.pool)
        .await?;
        if (events.unsigned_abs(), keys.unsigned_abs()) != (acknowledged, acknowledged) {
            bail!("{acknowledged} commands were acknowledged, but there are {events} events and {keys} keys");
        }
        let batches: i64 =
            sqlx::query_scalar("SELECT count(DISTINCT recorded_at) FROM log.events WHERE log_position > $1")
                .bind(before.to_sql())
                .fetch_one(&self.pool)
                .await?;
        println!("  {acknowledged} commands in {batches} commits");
        Ok(())
    }

    pub async fn stop(&self) {
        self.bus.stop().await;
    }
}
