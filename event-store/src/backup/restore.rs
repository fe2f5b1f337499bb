//! Bringing a backup into an empty log.

use std::path::{Path, PathBuf};

use sqlx::{Connection, PgConnection, PgPool, Row};
use tokio::sync::mpsc;

use super::error::{BackupError, blocking};
use super::manifest::{BackedUpFile, BackedUpTable, Manifest};
use super::progress::{Meter, Report, Stage};
use super::table::{Companion, EVENTS, KEYS, PROCESS_STATES, copy_in};
use super::{reader, session, verify};
use crate::{LogId, LogPosition};

/// Pieces of rows that wait for PostgreSQL at most; beyond them the disk waits.
const WAITING: usize = 16;

/// What of a backup is restored beside the log.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// Tables of other schemas that the caller knows.
    pub companions: Vec<Companion>,
    /// Those among them that are not restored although the backup has them.
    pub leave_out: Vec<&'static str>,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup had.
    pub manifest: Manifest,
    /// Names the restored log. It is not the source's: what was derived from that is not derived from this.
    pub log_id: LogId,
    /// The head.
    pub log_position: LogPosition,
    /// Greater than every epoch of the source; nobody leads in it.
    pub epoch: u64,
    /// Rows of all tables.
    pub rows: u64,
}

/// Restores the backup in the folder into a migrated database whose log is empty. The whole backup is verified first, and
/// the restored log before it is committed; it is all there or, after a failure or when this is dropped, still empty.
/// Read models are rebuilt by the next start of a server.
///
/// The application's role is right for the pool: restoring needs no more than the rights to append.
///
/// # Errors
/// [`BackupError`] says what to do.
pub async fn restore(
    pool: &PgPool,
    folder: &Path,
    options: &RestoreOptions,
    report: Report<'_>,
) -> Result<Restored, BackupError> {
    // What can be refused at once is.
    let manifest = super::manifest(folder).await?;
    let tables = chosen(&manifest, options)?;
    let mut connection = session::open(pool).await?;
    check_target(&mut connection, &manifest, options).await?;
    connection.close().await?;
    verify(folder, report).await?;

    let mut connection = session::open(pool).await?;
    let mut restoring = connection.begin().await?;
    // From here on nobody appends or leads until all is committed.
    sqlx::query("SELECT FROM log.log_head FOR UPDATE").execute(&mut *restoring).await?;
    check_target(&mut restoring, &manifest, options).await?;
    let rows = tables.iter().map(|table| table.rows).sum();
    let mut meter = Meter::start(report, Stage::Loading, Some(rows));
    for table in tables {
        for file in &table.files {
            load(&mut restoring, folder, table, file, &mut meter).await?;
        }
    }
    meter.finish();
    let checking = Meter::start(report, Stage::Checking, None);
    check_log(&mut restoring, &manifest).await?;
    let row = sqlx::query(
        "UPDATE log.log_head \
         SET log_position = $1, recorded_at = coalesce($2, '-infinity'), epoch = GREATEST(epoch, $3) + 1, \
             leader = NULL, lease_until = NULL \
         RETURNING log_id, epoch",
    )
    .bind(manifest.log_position.to_sql())
    .bind(manifest.recorded_at)
    .bind(i64::try_from(manifest.epoch).unwrap_or(i64::MAX - 1))
    .fetch_one(&mut *restoring)
    .await?;
    let log_id: LogId = row.try_get("log_id")?;
    if log_id == manifest.log_id {
        return Err(BackupError::Inconsistent("the database has the source's log_id".to_owned()));
    }
    restoring.commit().await?;
    connection.close().await?;
    checking.finish();
    Ok(Restored {
        log_id,
        log_position: manifest.log_position,
        epoch: row.try_get::<i64, _>("epoch")?.unsigned_abs(),
        rows,
        manifest,
    })
}

/// The tables of the backup that are to be restored, all of them known.
fn chosen<'a>(
    manifest: &'a Manifest,
    options: &RestoreOptions,
) -> Result<Vec<&'a BackedUpTable>, BackupError> {
    let mut chosen = Vec::new();
    for table in &manifest.tables {
        let name = table.table.as_str();
        if options.leave_out.contains(&name) {
            continue;
        }
        let known = [EVENTS, KEYS, PROCESS_STATES.table].contains(&name)
            || options.companions.iter().any(|companion| companion.table == name);
        if !known {
            return Err(BackupError::UnknownTable(name.to_owned()));
        }
        chosen.push(table);
    }
    Ok(chosen)
}

/// Refuses a database that has anything, that a server works on, or whose schema is older than the backup's.
async fn check_target(
    connection: &mut PgConnection,
    manifest: &Manifest,
    options: &RestoreOptions,
) -> Result<(), BackupError> {
    let known = session::migration(connection).await?;
    if manifest.migration > known {
        return Err(BackupError::NewerSchema { found: manifest.migration, known });
    }
    let leader: Option<String> = sqlx::query_scalar(
        "SELECT leader FROM log.log_head WHERE leader IS NOT NULL AND lease_until > clock_timestamp()",
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(leader) = leader {
        return Err(BackupError::TargetInUse(leader));
    }
    let companions = options.companions.iter().map(|companion| companion.table);
    for table in [EVENTS, KEYS, PROCESS_STATES.table, "log.snapshots"].into_iter().chain(companions) {
        // Names are constants of this program.
        let any: bool = sqlx::query_scalar(&format!("SELECT EXISTS (SELECT FROM {table})"))
            .fetch_one(&mut *connection)
            .await?;
        if any {
            return Err(BackupError::TargetNotEmpty(table.to_owned()));
        }
    }
    Ok(())
}

async fn load(
    connection: &mut PgConnection,
    folder: &Path,
    table: &BackedUpTable,
    file: &BackedUpFile,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let (send, mut pieces) = mpsc::channel::<Vec<u8>>(WAITING);
    let (place, listed): (PathBuf, BackedUpFile) = (folder.to_path_buf(), file.clone());
    // It was verified as a whole; that it is still the same is shown by its digest again.
    let thread = tokio::spawn(blocking(move || {
        reader::read(&place, &listed, None, |piece, _| send.blocking_send(piece).is_ok())
    }));
    let mut copy = connection.copy_in_raw(&copy_in(&table.table, &table.columns)).await?;
    while let Some(piece) = pieces.recv().await {
        let rows = piece.iter().filter(|byte| **byte == b'\n').count();
        copy.send(piece).await?;
        meter.advance(rows as u64);
    }
    match thread.await {
        Ok(read) => read.map(|_| ())?,
        Err(error) => return Err(BackupError::damaged(&file.name, error)),
    }
    let rows = copy.finish().await?;
    if rows == file.rows {
        Ok(())
    } else {
        Err(BackupError::damaged(&file.name, format!("PostgreSQL took {rows} rows of {}", file.rows)))
    }
}

/// What every log is, each as a query for the first thing that is not so. Positions and whole commands were verified along
/// the files.
const DEFECTS: [(&str, &str); 5] = [
    (
        "the log does not end at its head",
        "SELECT format('log position %s', count(*)) FROM log.events \
         HAVING count(*) <> $1 OR coalesce(max(log_position), 0) <> $1",
    ),
    (
        "a stream's sequences have a gap, or are in another order than in the log",
        "SELECT format('%s %s at sequence %s', aggregate_type, aggregate_id, sequence) \
         FROM (SELECT aggregate_type, aggregate_id, sequence, log_position, row_number() OVER stream AS expected, \
                      lag(log_position) OVER stream AS previous \
               FROM log.events WINDOW stream AS (PARTITION BY aggregate_id, aggregate_type ORDER BY sequence)) AS events \
         WHERE $1 IS NOT NULL AND (sequence <> expected OR previous >= log_position) LIMIT 1",
    ),
    (
        "an event was recorded after the newest batch",
        "SELECT format('log position %s', log_position) FROM log.events \
         WHERE log_position = $1 AND recorded_at > coalesce($2, '-infinity')",
    ),
    (
        "an idempotency key names no end of a command",
        "SELECT format('%s of %s', key, principal) FROM log.idempotency_keys AS keys \
         LEFT JOIN log.events AS events USING (log_position) \
         WHERE $1 IS NOT NULL AND keys.log_position IS NOT NULL AND events.remaining IS DISTINCT FROM 0 LIMIT 1",
    ),
    (
        "a process stands behind the end of the log",
        "SELECT name FROM log.process_states WHERE log_position > $1 LIMIT 1",
    ),
];

async fn check_log(connection: &mut PgConnection, manifest: &Manifest) -> Result<(), BackupError> {
    for (defect, sql) in DEFECTS {
        let query = sqlx::query_scalar::<_, String>(sql).bind(manifest.log_position.to_sql());
        let query = if sql.contains("$2") { query.bind(manifest.recorded_at) } else { query };
        if let Some(place) = query.fetch_optional(&mut *connection).await? {
            return Err(BackupError::Inconsistent(format!("{defect} ({place})")));
        }
    }
    Ok(())
}
