//! Where the projections stand: one checkpoint for all that follow the log, and a place of its own for each that does not.

use std::collections::HashMap;

use event_store::{LogId, LogPosition};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::EngineError;
use super::sql::run;
use crate::fold::Model;

/// Where live read models are.
pub(crate) const LIVE: &str = "read";
/// Where they are built anew.
pub(crate) const NEXT: &str = "read_next";
/// Where the ones that were replaced are kept until the next time.
pub(crate) const OLD: &str = "read_old";

/// Serialises the making of tables over all processes.
const SETUP_LOCK: i64 = 0x6461_7962_6f6f_6b01;
/// Held by the process that folds.
pub(super) const LEADER_LOCK: i64 = 0x6461_7962_6f6f_6b02;
/// With the hash of a name: held by the process that builds that projection.
pub(super) const REBUILD_LOCK: i32 = 0x6461_7900;

/// A projection as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) version: i32,
    /// `None`: with the others.
    pub(crate) log_position: Option<LogPosition>,
    pub(crate) error: Option<String>,
}

/// The checkpoints of all projections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoints {
    pub(crate) log_position: LogPosition,
    pub(crate) generation: i64,
    pub(crate) standings: HashMap<String, Standing>,
}

impl Checkpoints {
    /// Where a projection of this version stands; `None` while it is not there.
    pub(crate) fn of(&self, model: &Model) -> Option<LogPosition> {
        let standing = self.standings.get(model.name).filter(|standing| standing.version == model.version)?;
        Some(standing.log_position.unwrap_or(self.log_position))
    }
}

/// Makes the tables that are missing, and starts anew when they belong to another log.
pub(crate) async fn set_up(connection: &mut PgConnection, log_id: LogId) -> Result<(), EngineError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SETUP_LOCK).execute(&mut *transaction).await?;
    let schemas: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_namespace WHERE nspname = ANY ($1)")
        .bind(vec![LIVE, NEXT, OLD])
        .fetch_one(&mut *transaction)
        .await?;
    if schemas < 3 {
        return Err(EngineError::MissingSchemas);
    }
    let made: bool = sqlx::query_scalar("SELECT to_regclass('read.live') IS NOT NULL")
        .fetch_one(&mut *transaction)
        .await?;
    if !made {
        run(&mut transaction, include_str!("tables.sql")).await?;
    }
    // In one snapshot: others append and fold meanwhile, and a head read before would seem to be behind the checkpoint.
    let are_ours: Option<bool> = sqlx::query_scalar(
        "SELECT l.log_id = $1 AND l.log_position <= h.log_position FROM read.live l, log.log_head h",
    )
    .bind(log_id)
    .fetch_optional(&mut *transaction)
    .await?;
    if are_ours != Some(true) {
        // Read models of another log, or of this one's lost future, are worth nothing.
        run(
            &mut transaction,
            "DELETE FROM read.live; DELETE FROM read.projections; DELETE FROM read.rebuilds",
        )
        .await?;
        sqlx::query(
            "INSERT INTO read.live (log_id, log_position, generation) \
             VALUES ($1, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)",
        )
        .bind(log_id)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Reads all checkpoints in one snapshot.
pub(crate) async fn read(connection: &mut PgConnection) -> Result<Checkpoints, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT l.log_position, l.generation, p.name, p.version, p.log_position, p.error \
         FROM read.live l LEFT JOIN read.projections p ON true",
    )
    .fetch_all(connection)
    .await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let mut checkpoints = Checkpoints {
        log_position: position(first, 0)?,
        generation: first.try_get(1)?,
        standings: HashMap::new(),
    };
    for row in &rows {
        let Some(name) = row.try_get::<Option<String>, _>(2)? else { continue };
        let standing = Standing {
            version: row.try_get(3)?,
            log_position: row.try_get::<Option<i64>, _>(4)?.map(LogPosition::from_sql),
            error: row.try_get(5)?,
        };
        checkpoints.standings.insert(name, standing);
    }
    Ok(checkpoints)
}

/// Makes the tables of a projection in a schema, after removing what was there under their names.
pub(super) async fn make_tables(
    connection: &mut PgConnection,
    schema: &str,
    model: &Model,
) -> Result<(), sqlx::Error> {
    drop_tables(connection, schema, &table_names(model)).await?;
    run_in(connection, schema, model.tables_sql).await
}

/// Makes the indexes of a projection in a schema.
pub(super) async fn make_indexes(
    connection: &mut PgConnection,
    schema: &str,
    model: &Model,
) -> Result<(), sqlx::Error> {
    run_in(connection, schema, model.indexes_sql).await
}

async fn run_in(connection: &mut PgConnection, schema: &str, sql: &str) -> Result<(), sqlx::Error> {
    run(&mut *connection, &format!("SET LOCAL search_path = {schema}; {sql}")).await?;
    run(connection, "SET LOCAL search_path = DEFAULT").await?;
    Ok(())
}

pub(super) async fn drop_tables(
    connection: &mut PgConnection,
    schema: &str,
    tables: &[String],
) -> Result<(), sqlx::Error> {
    for table in tables {
        run(&mut *connection, &format!("DROP TABLE IF EXISTS {schema}.{}", quoted(table))).await?;
    }
    Ok(())
}

pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn table_names(model: &Model) -> Vec<String> {
    model.tables().iter().map(|table| table.name.to_owned()).collect()
}

/// Writes that a projection follows the log with the others from now on.
pub(super) async fn join_live(connection: &mut PgConnection, model: &Model) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO read.projections (name, version, log_position, error, tables, built_at) \
         VALUES ($1, $2, NULL, NULL, $3, clock_timestamp()) \
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, log_position = NULL, error = NULL, \
             tables = excluded.tables, built_at = excluded.built_at",
    )
    .bind(model.name)
    .bind(model.version)
    .bind(table_names(model))
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes that a projection has stopped.
pub(super) async fn stop(
    connection: &mut PgConnection,
    name: &str,
    at: LogPosition,
    error: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE read.projections SET log_position = $2, error = $3 WHERE name = $1")
        .bind(name)
        .bind(at.to_sql())
        .bind(error)
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves the common checkpoint; false when it does not stand where it was expected, and then nothing was written.
pub(super) async fn advance(
    connection: &mut PgConnection,
    from: LogPosition,
    generation: i64,
    to: LogPosition,
) -> Result<bool, sqlx::Error> {
    let moved =
        sqlx::query("UPDATE read.live SET log_position = $3 WHERE log_position = $1 AND generation = $2")
            .bind(from.to_sql())
            .bind(generation)
            .bind(to.to_sql())
            .execute(connection)
            .await?;
    Ok(moved.rows_affected() == 1)
}

fn position(row: &PgRow, index: usize) -> Result<LogPosition, sqlx::Error> {
    Ok(LogPosition::from_sql(row.try_get(index)?))
}
