//! Several nodes on one log: any command on any node, and what happens when the one that leads is gone.

#![allow(missing_docs)]

mod cut_connections;
mod forwarding;
mod journal;
mod node;
mod peer_wire;
mod taking_over;
mod travelling;

use std::time::Duration;

use commands::bus::BusSettings;
use commands::testing::TestBus;
pub use commands::testing::{answer, code, count, count_of};
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

pub async fn epoch(house: &TestBus) -> i64 {
    sqlx::query_scalar("SELECT epoch FROM log.log_head").fetch_one(house.pool()).await.unwrap()
}
