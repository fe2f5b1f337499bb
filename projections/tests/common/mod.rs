//! A log of its own with a writer, and read models over it.
#![allow(dead_code, missing_docs, clippy::missing_panics_doc)]

pub mod house;
pub mod random;

use std::collections::BTreeMap;
use std::time::Duration;

use domain::Timestamp;
use event_store::embedded::testing::TestDatabase;
use event_store::{Appender, Batch, CommandWrite, Leadership, Log, LogPosition, NewEvent, StreamId};
use projections::read::ReadModels;
use projections::{RunningProjections, Settings};
use sqlx::{Connection as _, Row as _};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A log and who writes it.
pub struct Writer {
    pub database: TestDatabase,
    pub log: Log,
    appender: Appender,
    recorded_at: Timestamp,
}

impl Writer {
    pub async fn start() -> Self {
        let database = TestDatabase::create().await.unwrap();
        let log = Log::open(database.app.clone()).await.unwrap();
        let leadership = Leadership::new(database.app.clone());
        let lease = leadership.acquire("writer", Duration::from_secs(600)).await.unwrap().unwrap();
        let appender = Appender::connect(&log, &lease).await.unwrap();
        Self { database, log, appender, recorded_at: Timestamp::UNIX_EPOCH }
    }

    /// Appends the commands as one batch.
    pub async fn append(&mut self, recorded_at: Timestamp, commands: Vec<CommandWrite>) -> LogPosition {
        self.recorded_at = self.recorded_at.max(recorded_at);
        let batch = Batch { after: self.log.head(), recorded_at: self.recorded_at, commands };
        self.appender.append(&batch).await.unwrap()
    }

    pub async fn project(&self) -> Projecting {
        self.project_with(self.log.clone()).await
    }

    pub async fn project_with(&self, log: Log) -> Projecting {
        let shutdown = CancellationToken::new();
        let settings = Settings { patience: Duration::from_secs(20) };
        let running =
            projections::start(self.database.app.clone(), log, settings, shutdown.clone()).await.unwrap();
        Projecting::new(running, shutdown)
    }

    /// Checks every projection against the log.
    pub async fn verify_all(&self) {
        for name in projections::names() {
            let verification =
                projections::verify(&self.database.app, &self.log, name, 5, |_| {}).await.unwrap();
            assert_eq!(verification.differences, [], "{name} differs from the log");
            assert_eq!(verification.differing, 0);
        }
    }

    /// Every row of every read model as text, by table.
    pub async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut connection = self.database.app.acquire().await.unwrap();
        let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'read' \
             AND table_name NOT IN ('live', 'projections', 'rebuilds') ORDER BY 1",
        )
        .fetch_all(&mut *snapshot)
        .await
        .unwrap();
        let mut dump = BTreeMap::new();
        for table in tables {
            let sql = format!("SELECT t::text FROM read.{table} t ORDER BY 1");
            let rows = sqlx::query(&sql).fetch_all(&mut *snapshot).await.unwrap();
            dump.insert(table, rows.iter().map(|row| row.get::<String, _>(0)).collect());
        }
        dump
    }
}

/// Projections that run.
pub struct Projecting {
    pub models: ReadModels,
    pub running: RunningProjections,
    shutdown: CancellationToken,
}

impl Projecting {
    pub fn new(running: RunningProjections, shutdown: CancellationToken) -> Self {
        Self { models: running.read_models(), running, shutdown }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.stopped().await;
    }

    /// Returns when every projection has reached the position.
    pub async fn reach(&self, position: LogPosition) {
        self.models.wait(&projections::names(), position, Duration::from_secs(60)).await.unwrap();
    }
}

/// An event of any type, for what the domain's rules would not allow.
pub fn raw_event(
    aggregate_type: &'static str,
    id: &str,
    sequence: u64,
    kind: &'static str,
    payload: &str,
) -> NewEvent {
    NewEvent {
        stream: StreamId::new(aggregate_type, id),
        sequence,
        event_id: Uuid::now_v7(),
        event_type: kind.into(),
        event_version: "1".into(),
        payload: payload.into(),
        metadata: r#"{"actor":"tester"}"#.into(),
    }
}

pub fn one(event: NewEvent) -> CommandWrite {
    CommandWrite { events: vec![event], ..CommandWrite::default() }
}
