//! Read models: folds of the log into tables that queries can afford, their checkpoints and rebuilds.
//!
//! ```text
//! log ── engine ── models/<name>: which rows does a command touch, and how does it change them?
//!           │            (pure; tables.sql and indexes.sql beside the fold)
//!           ├── read.<table> and one checkpoint, in one transaction
//!           ├── Changes, to those in this process who watch
//!           └── read::ReadModels: queries, each in one snapshot with its checkpoint
//! ```
//!
//! **Invariants.** A fold has no I/O. A read model equals the fold of the log up to its checkpoint, whatever the batches,
//! restarts and repeats; `rebuild` and `verify` use the same fold. No event is written here, and no read model is read by
//! what decides.

mod changes;
mod engine;
mod fold;
mod models;
pub mod read;

use std::time::Duration;

use event_store::Log;
use sqlx::PgPool;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use changes::{Changed, Changes};
pub use engine::{
    Difference, EngineError, ReplayLimits, ReplayProgress, Verification, rebuild, rebuild_within, verify,
};
pub use fold::FoldError;
use read::ReadModels;

/// Commits of changes that a slow watcher may be behind before it misses some.
const CHANGES_KEPT: usize = 4_096;

/// How projections run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a query waits for the log position it was asked to include.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5) }
    }
}

/// The names of all projections, in order.
pub fn names() -> Vec<&'static str> {
    models::ALL.iter().map(|model| model.name).collect()
}

/// Projections that fold as long as this process leads them.
#[derive(Debug)]
pub struct RunningProjections {
    models: ReadModels,
    changes: broadcast::Sender<Changes>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts to fold and to answer. Returns when the read models are there to be asked; they may still be behind.
///
/// # Errors
/// [`EngineError`] when the database was not prepared or does not answer.
pub async fn start(
    pool: PgPool,
    log: Log,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<RunningProjections, EngineError> {
    let mut connection = pool.acquire().await?;
    engine::set_up(&mut connection, log.log_id()).await?;
    drop(connection);
    let (changes, _) = broadcast::channel(CHANGES_KEPT);
    let (progress, watching) = watch::channel(engine::Progress::default());
    let models = ReadModels::new(pool.clone(), log.clone(), Some(watching), settings.patience);
    let leader = engine::Leader::new(pool, log, progress, changes.clone(), shutdown);
    Ok(RunningProjections { models, changes, tasks: leader.start() })
}

impl RunningProjections {
    /// The queries.
    pub fn read_models(&self) -> ReadModels {
        self.models.clone()
    }

    /// What changes from now on. One that falls behind is told so, and reads what it watches again.
    pub fn changes(&self) -> broadcast::Receiver<Changes> {
        self.changes.subscribe()
    }

    /// Waits until everything has ended, after the shutdown.
    pub async fn stopped(self) {
        for task in self.tasks {
            // A panic in the engine has been reported already.
            let _ = task.await;
        }
    }
}
