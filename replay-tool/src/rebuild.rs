//! `rebuild`: projections anew from the log.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use serde_json::json;

use crate::args::named;
use crate::database::Database;
use crate::output;
use crate::progress::Progress;

pub async fn run(database: &Database, names: &[String], as_json: bool) -> anyhow::Result<ExitCode> {
    for name in named(names) {
        let begun = Instant::now();
        let mut progress = Progress::start("rebuilding", name);
        let rebuilt = projections::rebuild(&database.pool, &database.log, name, |at| progress.show(at)).await;
        drop(progress);
        let log_position = rebuilt.with_context(|| format!("cannot rebuild {name}"))?;
        let milliseconds = begun.elapsed().as_millis();
        if as_json {
            let took_ms = u64::try_from(milliseconds).unwrap_or(u64::MAX);
            output::json(&json!({ "projection": name, "logPosition": log_position, "tookMs": took_ms }))?;
        } else {
            output::line(format_args!(
                "{name} is rebuilt from {log_position} events in {milliseconds} ms and live"
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
