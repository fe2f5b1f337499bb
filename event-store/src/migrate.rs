//! The schema of the log: prepared by a superuser, then brought up to date by the migrator on behalf of the owner.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, PgPool};
use thiserror::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

pub(crate) const BOOTSTRAP: &str = include_str!("../../migrations/bootstrap.sql");

/// Why the schema is not what this version needs.
#[derive(Debug, Error)]
pub enum MigrationError {
    /// The roles or schemas are missing.
    #[error("the database is not prepared: run migrations/bootstrap.sql in it as a superuser")]
    NotPrepared,
    /// The role that was given may not become the owner.
    #[error("the role {0:?} may not migrate: connect as daybook_migrator, or grant it daybook_owner")]
    NotMigrator(String),
    /// The database was migrated by a later version.
    #[error(
        "the database has migration {0}, which this version does not know: start the newer version again"
    )]
    NewerDatabase(i64),
    /// A migration that was applied is no longer what it was.
    #[error(
        "migration {0} in the database is not the one of this version: they were built from different sources"
    )]
    Changed(i64),
    /// The schema is older than this version, and only checked.
    #[error("the database lacks migration {0}: migrate it first (as daybook_migrator)")]
    Behind(i64),
    /// A migration failed; it left nothing behind.
    #[error("the database cannot be migrated: {0}")]
    Failed(#[source] MigrateError),
    /// PostgreSQL did not answer.
    #[error("the database cannot be migrated: {0}")]
    Database(#[from] sqlx::Error),
}

impl From<MigrateError> for MigrationError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::NewerDatabase(version),
            MigrateError::VersionMismatch(version) => Self::Changed(version),
            other => Self::Failed(other),
        }
    }
}

/// Creates the roles and schemas that are missing, over a superuser's connection to Daybook's database. Can be repeated.
///
/// # Errors
/// When the connection's role may not do so.
pub async fn bootstrap(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(BOOTSTRAP).await?;
    Ok(())
}

/// Brings the log's schema up to date, over a connection as the migrator. Objects belong to the owner. Several nodes
/// may call it at once; one of them does it.
///
/// # Errors
/// [`MigrationError`] says what to do.
pub async fn migrate(migrator: &PgConnectOptions) -> Result<(), MigrationError> {
    let mut connection = migrator.clone().application_name("daybook migration").connect().await?;
    let (prepared, member, role): (bool, Option<bool>, String) = sqlx::query_as(
        "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'log') \
                AND (SELECT count(*) = 2 FROM pg_roles WHERE rolname IN ('daybook_owner', 'daybook_app')), \
                (SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = 'daybook_owner'), \
                current_user::text",
    )
    .fetch_one(&mut connection)
    .await?;
    if !prepared {
        return Err(MigrationError::NotPrepared);
    }
    if member != Some(true) {
        return Err(MigrationError::NotMigrator(role));
    }
    connection.execute("SET ROLE daybook_owner; SET search_path = log").await?;
    let migrated = MIGRATIONS.run_direct(&mut connection).await;
    connection.close().await?;
    Ok(migrated?)
}

/// Checks that the schema is exactly the one this version needs, over any connection that may read it.
///
/// # Errors
/// [`MigrationError`] says what to do.
pub async fn check_schema(pool: &PgPool) -> Result<(), MigrationError> {
    let known = sqlx::query_scalar("SELECT to_regclass('log._sqlx_migrations') IS NOT NULL");
    let applied: Vec<(i64, Vec<u8>)> = if known.fetch_one(pool).await? {
        sqlx::query_as("SELECT version, checksum FROM log._sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(pool)
            .await?
    } else {
        Vec::new()
    };
    if let Some((version, _)) = applied.iter().find(|(version, _)| !MIGRATIONS.version_exists(*version)) {
        return Err(MigrationError::NewerDatabase(*version));
    }
    for migration in MIGRATIONS.iter() {
        match applied.iter().find(|(version, _)| *version == migration.version) {
            None => return Err(MigrationError::Behind(migration.version)),
            Some((_, checksum)) if **checksum != *migration.checksum => {
                return Err(MigrationError::Changed(migration.version));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
