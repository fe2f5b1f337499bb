//! `verify`: the log folded aside, compared with the read models.
//!
//! A projection that has stopped short of the log, or that cannot be folded, is not verified, whatever its rows say: the
//! others are, and the exit status tells.

use std::process::ExitCode;

use anyhow::Context as _;
use projections::read::ProjectionState;
use projections::{Difference, Verification};
use serde_json::{Value, json};

use crate::args::named;
use crate::database::Database;
use crate::output;
use crate::progress::Progress;

/// The status that says that a row differs.
const DIFFERS: u8 = 1;
/// The status that says that something could not be verified.
const UNVERIFIED: u8 = 2;

pub async fn run(
    database: &Database,
    names: &[String],
    limit: u32,
    as_json: bool,
) -> anyhow::Result<ExitCode> {
    let status = database.read_models().status().await?;
    let (mut differing, mut unverified) = (0, false);
    for name in named(names) {
        let stopped = status.iter().find(|of| of.name == name && of.state == ProjectionState::Stopped);
        if let Some(stopped) = stopped {
            let reason = stopped.error.as_deref().unwrap_or("no reason is known");
            eprintln!(
                "{name} has stopped at {}, {} events behind the log: {reason}",
                stopped.log_position, stopped.lag
            );
            unverified = true;
        }
        let mut progress = Progress::start("verifying", name);
        let verified =
            projections::verify(&database.pool, &database.log, name, limit, |at| progress.show(at)).await;
        drop(progress);
        let verified = match verified.with_context(|| format!("cannot verify {name}")) {
            Ok(verified) => verified,
            Err(error) => {
                eprintln!("{error:#}");
                unverified = true;
                continue;
            }
        };
        differing += verified.differing;
        if as_json {
            output::json(&in_json(&verified))?;
        } else {
            show(&verified)?;
        }
    }
    Ok(match (differing, unverified) {
        (0, false) => ExitCode::SUCCESS,
        (0, true) => ExitCode::from(UNVERIFIED),
        _ => ExitCode::from(DIFFERS),
    })
}

fn show(verified: &Verification) -> anyhow::Result<()> {
    let Verification { projection, log_position, rows, differing, differences } = verified;
    if *differing == 0 {
        return output::line(format_args!("{projection}: {rows} rows at {log_position}, no difference"));
    }
    output::line(format_args!("{projection}: {rows} rows at {log_position}, {differing} differ"))?;
    let mut table = output::table(["table", "row", "the log says", "found"]);
    for difference in differences {
        let (expected, found) = contrast(difference);
        table.add_row([difference.table.to_owned(), pairs(&difference.key), expected, found]);
    }
    output::line(table)
}

/// What differs, as the log says it and as it was found.
fn contrast(difference: &Difference) -> (String, String) {
    let columns = difference.columns();
    let side = |row: &Option<Value>| match row {
        None => "no such row".to_owned(),
        Some(row) if columns.is_empty() => pairs(row),
        Some(row) => {
            let of = |column: &String| format!("{column} {}", plain(row.get(column)));
            columns.iter().map(of).collect::<Vec<_>>().join(", ")
        }
    };
    (side(&difference.expected), side(&difference.found))
}

fn pairs(row: &Value) -> String {
    let Value::Object(columns) = row else { return plain(Some(row)) };
    columns
        .iter()
        .map(|(name, value)| format!("{name} {}", plain(Some(value))))
        .collect::<Vec<_>>()
        .join(", ")
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "null".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn in_json(verified: &Verification) -> Value {
    let differences: Vec<_> = verified
        .differences
        .iter()
        .map(|difference| {
            json!({
                "table": difference.table,
                "key": difference.key,
                "columns": difference.columns(),
                "expected": difference.expected,
                "found": difference.found,
            })
        })
        .collect();
    json!({
        "projection": verified.projection,
        "logPosition": verified.log_position,
        "rows": verified.rows,
        "differing": verified.differing,
        "differences": differences,
    })
}
