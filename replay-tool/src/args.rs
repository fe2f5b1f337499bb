//! What can be typed.

use std::path::PathBuf;

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use event_store::LogPosition;
use tracing_subscriber::filter::LevelFilter;

/// Looks after Daybook's projections, and reads its event log. Works with the server up or down.
///
/// Exit status: 0 when all is well, 1 when verify has found a difference, 2 when it could not be done.
#[derive(Debug, Parser)]
#[command(name = "replay-tool", version, max_term_width = 100)]
pub struct Args {
    /// Data folder of the embedded database; attaches to it when the server runs, and starts it when not
    #[arg(long, env = "DAYBOOK_DATA_DIR", default_value = ".daybook", global = true, value_name = "FOLDER")]
    pub data_dir: PathBuf,
    /// A PostgreSQL server instead of the embedded one, as the role daybook_app
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Answers as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// More of what happens on standard error; twice for even more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Shows how far each projection is
    Status,
    /// Builds projections anew from the log, beside the live ones, and swaps them in
    ///
    /// Readers are served all the while. One that was interrupted goes on where it stopped.
    Rebuild {
        /// Projections to build; all without one
        names: Vec<String>,
    },
    /// Folds the log aside and compares it with the read models, row by row
    ///
    /// Nothing is changed. Exits with 1 when a row differs, and names it.
    Verify {
        /// Projections to verify; all without one
        names: Vec<String>,
        /// How many differing rows of each projection to name
        #[arg(long, default_value_t = 20, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Shows events of the log, oldest first
    Events(EventsArgs),
}

/// Which events to show.
#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Only of this type of aggregate: account, portfolio, order, market, quote
    #[arg(long, value_name = "TYPE")]
    pub aggregate_type: Option<String>,
    /// Only of the aggregate with this id
    #[arg(long, value_name = "ID")]
    pub aggregate_id: Option<String>,
    /// Only events of this type, for example FundsDeposited; may be repeated
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only by this principal; observed prices are not found by actor
    #[arg(long, value_name = "NAME")]
    pub actor: Option<String>,
    /// Only of this command
    #[arg(long, value_name = "ID")]
    pub command_id: Option<String>,
    /// Only caused by this request
    #[arg(long, value_name = "ID")]
    pub correlation_id: Option<String>,
    /// Only recorded at or after this moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub from: Option<DateTime<Utc>>,
    /// Only recorded before this moment (RFC 3339)
    #[arg(long, value_name = "TIME")]
    pub to: Option<DateTime<Utc>>,
    /// Only after this log position
    #[arg(long, value_name = "POSITION")]
    pub after: Option<LogPosition>,
    /// Only before this log position
    #[arg(long, value_name = "POSITION")]
    pub before: Option<LogPosition>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
    /// The newest ones instead of the oldest
    #[arg(long)]
    pub newest: bool,
}

impl Args {
    /// What is worth telling on standard error.
    pub fn log_level(&self) -> LevelFilter {
        match self.verbose {
            0 => LevelFilter::ERROR,
            1 => LevelFilter::INFO,
            _ => LevelFilter::DEBUG,
        }
    }

    /// Refuses names that do not exist, before anything is opened.
    pub fn check(&self) -> anyhow::Result<()> {
        let (Action::Rebuild { names } | Action::Verify { names, .. }) = &self.action else { return Ok(()) };
        let known = projections::names();
        if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
            bail!("there is no projection {unknown}; there are {}", known.join(", "));
        }
        Ok(())
    }
}

/// The projections named, or all.
pub fn named(names: &[String]) -> Vec<&'static str> {
    let is_named = |known: &&'static str| names.is_empty() || names.iter().any(|name| name == known);
    projections::names().into_iter().filter(is_named).collect()
}
