//! What is in a backup: `manifest.json`, and `SHA256SUMS` in the form that `sha256sum -c` reads.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::BackupError;
use crate::{LogId, LogPosition};

/// The newest format of a backup that this version writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// Name of the manifest within a backup.
pub const MANIFEST: &str = "manifest.json";
/// Name of the list of digests within a backup, the manifest's included.
const SUMS: &str = "SHA256SUMS";

/// What is in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the backup.
    pub format_version: u32,
    /// Version of Daybook that made it.
    pub daybook_version: String,
    /// The newest migration of the database it was made from.
    pub migration: i64,
    /// When it began, by PostgreSQL's clock. Everything acknowledged before is in it.
    pub began_at: DateTime<Utc>,
    /// When its last row was written, by this machine's clock.
    pub finished_at: DateTime<Utc>,
    /// Names the log it was made from.
    pub log_id: LogId,
    /// The head: position of the last event in it, which is the last of its command.
    pub log_position: LogPosition,
    /// When the newest batch was recorded; absent in a log that was never written to.
    pub recorded_at: Option<DateTime<Utc>>,
    /// The newest epoch.
    pub epoch: u64,
    /// In the order in which they are restored.
    pub tables: Vec<BackedUpTable>,
}

/// The rows of one table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpTable {
    /// With its schema.
    pub table: String,
    /// In the order of the fields of each row.
    pub columns: Vec<String>,
    /// How many rows all files have together.
    pub rows: u64,
    /// In the order of their rows.
    pub files: Vec<BackedUpFile>,
}

/// One file: gzipped rows in the text format of PostgreSQL's `COPY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpFile {
    /// Its name within the backup.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// Its size on disk.
    pub bytes: u64,
    /// SHA-256 of the file as it is on disk, in hexadecimal digits.
    pub sha256: String,
}

#[derive(Deserialize)]
struct Format {
    format_version: u32,
}

impl Manifest {
    /// How many events are in it.
    pub fn events(&self) -> u64 {
        self.log_position.0
    }

    /// Size of all files of rows on disk.
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.bytes).sum()
    }

    /// How many rows all tables have together.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// All files of rows.
    pub fn files(&self) -> impl Iterator<Item = &BackedUpFile> {
        self.tables.iter().flat_map(|table| &table.files)
    }

    /// Writes manifest and digests, durable.
    pub(super) fn write(&self, folder: &Path) -> Result<(), BackupError> {
        let mut json = serde_json::to_string_pretty(self)
            .map_err(|error| BackupError::io("write", folder.join(MANIFEST), error.into()))?;
        json.push('\n');
        let mut sums = String::new();
        let own = BackedUpFile {
            name: MANIFEST.to_owned(),
            rows: 0,
            bytes: json.len() as u64,
            sha256: digest(json.as_bytes()),
        };
        for file in self.files().chain([&own]) {
            // Writing to a string cannot fail.
            let _ = writeln!(sums, "{}  {}", file.sha256, file.name);
        }
        write_durably(&folder.join(SUMS), sums.as_bytes())?;
        write_durably(&folder.join(MANIFEST), json.as_bytes())
    }

    /// Reads the manifest of a backup and checks it against its digest.
    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(MANIFEST);
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Err(BackupError::NotABackup(folder.to_path_buf()));
            }
            Err(error) => return Err(BackupError::io("read", &path, error)),
        };
        let damaged = |error: serde_json::Error| BackupError::damaged(MANIFEST, error);
        // First, because all else may be different in another format.
        let Format { format_version } = serde_json::from_slice(&json).map_err(damaged)?;
        if format_version > FORMAT_VERSION {
            return Err(BackupError::NewerFormat { found: format_version, known: FORMAT_VERSION });
        }
        let sums = fs::read_to_string(folder.join(SUMS))
            .map_err(|error| BackupError::damaged(SUMS, format!("it cannot be read: {error}")))?;
        let line = format!("{}  {MANIFEST}", digest(&json));
        if !sums.lines().any(|found| found == line) {
            return Err(BackupError::damaged(MANIFEST, format!("its digest is not the one in {SUMS}")));
        }
        let manifest: Self = serde_json::from_slice(&json).map_err(damaged)?;
        manifest.check().map_err(|reason| BackupError::damaged(MANIFEST, reason))?;
        Ok(manifest)
    }

    /// Whether names can stand in a path and in a statement, and counts agree.
    fn check(&self) -> Result<(), String> {
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        };
        for table in &self.tables {
            if let Some(column) = table.columns.iter().find(|column| !plain(column)) {
                return Err(format!("{column:?} is not a column's name"));
            }
            if table.files.iter().map(|file| file.rows).sum::<u64>() != table.rows {
                return Err(format!("the files of {} have other counts than the table", table.table));
            }
        }
        match self.files().find(|file| file.name.starts_with('.') || file.name.contains(['/', '\\', '\0'])) {
            Some(file) => Err(format!("{:?} is not a file's name", file.name)),
            None => Ok(()),
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let write = || {
        let mut file = super::folder::create_file(path)?;
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    };
    write().map_err(|error| BackupError::io("write", path, error))
}
