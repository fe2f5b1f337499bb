//! Verifying a projection: fold the log aside up to its checkpoint and compare row by row.

use event_store::{Log, LogPosition};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, PgPool, Row as _};

use super::replay::{Replay, ReplayLimits, ReplayProgress, read_ahead};
use super::sql::run;
use super::{EngineError, checkpoint, live};
use crate::fold::{Model, Table};

/// Where the log is folded aside: tables that only this session sees and that go with it.
const ASIDE: &str = "pg_temp";

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The columns of the row's key with their values.
    pub key: Value,
    /// The row that the log says; `None` when it says there is none.
    pub expected: Option<Value>,
    /// The row that is there; `None` when there is none.
    pub found: Option<Value>,
}

impl Difference {
    /// The columns that differ.
    pub fn columns(&self) -> Vec<String> {
        let (Some(Value::Object(expected)), Some(Value::Object(found))) = (&self.expected, &self.found)
        else {
            return Vec::new();
        };
        expected
            .iter()
            .filter(|(name, value)| found.get(*name) != Some(value))
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// What a verification has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Name of the projection.
    pub projection: &'static str,
    /// The checkpoint it was compared at.
    pub log_position: LogPosition,
    /// Rows the log says.
    pub rows: u64,
    /// How many rows differ, in all.
    pub differing: u64,
    /// The first of them, by key.
    pub differences: Vec<Difference>,
}

/// Compares the projection with the log up to its checkpoint, all in one snapshot, and names at most `limit` rows that
/// differ. Nothing is written that lasts, and nobody waits.
///
/// # Errors
/// [`EngineError`] when it cannot be compared.
pub async fn verify(
    pool: &PgPool,
    log: &Log,
    projection: &str,
    limit: u32,
    mut on_progress: impl FnMut(ReplayProgress) + Send,
) -> Result<Verification, EngineError> {
    let model = live::known(projection)?;
    let mut connection = live::connect(pool).await?;
    let verified = verify_over(&mut connection, log, model, limit, &mut on_progress).await;
    let _ = connection.close().await;
    verified
}

async fn verify_over(
    connection: &mut PgConnection,
    log: &Log,
    model: Model,
    limit: u32,
    on_progress: &mut (impl FnMut(ReplayProgress) + Send),
) -> Result<Verification, EngineError> {
    let not_built = || EngineError::NotBuilt { projection: model.name };
    let there: bool = sqlx::query_scalar("SELECT to_regclass('read.projections') IS NOT NULL")
        .fetch_one(&mut *connection)
        .await?;
    if !there || checkpoint::read(connection).await?.of(&model).is_none() {
        return Err(not_built());
    }
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    // Before the snapshot is taken: afterwards a swap could put tables in place whose rows it does not see.
    for table in model.tables() {
        run(&mut transaction, &format!("LOCK TABLE read.{} IN ACCESS SHARE MODE", table.name)).await?;
    }
    let target = checkpoint::read(&mut transaction).await?.of(&model).ok_or_else(not_built)?;
    checkpoint::make_tables(&mut transaction, ASIDE, &model).await?;
    let mut replay = Replay::new(model, ASIDE, LogPosition::ZERO, ReplayLimits::default());
    let mut events = read_ahead(log, &replay, target);
    let mut more = true;
    while more {
        more = replay.fold_some(&mut transaction, &mut events).await?;
        replay.write(&mut transaction).await?;
        replay.written();
        on_progress(replay.progress(target));
    }
    checkpoint::make_indexes(&mut transaction, ASIDE, &model).await?;
    let mut verification = Verification {
        projection: model.name,
        log_position: target,
        rows: 0,
        differing: 0,
        differences: Vec::new(),
    };
    for table in model.tables() {
        compare(&mut transaction, &table, limit, &mut verification).await?;
    }
    transaction.rollback().await?;
    Ok(verification)
}

async fn compare(
    connection: &mut PgConnection,
    table: &Table,
    limit: u32,
    verification: &mut Verification,
) -> Result<(), EngineError> {
    let name = table.name;
    run(&mut *connection, &format!("ANALYZE {ASIDE}.{name}")).await?;
    let rows: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {ASIDE}.{name}"))
        .fetch_one(&mut *connection)
        .await?;
    verification.rows += rows.unsigned_abs();
    let key: Vec<&str> = table.columns[..table.key_columns].iter().map(|column| column.name).collect();
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    let row_of = |alias: &str| {
        let columns: Vec<String> = columns.iter().map(|column| format!("{alias}.{column}")).collect();
        format!("ROW({})", columns.join(", "))
    };
    let keys = key.join(", ");
    let first_key = key.first().copied().unwrap_or_default();
    // As text, so that no number loses a digit on its way.
    let as_json = |alias: &str| {
        let pairs: Vec<String> =
            columns.iter().map(|column| format!("'{column}', {alias}.{column}::text")).collect();
        format!(
            "CASE WHEN {alias}.{first_key} IS NOT NULL THEN json_build_object({})::text END",
            pairs.join(", ")
        )
    };
    let sql = format!(
        "SELECT count(*) OVER () AS differing, {} AS expected, {} AS found \
         FROM {ASIDE}.{name} e FULL JOIN read.{name} f USING ({keys}) \
         WHERE e.{first_key} IS NULL OR f.{first_key} IS NULL OR {} IS DISTINCT FROM {} \
         ORDER BY {keys} LIMIT {}",
        as_json("e"),
        as_json("f"),
        row_of("e"),
        row_of("f"),
        limit.max(1)
    );
    let rows = sqlx::query(&sql).fetch_all(connection).await?;
    if let Some(row) = rows.first() {
        verification.differing += row.try_get::<i64, _>("differing")?.unsigned_abs();
    }
    for row in rows {
        let json = |column: &str| -> Result<Option<Value>, sqlx::Error> {
            let text: Option<String> = row.try_get(column)?;
            text.map(|text| serde_json::from_str(&text).map_err(|error| sqlx::Error::Decode(error.into())))
                .transpose()
        };
        let (expected, found) = (json("expected")?, json("found")?);
        let whole = expected.as_ref().or(found.as_ref());
        let named = key.iter().map(|column| {
            let value = whole.and_then(|row| row.get(*column)).cloned().unwrap_or(Value::Null);
            ((*column).to_owned(), value)
        });
        let key = Value::Object(named.collect());
        if verification.differences.len() < limit as usize {
            verification.differences.push(Difference { table: name, key, expected, found });
        }
    }
    Ok(())
}
