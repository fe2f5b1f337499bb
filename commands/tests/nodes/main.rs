//! Several nodes on one log: any command on any node, and what happens when the one that leads is gone.

#![allow(missing_docs)]

mod forwarding;
mod journal;
mod node;
mod taking_over;
mod travelling;

use std::time::Duration;

use commands::bus::BusSettings;
use commands::testing::TestBus;
use commands::{Answer, Failure, Outcome, Receipt};
use domain::Code;
use event_store::embedded::testing::TestDatabase;

/// Longer than anything takes that is not broken.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Nodes on a database of their own; the first one leads.
pub async fn nodes(count: usize) -> Vec<TestBus> {
    nodes_with(count, &BusSettings::default()).await
}

pub async fn nodes_with(count: usize, settings: &BusSettings) -> Vec<TestBus> {
    let database = TestDatabase::create().await.unwrap();
    let mut nodes = Vec::new();
    for number in 1..=count {
        nodes.push(TestBus::join(database.clone(), &format!("node-{number}"), settings.clone()).await);
    }
    assert!(*nodes[0].bus.leads().borrow());
    nodes
}

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

/// How many events of the type there are.
pub async fn count_of(house: &TestBus, event_type: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM log.events WHERE event_type = $1")
        .bind(event_type)
        .fetch_one(house.pool())
        .await
        .unwrap()
}

pub async fn count(house: &TestBus, table: &str) -> i64 {
    sqlx::query_scalar(&format!("SELECT count(*) FROM log.{table}")).fetch_one(house.pool()).await.unwrap()
}

pub async fn epoch(house: &TestBus) -> i64 {
    sqlx::query_scalar("SELECT epoch FROM log.log_head").fetch_one(house.pool()).await.unwrap()
}
