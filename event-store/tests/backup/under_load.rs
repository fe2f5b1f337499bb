//! Backups while clients write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use event_store::backup::{BackupOptions, backup};
use event_store::{Keys, LogPosition};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_before_a_backup_began_is_in_it_and_it_ends_on_a_whole_command() {
    let mut writer = Writer::start().await;
    prepare(&writer.database).await;
    let (database, log) = (writer.database.clone(), writer.log.clone());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let load = tokio::spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::Relaxed) {
            let commands = (0..5).map(|place| {
                let (key, stream) = (format!("key-{number}-{place}"), format!("s-{number}-{place}"));
                keyed(&key, (1..=3).map(|sequence| event(&stream, sequence)).collect())
            });
            let commands = commands.collect();
            writer.append(commands).await;
            writer.append(vec![keyed(&format!("refused-{number}"), Vec::new())]).await;
            number += 1;
        }
        writer
    });
    let place = Place::new();
    for round in 0..4 {
        let began_at =
            log.wait_for(log.head().advance(60), std::time::Duration::from_secs(20)).await.unwrap();
        // Acknowledged in this moment: what the log's head says, and its keys.
        let keys = rows(&database, "log.idempotency_keys").await;
        let name = place.0.path().join(format!("backup-{round}"));
        let options = BackupOptions { events_a_file: 50, ..options() };
        let manifest = backup(&database.app, &name, &options, &quiet).await.unwrap();
        assert!(manifest.log_position >= began_at);
        assert_eq!(manifest.log_position.0 % 3, 0, "every command has three events");

        let target = self::database().await;
        bring_back(&target, &name).await.unwrap();
        let restored = Log::open(target.app.clone()).await.unwrap();
        let theirs = restored.read(LogPosition::ZERO, 50_000).await.unwrap();
        let mut ours = database_events(&database).await;
        ours.truncate(theirs.len());
        assert_eq!(theirs, ours);
        assert_eq!(
            theirs.last().map(|event| (event.log_position, event.remaining)),
            Some((manifest.log_position, 0))
        );
        let restored_keys = rows(&target, "log.idempotency_keys").await;
        for key in keys {
            assert!(restored_keys.contains(&key), "{key} is not in the backup");
        }
        // Each command of the restored log has its key, and no key speaks of a command that is not there.
        let commands = theirs.iter().filter(|event| event.remaining == 0).count();
        let accepted: i64 = sqlx::query_scalar("SELECT count(log_position) FROM log.idempotency_keys")
            .fetch_one(&target.app)
            .await
            .unwrap();
        assert_eq!(usize::try_from(accepted).unwrap(), commands);
        let asked = ("alice".to_owned(), "key-0-0".to_owned());
        let first = Keys::new(target.app.clone()).lookup(std::slice::from_ref(&asked)).await.unwrap();
        assert_eq!(first[&asked].log_position, Some(LogPosition(3)));
    }
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
}

async fn database_events(database: &TestDatabase) -> Vec<event_store::RecordedEvent> {
    let log = Log::open(database.app.clone()).await.unwrap();
    log.read(LogPosition::ZERO, 50_000).await.unwrap()
}
