//! The strongest peer for transfers: the same tables as the plain transaction, with one SQL function that takes many
//! transfers at a time and does them as sets (`batched.sql`).
//!
//! Its clients bring whole batches, which spares it what the bus does for single requests: gathering them.

use std::sync::Arc;

use anyhow::ensure;
use domain::ids::AccountId;
use sqlx::PgPool;
use uuid::Uuid;

use super::load::Load;
use super::spread::Spread;
use super::sql::AMOUNT;

/// One for each core: batches share accounts, so more of them wait for each other.
pub const CONNECTIONS: usize = 4;
/// Transfers a batch; with 1,000 it does less than half as much.
pub const BATCH: usize = 100;

const TABLES: &str = include_str!("batched.sql");

pub struct Batched {
    pool: PgPool,
}

impl Batched {
    /// Has the accounts of the log.
    pub async fn start(superuser: &PgPool, pool: PgPool) -> anyhow::Result<Self> {
        sqlx::raw_sql(TABLES).execute(superuser).await?;
        let batched = Self { pool };
        batched.check().await?;
        sqlx::raw_sql("VACUUM ANALYZE batched.accounts").execute(superuser).await?;
        Ok(batched)
    }

    /// Durable transfers a second, `batch` of them in a call. Each of the load's clients has a connection.
    pub async fn measure(
        &self,
        accounts: &Arc<[AccountId]>,
        spread: &Spread,
        batch: usize,
        load: Load,
    ) -> anyhow::Result<f64> {
        let before = self.totals().await?;
        let (pool, accounts, spread) = (self.pool.clone(), Arc::clone(accounts), spread.clone());
        let answered = load
            .run(move |client, number| {
                let (pool, accounts, spread) = (pool.clone(), Arc::clone(&accounts), spread.clone());
                async move {
                    let numbers = number * batch..(number + 1) * batch;
                    let transfers = numbers.map(|number| {
                        let (from, to) = spread.pair(&accounts, client, number);
                        (Uuid::now_v7().to_string(), from.as_str(), to.as_str(), AMOUNT)
                    });
                    let accepted = transfer(&pool, transfers).await?;
                    ensure!(accepted.iter().all(|accepted| *accepted), "every payer can pay");
                    Ok(())
                }
            })
            .await?;
        let entries = 2 * i64::try_from(answered.count)? * i64::try_from(batch)?;
        let after = self.totals().await?;
        ensure!(after == (before.0, before.1 + entries), "the peer's books do not add up: {after:?}");
        Ok(answered.rate * batch as f64)
    }

    /// The sum of all balances and the number of entries.
    async fn totals(&self) -> anyhow::Result<(i64, i64)> {
        let sql = "SELECT (SELECT sum(balance)::bigint FROM batched.accounts), (SELECT count(*) FROM batched.entries)";
        Ok(sqlx::query_as(sql).fetch_one(&self.pool).await?)
    }

    /// A peer that cut corners would be no peer: keys, order within a batch, and what a payer has.
    async fn check(&self) -> anyhow::Result<()> {
        sqlx::raw_sql("INSERT INTO batched.accounts VALUES ('check-a', 100), ('check-b', 0)")
            .execute(&self.pool)
            .await?;
        let (a, b) = ("check-a", "check-b");
        let batch = |of: &[(&str, &'static str, &'static str, i64)]| {
            of.iter()
                .map(|(key, from, to, amount)| (key.to_string(), *from, *to, *amount))
                .collect::<Vec<_>>()
        };
        // A payer without money, one who has got some in the same batch, one who has spent it.
        let in_order = batch(&[("1", b, a, 10), ("2", a, b, 60), ("3", b, a, 10), ("4", a, b, 60)]);
        let expected = vec![false, true, true, false];
        ensure!(transfer(&self.pool, in_order.clone()).await? == expected, "order counts within a batch");
        ensure!(transfer(&self.pool, in_order).await? == expected, "a batch asked again is answered again");
        let as_a_set = batch(&[("5", a, b, 20), ("6", b, a, 70), ("6", b, a, 70), ("2", a, b, 60)]);
        ensure!(transfer(&self.pool, as_a_set).await? == [true; 4], "a key twice in a batch is one transfer");
        let balances: Vec<i64> =
            sqlx::query_scalar("SELECT balance FROM batched.accounts WHERE id LIKE 'check-%' ORDER BY id")
                .fetch_all(&self.pool)
                .await?;
        ensure!(balances == [100, 0], "balances after the peer's check: {balances:?}");
        Ok(())
    }
}

/// Whether each was accepted. A transfer is its key, the payer, who is paid, and the amount in cents.
async fn transfer(
    pool: &PgPool,
    transfers: impl IntoIterator<Item = (String, &str, &str, i64)>,
) -> anyhow::Result<Vec<bool>> {
    let (mut ids, mut keys, mut payers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut payees, mut amounts) = (Vec::new(), Vec::new());
    for (key, payer, payee, amount) in transfers {
        ids.push(Uuid::now_v7());
        keys.push(key);
        payers.push(payer.to_owned());
        payees.push(payee.to_owned());
        amounts.push(amount);
    }
    let accepted = sqlx::query_scalar("SELECT batched.transfer('admin', $1, $2, $3, $4, $5)")
        .bind(ids)
        .bind(keys)
        .bind(payers)
        .bind(payees)
        .bind(amounts)
        .fetch_one(pool)
        .await?;
    Ok(accepted)
}
