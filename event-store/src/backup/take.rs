//! Making a backup.

use std::path::Path;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sqlx::{Connection, PgConnection, PgPool, Row};

use super::error::{BackupError, blocking};
use super::folder::PartialFolder;
use super::manifest::{BackedUpFile, BackedUpTable, FORMAT_VERSION, Manifest};
use super::progress::{Meter, Report, Stage};
use super::rows::{EVENT_COLUMNS, LogCheck};
use super::session;
use super::table::{self, Companion, EVENTS, KEY_COLUMNS, KEYS, PROCESS_STATES};
use super::writer::FileWriter;
use crate::{LogId, LogPosition};

/// What a backup has beside the log, and how it is cut.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Tables of other schemas.
    pub companions: Vec<Companion>,
    /// Events in one file.
    pub events_a_file: u64,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self { companions: Vec::new(), events_a_file: 1_000_000 }
    }
}

/// What the snapshot says of the log.
struct Head {
    began_at: DateTime<Utc>,
    log_id: LogId,
    log_position: LogPosition,
    recorded_at: Option<DateTime<Utc>>,
    epoch: i64,
    migration: i64,
}

/// Backs the log up into the folder `name`, which is made. The log may be written meanwhile; every command that was
/// acknowledged before this is called is in the backup. Dropped before its end, or after a failure, it leaves nothing.
///
/// The pool's role has to be able to read: the application's is right.
///
/// # Errors
/// [`BackupError`] says what to do.
pub async fn backup(
    pool: &PgPool,
    name: &Path,
    options: &BackupOptions,
    report: Report<'_>,
) -> Result<Manifest, BackupError> {
    let place = name.to_path_buf();
    let folder = blocking(move || PartialFolder::create(&place)).await?;
    let mut connection = session::open(pool).await?;
    let (head, mut tables) = in_one_snapshot(&mut connection, &folder, options, report).await?;

    let mut meter = Meter::start(report, Stage::CopyingTables, None);
    let sql = table::copy_keys(head.log_position, head.recorded_at);
    tables.push(copy_table(&mut connection, &folder, KEYS, &KEY_COLUMNS, &sql, &mut meter).await?);
    for companion in options.companions.iter().filter(|companion| companion.up_to.is_some()) {
        let (name, columns) = (companion.table, companion.columns);
        let sql = table::copy_companion(companion, head.began_at);
        tables.push(copy_table(&mut connection, &folder, name, columns, &sql, &mut meter).await?);
    }
    meter.finish();
    // First of all, because the others speak of them.
    tables.insert(0, copy_events(&mut connection, &folder, &head, options.events_a_file, report).await?);
    connection.close().await?;

    let manifest = Manifest {
        format_version: FORMAT_VERSION,
        daybook_version: env!("CARGO_PKG_VERSION").to_owned(),
        migration: head.migration,
        began_at: head.began_at,
        finished_at: Utc::now(),
        log_id: head.log_id,
        log_position: head.log_position,
        recorded_at: head.recorded_at,
        epoch: head.epoch.unsigned_abs(),
        tables,
    };
    blocking(move || {
        manifest.write(folder.path())?;
        folder.complete()?;
        Ok(manifest)
    })
    .await
}

/// What has to be of the same moment: the head, where processes stand, and the small companions.
async fn in_one_snapshot(
    connection: &mut PgConnection,
    folder: &PartialFolder,
    options: &BackupOptions,
    report: Report<'_>,
) -> Result<(Head, Vec<BackedUpTable>), BackupError> {
    let mut snapshot =
        connection.begin_with("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let migration = session::migration(&mut snapshot).await?;
    let row = sqlx::query(
        "SELECT now() AS began_at, log_id, log_position, \
                NULLIF(recorded_at, '-infinity') AS recorded_at, epoch \
         FROM log.log_head",
    )
    .fetch_one(&mut *snapshot)
    .await?;
    let head = Head {
        began_at: row.try_get("began_at")?,
        log_id: row.try_get("log_id")?,
        log_position: LogPosition::from_sql(row.try_get("log_position")?),
        recorded_at: row.try_get("recorded_at")?,
        epoch: row.try_get("epoch")?,
        migration,
    };
    let small = options.companions.iter().filter(|companion| companion.up_to.is_none());
    let mut meter = Meter::start(report, Stage::CopyingTables, None);
    let mut tables = Vec::new();
    for companion in [&PROCESS_STATES].into_iter().chain(small) {
        let (name, columns) = (companion.table, companion.columns);
        let sql = table::copy_companion(companion, head.began_at);
        tables.push(copy_table(&mut snapshot, folder, name, columns, &sql, &mut meter).await?);
    }
    snapshot.commit().await?;
    meter.finish();
    Ok((head, tables))
}

async fn copy_events(
    connection: &mut PgConnection,
    folder: &PartialFolder,
    head: &Head,
    events_a_file: u64,
    report: Report<'_>,
) -> Result<BackedUpTable, BackupError> {
    let end = head.log_position.0;
    let mut meter = Meter::start(report, Stage::CopyingEvents, Some(end));
    let mut log = LogCheck::default();
    let mut files: Vec<BackedUpFile> = Vec::new();
    let mut after = 0;
    while after < end {
        let up_to = after.saturating_add(events_a_file.max(1)).min(end);
        let name = table::events_file_name(after + 1, up_to);
        let mut file = FileWriter::create(folder, name, Some(log))?;
        copy_out(connection, &table::copy_events(after, up_to), &mut file, &mut meter).await?;
        let (written, checked) = file.finish().await?;
        log = checked.unwrap_or_default();
        files.push(written);
        after = up_to;
    }
    log.end_at(end).map_err(BackupError::SourceDamaged)?;
    meter.finish();
    Ok(listed(EVENTS, &EVENT_COLUMNS, files))
}

async fn copy_table(
    connection: &mut PgConnection,
    folder: &PartialFolder,
    table: &str,
    columns: &[&str],
    sql: &str,
    meter: &mut Meter<'_>,
) -> Result<BackedUpTable, BackupError> {
    let mut file = FileWriter::create(folder, table::file_name(table), None)?;
    copy_out(connection, sql, &mut file, meter).await?;
    let (written, _) = file.finish().await?;
    Ok(listed(table, columns, vec![written]))
}

fn listed(table: &str, columns: &[&str], files: Vec<BackedUpFile>) -> BackedUpTable {
    BackedUpTable {
        table: table.to_owned(),
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows: files.iter().map(|file| file.rows).sum(),
        files,
    }
}

async fn copy_out(
    connection: &mut PgConnection,
    sql: &str,
    file: &mut FileWriter,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let mut rows = connection.copy_out_raw(sql).await?;
    // PostgreSQL sends one row a message.
    while let Some(row) = rows.try_next().await? {
        if !file.write(&row).await {
            // The disk failed; the end of the file says how.
            return Ok(());
        }
        meter.advance(1);
    }
    Ok(())
}
