//! `status`: how far each projection is.

use std::process::ExitCode;

use projections::read::ProjectionStatus;
use serde_json::json;

use crate::database::Database;
use crate::output;

pub async fn run(database: &Database, as_json: bool) -> anyhow::Result<ExitCode> {
    let status = database.read_models().status().await?;
    let head = database.log.read_head().await?;
    if as_json {
        let projections: Vec<_> = status.iter().map(in_json).collect();
        let log_id = database.log.log_id();
        output::json(&json!({ "logId": log_id.to_string(), "head": head, "projections": projections }))?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(format_args!("log {} ends at {head}", database.log.log_id()))?;
    let mut table = output::table(["projection", "version", "log position", "lag", "state", "error"]);
    for projection in status {
        table.add_row([
            projection.name,
            projection.version.to_string(),
            projection.log_position.to_string(),
            projection.lag.to_string(),
            projection.state.to_string(),
            projection.error.unwrap_or_default(),
        ]);
    }
    output::line(table)?;
    Ok(ExitCode::SUCCESS)
}

fn in_json(projection: &ProjectionStatus) -> serde_json::Value {
    json!({
        "name": projection.name,
        "version": projection.version,
        "logPosition": projection.log_position,
        "lag": projection.lag.to_string(),
        "state": projection.state.to_string(),
        "error": projection.error,
    })
}
