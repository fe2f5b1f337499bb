//! A fresh database with a leader that appends to it.
#![allow(dead_code, missing_docs)]

pub mod proxy;

use std::time::Duration;

use chrono::Utc;
use event_store::embedded::testing::TestDatabase;
use event_store::{
    Appender, Batch, CommandWrite, KeyRow, Leadership, Lease, Log, LogPosition, NewEvent, RecordedEvent,
    StreamId,
};
use uuid::Uuid;

pub const TTL: Duration = Duration::from_secs(10);

/// A leader of a log of its own.
pub struct Writer {
    pub database: TestDatabase,
    pub log: Log,
    pub lease: Lease,
    pub appender: Appender,
}

impl Writer {
    pub async fn start() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let log = Log::open(database.app.clone()).await.unwrap();
        let lease = lead(&database, "node-1").await;
        let appender = Appender::connect(&log, &lease).await.unwrap();
        Self { database, log, lease, appender }
    }

    /// A batch that goes to the end of the log.
    pub fn batch(&self, commands: Vec<CommandWrite>) -> Batch {
        Batch { after: self.log.head(), recorded_at: Utc::now(), commands }
    }

    pub async fn append(&mut self, commands: Vec<CommandWrite>) -> LogPosition {
        let batch = self.batch(commands);
        self.appender.append(&batch).await.unwrap()
    }

    /// The log as another node opens it.
    pub async fn open_log(&self) -> Log {
        Log::open(self.database.app.clone()).await.unwrap()
    }

    /// What the database itself has after a position, as a reader gets it whose tail does not reach back so far.
    pub async fn stored(&self, after: LogPosition, max_events: usize) -> Vec<RecordedEvent> {
        self.open_log().await.read(after, max_events).await.unwrap()
    }

    pub async fn count(&self, table: &str) -> i64 {
        sqlx::query_scalar(&format!("SELECT count(*) FROM log.{table}"))
            .fetch_one(&self.database.app)
            .await
            .unwrap()
    }
}

/// Makes the node lead, whoever led before.
pub async fn lead(database: &TestDatabase, node: &str) -> Lease {
    let leadership = Leadership::new(database.app.clone());
    loop {
        // The leader's next append extends its lease again, so this may take more than one attempt.
        sqlx::query("UPDATE log.log_head SET lease_until = '-infinity'")
            .execute(&database.app)
            .await
            .unwrap();
        if let Some(lease) = leadership.acquire(node, TTL).await.unwrap() {
            return lease;
        }
    }
}

pub fn event(id: &str, sequence: u64) -> NewEvent {
    event_with(id, sequence, r#"{"Counted":{"by":1}}"#)
}

pub fn event_with(id: &str, sequence: u64, payload: &str) -> NewEvent {
    NewEvent {
        stream: StreamId::new("counter", id),
        sequence,
        event_id: Uuid::now_v7(),
        event_type: "Counted".into(),
        event_version: "1.0".into(),
        payload: payload.into(),
        metadata: r#"{"actor":"test"}"#.into(),
    }
}

/// A command without a key.
pub fn one(events: Vec<NewEvent>) -> CommandWrite {
    CommandWrite { keys: Vec::new(), events }
}

/// A command with a key.
pub fn keyed(key: &str, events: Vec<NewEvent>) -> CommandWrite {
    CommandWrite { keys: vec![key_row(key)], events }
}

pub fn key_row(key: &str) -> KeyRow {
    KeyRow {
        principal: "alice".into(),
        key: key.into(),
        command_hash: [7; 32],
        outcome: r#"{"ok":true}"#.into(),
    }
}

/// Returns once a session of the application waits for a lock in this database.
pub async fn until_a_backend_waits_for_a_lock(database: &TestDatabase) {
    until(|| async {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity \
             WHERE datname = current_database() AND wait_event_type = 'Lock')",
        )
        .fetch_one(&database.superuser)
        .await
        .unwrap()
    })
    .await;
}

/// Asks until the answer is yes, for at most ten seconds.
pub async fn until<F: Future<Output = bool>>(ask: impl Fn() -> F) {
    let begun = std::time::Instant::now();
    while !ask().await {
        assert!(begun.elapsed() < Duration::from_secs(10), "it did not happen in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
