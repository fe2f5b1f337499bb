//! A connection for hours of copying: apart from the pool's, without the limits of those that serve.

use sqlx::pool::PoolConnection;
use sqlx::{Executor, PgConnection, PgPool, Postgres};

use super::error::BackupError;

/// Times and bytes are written in one way, whatever the server's settings are.
const SETTINGS: &str = "SET application_name = 'daybook backup'; \
     SET client_encoding = 'UTF8'; \
     SET DateStyle = 'ISO'; \
     SET TimeZone = 'UTC'; \
     SET IntervalStyle = 'postgres'; \
     SET bytea_output = 'hex'; \
     SET extra_float_digits = 3; \
     SET synchronous_commit = on; \
     SET lock_timeout = '5s'; \
     SET statement_timeout = 0; \
     SET idle_in_transaction_session_timeout = 0";

/// Opens it. It is closed by the drop, and what was under way on it is rolled back.
pub(super) async fn open(pool: &PgPool) -> Result<PgConnection, BackupError> {
    let connection: PoolConnection<Postgres> = pool.acquire().await?;
    let mut connection = connection.detach();
    connection.execute(SETTINGS).await?;
    Ok(connection)
}

/// The newest migration that the database has.
pub(super) async fn migration(connection: &mut PgConnection) -> Result<i64, BackupError> {
    Ok(sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM log._sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await?)
}
