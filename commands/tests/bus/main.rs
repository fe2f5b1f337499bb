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
use commands::{Answer, Failure, Outcome, Receipt};
use domain::Code;
use sqlx::{PgPool, Postgres, Transaction};

/// The answer of an accepted request.
pub fn answer(reply: &Result<Receipt, Failure>) -> Answer {
    match reply {
        Ok(Receipt { outcome: Outcome::Accepted(answer), .. }) => answer.clone(),
        other => panic!("expected to be accepted, got {other:?}"),
    }
}

/// The code with which a request was refused.
pub fn code(reply: &Result<Receipt, Failure>) -> Code {
    match reply {
        Ok(Receipt { outcome: Outcome::Refused(refusal), .. }) => refusal.code,
        Err(failure) => failure.code(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

pub async fn count(house: &TestBus, table: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM log.{table}")).fetch_one(house.pool()).await.unwrap()
}

/// How many events of the type there are.
pub async fn count_of(house: &TestBus, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM log.events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(house.pool())
        .await
        .unwrap()
}

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
