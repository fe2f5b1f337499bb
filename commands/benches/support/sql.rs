//! The peer for transfers: the same transfer as one plain SQL transaction, as most ledgers do it, on tables of its own.

use std::sync::Arc;

use anyhow::ensure;
use domain::ids::AccountId;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::load::Load;
use super::spread::Spread;

/// Connections with which it is quickest.
pub const CONNECTIONS: u32 = 64;

/// In cents, as our events have it.
pub const AMOUNT: i64 = 100;

const TABLES: &str = r#"
    CREATE SCHEMA plain;
    CREATE TABLE plain.accounts (
        id      text COLLATE "C" PRIMARY KEY,
        balance bigint NOT NULL
    );
    CREATE TABLE plain.entries (
        id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        transfer_id uuid   NOT NULL,
        account_id  text COLLATE "C" NOT NULL,
        amount      bigint NOT NULL,
        balance     bigint NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE INDEX ON plain.entries (account_id, id);
    CREATE TABLE plain.keys (
        principal   text COLLATE "C" NOT NULL,
        key         text COLLATE "C" NOT NULL,
        transfer_id uuid NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (key, principal)
    );
    INSERT INTO plain.accounts SELECT DISTINCT aggregate_id, 1000000000 FROM log.events;
"#;

pub struct PlainSql {
    pool: PgPool,
}

impl PlainSql {
    /// Has the accounts of the log.
    pub async fn start(superuser: &PgPool, pool: PgPool) -> anyhow::Result<Self> {
        sqlx::raw_sql(TABLES).execute(superuser).await?;
        sqlx::raw_sql("VACUUM ANALYZE plain.accounts").execute(superuser).await?;
        Ok(Self { pool })
    }

    /// Durable transfers a second.
    pub async fn measure(
        &self,
        accounts: &Arc<[AccountId]>,
        spread: &Spread,
        load: Load,
    ) -> anyhow::Result<f64> {
        let (pool, accounts, spread) = (self.pool.clone(), Arc::clone(accounts), spread.clone());
        let answered = load
            .run(move |client, number| {
                let (from, to) = spread.pair(&accounts, client, number);
                transfer(pool.clone(), from.clone(), to.clone())
            })
            .await?;
        Ok(answered.rate)
    }
}

async fn transfer(pool: PgPool, from: AccountId, to: AccountId) -> anyhow::Result<()> {
    let (from, to, id) = (from.as_str(), to.as_str(), Uuid::now_v7());
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO plain.keys (principal, key, transfer_id) VALUES ($1, $2, $3)")
        .bind("admin")
        .bind(Uuid::now_v7().to_string())
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    // Always in the same order, so that opposing transfers wait and do not deadlock.
    let locked =
        sqlx::query("SELECT id, balance FROM plain.accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE")
            .bind(from)
            .bind(to)
            .fetch_all(&mut *transaction)
            .await?;
    ensure!(locked.len() == 2, "both accounts exist");
    for row in &locked {
        let (own, balance): (&str, i64) = (row.try_get("id")?, row.try_get("balance")?);
        let amount = if own == from { -AMOUNT } else { AMOUNT };
        ensure!(balance + amount >= 0, "the payer can pay");
        sqlx::query("UPDATE plain.accounts SET balance = $2 WHERE id = $1")
            .bind(own)
            .bind(balance + amount)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO plain.entries (transfer_id, account_id, amount, balance) VALUES ($1, $2, $3, $4)",
        )
        .bind(id)
        .bind(own)
        .bind(amount)
        .bind(balance + amount)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}
