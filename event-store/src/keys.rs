//! What commands answered, by the idempotency key they carried.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Row};

use crate::LogPosition;

/// As good as for ever, and PostgreSQL can still subtract it.
const A_THOUSAND_YEARS_MS: i64 = 1_000 * 365 * 24 * 60 * 60 * 1_000;

/// What a command answered when its key was used first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredOutcome {
    /// SHA-256 of the parsed command; another hash under the same key is a conflict.
    pub command_hash: [u8; 32],
    /// JSON text.
    pub outcome: String,
    /// Position of the command's last event; absent when it had none.
    pub log_position: Option<LogPosition>,
    /// When it was decided.
    pub recorded_at: DateTime<Utc>,
}

/// Reads and prunes the stored outcomes; they are written by the append of their events.
#[derive(Clone, Debug)]
pub struct Keys {
    pool: PgPool,
}

impl Keys {
    /// Works through the application's pool.
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The stored outcomes of these `(principal, key)` pairs; a pair that is missing in the answer was never used, or
    /// its outcome is pruned.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn lookup(
        &self,
        keys: &[(String, String)],
    ) -> Result<HashMap<(String, String), StoredOutcome>, sqlx::Error> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let (principals, keys): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(principal, key)| (principal.as_str(), key.as_str())).unzip();
        let rows = sqlx::query(
            "SELECT k.principal, k.key, k.command_hash, k.outcome::text AS outcome, k.log_position, k.recorded_at \
             FROM unnest($1::text[], $2::text[]) AS asked (principal, key) \
             JOIN log.idempotency_keys AS k ON k.principal = asked.principal AND k.key = asked.key",
        )
        .bind(principals)
        .bind(keys)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let stored = StoredOutcome {
                    command_hash: row.try_get("command_hash")?,
                    outcome: row.try_get("outcome")?,
                    log_position: row.try_get::<Option<i64>, _>("log_position")?.map(LogPosition::from_sql),
                    recorded_at: row.try_get("recorded_at")?,
                };
                Ok(((row.try_get("principal")?, row.try_get("key")?), stored))
            })
            .collect()
    }

    /// The `(principal, key)` pairs after the given one, by key and then by principal, at most `limit`.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn page_after(
        &self,
        (principal, key): &(String, String),
        limit: u32,
    ) -> Result<Vec<(String, String)>, sqlx::Error> {
        sqlx::query_as(
            "SELECT principal, key FROM log.idempotency_keys WHERE (key, principal) > ($1, $2) \
             ORDER BY key, principal LIMIT $3",
        )
        .bind(key)
        .bind(principal)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
    }

    /// Deletes at most `limit` keys that were recorded before `older_than`, and longer ago than `retention` by PostgreSQL's
    /// clock, and returns how many. So no clock alone makes keys vanish before their time. Call it again while it returns
    /// `limit`; small limits keep each transaction short.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn prune(
        &self,
        older_than: DateTime<Utc>,
        retention: Duration,
        limit: u32,
    ) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // The planner takes a limit that it does not know for one that many rows are below, and would rather read them
        // all. Nor can an index be asked for a limit that is computed for each row, as clock_timestamp() would be.
        sqlx::query("SET LOCAL enable_seqscan = off").execute(&mut *transaction).await?;
        let deleted = sqlx::query(
            "DELETE FROM log.idempotency_keys WHERE ctid = ANY (ARRAY( \
                 SELECT ctid FROM log.idempotency_keys WHERE recorded_at < \
                     (SELECT LEAST($1, clock_timestamp() - $2 * interval '1 millisecond')) LIMIT $3))",
        )
        .bind(older_than)
        .bind(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX).min(A_THOUSAND_YEARS_MS))
        .bind(i64::from(limit))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected())
    }
}
