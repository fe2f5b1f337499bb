//! The bus on a real PostgreSQL: what is promised about answers, keys and durability, and that it holds when things break.

#![allow(missing_docs)]

mod bounds;
mod every_point;
mod exactly_once;
mod failures;
mod idempotency;
mod leading;
mod linked;
mod streams;
mod wire;

use std::time::Duration;

use commands::testing::TestBus;
pub use commands::testing::{answer, code, count, count_of};
use sqlx::{PgPool, Postgres, Transaction};

/// Holds commits up until it is dropped or committed.
pub async fn hold_head(house: &TestBus) -> Transaction<'static, Postgres> {
    let mut transaction = house.database.superuser.begin().await.unwrap();
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *transaction).await.unwrap();
    transaction
}

/// Waits until an append waits for the head.
pub async fn append_waits(house: &TestBus) {
    until(
        &house.database.superuser,
        "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'daybook appender' AND wait_event_type = 'Lock'",
    )
    .await;
}

/// Waits until the condition holds; the test fails when it never does.
pub async fn until(pool: &PgPool, condition: &str) {
    let holds = async {
        while !sqlx::query_scalar::<_, bool>(condition).fetch_one(pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), holds)
        .await
        .unwrap_or_else(|_| panic!("this never came to hold: {condition}"));
}

/// Sets the head's row as another node would.
pub async fn set_head(house: &TestBus, assignments: &str) {
    sqlx::query(&format!("UPDATE log.log_head SET {assignments}")).execute(house.pool()).await.unwrap();
}

/// Ends every server process of the database's application.
pub async fn kill_appender(house: &TestBus) {
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'daybook appender'",
    )
    .execute(&house.database.superuser)
    .await
    .unwrap();
}
