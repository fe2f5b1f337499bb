//! Makes a new cluster's files.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use super::{
    SUPERUSER,
    account::Account,
    binaries::Binaries,
    error::{EmbeddedError, tells_of_full_disk},
    home::Home,
    processes::command_as,
};

/// Makes the data directory under a temporary name and renames it, so that it is whole or absent.
///
/// With a `template` its files are copied instead of running `initdb`.
pub(super) fn create_data(
    home: &Home,
    account: &Account,
    binaries: &Binaries,
    template: Option<&Path>,
) -> Result<(), EmbeddedError> {
    let new = home.unfinished_data();
    remove(&new)?;
    let made = match template {
        Some(template) => copy(template, &new),
        None => run_initdb(&new, account, binaries).and_then(|()| add_includes(&new)),
    };
    if let Err(error) = made {
        // The first error is the one that counts.
        let _ = fs::remove_dir_all(&new);
        return Err(error);
    }
    let data = home.data();
    fs::rename(&new, &data).map_err(|error| EmbeddedError::io("create", &data, error))?;
    File::open(home.path())
        .and_then(|folder| folder.sync_all())
        .map_err(|error| EmbeddedError::io("write", home.path(), error))
}

fn run_initdb(data: &Path, account: &Account, binaries: &Binaries) -> Result<(), EmbeddedError> {
    let output = command_as(account, "KILL", &binaries.initdb())
        .arg("--pgdata")
        .arg(data)
        .args(["--username", SUPERUSER, "--auth=trust"])
        .args(["--locale=C", "--encoding=UTF8", "--data-checksums", "--no-instructions"])
        .output()
        .map_err(|error| EmbeddedError::io("run", binaries.initdb(), error))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if tells_of_full_disk(&text) {
        return Err(EmbeddedError::DiskFull {
            path: data.to_path_buf(),
            detail: "while initdb created the database".to_owned(),
        });
    }
    Err(EmbeddedError::Initdb { path: data.to_path_buf(), detail: text.trim().to_owned() })
}

/// Ours, then the operator's, behind what `initdb` wrote.
fn add_includes(data: &Path) -> Result<(), EmbeddedError> {
    let path = data.join("postgresql.conf");
    let append = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.write_all(b"\ninclude 'daybook.conf'\ninclude_if_exists 'local.conf'\n")?;
        file.sync_all()
    };
    append().map_err(|error| EmbeddedError::io("write", &path, error))
}

/// Copies a data directory with its owners and modes.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), EmbeddedError> {
    let output = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from)
        .arg(to)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| EmbeddedError::io("copy", from, error))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(EmbeddedError::io("copy", from, std::io::Error::other(text.trim().to_owned())))
}

fn remove(folder: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", folder, error))
        }
        _ => Ok(()),
    }
}
