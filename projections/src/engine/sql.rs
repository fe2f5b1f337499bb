//! How rows get from a table into memory and back: one statement for any number of rows.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{Executor as _, PgConnection, Postgres};

use crate::fold::{Cell, Column, Folding, SqlType, Table, TableRows};

/// Rows of one statement. Bounds what a statement needs in memory.
const ROWS_PER_STATEMENT: usize = 10_000;

/// Loads the rows that were asked for, of all tables.
pub(super) async fn load(
    connection: &mut PgConnection,
    schema: &str,
    folding: &mut dyn Folding,
) -> Result<(), sqlx::Error> {
    for rows in folding.tables_mut() {
        let keys = rows.begin_load();
        if keys.is_empty() {
            continue;
        }
        load_table(connection, schema, rows, &keys).await?;
        rows.settle_absent();
    }
    Ok(())
}

async fn load_table(
    connection: &mut PgConnection,
    schema: &str,
    rows: &mut dyn TableRows,
    keys: &[Vec<Cell<'_>>],
) -> Result<(), sqlx::Error> {
    let table = rows.table();
    let key = &table.columns[..table.key_columns];
    let on = join(key, " AND ", |column| format!("t.{0} = k.{0}", column.name));
    let sql = format!(
        "SELECT {} FROM {schema}.{} t JOIN {} ON {on}",
        selected(&table, "t"),
        table.name,
        unnest(key, "k")
    );
    for keys in keys.chunks(ROWS_PER_STATEMENT) {
        let query = bind_columns(sqlx::query(&sql), key, keys);
        for row in query.fetch_all(&mut *connection).await? {
            rows.load(&row)?;
        }
    }
    Ok(())
}

/// How the columns are selected so that [`Cell::read`](crate::fold::Cell::read) can read them.
pub(crate) fn selected(table: &Table, alias: &str) -> String {
    join(table.columns, ", ", |column| match column.sql_type {
        SqlType::Numeric => format!("{alias}.{}::text", column.name),
        _ => format!("{alias}.{}", column.name),
    })
}

/// Writes what has changed, in the transaction of the connection. With `bulk`, new rows come by `COPY`.
pub(super) async fn write(
    connection: &mut PgConnection,
    schema: &str,
    folding: &dyn Folding,
    bulk: bool,
) -> Result<(), sqlx::Error> {
    for rows in folding.tables() {
        let table = rows.table();
        let writes = rows.writes();
        if writes.is_empty() {
            continue;
        }
        delete(connection, schema, &table, &writes.deletes).await?;
        insert(connection, schema, &table, &writes.upserts, true).await?;
        if bulk {
            copy(connection, schema, &table, &writes.inserts).await?;
        } else {
            insert(connection, schema, &table, &writes.inserts, false).await?;
        }
    }
    Ok(())
}

async fn insert(
    connection: &mut PgConnection,
    schema: &str,
    table: &Table,
    rows: &[Vec<Cell<'_>>],
    replacing: bool,
) -> Result<(), sqlx::Error> {
    let name = |column: &Column| column.name.to_owned();
    let (key, others) = table.columns.split_at(table.key_columns);
    let on_conflict = if replacing {
        let set = join(others, ", ", |column| format!("{0} = excluded.{0}", column.name));
        format!("ON CONFLICT ({}) DO UPDATE SET {set}", join(key, ", ", name))
    } else {
        String::new()
    };
    let columns = join(table.columns, ", ", name);
    let sql = format!(
        "INSERT INTO {schema}.{} ({columns}) SELECT * FROM {} {on_conflict}",
        table.name,
        unnest(table.columns, "r")
    );
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        bind_columns(sqlx::query(&sql), table.columns, rows).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn delete(
    connection: &mut PgConnection,
    schema: &str,
    table: &Table,
    keys: &[Vec<Cell<'_>>],
) -> Result<(), sqlx::Error> {
    let key = &table.columns[..table.key_columns];
    let on = join(key, " AND ", |column| format!("t.{0} = k.{0}", column.name));
    let sql = format!("DELETE FROM {schema}.{} t USING {} WHERE {on}", table.name, unnest(key, "k"));
    for keys in keys.chunks(ROWS_PER_STATEMENT) {
        bind_columns(sqlx::query(&sql), key, keys).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Bytes after which a part of a `COPY` is sent.
const COPY_BYTES: usize = 256 * 1024;

async fn copy(
    connection: &mut PgConnection,
    schema: &str,
    table: &Table,
    rows: &[Vec<Cell<'_>>],
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = join(table.columns, ", ", |column| column.name.to_owned());
    let sql = format!("COPY {schema}.{} ({columns}) FROM STDIN", table.name);
    let mut sink = connection.copy_in_raw(&sql).await?;
    let mut part = String::with_capacity(COPY_BYTES + 4096);
    for row in rows {
        for (index, cell) in row.iter().enumerate() {
            if index > 0 {
                part.push('\t');
            }
            write_cell(&mut part, cell);
        }
        part.push('\n');
        if part.len() >= COPY_BYTES {
            sink.send(part.as_bytes()).await?;
            part.clear();
        }
    }
    sink.send(part.as_bytes()).await?;
    sink.finish().await?;
    Ok(())
}

/// As the text format of `COPY` has it.
fn write_cell(part: &mut String, cell: &Cell<'_>) {
    use std::fmt::Write as _;
    match cell {
        Cell::Null => part.push_str("\\N"),
        Cell::Int(number) => drop(write!(part, "{number}")),
        Cell::Time(time) => drop(write!(part, "{}", time.to_rfc3339())),
        Cell::Text(text) => {
            for character in text.chars() {
                match character {
                    '\\' => part.push_str("\\\\"),
                    '\t' => part.push_str("\\t"),
                    '\n' => part.push_str("\\n"),
                    '\r' => part.push_str("\\r"),
                    other => part.push(other),
                }
            }
        }
    }
}

/// A set of rows given as one array a column.
fn unnest(columns: &[Column], alias: &str) -> String {
    let mut number = 0;
    let arrays = join(columns, ", ", |column| {
        number += 1;
        match column.sql_type {
            SqlType::Numeric => format!("${number}::text[]::numeric[]"),
            other => format!("${number}::{}[]", other.name()),
        }
    });
    format!("unnest({arrays}) AS {alias} ({})", join(columns, ", ", |column| column.name.to_owned()))
}

fn bind_columns<'q>(
    mut query: Query<'q, Postgres, PgArguments>,
    columns: &[Column],
    rows: &'q [Vec<Cell<'_>>],
) -> Query<'q, Postgres, PgArguments> {
    for (index, column) in columns.iter().enumerate() {
        let cells = rows.iter().map(|row| &row[index]);
        query = match column.sql_type {
            SqlType::Text | SqlType::Numeric => query.bind(
                cells
                    .map(|cell| match cell {
                        Cell::Text(text) => Some(&**text),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
            SqlType::BigInt => query.bind(
                cells
                    .map(|cell| match cell {
                        Cell::Int(number) => Some(*number),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
            SqlType::Time => query.bind(
                cells
                    .map(|cell| match cell {
                        Cell::Time(time) => Some(*time),
                        _ => None,
                    })
                    .collect::<Vec<_>>(),
            ),
        };
    }
    query
}

fn join(columns: &[Column], separator: &str, mut write: impl FnMut(&Column) -> String) -> String {
    columns.iter().map(&mut write).collect::<Vec<_>>().join(separator)
}

/// Runs statements without parameters, any number of them.
pub(crate) async fn run(connection: &mut PgConnection, statements: &str) -> Result<(), sqlx::Error> {
    // Not `raw_sql`: its future cannot be shown to be `Send`.
    connection.execute(statements).await.map(drop)
}
