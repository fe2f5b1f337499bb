//! One statement, one snapshot: rows of a table together with the checkpoint they are at.

use std::time::Duration;

use event_store::LogPosition;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{PgConnection, Postgres, Row as _, Transaction, ValueRef as _};

use super::page::{Cursor, Edge, Page, PageRequest};
use super::{Read, ReadError, ReadModels};
use crate::engine::{read_checkpoints, run, selected};
use crate::fold::Row;
use crate::models;
use domain::Timestamp;

/// How often the database is asked whether another process has folded, where that is not heard.
const POLL: Duration = Duration::from_millis(50);
/// How long a move is waited for before the database is asked, where it is heard: an announcement may have been lost.
const HEARING: Duration = Duration::from_millis(250);
/// The same where this process folds.
const LEADING: Duration = Duration::from_secs(1);

/// A value in a statement.
#[derive(Clone, Debug)]
pub(super) enum Bind {
    Text(String),
    Texts(Vec<String>),
    Int(i64),
    Time(Option<Timestamp>),
}

impl From<&str> for Bind {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

pub(super) fn bind_all<'q>(
    mut query: Query<'q, Postgres, PgArguments>,
    binds: Vec<Bind>,
) -> Query<'q, Postgres, PgArguments> {
    for bind in binds {
        query = match bind {
            Bind::Text(text) => query.bind(text),
            Bind::Texts(texts) => query.bind(texts),
            Bind::Int(number) => query.bind(number),
            Bind::Time(time) => query.bind(time),
        };
    }
    query
}

/// Which rows of a table `t`, in which order. Each `?` of a condition is its value.
#[derive(Clone, Debug, Default)]
pub(super) struct Which {
    conditions: Vec<String>,
    binds: Vec<Bind>,
    rest: String,
}

impl Which {
    pub(super) fn all() -> Self {
        Self::default()
    }

    pub(super) fn filter(mut self, condition: &str, bind: impl Into<Bind>) -> Self {
        self.binds.push(bind.into());
        self.conditions.push(condition.replace('?', &format!("${}", self.binds.len())));
        self
    }

    pub(super) fn filter_if(self, condition: &str, bind: Option<impl Into<Bind>>) -> Self {
        match bind {
            Some(bind) => self.filter(condition, bind),
            None => self,
        }
    }

    /// What comes after the conditions.
    pub(super) fn then(mut self, rest: impl Into<String>) -> Self {
        self.rest = rest.into();
        self
    }

    /// A page in the order of a column that no two rows share, with one row more to see whether there are more.
    pub(super) fn page(self, page: &PageRequest, column: &str, after: Option<Bind>) -> Self {
        let (comparison, order) = if page.newest_first { ("<", "DESC") } else { (">", "ASC") };
        let limit = page.limit() + 1;
        self.filter_if(&format!("{column} {comparison} ?"), after)
            .then(format!("ORDER BY {column} {order} LIMIT {limit}"))
    }

    /// [`Which::page`] by a number.
    pub(super) fn page_by_number(self, page: &PageRequest, column: &str) -> Result<Self, ReadError> {
        let after = page.after.as_ref().map(Cursor::number).transpose()?;
        Ok(self.page(page, column, after.map(Bind::Int)))
    }

    /// [`Which::page`] by an id.
    pub(super) fn page_by_id(self, page: &PageRequest, column: &str) -> Self {
        let after = page.after.as_ref().map(|cursor| Bind::from(cursor.key()));
        self.page(page, column, after)
    }

    fn into_sql(self) -> (String, Vec<Bind>) {
        let conditions = match self.conditions.as_slice() {
            [] => String::new(),
            conditions => format!("WHERE {}", conditions.join(" AND ")),
        };
        (format!("{conditions} {}", self.rest), self.binds)
    }
}

/// A `WITH` item `checkpoint`: one row with the least checkpoint of the projections, or none while one is not there.
pub(super) fn checkpoint(projections: &[&'static str]) -> String {
    let versions: Vec<String> = projections
        .iter()
        .filter_map(|name| models::by_name(name))
        .map(|model| format!("('{}', {})", model.name, model.version))
        .collect();
    format!(
        "checkpoint AS (SELECT min(coalesce(p.log_position, l.log_position)) AS least, \
         max(coalesce(p.log_position, l.log_position)) AS greatest FROM read.live l, read.projections p \
         WHERE (p.name, p.version) IN ({}) HAVING count(*) = {})",
        versions.join(", "),
        projections.len()
    )
}

/// How far the projections are, at the least, as this process knows it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    position: LogPosition,
    /// What the database has, unless a crash has taken the newest commits of the read models from it.
    written: LogPosition,
}

impl ReadModels {
    /// Waits until every one of the projections can answer with what was asked to be included. What it returns is how
    /// far they are at least, as far as this process knows.
    pub(super) async fn ready(&self, projections: &[&'static str]) -> Result<Floor, ReadError> {
        if let Some(at_least) = self.at_least
            && at_least > self.log.head()
        {
            let head = self.log.read_head().await?;
            if at_least > head {
                return Err(ReadError::BeyondHead { at_least, head });
            }
        }
        let at_least = self.at_least.unwrap_or(LogPosition::ZERO);
        let waiting = async {
            loop {
                let told_within = self.told_within();
                let told = self.told(projections, at_least);
                if let Ok(floor) = tokio::time::timeout(told_within, told).await {
                    return Ok(floor);
                }
                if let Some(floor) = self.stored(projections, at_least).await? {
                    return Ok(floor);
                }
                if told_within.is_zero() {
                    tokio::time::sleep(POLL).await;
                }
            }
        };
        match tokio::time::timeout(self.patience, waiting).await {
            Ok(ready) => ready,
            Err(_) => Err(self.behind(projections, at_least).await?),
        }
    }

    /// How far the projections are at least, as far as this process knows without asking.
    fn known(&self, projections: &[&'static str]) -> Option<Floor> {
        let progress = self.progress.as_ref()?.borrow();
        let least = projections.iter().map(|name| progress.of(name)).min().flatten();
        let floor = |position| Floor { position, written: progress.written.min(position) };
        least.filter(|_| progress.is_known()).map(floor)
    }

    /// How soon a move of the projections is known here without asking.
    fn told_within(&self) -> Duration {
        match self.progress.as_ref().map(|progress| progress.borrow()) {
            Some(progress) if progress.leading => LEADING,
            Some(progress) if progress.hearing => HEARING,
            _ => Duration::ZERO,
        }
    }

    /// Waits until it is known without asking that the projections are far enough; perhaps for ever.
    async fn told(&self, projections: &[&'static str], at_least: LogPosition) -> Floor {
        let mut progress = self.progress.clone();
        loop {
            if let Some(progress) = &mut progress {
                progress.mark_unchanged();
            }
            if let Some(floor) = self.known(projections).filter(|floor| floor.position >= at_least) {
                return floor;
            }
            let is_changed = match &mut progress {
                Some(progress) => progress.changed().await.is_ok(),
                None => false,
            };
            if !is_changed {
                std::future::pending::<()>().await;
            }
        }
    }

    /// How far the projections are in the database, if that is far enough.
    async fn stored(
        &self,
        projections: &[&'static str],
        at_least: LogPosition,
    ) -> Result<Option<Floor>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        let checkpoints =
            read_checkpoints(&mut connection).await.map_err(|error| not_there(error, projections))?;
        let least = projections
            .iter()
            .map(|name| models::by_name(name).and_then(|model| checkpoints.of(&model)))
            .min()
            .flatten();
        let least = least.filter(|least| *least >= at_least);
        Ok(least.map(|position| Floor { position, written: position }))
    }

    /// The projection that is furthest behind.
    async fn behind(
        &self,
        projections: &[&'static str],
        at_least: LogPosition,
    ) -> Result<ReadError, ReadError> {
        let mut connection = self.pool.acquire().await?;
        let checkpoints =
            read_checkpoints(&mut connection).await.map_err(|error| not_there(error, projections))?;
        let reached = |name: &&'static str| {
            let known = self.progress.as_ref().and_then(|progress| progress.borrow().of(name));
            models::by_name(name).and_then(|model| checkpoints.of(&model)).max(known)
        };
        let furthest = projections.iter().map(|name| (reached(name), *name)).min();
        Ok(match furthest {
            Some((Some(reached), projection)) => ReadError::NotYetVisible { projection, at_least, reached },
            Some((None, projection)) => ReadError::NotReady { projection },
            None => ReadError::NotReady { projection: "" },
        })
    }

    /// Rows of one table of one of the projections, in one statement.
    pub(super) async fn rows<R: Row>(
        &self,
        projections: &[&'static str],
        which: Which,
    ) -> Result<Read<Vec<R>>, ReadError> {
        let floor = self.ready(projections).await?;
        let (tail, binds) = which.into_sql();
        // The one row of the checkpoint is the outer side of a nested loop, so the order of the rows stays.
        let sql = format!(
            "WITH {} SELECT c.least, t.* FROM checkpoint c LEFT JOIN LATERAL \
             (SELECT {} FROM read.{} t {tail}) t ON true",
            checkpoint(projections),
            selected(&R::TABLE, "t"),
            R::TABLE.name,
        );
        let rows = self.fetch(projections, &sql, binds).await?;
        let log_position = checkpoint_of(&rows, projections, floor)?;
        let mut value = Vec::with_capacity(rows.len());
        for row in &rows {
            if !row.try_get_raw(1)?.is_null() {
                value.push(R::read_from(row, 1)?);
            }
        }
        Ok(Read { value, log_position })
    }

    /// The rows of any statement whose first column is the checkpoint.
    pub(super) async fn fetch(
        &self,
        projections: &[&'static str],
        sql: &str,
        binds: Vec<Bind>,
    ) -> Result<Vec<PgRow>, ReadError> {
        let query = bind_all(sqlx::query(sql), binds);
        query.fetch_all(&self.pool).await.map_err(|error| not_there(error, projections))
    }

    /// A page of rows.
    pub(super) async fn page<R: Row, T>(
        &self,
        projections: &[&'static str],
        which: Which,
        page: &PageRequest,
        mut edge: impl FnMut(R) -> Result<Edge<T>, ReadError>,
    ) -> Result<Read<Page<T>>, ReadError> {
        let rows = self.rows::<R>(projections, which).await?;
        let edges = rows.value.into_iter().map(&mut edge).collect::<Result<_, _>>()?;
        Ok(Read { value: Page::of(edges, page.limit()), log_position: rows.log_position })
    }

    /// A snapshot for several statements.
    pub(super) async fn snapshot(&self, projections: &[&'static str]) -> Result<Snapshot, ReadError> {
        let floor = self.ready(projections).await?;
        let mut transaction = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // Before the snapshot is taken: afterwards a rebuild could put tables in place whose rows it does not see.
        let tables: Vec<String> = projections
            .iter()
            .filter_map(|name| models::by_name(name))
            .flat_map(|model| model.tables())
            .map(|table| format!("read.{}", table.name))
            .collect();
        run(&mut transaction, &format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", ")))
            .await
            .map_err(|error| not_there(error, projections))?;
        let sql = format!("WITH {} SELECT least FROM checkpoint", checkpoint(projections));
        let rows = sqlx::query(&sql).fetch_all(&mut *transaction).await?;
        let log_position = checkpoint_of(&rows, projections, floor)?;
        Ok(Snapshot { transaction, log_position })
    }
}

/// Several statements that see the same.
pub(super) struct Snapshot {
    transaction: Transaction<'static, Postgres>,
    pub(super) log_position: LogPosition,
}

impl Snapshot {
    pub(super) async fn rows<R: Row>(&mut self, which: Which) -> Result<Vec<R>, ReadError> {
        let (tail, binds) = which.into_sql();
        let sql = format!("SELECT {} FROM read.{} t {tail}", selected(&R::TABLE, "t"), R::TABLE.name);
        let rows = bind_all(sqlx::query(&sql), binds).fetch_all(self.connection()).await?;
        Ok(rows.iter().map(R::read).collect::<Result<_, _>>()?)
    }

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// The checkpoint of a statement's rows, or what this process knows beyond it: while nothing changes, the checkpoint in
/// the database stays behind, and the rows are the same.
pub(super) fn checkpoint_of(
    rows: &[PgRow],
    projections: &[&'static str],
    floor: Floor,
) -> Result<LogPosition, ReadError> {
    let projection = projections.first().copied().unwrap_or_default();
    let row = rows.first().ok_or(ReadError::NotReady { projection })?;
    let stored = LogPosition::from_sql(row.try_get(0)?);
    if stored < floor.written {
        // PostgreSQL has crashed in between, and these rows are to be folded again.
        return Err(ReadError::NotYetVisible { projection, at_least: floor.position, reached: stored });
    }
    Ok(stored.max(floor.position))
}

/// Tables that are not there are being built.
fn not_there(error: sqlx::Error, projections: &[&'static str]) -> ReadError {
    const UNDEFINED_TABLE: &str = "42P01";
    let undefined =
        error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == UNDEFINED_TABLE);
    match projections.first() {
        Some(projection) if undefined => ReadError::NotReady { projection },
        _ => ReadError::Database(error),
    }
}
