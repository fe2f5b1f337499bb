//! The schema: prepared, migrated once, and never by the wrong role or the wrong version.

mod common;

use common::{Writer, event, key_row, keyed, lead, one};
use event_store::embedded::Role;
use event_store::embedded::testing::TestDatabase;
use event_store::{
    AppendError, Appender, CommandWrite, Keys, Log, LogPosition, MigrationError, StreamId, bootstrap,
    check_schema, load_events, migrate,
};
use futures::TryStreamExt;
use futures::future::join_all;
use sqlx::{ConnectOptions, Executor};

async fn migrate_as(database: &TestDatabase, role: Role) -> Result<(), MigrationError> {
    migrate(&database.connect_options(role).await.unwrap()).await
}

async fn as_owner(database: &TestDatabase, sql: &str) {
    sqlx::raw_sql(sql).execute(&database.superuser).await.unwrap();
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_keeps_the_log() {
    let database = TestDatabase::create().await.unwrap();
    let log_id = || async {
        sqlx::query_scalar::<_, uuid::Uuid>("SELECT log_id FROM log.log_head")
            .fetch_one(&database.app)
            .await
            .unwrap()
    };
    let before = log_id().await;
    migrate_as(&database, Role::Migrator).await.unwrap();
    let mut connection = database.superuser.acquire().await.unwrap();
    bootstrap(&mut connection).await.unwrap();
    assert_eq!(log_id().await, before);
    check_schema(&database.app).await.unwrap();
}

#[tokio::test]
async fn several_nodes_may_migrate_at_once() {
    let database = TestDatabase::create_unmigrated().await.unwrap();
    for migrated in join_all((0..4).map(|_| migrate_as(&database, Role::Migrator))).await {
        migrated.unwrap();
    }
    check_schema(&database.app).await.unwrap();
}

#[tokio::test]
async fn everything_in_the_log_belongs_to_the_owner() {
    let database = TestDatabase::create().await.unwrap();
    let others: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'log'::regnamespace \
                AND relowner <> 'daybook_owner'::regrole \
         UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'log'::regnamespace \
                AND proowner <> 'daybook_owner'::regrole",
    )
    .fetch_all(&database.superuser)
    .await
    .unwrap();
    assert_eq!(others, Vec::<String>::new());
}

#[tokio::test]
async fn the_application_may_not_migrate() {
    let database = TestDatabase::create_unmigrated().await.unwrap();
    let refused = migrate_as(&database, Role::App).await;
    assert!(matches!(refused, Err(MigrationError::NotMigrator(role)) if role == "daybook_app"));
}

#[tokio::test]
async fn a_database_that_was_not_prepared_is_told_apart() {
    let database = TestDatabase::create_unmigrated().await.unwrap();
    as_owner(&database, "DROP SCHEMA log CASCADE").await;
    let refused = migrate_as(&database, Role::Migrator).await;
    assert!(matches!(refused, Err(MigrationError::NotPrepared)), "{refused:?}");
    assert!(matches!(check_schema(&database.app).await, Err(MigrationError::Behind(1))));
}

#[tokio::test]
async fn an_unmigrated_database_is_behind() {
    let database = TestDatabase::create_unmigrated().await.unwrap();
    assert!(matches!(check_schema(&database.app).await, Err(MigrationError::Behind(1))));
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_left_alone() {
    let database = TestDatabase::create().await.unwrap();
    as_owner(
        &database,
        "INSERT INTO log._sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'of the future', true, '\\x00', 0)",
    )
    .await;
    assert!(matches!(check_schema(&database.app).await, Err(MigrationError::NewerDatabase(9999))));
    let refused = migrate_as(&database, Role::Migrator).await.unwrap_err();
    assert!(matches!(refused, MigrationError::NewerDatabase(9999)));
    assert!(refused.to_string().contains("start the newer version again"));
}

#[tokio::test]
async fn a_migration_that_was_changed_after_it_ran_is_found() {
    let database = TestDatabase::create().await.unwrap();
    as_owner(&database, "UPDATE log._sqlx_migrations SET checksum = '\\x00' WHERE version = 2").await;
    assert!(matches!(check_schema(&database.app).await, Err(MigrationError::Changed(2))));
    assert!(matches!(migrate_as(&database, Role::Migrator).await, Err(MigrationError::Changed(2))));
}

/// A database as the version left it whose newest migration this was.
async fn create_as_of(migration: i64) -> TestDatabase {
    let database = TestDatabase::create_unmigrated().await.unwrap();
    let mut migrations = sqlx::migrate!("../migrations");
    migrations.migrations.to_mut().retain(|known| known.version <= migration);
    let mut connection = database.connect_options(Role::Migrator).await.unwrap().connect().await.unwrap();
    connection.execute("SET ROLE daybook_owner; SET search_path = log").await.unwrap();
    migrations.run_direct(&mut connection).await.unwrap();
    database
}

/// Three streams, of which two share their id, and three keys, of which two share their text.
const AN_EARLIER_LOG: &str = "SELECT log.append_batch(lease.epoch, 0, clock_timestamp(), 10000, \
     ARRAY[gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid()], \
     '{counter,account,counter,counter}', '{a,a,b,a}', '{1,1,1,2}', '{Counted,Counted,Counted,Counted}', \
     '{1.0,1.0,1.0,1.0}', array_fill('{\"Counted\":{\"by\":1}}'::text, '{4}'), \
     array_fill('{\"actor\":\"test\"}'::text, '{4}'), '{1,0,0,0}', \
     '{bob,alice,alice}', '{k,k,j}', array_fill(decode(repeat('07', 32), 'hex'), '{3}'), \
     array_fill('{\"ok\":true}'::text, '{3}'), '{2,3,4}') \
     FROM log.acquire_lease('node-0', 10000, NULL) AS lease";

async fn unique_columns(database: &TestDatabase) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
         WHERE conname IN ('events_stream_unique', 'idempotency_keys_pkey') ORDER BY conname",
    )
    .fetch_all(&database.app)
    .await
    .unwrap()
}

#[rstest::rstest]
#[tokio::test]
async fn a_log_of_an_earlier_version_is_brought_up_and_goes_on(#[values(10, 11)] migration: i64) {
    let database = create_as_of(migration).await;
    sqlx::query(AN_EARLIER_LOG).execute(&database.app).await.unwrap();
    assert_eq!(
        unique_columns(&database).await,
        ["UNIQUE (aggregate_type, aggregate_id, sequence)", "PRIMARY KEY (principal, key)"]
    );
    assert!(matches!(check_schema(&database.app).await, Err(MigrationError::Behind(_))));

    migrate_as(&database, Role::Migrator).await.unwrap();
    check_schema(&database.app).await.unwrap();
    assert_eq!(
        unique_columns(&database).await,
        ["UNIQUE (aggregate_id, aggregate_type, sequence)", "PRIMARY KEY (key, principal)"]
    );

    let log = Log::open(database.app.clone()).await.unwrap();
    assert_eq!(log.head(), LogPosition(4));
    let lease = lead(&database, "node-1").await;
    let appender = Appender::connect(&log, &lease).await.unwrap();
    let mut writer = Writer { database, log, lease, appender };
    writer.append(vec![keyed("new", vec![event("a", 3)])]).await;
    let mut carols = key_row("k");
    carols.principal = "carol".into();
    let goes_on = writer.batch(vec![CommandWrite { keys: vec![carols], events: vec![event("b", 2)] }]);
    writer.appender.stage(&goes_on).await.unwrap();
    writer.appender.commit(&goes_on).await.unwrap();
    writer.appender.publish(goes_on.after, goes_on.recorded());
    assert_eq!(writer.log.read_head().await.unwrap(), LogPosition(6));

    // Of what was there before and of what came after, over both ways.
    for (id, sequence) in [("a", 2), ("b", 1), ("a", 3), ("b", 2)] {
        let taken = writer.batch(vec![keyed("another", vec![event(id, sequence)])]);
        assert_eq!(
            writer.appender.append(&taken).await,
            Err(AppendError::SequenceConflict),
            "{id} {sequence}"
        );
        assert_eq!(
            writer.appender.stage(&taken).await,
            Err(AppendError::SequenceConflict),
            "{id} {sequence}"
        );
    }
    for key in ["k", "j", "new"] {
        let taken = writer.batch(vec![one(vec![event("c", 1)]), keyed(key, Vec::new())]);
        assert_eq!(writer.appender.append(&taken).await, Err(AppendError::KeyConflict), "{key}");
        assert_eq!(writer.appender.stage(&taken).await, Err(AppendError::KeyConflict), "{key}");
    }
    assert_eq!((writer.count("events").await, writer.count("idempotency_keys").await), (6, 5));

    let mut connection = writer.database.app.acquire().await.unwrap();
    let streams = [("a", 0), ("b", 0), ("c", 0)];
    let loaded = load_events(&mut connection, "counter", streams.into_iter());
    let mut loaded: Vec<_> =
        loaded.map_ok(|(place, event)| (place, event.sequence)).try_collect().await.unwrap();
    loaded.sort_unstable();
    assert_eq!(loaded, [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2)]);
    let others = writer.log.stream(&StreamId::new("account", "a"), 0, 10).await.unwrap();
    assert_eq!(others.iter().map(|event| event.log_position.0).collect::<Vec<_>>(), [2]);
    let pairs = [("alice", "k"), ("bob", "k"), ("carol", "k"), ("carol", "j")]
        .map(|(principal, key)| (principal.to_owned(), key.to_owned()));
    let found = Keys::new(writer.database.app.clone()).lookup(&pairs).await.unwrap();
    let positions = pairs.map(|pair| found.get(&pair).and_then(|stored| stored.log_position));
    assert_eq!(positions, [Some(LogPosition(3)), Some(LogPosition(2)), Some(LogPosition(6)), None]);
}
