//! Following the log: every projection that stands at the common checkpoint folds the same batches, and all they change
//! commits together with that checkpoint.
//!
//! One process leads: it holds an advisory lock over the connection it writes through, so losing the connection loses
//! both. Others watch the checkpoint and take over. A projection that cannot fold a command is left where it is, with
//! the reason, and the others go on. A batch that changes no row moves the checkpoint in memory at once and in the
//! database now and then.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::{Log, LogPosition, RecordedEvent};
use futures::{Stream, StreamExt as _};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::checkpoint::{self, Checkpoints, LEADER_LOCK, LIVE};
use super::sql::run;
use super::{EngineError, Stop, batch, rebuild, sql};
use crate::changes::{Changed, Changes};
use crate::fold::{Command, Folding, Model, commands_of};
use crate::models;

/// Events that fold and commit together, about.
const BATCH_EVENTS: usize = 4_000;
/// Rows kept in memory between batches, per projection.
const MEMORY_ROWS: usize = 20_000;
/// How often is looked whether a projection was replaced, and whether somebody leads.
const LOOK: Duration = Duration::from_secs(1);
/// How long the checkpoint in the database may stay behind while nothing changes.
const IDLE_WRITE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Read models can be folded again, so their commits need not wait for the disk: what a crash loses is the newest
/// checkpoint together with its rows.
const SESSION: &str = "SET synchronous_commit = off; \
     SET lock_timeout = '30s'; \
     SET idle_in_transaction_session_timeout = '10min'";

/// How far a projection is, as this process knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProjectionProgress {
    /// With the others.
    Live,
    /// Not yet readable.
    Building,
    /// Left behind there.
    Stopped(LogPosition, Arc<str>),
}

/// How far the projections are, as this process knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whether this process folds: then the checkpoint may be ahead of the database's.
    pub(crate) leading: bool,
    /// The common checkpoint.
    pub(crate) log_position: LogPosition,
    /// The same as it was last written to the database.
    pub(crate) written: LogPosition,
    /// By name.
    pub(crate) projections: BTreeMap<&'static str, ProjectionProgress>,
}

impl Progress {
    /// How far a projection is; `None` while it cannot be read.
    pub(crate) fn of(&self, projection: &str) -> Option<LogPosition> {
        match self.projections.get(projection)? {
            ProjectionProgress::Live => Some(self.log_position),
            ProjectionProgress::Stopped(position, _) => Some(*position),
            ProjectionProgress::Building => None,
        }
    }
}

/// The projection with this name.
pub(super) fn known(name: &str) -> Result<Model, EngineError> {
    models::by_name(name).ok_or_else(|| EngineError::UnknownProjection {
        name: name.to_owned(),
        known: models::ALL.iter().map(|model| model.name).collect::<Vec<_>>().join(", "),
    })
}

/// A connection of its own, as the projections want it.
pub(super) async fn connect(pool: &PgPool) -> Result<PgConnection, sqlx::Error> {
    let options = pool.connect_options().as_ref().clone().application_name("daybook projections");
    let mut connection = options.connect().await?;
    run(&mut connection, SESSION).await?;
    Ok(connection)
}

/// Folds whenever this process leads.
pub(crate) struct Leader {
    pub(crate) pool: PgPool,
    pub(crate) log: Log,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) changes: broadcast::Sender<Changes>,
    pub(crate) shutdown: CancellationToken,
}

/// A projection that folds, with what it keeps in memory.
struct Member {
    model: Model,
    folding: Box<dyn Folding>,
    stopped: Option<(LogPosition, String)>,
}

/// The members between two looks at the database.
struct Group {
    members: Vec<Member>,
    /// The common checkpoint, in memory.
    position: LogPosition,
    /// The same in the database.
    written: LogPosition,
    written_at: Instant,
    generation: i64,
}

/// Why following ended.
enum End {
    Shutdown,
    /// Checkpoints were moved by somebody else: look at them again.
    Reload,
}

impl Leader {
    /// Runs until the shutdown.
    pub(crate) async fn run(self) {
        let mut pause = Duration::from_millis(100);
        while !self.shutdown.is_cancelled() {
            let led = self.lead_or_watch().await;
            self.progress.send_modify(|progress| progress.leading = false);
            match led {
                Ok(()) => pause = Duration::from_millis(100),
                Err(error) => {
                    tracing::warn!(%error, "the projections cannot fold, trying again");
                    metrics::counter!("daybook_projection_failures_total").increment(1);
                    tokio::select! {
                        () = self.shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn lead_or_watch(&self) -> Result<(), EngineError> {
        let mut connection = connect(&self.pool).await?;
        checkpoint::set_up(&mut connection, self.log.log_id(), self.log.read_head().await?).await?;
        let mut building = Building::default();
        loop {
            let leads: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(LEADER_LOCK)
                .fetch_one(&mut connection)
                .await?;
            if leads {
                break;
            }
            self.watch(&mut connection).await?;
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        loop {
            match self.lead(&mut connection, &mut building).await? {
                End::Shutdown => return Ok(()),
                End::Reload => {}
            }
        }
    }

    /// Tells this process what another one has folded.
    async fn watch(&self, connection: &mut PgConnection) -> Result<(), EngineError> {
        let checkpoints = checkpoint::read(connection).await?;
        let before = self.progress.borrow().log_position;
        self.publish(&checkpoints, false);
        if checkpoints.log_position > before {
            let changed = Arc::from([Changed::Unknown]);
            let _ = self.changes.send(Changes { log_position: checkpoints.log_position, changed });
        }
        Ok(())
    }

    fn publish(&self, checkpoints: &Checkpoints, leading: bool) {
        let projections = models::ALL.iter().map(|model| {
            let standing =
                checkpoints.standings.get(model.name).filter(|standing| standing.version == model.version);
            let progress = match standing {
                None => ProjectionProgress::Building,
                Some(standing) => match standing.log_position {
                    None => ProjectionProgress::Live,
                    Some(at) => {
                        let error = standing.error.clone().unwrap_or_default();
                        ProjectionProgress::Stopped(at, Arc::from(error))
                    }
                },
            };
            (model.name, progress)
        });
        let projections = projections.collect();
        let log_position = checkpoints.log_position;
        self.progress.send_replace(Progress { leading, log_position, written: log_position, projections });
    }

    /// Follows the log from the checkpoint of the database on.
    async fn lead(&self, connection: &mut PgConnection, building: &mut Building) -> Result<End, EngineError> {
        self.make_missing(connection, building).await?;
        self.resume_stopped(connection, building).await?;
        let checkpoints = checkpoint::read(connection).await?;
        let mut group = Group::of(&checkpoints);
        self.publish(&checkpoints, true);
        let mut batches = Box::pin(self.log.subscribe_by(group.position, BATCH_EVENTS));
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => {
                    self.write_idle(connection, &mut group).await?;
                    return Ok(End::Shutdown);
                }
                _ = look.tick() => {
                    if group.written_at.elapsed() >= IDLE_WRITE && !self.write_idle(connection, &mut group).await? {
                        return Ok(End::Reload);
                    }
                    if checkpoint::read(connection).await?.generation != group.generation {
                        return Ok(End::Reload);
                    }
                }
                batch = next(&mut batches) => {
                    if !self.follow(connection, &mut group, batch?).await? {
                        return Ok(End::Reload);
                    }
                }
            }
        }
    }

    /// Folds one batch and commits it; false when the checkpoints have been moved by somebody else.
    async fn follow(
        &self,
        connection: &mut PgConnection,
        group: &mut Group,
        events: Vec<RecordedEvent>,
    ) -> Result<bool, EngineError> {
        let Some(end) = events.last().map(|event| event.log_position) else { return Ok(true) };
        let begun = Instant::now();
        let (commands, unknown) = commands_of(&events);
        let folded_to = commands.last().map_or(group.position, Command::end);
        for member in &mut group.members {
            member.fold(connection, &commands, group.position).await?;
            if let (None, Some((at, unknown))) = (&member.stopped, &unknown) {
                let reason = format!("log position {at}: {unknown}");
                member.stopped = Some((folded_to, reason));
            }
        }
        if !group.has_changes() {
            group.position = end;
            self.progress.send_modify(|progress| progress.log_position = end);
            return Ok(true);
        }
        if !group.commit(connection, end).await? {
            return Ok(false);
        }
        let mut changed = HashSet::new();
        let mut announced = Vec::new();
        for member in &mut group.members {
            member.folding.announce(&mut announced);
            member.flushed();
        }
        announced.retain(|change| changed.insert(change.clone()));
        let stopped: Vec<_> = group.members.iter().filter_map(Member::as_stopped).collect();
        for (name, at, reason) in &stopped {
            tracing::error!(projection = name, log_position = %at, reason = &**reason, "a projection has stopped");
        }
        group.members.retain(|member| member.stopped.is_none());
        if !announced.is_empty() {
            let _ = self.changes.send(Changes { log_position: end, changed: announced.into() });
        }
        metrics::gauge!("daybook_projection_log_position").set(end.0 as f64);
        self.progress.send_modify(|progress| {
            progress.log_position = end;
            progress.written = end;
            for (name, at, reason) in stopped {
                progress.projections.insert(name, ProjectionProgress::Stopped(at, reason));
            }
        });
        metrics::histogram!("daybook_projection_batch_seconds").record(begun.elapsed().as_secs_f64());
        metrics::counter!("daybook_projection_events_total").increment(events.len() as u64);
        Ok(true)
    }

    /// Brings the checkpoint of the database up to that in memory; false when somebody else has moved it.
    async fn write_idle(
        &self,
        connection: &mut PgConnection,
        group: &mut Group,
    ) -> Result<bool, EngineError> {
        group.written_at = Instant::now();
        if group.position == group.written {
            return Ok(true);
        }
        let moved = checkpoint::advance(connection, group.written, group.generation, group.position).await?;
        group.written = group.position;
        if moved {
            self.progress.send_modify(|progress| progress.written = group.written);
        }
        Ok(moved)
    }

    /// Makes the tables of projections that are not there. In front of the log they join at once; behind its start they
    /// are built aside.
    async fn make_missing(
        &self,
        connection: &mut PgConnection,
        building: &mut Building,
    ) -> Result<(), EngineError> {
        let checkpoints = checkpoint::read(connection).await?;
        for model in models::ALL {
            if checkpoints.of(model).is_some() {
                building.names.remove(model.name);
                continue;
            }
            if checkpoints.log_position > LogPosition::ZERO {
                building.start(self, *model);
                continue;
            }
            let mut transaction = connection.begin().await?;
            sqlx::query("SELECT FROM read.live FOR UPDATE").execute(&mut *transaction).await?;
            checkpoint::make_tables(&mut transaction, LIVE, model).await?;
            checkpoint::make_indexes(&mut transaction, LIVE, model).await?;
            checkpoint::join_live(&mut transaction, model).await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// A projection that has stopped is built anew: this program may be able to fold what an earlier one could not. If
    /// it cannot, the projection stays as it is.
    async fn resume_stopped(
        &self,
        connection: &mut PgConnection,
        building: &mut Building,
    ) -> Result<(), EngineError> {
        let checkpoints = checkpoint::read(connection).await?;
        for model in models::ALL {
            let stopped =
                checkpoints.standings.get(model.name).is_some_and(|standing| standing.log_position.is_some());
            if stopped {
                building.start(self, *model);
            }
        }
        Ok(())
    }
}

/// The rebuilds that this leader has begun; they end with it.
#[derive(Default)]
struct Building {
    names: HashSet<&'static str>,
    tasks: tokio::task::JoinSet<()>,
}

impl Building {
    fn start(&mut self, leader: &Leader, model: Model) {
        if !self.names.insert(model.name) {
            return;
        }
        let (pool, log) = (leader.pool.clone(), leader.log.clone());
        self.tasks.spawn(async move {
            tracing::info!(projection = model.name, "building a projection");
            let built = rebuild(&pool, &log, model.name, |progress| {
                tracing::debug!(projection = model.name, log_position = %progress.log_position, "building");
            })
            .await;
            match built {
                Ok(log_position) => {
                    tracing::info!(projection = model.name, %log_position, "a projection is built");
                }
                Err(error) => {
                    tracing::error!(projection = model.name, %error, "a projection cannot be built");
                }
            }
        });
    }
}

/// The next batch. The stream ends only with an error or with the pool.
async fn next(
    batches: &mut (impl Stream<Item = Result<Vec<RecordedEvent>, event_store::LogError>> + Unpin),
) -> Result<Vec<RecordedEvent>, EngineError> {
    match batches.next().await {
        Some(batch) => Ok(batch?),
        None => Err(EngineError::Database(sqlx::Error::PoolClosed)),
    }
}

impl Group {
    fn of(checkpoints: &Checkpoints) -> Self {
        let members = models::ALL.iter().filter(|model| {
            let standing = checkpoints.standings.get(model.name);
            standing
                .is_some_and(|standing| standing.version == model.version && standing.log_position.is_none())
        });
        Self {
            members: members
                .map(|model| Member { model: *model, folding: model.start(), stopped: None })
                .collect(),
            position: checkpoints.log_position,
            written: checkpoints.log_position,
            written_at: Instant::now(),
            generation: checkpoints.generation,
        }
    }

    fn has_changes(&self) -> bool {
        self.members.iter().any(|member| member.stopped.is_some() || member.folding.has_changes())
    }

    async fn commit(&mut self, connection: &mut PgConnection, end: LogPosition) -> Result<bool, EngineError> {
        let mut transaction = connection.begin().await?;
        // First, because a swap locks the checkpoint first, too.
        if !checkpoint::advance(&mut transaction, self.written, self.generation, end).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        for member in &self.members {
            if let Some((at, reason)) = &member.stopped {
                checkpoint::stop(&mut transaction, member.model.name, *at, reason).await?;
            }
            sql::write(&mut transaction, LIVE, member.folding.as_ref(), false).await?;
        }
        transaction.commit().await?;
        self.position = end;
        self.written = end;
        self.written_at = Instant::now();
        Ok(true)
    }
}

impl Member {
    /// Folds the commands; where that fails, only those before, and it has stopped.
    async fn fold(
        &mut self,
        connection: &mut PgConnection,
        commands: &[Command],
        before: LogPosition,
    ) -> Result<(), EngineError> {
        let Err(Stop { folded, error }) =
            batch::fold(connection, LIVE, self.folding.as_mut(), commands, true).await?
        else {
            return Ok(());
        };
        let (done, failed) = commands.split_at(folded);
        let at = done.last().map_or(before, Command::end);
        let failed = failed.first().map_or(at, Command::start);
        self.stopped = Some((at, format!("log position {failed}: {error}")));
        // The rows hold half a command now: begin again without it.
        self.folding = self.model.start();
        if let Err(Stop { error, .. }) =
            batch::fold(connection, LIVE, self.folding.as_mut(), done, true).await?
        {
            tracing::error!(%error, projection = self.model.name, "a fold is not pure");
            self.folding = self.model.start();
            self.stopped = Some((before, error.to_string()));
        }
        Ok(())
    }

    fn as_stopped(&self) -> Option<(&'static str, LogPosition, Arc<str>)> {
        let (at, reason) = self.stopped.as_ref()?;
        Some((self.model.name, *at, Arc::from(reason.as_str())))
    }

    fn flushed(&mut self) {
        let mut rows_in_memory = 0;
        for rows in self.folding.tables_mut() {
            rows.flushed();
            rows_in_memory += rows.len();
        }
        if rows_in_memory > MEMORY_ROWS {
            self.folding.tables_mut().into_iter().for_each(|rows| rows.forget());
        }
    }
}
