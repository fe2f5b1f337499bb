//! What is damaged, unfinished, in the way or interrupted is refused with a reason, and leaves nothing.

use std::fs;
use std::pin::pin;

use event_store::backup::{FORMAT_VERSION, MANIFEST};
use tokio::sync::Notify;

use super::*;

/// Replaces text in the manifest and writes the digests anew, as somebody would who knows the format.
fn forge(name: &Path, old: &str, new: &str) {
    let path = name.join(MANIFEST);
    let manifest = fs::read_to_string(&path).unwrap();
    assert!(manifest.contains(old), "{old}");
    fs::write(&path, manifest.replacen(old, new, 1)).unwrap();
    let sums = std::process::Command::new("sh")
        .args(["-c", "sha256sum *.gz manifest.json > SHA256SUMS"])
        .current_dir(name)
        .status()
        .unwrap();
    assert!(sums.success());
}

fn second_file_of_events(manifest: &Manifest) -> &str {
    &manifest.tables[0].files[1].name
}

#[tokio::test]
async fn a_damaged_file_is_named_and_nothing_is_restored() {
    let (writer, target) = (filled().await, database().await);
    type Damage = fn(&Path, &[u8]);
    let damages: [(&str, Damage); 5] = [
        ("bytes of", |file, bytes| fs::write(file, &bytes[..bytes.len() - 1]).unwrap()),
        ("bytes of", |file, _| fs::write(file, []).unwrap()),
        ("bytes of", |file, bytes| fs::write(file, [bytes, &[0]].concat()).unwrap()),
        ("missing", |file, _| fs::remove_file(file).unwrap()),
        // The time in the header of gzip: what is decompressed stays the same.
        ("digest", |file, bytes| {
            let mut bytes = bytes.to_vec();
            bytes[5] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
    ];
    for (reason, damage) in damages {
        let place = Place::new();
        let manifest = take(&writer.database, &place.backup()).await;
        let name = second_file_of_events(&manifest);
        let file = place.backup().join(name);
        damage(&file, &fs::read(&file).unwrap());
        for refused in [
            verify(&place.backup(), &quiet).await.map(|_| ()),
            bring_back(&target, &place.backup()).await.map(|_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert!(matches!(&refused, BackupError::Damaged { file, .. } if file == name), "{refused}");
            assert!(refused.to_string().contains(reason), "{reason}: {refused}");
        }
    }
    assert_empty(&target).await;
}

#[tokio::test]
async fn each_flipped_byte_of_a_file_is_found() {
    let (writer, place) = (filled().await, Place::new());
    let manifest = take(&writer.database, &place.backup()).await;
    for name in manifest.files().map(|file| file.name.as_str()).chain([MANIFEST]) {
        let file = place.backup().join(name);
        let whole = fs::read(&file).unwrap();
        for byte in (0..whole.len()).step_by(7) {
            let mut damaged = whole.clone();
            damaged[byte] ^= 0x10;
            fs::write(&file, &damaged).unwrap();
            let found = verify(&place.backup(), &quiet).await;
            let named = matches!(&found, Err(BackupError::Damaged { file, .. }) if file == name);
            // The number of the format is read before all else.
            assert!(
                named || matches!(found, Err(BackupError::NewerFormat { .. })),
                "{name} {byte}: {found:?}"
            );
        }
        fs::write(&file, whole).unwrap();
    }
    verify(&place.backup(), &quiet).await.unwrap();
}

#[tokio::test]
async fn a_newer_format_and_a_newer_schema_ask_for_a_newer_version() {
    let (writer, target) = (filled().await, database().await);
    let place = Place::new();
    let manifest = take(&writer.database, &place.backup()).await;
    let path = place.backup().join(MANIFEST);
    // A later format may have anything else.
    fs::write(&path, format!("{{\"format_version\": {}, \"tables\": 1}}", FORMAT_VERSION + 1)).unwrap();
    let refused = bring_back(&target, &place.backup()).await.unwrap_err();
    assert!(matches!(refused, BackupError::NewerFormat { found, known } if found == known + 1), "{refused}");

    let place = Place::new();
    take(&writer.database, &place.backup()).await;
    let migration = format!("\"migration\": {}", manifest.migration);
    forge(&place.backup(), &migration, "\"migration\": 999999");
    let refused = bring_back(&target, &place.backup()).await.unwrap_err();
    assert!(
        matches!(refused, BackupError::NewerSchema { found: 999_999, known } if known == manifest.migration)
    );
    assert_empty(&target).await;
}

#[tokio::test]
async fn a_manifest_cannot_name_files_elsewhere_or_smuggle_sql() {
    let (writer, target, place) = (filled().await, database().await, Place::new());
    let manifest = take(&writer.database, &place.backup()).await;
    let name = second_file_of_events(&manifest);
    forge(&place.backup(), name, "../elsewhere");
    let refused = bring_back(&target, &place.backup()).await.unwrap_err();
    assert!(refused.to_string().contains("is not a file's name"), "{refused}");
    forge(&place.backup(), "../elsewhere", name);
    forge(&place.backup(), "\"principal\"", "\"key) FROM '/etc/passwd' --\"");
    let refused = bring_back(&target, &place.backup()).await.unwrap_err();
    assert!(refused.to_string().contains("is not a column's name"), "{refused}");
    assert_empty(&target).await;
}

#[tokio::test]
async fn a_folder_without_a_manifest_is_not_a_backup() {
    let (target, place) = (database().await, Place::new());
    for folder in [place.backup(), place.0.path().to_path_buf()] {
        let refused = bring_back(&target, &folder).await;
        assert!(matches!(refused, Err(BackupError::NotABackup(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_backup_is_never_overwritten() {
    let (writer, place) = (filled().await, Place::new());
    let manifest = take(&writer.database, &place.backup()).await;
    let again = backup(&writer.database.app, &place.backup(), &options(), &quiet).await;
    assert!(matches!(again, Err(BackupError::Exists(_))), "{again:?}");
    assert_eq!(verify(&place.backup(), &quiet).await.unwrap(), manifest);

    // Even one that came while another was made.
    let other = place.0.path().join("other");
    let late = |progress: Progress| {
        if progress.stage == Stage::CopyingEvents {
            let _ = fs::create_dir(&other);
        }
    };
    let late = backup(&writer.database.app, &other, &options(), &late).await;
    assert!(matches!(late, Err(BackupError::Exists(_))), "{late:?}");
    assert_eq!(names(&other), Vec::<String>::new());
    assert_eq!(place.names(), ["backup", "other"]);
}

#[tokio::test]
async fn an_interrupted_backup_leaves_nothing() {
    let (writer, place) = (filled().await, Place::new());
    for stage in [Stage::CopyingTables, Stage::CopyingEvents] {
        let reached = Notify::new();
        let report = |progress: Progress| {
            if progress.stage == stage {
                reached.notify_one();
            }
        };
        let (backup_options, backup_name) = (options(), place.backup());
        {
            let mut backing_up = pin!(backup(&writer.database.app, &backup_name, &backup_options, &report));
            tokio::select! {
                biased;
                () = reached.notified() => {}
                done = &mut backing_up => panic!("not interrupted: {done:?}"),
            }
            assert_eq!(place.names(), ["backup.partial"]);
        }
        assert_eq!(place.names(), Vec::<String>::new());
    }
    take(&writer.database, &place.backup()).await;
}

#[tokio::test]
async fn a_backup_that_was_killed_is_no_backup_and_the_next_one_takes_its_place() {
    let (writer, place) = (filled().await, Place::new());
    let partial = place.0.path().join("backup.partial");
    fs::create_dir(&partial).unwrap();
    fs::write(partial.join("events-000000000000001-000000000000002.copy.gz"), "half").unwrap();
    assert!(matches!(verify(&partial, &quiet).await, Err(BackupError::NotABackup(_))));
    let manifest = take(&writer.database, &place.backup()).await;
    assert_eq!(verify(&place.backup(), &quiet).await.unwrap(), manifest);
    assert_eq!(place.names(), ["backup"]);
}

#[tokio::test]
async fn two_backups_of_one_name_at_once_are_refused() {
    let (writer, place) = (filled().await, Place::new());
    let partial = place.0.path().join("backup.partial");
    fs::create_dir(&partial).unwrap();
    let other = fs::File::open(&partial).unwrap();
    other.lock().unwrap();
    let refused = backup(&writer.database.app, &place.backup(), &options(), &quiet).await;
    assert!(matches!(refused, Err(BackupError::InProgress(_))), "{refused:?}");
    assert_eq!(place.names(), ["backup.partial"], "the other goes on");
}

#[tokio::test]
async fn a_database_that_has_anything_is_refused() {
    let (writer, place) = (filled().await, Place::new());
    take(&writer.database, &place.backup()).await;
    let into_itself = bring_back(&writer.database, &place.backup()).await.unwrap_err();
    assert!(matches!(into_itself, BackupError::TargetInUse(_)), "{into_itself}");

    let full = filled().await;
    Leadership::new(full.database.app.clone()).release(full.lease.clone()).await.unwrap();
    let before = rows(&full.database, "log.events").await;
    let refused = bring_back(&full.database, &place.backup()).await.unwrap_err();
    assert!(matches!(&refused, BackupError::TargetNotEmpty(table) if table == "log.events"), "{refused}");
    assert_eq!(rows(&full.database, "log.events").await, before);

    let noted = database().await;
    sqlx::raw_sql("INSERT INTO read.notes (name) VALUES ('mine')").execute(&noted.app).await.unwrap();
    let refused = bring_back(&noted, &place.backup()).await.unwrap_err();
    assert!(matches!(&refused, BackupError::TargetNotEmpty(table) if table == "read.notes"), "{refused}");
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_the_log_empty_and_can_be_done_again() {
    let (writer, target, place) = (filled().await, database().await, Place::new());
    take(&writer.database, &place.backup()).await;
    // Holds the restore after the events, before all is there.
    let mut holder = target.superuser.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE log.process_states IN SHARE MODE").execute(&mut *holder).await.unwrap();
    let (database, name) = (target.clone(), place.backup());
    let restoring = tokio::spawn(async move { bring_back(&database, &name).await });
    common::until_a_backend_waits_for_a_lock(&target).await;
    let killed: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'",
    )
    .fetch_one(&target.superuser)
    .await
    .unwrap();
    assert_eq!(killed, 1);
    let failed = restoring.await.unwrap();
    assert!(matches!(failed, Err(BackupError::Database(_))), "{failed:?}");
    assert_empty(&target).await;

    // And once more by the one who asked for it.
    let (database, name) = (target.clone(), place.backup());
    let restoring = tokio::spawn(async move { bring_back(&database, &name).await });
    common::until_a_backend_waits_for_a_lock(&target).await;
    restoring.abort();
    assert!(restoring.await.unwrap_err().is_cancelled());
    holder.rollback().await.unwrap();
    // What was under way ends on the server's side a moment later.
    common::until(|| async {
        let sessions = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity \
                        WHERE datname = current_database() AND application_name = 'daybook backup')";
        sqlx::query_scalar(sessions).fetch_one(&target.superuser).await.unwrap()
    })
    .await;
    assert_empty(&target).await;
    bring_back(&target, &place.backup()).await.unwrap();
    assert_eq!(rows(&target, "log.events").await, rows(&writer.database, "log.events").await);
}

#[tokio::test]
async fn a_damaged_log_is_not_backed_up() {
    let (writer, place) = (filled().await, Place::new());
    sqlx::raw_sql("UPDATE log.log_head SET log_position = 7")
        .execute(&writer.database.superuser)
        .await
        .unwrap();
    let refused = backup(&writer.database.app, &place.backup(), &options(), &quiet).await.unwrap_err();
    assert!(matches!(refused, BackupError::SourceDamaged(_)), "{refused}");
    assert_eq!(place.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_log_that_contradicts_itself_is_not_restored() {
    let event = "INSERT INTO log.events SELECT 7, SEQUENCE, now(), gen_random_uuid(), 0, 'counter', 'b', 'Counted', \
                 '1.0', '{}', '{}'; \
                 UPDATE log.log_head SET log_position = 7, recorded_at = now() + interval '1 s'";
    for (damage, reason) in [
        (event.replace("SEQUENCE", "4"), "counter b at sequence 4"),
        (event.replace("SEQUENCE", "3") + " - interval '2 s'", "recorded after the newest batch"),
        (
            "UPDATE log.idempotency_keys SET log_position = 5 WHERE log_position = 6".to_owned(),
            "names no end",
        ),
        ("UPDATE log.process_states SET log_position = 7".to_owned(), "a process stands behind"),
    ] {
        let (writer, target, place) = (filled().await, database().await, Place::new());
        sqlx::raw_sql(&damage).execute(&writer.database.superuser).await.unwrap();
        take(&writer.database, &place.backup()).await;
        let refused = bring_back(&target, &place.backup()).await.unwrap_err();
        assert!(
            matches!(&refused, BackupError::Inconsistent(found) if found.contains(reason)),
            "{reason}: {refused}"
        );
        assert_empty(&target).await;
    }
}
