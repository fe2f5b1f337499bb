//! Why a backup cannot be made, is not whole, or cannot be restored.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a backup cannot be made, is not whole, or cannot be restored. Nothing half-done is left under the backup's name
/// or in the log.
#[derive(Debug, Error)]
pub enum BackupError {
    /// There is something under the backup's name.
    #[error("{0} exists already: a backup is never overwritten, choose a new name")]
    Exists(PathBuf),
    /// Another process is making the same backup.
    #[error("another backup is being written to {0}: wait for it or choose another name")]
    InProgress(PathBuf),
    /// The folder has no manifest.
    #[error("{0} is not a complete backup: it has no {manifest}", manifest = super::MANIFEST)]
    NotABackup(PathBuf),
    /// A later version of Daybook made the backup.
    #[error(
        "the backup has format {found}, and this version reads up to {known}: restore it with a newer version of Daybook"
    )]
    NewerFormat {
        /// What the manifest says.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The backup comes from a schema that this version does not know.
    #[error(
        "the backup was made with migration {found}, and the database has only {known}: restore it with a newer version of Daybook"
    )]
    NewerSchema {
        /// The newest migration where it was made.
        found: i64,
        /// The newest migration of the database that it was to go to.
        known: i64,
    },
    /// A file of the backup is not as it was written.
    #[error("the backup's file {file} is damaged ({reason}): restore another copy or another backup")]
    Damaged {
        /// Its name within the backup.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The backup has a table that the caller does not know.
    #[error(
        "the backup has the table {0}, which this version does not know: leave it out or use a newer version of Daybook"
    )]
    UnknownTable(String),
    /// No space is left for the backup.
    #[error("no space is left on the disk of {0}: free some or choose another place; nothing was left there")]
    DiskFull(PathBuf),
    /// No space is left for the restored log.
    #[error(
        "no space is left on PostgreSQL's disk ({0}): free some and restore again; the log is still empty"
    )]
    TargetDiskFull(String),
    /// A file cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The log that was to be backed up is damaged.
    #[error("the log is damaged and was not backed up: {0}; restore an earlier backup elsewhere and compare")]
    SourceDamaged(String),
    /// There is something where the log was to be restored.
    #[error("the database is not empty ({0} has rows): restore into a new data folder or a new database")]
    TargetNotEmpty(String),
    /// A server works on the database where the log was to be restored.
    #[error(
        "the node {0:?} serves this database: stop it, and restore into a database that it has not written to"
    )]
    TargetInUse(String),
    /// The restored rows contradict each other; the log is still empty.
    #[error("the backup is whole but its log is not: {0}; restore an earlier backup")]
    Inconsistent(String),
    /// PostgreSQL did not answer, or refused.
    #[error("PostgreSQL does not do it: {0}")]
    Database(#[source] sqlx::Error),
}

impl BackupError {
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(path),
            _ => Self::Io { action, path, source },
        }
    }

    pub(super) fn damaged(file: &str, reason: impl ToString) -> Self {
        Self::Damaged { file: file.to_owned(), reason: reason.to_string() }
    }
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error() {
            Some(refusal) if refusal.code().as_deref() == Some("53100") => {
                Self::TargetDiskFull(refusal.message().to_owned())
            }
            _ => Self::Database(error),
        }
    }
}

/// Runs what waits for disks on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(BackupError::io("work on", "the backup", io::Error::other(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert!(matches!(BackupError::io("write", "/b", full), BackupError::DiskFull(_)));
        let denied = io::Error::from_raw_os_error(rustix::io::Errno::ACCESS.raw_os_error());
        assert!(matches!(BackupError::io("write", "/b", denied), BackupError::Io { .. }));
    }
}
