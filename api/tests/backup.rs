//! `daybook backup` and `daybook restore` as an operator types them, with the server down.

#![allow(missing_docs)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

fn daybook(data_dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_daybook"))
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DAYBOOK_DATA_DIR", data_dir)
        .output()
        .unwrap()
}

fn done(output: Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_backup_is_made_checked_and_restored_from_the_command_line_with_its_keys() {
    let folder = tempfile::tempdir().unwrap();
    // Open to PostgreSQL's user, so that the clusters are in it and go with it.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    let backup = folder.path().join("backup");
    let name = backup.to_str().unwrap();

    let nothing = refused(daybook(&new, &["restore", name]));
    assert!(nothing.contains("is not a complete backup"), "{nothing}");
    assert!(!new.exists(), "no database is made for what is not a backup");

    done(daybook(&old, &["migrate"]));
    done(daybook(&old, &["keys", "create", "carol", "--role", "auditor"]));
    assert!(done(daybook(&old, &["backup", name])).contains("backed up to"));
    let again = refused(daybook(&old, &["backup", name]));
    assert!(again.contains("exists already"), "{again}");
    assert!(done(daybook(&new, &["restore", "--check", name])).contains("is whole"));

    assert!(done(daybook(&new, &["restore", name])).contains("restored"));
    assert!(done(daybook(&new, &["keys", "list"])).contains("carol"));
    let full = refused(daybook(&new, &["restore", name]));
    assert!(full.contains("is not empty (auth.api_keys has rows)"), "{full}");

    let file = backup.join("auth-api-keys.copy.gz");
    std::fs::write(&file, "cut").unwrap();
    let damaged = refused(daybook(&new, &["restore", "--check", name]));
    assert!(damaged.contains("auth-api-keys.copy.gz is damaged"), "{damaged}");
}
