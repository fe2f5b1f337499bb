//! Reading a backup against its manifest, without a database.

use std::path::Path;

use tokio::sync::mpsc;

use super::error::{BackupError, blocking};
use super::manifest::{MANIFEST, Manifest};
use super::progress::{Meter, Report, Stage};
use super::reader;
use super::rows::{EVENT_COLUMNS, LogCheck};
use super::table::EVENTS;

/// Pieces that were read and not yet counted, at most.
const WAITING: usize = 16;

/// Reads what is in the backup in the folder, and whether this version can read it; not its rows.
///
/// # Errors
/// [`BackupError`] says what to do.
pub async fn manifest(folder: &Path) -> Result<Manifest, BackupError> {
    let folder = folder.to_path_buf();
    blocking(move || Manifest::read(&folder)).await
}

/// Reads every file of the backup in the folder: digests, counts, and along the log positions without gap, whole commands
/// and times that never move backward. Sequences of streams are checked by a restore, which has indexes for it.
///
/// # Errors
/// [`BackupError`] names the damaged file.
pub async fn verify(folder: &Path, report: Report<'_>) -> Result<Manifest, BackupError> {
    let manifest = manifest(folder).await?;
    let folder = folder.to_path_buf();
    let mut meter = Meter::start(report, Stage::Verifying, Some(manifest.bytes()));
    let (read, mut pieces) = mpsc::channel(WAITING);
    let thread = tokio::spawn(blocking(move || {
        read_all(&folder, &manifest, |bytes| read.blocking_send(bytes).is_ok())?;
        Ok(manifest)
    }));
    // Ends with the thread; a caller that goes away ends the thread.
    while let Some(bytes) = pieces.recv().await {
        meter.advance(bytes);
    }
    match thread.await {
        Ok(verified) => {
            let manifest = verified?;
            meter.finish();
            Ok(manifest)
        }
        Err(error) => Err(BackupError::damaged(MANIFEST, error)),
    }
}

fn read_all(
    folder: &Path,
    manifest: &Manifest,
    mut count: impl FnMut(u64) -> bool,
) -> Result<(), BackupError> {
    let mut found = false;
    for table in &manifest.tables {
        if table.table != EVENTS {
            for file in &table.files {
                reader::read(folder, file, None, |_, bytes| count(bytes))?;
            }
            continue;
        }
        if table.columns != EVENT_COLUMNS {
            return Err(BackupError::damaged(MANIFEST, "the events have other columns than this format"));
        }
        found = true;
        let mut log = LogCheck::default();
        for file in &table.files {
            let Some(checked) = reader::read(folder, file, Some(log), |_, bytes| count(bytes))? else {
                return Ok(());
            };
            log = checked;
        }
        log.end_at(manifest.log_position.0).map_err(|reason| BackupError::damaged(MANIFEST, reason))?;
    }
    if found { Ok(()) } else { Err(BackupError::damaged(MANIFEST, "it lists no events")) }
}
