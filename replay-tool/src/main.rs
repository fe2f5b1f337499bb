//! `replay-tool`: looks after the projections, and reads the log.
//!
//! [`args`] is what was typed, [`database`] where it goes, one file a command, [`output`] how answers look. Exit status: 0
//! when all is well, 1 when `verify` has found a difference, 2 when it could not be done, 130 after Ctrl-C.

mod args;
mod database;
mod events;
mod output;
mod progress;
mod rebuild;
mod status;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Action, Args};
use database::Database;

/// It could not be done.
const FAILED: u8 = 2;
/// Ended by Ctrl-C, as shells have it.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt().with_max_level(args.log_level()).with_writer(std::io::stderr).init();
    match run(&args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("replay-tool: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    args.check()?;
    let database = Database::open(args).await?;
    let outcome = tokio::select! {
        outcome = act(args, &database) => outcome,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("interrupted; a rebuild goes on where it stopped when it is asked for again");
            Ok(ExitCode::from(INTERRUPTED))
        }
    };
    database.close().await;
    outcome
}

async fn act(args: &Args, database: &Database) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Status => status::run(database, args.json).await,
        Action::Rebuild { names } => rebuild::run(database, names, args.json).await,
        Action::Verify { names, limit } => verify::run(database, names, *limit, args.json).await,
        Action::Events(filter) => events::run(database, filter, args.json).await,
    }
}
