//! What can go wrong with the embedded cluster, told so that the reader knows what to do next.

use std::path::{Path, PathBuf};

/// Why the embedded PostgreSQL cluster could not be opened, found or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// No folder with `initdb` and `postgres` of a usable version.
    #[error(
        "no PostgreSQL server of version {minimum} or newer found (looked in {searched}); install it with \
         `apt install postgresql`, name the folder of its programs in DAYBOOK_POSTGRES_BIN, \
         or set DATABASE_URL to use a server that runs elsewhere"
    )]
    NoServer {
        /// Oldest major version that is accepted.
        minimum: u32,
        /// The folders that were looked at, comma-separated.
        searched: String,
    },
    /// `DAYBOOK_POSTGRES_BIN` names a folder that does not hold a usable server.
    #[error("DAYBOOK_POSTGRES_BIN is {folder}, which {problem}; correct it or unset it")]
    WrongBinaries {
        /// The folder it names.
        folder: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process owns the data folder.
    #[error(
        "the data folder {folder} is in use by {holder}; stop that first, or choose another with DAYBOOK_DATA_DIR"
    )]
    InUse {
        /// The data folder.
        folder: PathBuf,
        /// Program and process number of the owner.
        holder: String,
    },
    /// The folder holds no cluster, and none was to be created.
    #[error("the data folder {folder} holds no database yet; start `daybook serve` with it once")]
    NoCluster {
        /// The data folder.
        folder: PathBuf,
    },
    /// The cluster was made by a major version that is not installed.
    #[error(
        "the database in {cluster} was made by PostgreSQL {made_by}, installed is {installed}; install it with \
         `apt install postgresql-{made_by}`, or carry the data over with pg_upgrade"
    )]
    VersionMismatch {
        /// The cluster's folder.
        cluster: PathBuf,
        /// Major version that made it.
        made_by: String,
        /// Major versions found, comma-separated.
        installed: String,
    },
    /// The cluster's folder cannot be entered by the account that must run PostgreSQL.
    #[error(
        "PostgreSQL runs as user {account}, who cannot reach {path}; allow it with `chmod o+x` on the folders above it, \
         or move the data folder"
    )]
    NotReachable {
        /// The folder.
        path: PathBuf,
        /// The unprivileged user.
        account: String,
    },
    /// The cluster belongs to another user than the one that runs the program.
    #[error(
        "the database in {path} belongs to user {owner}; run as that user or as root, or give the folder away with `chown -R`"
    )]
    WrongOwner {
        /// The cluster's folder.
        path: PathBuf,
        /// Number of the owning user.
        owner: u32,
    },
    /// Running as root without an unprivileged user to hand the server to.
    #[error(
        "PostgreSQL refuses to run as root and there is neither a user `postgres` nor `nobody`; create one, or run as another user"
    )]
    NoAccount,
    /// The disk is full.
    #[error(
        "the disk that holds {path} is full; free some space (at least 100 MB) and start again ({detail})"
    )]
    DiskFull {
        /// The folder that could not be written.
        path: PathBuf,
        /// What was being done.
        detail: String,
    },
    /// `initdb` failed.
    #[error("initdb could not create the database in {path}: {detail}")]
    Initdb {
        /// The cluster's folder.
        path: PathBuf,
        /// What it wrote.
        detail: String,
    },
    /// The server ended before it was ready.
    #[error("PostgreSQL did not start: {detail} (its log is {log})")]
    Start {
        /// The last lines it wrote.
        detail: String,
        /// Its log file.
        log: PathBuf,
    },
    /// The owner of the data folder does not answer.
    #[error(
        "the database of {folder} is held by {holder} but did not become ready within {waited_seconds} s; look at its log"
    )]
    NotReady {
        /// The data folder.
        folder: PathBuf,
        /// Program and process number of the owner.
        holder: String,
        /// How long was waited.
        waited_seconds: u64,
    },
    /// The path holds bytes that are not UTF-8.
    #[error("the data folder {path:?} has a name that is not UTF-8; choose another with DAYBOOK_DATA_DIR")]
    PathNotText {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
    /// The roles or the database could not be set up.
    #[error("the embedded database could not be set up: {0}")]
    Setup(#[from] sqlx::Error),
    /// A test database could not be migrated.
    #[cfg(any(test, feature = "testing"))]
    #[error(transparent)]
    Migration(#[from] crate::MigrationError),
}

impl EmbeddedError {
    /// Stable name of the error for logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoServer { .. } => "POSTGRES_NOT_FOUND",
            Self::WrongBinaries { .. } => "POSTGRES_BINARIES_WRONG",
            Self::InUse { .. } => "DATA_FOLDER_IN_USE",
            Self::NoCluster { .. } => "DATA_FOLDER_EMPTY",
            Self::VersionMismatch { .. } => "POSTGRES_VERSION_MISMATCH",
            Self::NotReachable { .. } => "DATA_FOLDER_NOT_REACHABLE",
            Self::WrongOwner { .. } => "DATA_FOLDER_WRONG_OWNER",
            Self::NoAccount => "NO_UNPRIVILEGED_USER",
            Self::DiskFull { .. } => "DISK_FULL",
            Self::Initdb { .. } => "INITDB_FAILED",
            Self::Start { .. } => "POSTGRES_START_FAILED",
            Self::NotReady { .. } => "POSTGRES_NOT_READY",
            Self::PathNotText { .. } => "DATA_FOLDER_NOT_TEXT",
            Self::Io { .. } => "FILE_ERROR",
            Self::Setup(_) => "DATABASE_SETUP_FAILED",
            #[cfg(any(test, feature = "testing"))]
            Self::Migration(_) => "DATABASE_SETUP_FAILED",
        }
    }

    /// Wraps a refusal of the operating system; a full disk is told apart.
    pub(super) fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::DiskFull { path, detail: format!("cannot {action} it: {source}") }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

/// Whether what PostgreSQL wrote tells of a full disk.
pub(super) fn tells_of_full_disk(text: &str) -> bool {
    text.contains("No space left on device") || text.contains("Disk quota exceeded")
}
