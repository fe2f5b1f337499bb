//! A backup restores to the same log, row by row, or to nothing.

#[path = "backup/broken.rs"]
mod broken;
mod common;
#[path = "backup/under_load.rs"]
mod under_load;

use std::path::{Path, PathBuf};

use common::{Writer, event, event_with, keyed, one};
use event_store::backup::{
    BackupError, BackupOptions, Companion, Manifest, Progress, RestoreOptions, Restored, Stage, backup,
    restore, verify,
};
use event_store::embedded::testing::TestDatabase;
use event_store::{AppendError, Appender, Batch, Leadership, Log, LogPosition, ProcessStates};
use tempfile::TempDir;

const TICKS: Companion = Companion {
    table: "ticks.batches",
    columns: &["first_at", "last_at", "last_pass", "last_trade_id", "trade_count", "symbol", "trades"],
    up_to: Some("last_at"),
};
const NOTES: Companion = Companion { table: "read.notes", columns: &["name", "hash"], up_to: None };

/// Two events a file, so that small logs have several.
fn options() -> BackupOptions {
    BackupOptions { companions: vec![TICKS, NOTES], events_a_file: 2 }
}

fn restore_options() -> RestoreOptions {
    RestoreOptions { companions: vec![TICKS, NOTES], leave_out: Vec::new() }
}

fn quiet(_: Progress) {}

/// A place for backups that goes with the test.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn backup(&self) -> PathBuf {
        self.0.path().join("backup")
    }

    /// Everything that is there.
    fn names(&self) -> Vec<String> {
        names(self.0.path())
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn take(database: &TestDatabase, name: &Path) -> Manifest {
    backup(&database.app, name, &options(), &quiet).await.unwrap()
}

async fn bring_back(database: &TestDatabase, name: &Path) -> Result<Restored, BackupError> {
    restore(&database.app, name, &restore_options(), &quiet).await
}

/// A database with a companion of ours beside the tables of the migrations.
async fn database() -> TestDatabase {
    let database = TestDatabase::create().await.unwrap();
    prepare(&database).await;
    database
}

async fn prepare(database: &TestDatabase) {
    sqlx::raw_sql("CREATE TABLE read.notes (name text PRIMARY KEY, hash bytea)")
        .execute(&database.app)
        .await
        .unwrap();
}

/// A log with everything that is hard to carry.
async fn filled() -> Writer {
    let mut writer = Writer::start().await;
    prepare(&writer.database).await;
    let awkward = "{ \"Counted\" :\t{\"text\": \"tab\\t line\\n back\\\\slash \\\\N \\\\. 한 \u{1f4d3}\"},\n\"x\": 1e2 }";
    writer
        .append(vec![
            keyed("first", vec![event("a", 1), event_with("a", 2, awkward), event("tab\there\\N", 1)]),
            one(vec![event("b", 1)]),
        ])
        .await;
    writer.append(vec![keyed("refused", vec![])]).await;
    writer.append(vec![keyed("back\\slash", vec![event("b", 2), event("c", 1)])]).await;
    let states = ProcessStates::new(writer.database.app.clone(), writer.lease.epoch());
    states.load("feed:x").await.unwrap();
    states.save("feed:x", LogPosition(4), &serde_json::json!({ "pass": 3 })).await.unwrap();
    states.load("never saved").await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO read.notes VALUES ('one', '\\x00ff5c4e'), ('two', NULL); \
         INSERT INTO ticks.batches VALUES (now() - interval '2 h', now() - interval '1 h', 1, 2, 3, 'BTC-USDT', '\\x0102'), \
                                          (now(), now() + interval '1 h', 1, 2, 3, 'BTC-USDT', '\\x03')",
    )
    .execute(&writer.database.app)
    .await
    .unwrap();
    writer
}

/// All rows of a table as text, in the order of their text.
async fn rows(database: &TestDatabase, table: &str) -> Vec<String> {
    sqlx::query_scalar(&format!("SELECT t::text FROM {table} AS t ORDER BY t::text COLLATE \"C\""))
        .fetch_all(&database.superuser)
        .await
        .unwrap()
}

/// Nothing of a restore is there, and another one may begin.
async fn assert_empty(database: &TestDatabase) {
    for table in ["log.events", "log.idempotency_keys", "log.process_states", "ticks.batches", "read.notes"] {
        assert_eq!(rows(database, table).await, Vec::<String>::new(), "{table}");
    }
    let head: i64 =
        sqlx::query_scalar("SELECT log_position FROM log.log_head").fetch_one(&database.app).await.unwrap();
    assert_eq!(head, 0);
}

#[tokio::test]
async fn a_restored_log_equals_its_source_row_by_row() {
    let (writer, place) = (filled().await, Place::new());
    let manifest = take(&writer.database, &place.backup()).await;
    assert_eq!(manifest.log_position, LogPosition(6));
    assert_eq!(verify(&place.backup(), &quiet).await.unwrap(), manifest);

    let target = database().await;
    let restored = bring_back(&target, &place.backup()).await.unwrap();
    for table in ["log.events", "log.idempotency_keys", "log.process_states", "read.notes"] {
        assert_eq!(rows(&target, table).await, rows(&writer.database, table).await, "{table}");
    }
    assert_eq!(rows(&writer.database, "ticks.batches").await.len(), 2);
    assert_eq!(rows(&target, "ticks.batches").await.len(), 1, "what comes after the backup is not in it");
    assert_eq!(restored.rows, 6 + 3 + 2 + 2 + 1);
    assert_eq!(restored.manifest, manifest);
}

#[tokio::test]
async fn a_restored_log_is_another_log_without_a_leader_in_a_later_epoch() {
    let (writer, place) = (filled().await, Place::new());
    let manifest = take(&writer.database, &place.backup()).await;
    let target = database().await;
    let restored = bring_back(&target, &place.backup()).await.unwrap();

    assert_eq!(manifest.log_id, writer.log.log_id());
    let log = Log::open(target.app.clone()).await.unwrap();
    assert_ne!(log.log_id(), manifest.log_id);
    assert_eq!((log.log_id(), log.head()), (restored.log_id, LogPosition(6)));
    let leader = Leadership::new(target.app.clone()).current().await.unwrap();
    assert_eq!((leader.node, leader.lease_until), (None, None));
    assert!(leader.epoch > writer.lease.epoch());
    assert_eq!(leader.epoch, restored.epoch);
    let times = "SELECT recorded_at FROM log.log_head";
    let recorded_at = |database: TestDatabase| async move {
        sqlx::query_scalar::<_, chrono::DateTime<chrono::Utc>>(times).fetch_one(&database.app).await.unwrap()
    };
    assert_eq!(recorded_at(target.clone()).await, recorded_at(writer.database.clone()).await);
}

#[tokio::test]
async fn a_restored_log_goes_on_and_is_append_only() {
    let (writer, place) = (filled().await, Place::new());
    take(&writer.database, &place.backup()).await;
    let target = database().await;
    bring_back(&target, &place.backup()).await.unwrap();

    let log = Log::open(target.app.clone()).await.unwrap();
    let lease = common::lead(&target, "node-2").await;
    let mut appender = Appender::connect(&log, &lease).await.unwrap();
    let batch = |commands| Batch { after: log.head(), recorded_at: chrono::Utc::now(), commands };
    let twice = appender.append(&batch(vec![keyed("first", vec![event("d", 1)])])).await;
    assert!(matches!(twice, Err(AppendError::KeyConflict)), "{twice:?}");
    let end = appender.append(&batch(vec![one(vec![event("b", 3)])])).await.unwrap();
    assert_eq!(end, LogPosition(7));
    // The processes go on from where they stood.
    let states = ProcessStates::new(target.app.clone(), lease.epoch());
    let (log_position, state) = states.load("feed:x").await.unwrap().unwrap();
    assert_eq!((log_position, state), (LogPosition(4), serde_json::json!({ "pass": 3 })));

    for change in ["UPDATE log.events SET payload = '{}'", "DELETE FROM log.events", "TRUNCATE log.events"] {
        let refused = sqlx::raw_sql(change).execute(&target.superuser).await.unwrap_err();
        assert!(refused.to_string().contains("is append-only"), "{refused}");
    }
}

#[tokio::test]
async fn an_empty_log_can_be_backed_up_and_restored() {
    let (source, target, place) = (database().await, database().await, Place::new());
    let manifest = take(&source, &place.backup()).await;
    assert_eq!((manifest.events(), manifest.recorded_at), (0, None));
    assert_eq!(bring_back(&target, &place.backup()).await.unwrap().log_position, LogPosition::ZERO);
    assert_empty(&target).await;
}

#[tokio::test]
async fn a_table_can_be_left_out_and_an_unknown_one_is_refused() {
    let (writer, place) = (filled().await, Place::new());
    take(&writer.database, &place.backup()).await;
    let target = database().await;
    let knows_less = RestoreOptions { companions: vec![NOTES], leave_out: Vec::new() };
    let refused = restore(&target.app, &place.backup(), &knows_less, &quiet).await;
    assert!(
        matches!(&refused, Err(BackupError::UnknownTable(table)) if table == "ticks.batches"),
        "{refused:?}"
    );
    assert_empty(&target).await;
    let without = RestoreOptions { leave_out: vec!["ticks.batches"], ..restore_options() };
    restore(&target.app, &place.backup(), &without, &quiet).await.unwrap();
    assert_eq!(rows(&target, "ticks.batches").await, Vec::<String>::new());
    assert_eq!(rows(&target, "read.notes").await.len(), 2);
}

#[tokio::test]
async fn a_backup_is_closed_to_others_and_its_digests_can_be_checked_without_daybook() {
    use std::os::unix::fs::PermissionsExt;
    let (writer, place) = (filled().await, Place::new());
    let manifest = take(&writer.database, &place.backup()).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.backup()), 0o700);
    let mut listed: Vec<String> = manifest.files().map(|file| file.name.clone()).collect();
    listed.extend(["SHA256SUMS".to_owned(), "manifest.json".to_owned()]);
    listed.sort();
    assert_eq!(names(&place.backup()), listed);
    for name in listed {
        assert_eq!(mode(&place.backup().join(name)), 0o600);
    }
    let sums = std::process::Command::new("sha256sum")
        .args(["--check", "--strict", "SHA256SUMS"])
        .current_dir(place.backup())
        .output()
        .unwrap();
    assert!(sums.status.success(), "{sums:?}");
    assert_eq!(place.names(), ["backup"]);
}

#[tokio::test]
async fn progress_tells_what_is_done_of_how_much() {
    let (writer, place) = (filled().await, Place::new());
    let told = std::sync::Mutex::new(Vec::new());
    let report = |progress: Progress| told.lock().unwrap().push(progress);
    let ends = |stage| {
        let ends =
            told.lock().unwrap().iter().rfind(|told| told.stage == stage).map(|told| (told.done, told.total));
        ends.unwrap()
    };
    let manifest = backup(&writer.database.app, &place.backup(), &options(), &report).await.unwrap();
    assert_eq!(ends(Stage::CopyingEvents), (6, Some(6)));
    restore(&database().await.app, &place.backup(), &restore_options(), &report).await.unwrap();
    assert_eq!(ends(Stage::Verifying), (manifest.bytes(), Some(manifest.bytes())));
    assert_eq!(ends(Stage::Loading), (manifest.rows(), Some(manifest.rows())));
}
