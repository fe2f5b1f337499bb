//! The bus on a real PostgreSQL: what is promised about answers, keys and durability, and that it holds when things break.

#![allow(missing_docs)]

mod failures;
mod idempotency;
mod leading;
mod linked;
mod streams;

use commands::testing::TestBus;
use commands::{Answer, Failure, Outcome, Receipt};
use domain::Code;

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
