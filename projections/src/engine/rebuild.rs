//! Building a projection anew beside the live one, and putting it in its place.
//!
//! States: created (empty tables in `read_next`), replaying, indexed, live. Each flush commits with its log position, so
//! a rebuild that was interrupted goes on from there. The swap folds the last events while the common checkpoint is
//! locked, moves the tables and raises the generation, in one transaction: whoever folds finds the generation changed
//! and starts again from the checkpoint.

use event_store::{Log, LogPosition};
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};

use super::checkpoint::{self, LIVE, NEXT, OLD, REBUILD_LOCK};
use super::replay::{Replay, ReplayLimits, ReplayProgress, read_ahead};
use super::sql::run;
use super::{EngineError, live};
use crate::fold::Model;

/// Events that may be left to fold while the checkpoint is locked.
const SWAP_EVENTS: u64 = 2_000;

/// Builds the projection anew from the log and replaces the live one. Goes on where an interrupted rebuild stopped.
///
/// # Errors
/// [`EngineError`]; what was live stays live.
pub async fn rebuild(
    pool: &PgPool,
    log: &Log,
    projection: &str,
    on_progress: impl FnMut(ReplayProgress) + Send,
) -> Result<LogPosition, EngineError> {
    rebuild_within(ReplayLimits::default(), pool, log, projection, on_progress).await
}

/// [`rebuild`] with other limits.
///
/// # Errors
/// As there.
pub async fn rebuild_within(
    limits: ReplayLimits,
    pool: &PgPool,
    log: &Log,
    projection: &str,
    mut on_progress: impl FnMut(ReplayProgress) + Send,
) -> Result<LogPosition, EngineError> {
    let model = live::known(projection)?;
    let mut connection = live::connect(pool).await?;
    let rebuilt = rebuild_over(&mut connection, log, model, limits, &mut on_progress).await;
    // Ends the session, and with it the lock, at once.
    let _ = connection.close().await;
    rebuilt
}

async fn rebuild_over(
    connection: &mut PgConnection,
    log: &Log,
    model: Model,
    limits: ReplayLimits,
    on_progress: &mut (impl FnMut(ReplayProgress) + Send),
) -> Result<LogPosition, EngineError> {
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, hashtext($2))")
        .bind(REBUILD_LOCK)
        .bind(model.name)
        .fetch_one(&mut *connection)
        .await?;
    if !locked {
        return Err(EngineError::Busy { projection: model.name });
    }
    checkpoint::set_up(connection, log.log_id()).await?;
    let (position, mut indexed) = create_or_resume(connection, log, &model).await?;
    let mut replay = Replay::new(model, NEXT, position, limits);
    loop {
        let target = checkpoint::read(connection).await?.log_position;
        replay_to(connection, log, &mut replay, target, on_progress).await?;
        if !indexed {
            index(connection, &model).await?;
            indexed = true;
        }
        let now = checkpoint::read(connection).await?.log_position;
        if now.0.saturating_sub(replay.position.0) <= SWAP_EVENTS {
            return swap(connection, log, &model, replay).await;
        }
    }
}

/// Where to replay from, and whether the indexes are there.
async fn create_or_resume(
    connection: &mut PgConnection,
    log: &Log,
    model: &Model,
) -> Result<(LogPosition, bool), EngineError> {
    let mut transaction = connection.begin().await?;
    let under_way = sqlx::query(
        "SELECT log_position, indexed FROM read.rebuilds WHERE name = $1 AND version = $2 AND log_id = $3 \
         AND log_position <= (SELECT log_position FROM read.live)",
    )
    .bind(model.name)
    .bind(model.version)
    .bind(log.log_id())
    .fetch_optional(&mut *transaction)
    .await?;
    if let Some(row) = under_way {
        transaction.rollback().await?;
        return Ok((LogPosition::from_sql(row.try_get(0)?), row.try_get(1)?));
    }
    checkpoint::make_tables(&mut transaction, NEXT, model).await?;
    sqlx::query(
        "INSERT INTO read.rebuilds (name, version, log_id, log_position, indexed, tables, started_at) \
         VALUES ($1, $2, $3, 0, false, $4, clock_timestamp()) \
         ON CONFLICT (name) DO UPDATE SET version = excluded.version, log_id = excluded.log_id, log_position = 0, \
             indexed = false, tables = excluded.tables, started_at = excluded.started_at",
    )
    .bind(model.name)
    .bind(model.version)
    .bind(log.log_id())
    .bind(checkpoint::table_names(model))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok((LogPosition::ZERO, false))
}

async fn replay_to(
    connection: &mut PgConnection,
    log: &Log,
    replay: &mut Replay,
    target: LogPosition,
    on_progress: &mut (impl FnMut(ReplayProgress) + Send),
) -> Result<(), EngineError> {
    let mut events = read_ahead(log, replay, target);
    let mut more = true;
    while more {
        more = replay.fold_some(connection, &mut events).await?;
        let mut transaction = connection.begin().await?;
        replay.write(&mut transaction).await?;
        save(&mut transaction, replay).await?;
        transaction.commit().await?;
        replay.written();
        on_progress(replay.progress(target));
    }
    Ok(())
}

async fn save(connection: &mut PgConnection, replay: &Replay) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE read.rebuilds SET log_position = $2 WHERE name = $1")
        .bind(replay.name())
        .bind(replay.position.to_sql())
        .execute(connection)
        .await?;
    Ok(())
}

async fn index(connection: &mut PgConnection, model: &Model) -> Result<(), EngineError> {
    let mut transaction = connection.begin().await?;
    checkpoint::make_indexes(&mut transaction, NEXT, model).await?;
    sqlx::query("UPDATE read.rebuilds SET indexed = true WHERE name = $1")
        .bind(model.name)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    for table in model.tables() {
        run(&mut *connection, &format!("ANALYZE {NEXT}.{}", table.name)).await?;
    }
    Ok(())
}

/// Folds the rest and puts the tables in their place.
async fn swap(
    connection: &mut PgConnection,
    log: &Log,
    model: &Model,
    mut replay: Replay,
) -> Result<LogPosition, EngineError> {
    let mut transaction = connection.begin().await?;
    // Who folds waits for it, and so do readers.
    run(&mut transaction, live::SHORT_TRANSACTIONS).await?;
    let target: i64 = sqlx::query_scalar("SELECT log_position FROM read.live FOR UPDATE")
        .fetch_one(&mut *transaction)
        .await?;
    let target = LogPosition::from_sql(target);
    let mut events = read_ahead(log, &replay, target);
    let mut more = true;
    while more {
        more = replay.fold_some(&mut transaction, &mut events).await?;
        replay.write(&mut transaction).await?;
        replay.written();
    }
    let replaced: Option<Vec<String>> =
        sqlx::query_scalar("SELECT tables FROM read.projections WHERE name = $1")
            .bind(model.name)
            .fetch_optional(&mut *transaction)
            .await?;
    let replaced = replaced.unwrap_or_default();
    let tables = checkpoint::table_names(model);
    checkpoint::drop_tables(&mut transaction, OLD, &replaced).await?;
    for table in &replaced {
        move_table(&mut transaction, table, LIVE, OLD).await?;
    }
    // What was left behind without being listed is nobody's.
    checkpoint::drop_tables(&mut transaction, LIVE, &tables).await?;
    for table in &tables {
        move_table(&mut transaction, table, NEXT, LIVE).await?;
    }
    checkpoint::join_live(&mut transaction, model).await?;
    sqlx::query("UPDATE read.live SET generation = generation + 1").execute(&mut *transaction).await?;
    sqlx::query("DELETE FROM read.rebuilds WHERE name = $1")
        .bind(model.name)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(target)
}

async fn move_table(
    connection: &mut PgConnection,
    table: &str,
    from: &str,
    to: &str,
) -> Result<(), sqlx::Error> {
    let table = checkpoint::quoted(table);
    run(connection, &format!("ALTER TABLE IF EXISTS {from}.{table} SET SCHEMA {to}")).await?;
    Ok(())
}
