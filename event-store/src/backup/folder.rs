//! The folder that a backup is written to, until it gets its name.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::BackupError;

/// `<name>.partial` beside the place where the backup will be. It goes with the value unless it is completed. One that a
/// killed process has left is taken over by the next backup of the same name.
#[derive(Debug)]
pub(super) struct PartialFolder {
    name: PathBuf,
    partial: PathBuf,
    /// Locked while this process writes; the lock goes with the process.
    _lock: File,
    complete: bool,
}

impl PartialFolder {
    pub(super) fn create(name: &Path) -> Result<Self, BackupError> {
        let name = std::path::absolute(name).map_err(|error| BackupError::io("find", name, error))?;
        let Some(last) = name.file_name() else { return Err(BackupError::Exists(name)) };
        let mut partial = last.to_owned();
        partial.push(".partial");
        let partial = name.with_file_name(partial);
        if name.symlink_metadata().is_ok() {
            return Err(BackupError::Exists(name));
        }
        let parent = parent(&name);
        fs::create_dir_all(&parent).map_err(|error| BackupError::io("create", &parent, error))?;
        match DirBuilder::new().mode(0o700).create(&partial) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(BackupError::io("create", &partial, error)),
        }
        let lock = File::open(&partial).map_err(|error| BackupError::io("open", &partial, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::InProgress(partial)),
            Err(TryLockError::Error(error)) => return Err(BackupError::io("lock", &partial, error)),
        }
        // Its last owner may have completed it between our opening and locking it.
        let ours = lock.metadata().map(|found| (found.dev(), found.ino())).ok();
        if ours.is_none() || partial.metadata().map(|found| (found.dev(), found.ino())).ok() != ours {
            return Err(BackupError::Exists(name));
        }
        let folder = Self { name, partial, _lock: lock, complete: false };
        folder.empty().map_err(|error| BackupError::io("empty", &folder.partial, error))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    /// Gives the backup its name, durable. What is in it must be.
    pub(super) fn complete(mut self) -> Result<(), BackupError> {
        let failed = |error| BackupError::io("write", &self.partial, error);
        File::open(&self.partial).and_then(|folder| folder.sync_all()).map_err(failed)?;
        match renameat_with(CWD, &self.partial, CWD, &self.name, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(BackupError::Exists(self.name.clone())),
            // Some file systems cannot refuse by themselves.
            Err(Errno::INVAL) if self.name.symlink_metadata().is_err() => {
                fs::rename(&self.partial, &self.name).map_err(failed)?;
            }
            Err(error) => return Err(failed(error.into())),
        }
        self.complete = true;
        let parent = parent(&self.name);
        File::open(&parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|error| BackupError::io("write", &parent, error))
    }

    fn empty(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.partial)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        if !self.complete
            && let Err(error) = fs::remove_dir_all(&self.partial)
        {
            tracing::warn!(folder = %self.partial.display(), %error, "an unfinished backup is left and can be removed");
        }
    }
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf)
}

/// A new file that nobody else may read: a backup has everybody's data.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
