//! The schema: prepared, migrated once, and never by the wrong role or the wrong version.

use event_store::embedded::Role;
use event_store::embedded::testing::TestDatabase;
use event_store::{MigrationError, bootstrap, check_schema, migrate};
use futures::future::join_all;

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
