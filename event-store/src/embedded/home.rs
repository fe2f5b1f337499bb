//! Where a cluster lives, who owns it, and how it is found again from the data folder.
//!
//! ```text
//! <data folder>/daybook.lock     flock of the one owner; its text names it
//! <data folder>/embedded.json    where the cluster and its sockets are
//! <data folder>/postgres/        the cluster's home, unless that is closed to PostgreSQL's user:
//! /var/lib/daybook/<hash>-<id>/  then it is here
//!     data/  log/  sockets/
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{account::Account, error::EmbeddedError};

/// Folder that is open to every user, for clusters whose data folder is not.
const OPEN_PLACE: &str = "/var/lib/daybook";
/// Longest path of a Unix socket (`sun_path` without its closing NUL).
const SOCKET_PATH_BYTES: usize = 107;
/// What PostgreSQL calls its socket on port 5432.
pub(super) const SOCKET_NAME: &str = ".s.PGSQL.5432";

/// Makes the data folder if it is missing and answers its canonical path.
pub(super) fn prepare_data_folder(folder: &Path) -> Result<PathBuf, EmbeddedError> {
    if !folder.is_dir() {
        // As root the server's user has to pass through on the way to its own folder.
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(folder)
            .map_err(|error| EmbeddedError::io("create", folder, error))?;
    }
    existing_data_folder(folder)
}

/// The canonical path of a data folder that must exist.
pub(super) fn existing_data_folder(folder: &Path) -> Result<PathBuf, EmbeddedError> {
    let canonical = fs::canonicalize(folder).map_err(|error| EmbeddedError::io("open", folder, error))?;
    match canonical.to_str() {
        Some(_) => Ok(canonical),
        None => Err(EmbeddedError::PathNotText { path: canonical }),
    }
}

/// Ownership of a data folder; ends with the value or the process.
#[derive(Debug)]
pub(super) struct Ownership {
    file: File,
}

impl Ownership {
    /// Takes the folder, or tells who has it.
    pub fn take(folder: &Path) -> Result<Result<Self, String>, EmbeddedError> {
        let path = folder.join("daybook.lock");
        let io = |action, error| EmbeddedError::io(action, &path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| io("open", error))?;
        match file.try_lock() {
            Ok(()) => {
                let program = std::env::current_exe().ok();
                let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
                let text = format!("{} (process {})\n", program.to_string_lossy(), std::process::id());
                file.set_len(0).map_err(|error| io("write", error))?;
                file.rewind().map_err(|error| io("write", error))?;
                file.write_all(text.as_bytes()).map_err(|error| io("write", error))?;
                Ok(Ok(Self { file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(|error| io("read", error))?;
                let holder = holder.trim();
                Ok(Err(if holder.is_empty() { "another process" } else { holder }.to_owned()))
            }
            Err(TryLockError::Error(error)) => Err(io("lock", error)),
        }
    }
}

impl Drop for Ownership {
    /// Closing the file would not do: a process that is being started holds a copy of it until it runs its program.
    fn drop(&mut self) {
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "the data folder's lock could not be given back");
        }
    }
}

/// What `embedded.json` says. Relative paths start at the data folder, so that it can be moved.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    cluster: PathBuf,
    sockets: Option<PathBuf>,
}

impl Record {
    fn path(folder: &Path) -> PathBuf {
        folder.join("embedded.json")
    }

    fn read(folder: &Path) -> Result<Option<Self>, EmbeddedError> {
        let path = Self::path(folder);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| EmbeddedError::io("understand", &path, error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmbeddedError::io("read", &path, error)),
        }
    }

    fn write(&self, folder: &Path) -> Result<(), EmbeddedError> {
        let path = Self::path(folder);
        let new = path.with_extension("json.new");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| EmbeddedError::io("write", &path, error))
    }
}

/// A cluster's home and the data folder it belongs to.
#[derive(Debug, Clone)]
pub(super) struct Home {
    folder: PathBuf,
    path: PathBuf,
}

impl Home {
    /// Where the record says, if there is one. `folder` is canonical.
    pub fn recorded(folder: &Path) -> Result<Option<Self>, EmbeddedError> {
        let record = Record::read(folder)?;
        Ok(record.map(|record| Self { folder: folder.to_path_buf(), path: folder.join(record.cluster) }))
    }

    /// The recorded home, or a new one that the server's user can reach.
    pub fn find_or_choose(folder: &Path) -> Result<(Self, Account), EmbeddedError> {
        if let Some(home) = Self::recorded(folder)? {
            let account = Account::choose(&home.path)?;
            home.create(&account)?;
            if !account.reaches(&home.path) {
                return Err(EmbeddedError::NotReachable { path: home.path, account: account.name });
            }
            return Ok((home, account));
        }
        let inside = Self { folder: folder.to_path_buf(), path: folder.join("postgres") };
        let account = Account::choose(&inside.path)?;
        inside.create(&account)?;
        if account.reaches(&inside.path) {
            inside.record(Path::new("postgres"), None)?;
            return Ok((inside, account));
        }
        if inside.data().exists() || !account.dropped_from_root {
            return Err(EmbeddedError::NotReachable { path: inside.path, account: account.name });
        }
        // Just made, so empty; anything else stays and is told.
        for folder in [inside.log_folder(), inside.path] {
            fs::remove_dir(&folder).map_err(|error| EmbeddedError::io("remove", &folder, error))?;
        }
        let hash = short_hash(folder.as_os_str().as_encoded_bytes());
        let outside = Self {
            folder: folder.to_path_buf(),
            path: Path::new(OPEN_PLACE).join(format!("{hash}-{}", random_digits(8))),
        };
        warn_of_earlier(&hash);
        outside.record(&outside.path, None)?;
        outside.create(&account)?;
        if !account.reaches(&outside.path) {
            return Err(EmbeddedError::NotReachable { path: outside.path, account: account.name });
        }
        tracing::warn!(
            data_folder = %folder.display(), cluster = %outside.path.display(), user = account.name,
            "PostgreSQL's user cannot reach the data folder; the database is kept elsewhere"
        );
        Ok((outside, account))
    }

    fn create(&self, account: &Account) -> Result<(), EmbeddedError> {
        if let Some(parent) = self.path.parent().filter(|parent| !parent.is_dir()) {
            DirBuilder::new()
                .recursive(true)
                .mode(0o711)
                .create(parent)
                .map_err(|error| EmbeddedError::io("create", parent, error))?;
        }
        for folder in [self.path.clone(), self.log_folder()] {
            make_private(&folder, account)?;
        }
        Ok(())
    }

    fn record(&self, cluster: &Path, sockets: Option<PathBuf>) -> Result<(), EmbeddedError> {
        Record { cluster: cluster.to_path_buf(), sockets }.write(&self.folder)
    }

    /// The data folder this belongs to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cluster's home.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What PostgreSQL calls its data directory.
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    /// Where a new data directory grows before it gets its name.
    pub fn unfinished_data(&self) -> PathBuf {
        self.path.join("data.new")
    }

    fn log_folder(&self) -> PathBuf {
        self.path.join("log")
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.log_folder().join("postgresql.log")
    }

    /// The major version that made the cluster; none when there is no cluster yet.
    pub fn version(&self) -> Result<Option<String>, EmbeddedError> {
        let path = self.data().join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EmbeddedError::io("read", &path, error)),
        }
    }

    /// Where a running server listens, as the record says.
    pub fn recorded_sockets(&self) -> Result<Option<PathBuf>, EmbeddedError> {
        Ok(Record::read(&self.folder)?
            .and_then(|record| record.sockets)
            .map(|sockets| self.folder.join(sockets)))
    }

    /// Makes the folder of the server's socket and records it; one left by an earlier start goes.
    pub fn prepare_sockets(&self, account: &Account) -> Result<PathBuf, EmbeddedError> {
        if let Some(old) = self.recorded_sockets()? {
            remove_sockets(&old)?;
        }
        let inside = self.path.join("sockets");
        let sockets = if is_good_for_sockets(&inside) {
            make_private(&inside, account)?;
            inside
        } else {
            make_short(account)?
        };
        let record = Record::read(&self.folder)?;
        let cluster = record.map_or_else(|| self.path.clone(), |record| record.cluster);
        let relative = sockets.strip_prefix(&self.folder).unwrap_or(&sockets).to_path_buf();
        self.record(&cluster, Some(relative))?;
        Ok(sockets)
    }
}

/// Makes a folder that only the account may enter; no error if it is there.
pub(super) fn make_private(folder: &Path, account: &Account) -> Result<(), EmbeddedError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => account.take(folder),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(EmbeddedError::io("create", folder, error)),
    }
}

/// Tells of databases whose data folder was at the same place and is gone.
fn warn_of_earlier(hash: &str) {
    for entry in fs::read_dir(OPEN_PLACE).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(hash) {
            tracing::warn!(folder = %entry.path().display(), "an earlier data folder here left its database; remove it if it is not needed");
        }
    }
}

/// Removes a folder of sockets. Not what else may be in it: the path comes from a file.
pub(super) fn remove_sockets(folder: &Path) -> Result<(), EmbeddedError> {
    let remove = || -> std::io::Result<()> {
        for name in [SOCKET_NAME.to_owned(), format!("{SOCKET_NAME}.lock")] {
            absent_is_fine(fs::remove_file(folder.join(name)))?;
        }
        absent_is_fine(fs::remove_dir(folder))
    };
    remove().map_err(|error| EmbeddedError::io("remove", folder, error))
}

fn absent_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Short enough, and without the characters that mean something in `unix_socket_directories`.
fn is_good_for_sockets(folder: &Path) -> bool {
    let Some(text) = folder.to_str() else { return false };
    text.len() + 1 + SOCKET_NAME.len() <= SOCKET_PATH_BYTES
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

/// A new private folder of unguessable name in a place with a short path.
fn make_short(account: &Account) -> Result<PathBuf, EmbeddedError> {
    let name = format!("daybook-{}", random_digits(16));
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let places = if account.dropped_from_root { Some("/run".into()) } else { runtime };
    let places = places.into_iter().chain(["/tmp".into(), "/var/tmp".into()]);
    let mut refusal = None;
    for folder in places.map(|place: PathBuf| place.join(&name)) {
        if !is_good_for_sockets(&folder) {
            continue;
        }
        match make_private(&folder, account) {
            Ok(()) if account.reaches(&folder) => return Ok(folder),
            Ok(()) => remove_sockets(&folder)?,
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| EmbeddedError::NotReachable {
        path: "/tmp".into(),
        account: account.name.clone(),
    }))
}

/// The first 12 hexadecimal digits of the SHA-256.
pub(super) fn short_hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// Up to 16 random hexadecimal digits: the end of a UUIDv7, whose beginning is the time.
pub(super) fn random_digits(digits: usize) -> String {
    let mut id = uuid::Uuid::now_v7().simple().to_string();
    id.split_off(id.len().saturating_sub(digits))
}

/// Lets every user pass through a folder without listing it.
#[cfg(any(test, feature = "testing"))]
pub(super) fn open_for_passage(folder: &Path) -> Result<(), EmbeddedError> {
    use std::os::unix::fs::PermissionsExt;

    fs::set_permissions(folder, fs::Permissions::from_mode(0o711))
        .map_err(|error| EmbeddedError::io("open up", folder, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_odd_path_is_no_place_for_a_socket() {
        assert!(is_good_for_sockets(Path::new("/srv/daybook/.daybook/postgres/sockets")));
        let longest = format!("/{}", "x".repeat(SOCKET_PATH_BYTES - SOCKET_NAME.len() - 2));
        assert!(is_good_for_sockets(Path::new(&longest)));
        assert!(!is_good_for_sockets(Path::new(&format!("{longest}x"))));
        assert!(!is_good_for_sockets(Path::new("/srv/a,b/sockets")));
        assert!(!is_good_for_sockets(Path::new("/srv/a b/sockets")));
    }
}
