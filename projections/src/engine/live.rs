//! Following the log: every projection that stands at the common checkpoint folds the same batches, and all they change
//! commits together with that checkpoint.
//!
//! One process leads: it holds an advisory lock over the connection it writes through, so losing the connection loses
//! both ([`folder`]). Others hear each move of the checkpoint ([`announce`](super::announce)) and take over. A projection
//! that cannot fold a command is left where it is, with the reason, and the others go on. A batch that changes no row
//! moves the checkpoint in memory and for those who listen at once, and in the database now and then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use event_store::announcements::listeners;
use event_store::{Log, LogPosition, RecordedEvent};
use futures::{Stream, StreamExt as _};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::announce::{Announcer, Moved};
use super::checkpoint::{self, LIVE};
use super::folder::Reign;
use super::group::{Group, Member};
use super::progress::{Progress, ProjectionProgress};
use super::sql::run;
use super::{EngineError, folder, rebuild};
use crate::changes::{Changed, Changes};
use crate::fold::{Command, Model, commands_of};
use crate::models;

/// Events that fold and commit together, about.
const BATCH_EVENTS: usize = 4_000;
/// How often is looked whether a projection was replaced, and whether somebody leads. It also shows that the leader lives.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// How long the checkpoint in the database may stay behind while nothing changes.
const IDLE_WRITE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long the database may take for a look or a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to fold and write a batch: longer than it waits for a lock.
const BATCH_PATIENCE: Duration = Duration::from_secs(60);

/// Read models can be folded again, so their commits need not wait for the disk: what a crash loses is the newest
/// checkpoint together with its rows.
const SESSION: &str = "SET synchronous_commit = off; \
     SET lock_timeout = '30s'; \
     SET idle_in_transaction_session_timeout = '10min'";

/// A transaction that the live read models wait for does not outlive a client that is frozen in the middle of it.
pub(super) const SHORT_TRANSACTIONS: &str = "SET idle_in_transaction_session_timeout = '4s'";

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
#[derive(Clone)]
pub(crate) struct Leader {
    pub(super) pool: PgPool,
    log: Log,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) changes: broadcast::Sender<Changes>,
    pub(super) shutdown: CancellationToken,
    pub(super) announcer: Announcer,
    pub(super) reign: Reign,
}

/// Why following ended.
enum End {
    Shutdown,
    /// Checkpoints were moved by somebody else: look at them again.
    Reload,
    /// Somebody else leads.
    Deposed,
}

impl Leader {
    pub(crate) fn new(
        pool: PgPool,
        log: Log,
        progress: watch::Sender<Progress>,
        changes: broadcast::Sender<Changes>,
        shutdown: CancellationToken,
    ) -> Self {
        let (announcer, reign) = (Announcer::default(), Reign::default());
        Self { pool, log, progress, changes, shutdown, announcer, reign }
    }

    /// Starts to fold or to hear of it, until the shutdown.
    pub(crate) fn start(self) -> Vec<JoinHandle<()>> {
        let announcing = self.announcer.clone().run(self.pool.clone(), self.shutdown.clone());
        vec![tokio::spawn(announcing), tokio::spawn(self.clone().hear()), tokio::spawn(self.run())]
    }

    /// Runs until the shutdown.
    async fn run(self) {
        let mut pause = Duration::from_millis(100);
        while !self.shutdown.is_cancelled() {
            let led = self.lead_or_watch().await;
            self.reign.end();
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
        let mut connection = in_time(PATIENCE, connect(&self.pool)).await?;
        run(&mut connection, SHORT_TRANSACTIONS).await?;
        in_time(PATIENCE, checkpoint::set_up(&mut connection, self.log.log_id())).await?;
        loop {
            let leads = in_time(PATIENCE, async {
                self.watch(&mut connection).await?;
                folder::try_to_fold(&mut connection).await
            });
            if leads.await? {
                break;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        let session = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await?;
        let deposed = self.reign.begin(session);
        metrics::gauge!("daybook_projection_folds").set(1.0);
        let mut building = Building::default();
        let led = loop {
            let end = tokio::select! {
                led = self.lead(&mut connection, session, &mut building) => led,
                () = deposed.cancelled() => Ok(End::Deposed),
            };
            match end {
                Ok(End::Reload) => {}
                Ok(End::Shutdown) => break Ok(()),
                Ok(End::Deposed) => {
                    tracing::info!("another node folds the projections now");
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
        };
        metrics::gauge!("daybook_projection_folds").set(0.0);
        led
    }

    /// Takes over what the database says, and tells those who watch if it is news.
    pub(super) async fn watch(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let (before, written) = {
            let progress = self.progress.borrow();
            (progress.log_position, progress.written)
        };
        let checkpoints = checkpoint::read(connection).await?;
        let mut news = None;
        self.progress.send_if_modified(|progress| {
            // It may have begun to lead meanwhile, and then knows better.
            if progress.leading {
                return false;
            }
            let known = progress.clone();
            progress.take_over(&checkpoints, written);
            news = (progress.log_position > known.log_position.max(before)).then_some(progress.log_position);
            *progress != known
        });
        if let Some(log_position) = news {
            let _ = self.changes.send(Changes { log_position, changed: Arc::from([Changed::Unknown]) });
        }
        Ok(())
    }

    /// Tells the others how far it is and what has changed, if that is known and anybody listens.
    fn announce(&self, group: &Group, changed: Option<Vec<Changed>>) {
        if group.listeners.is_empty() {
            return;
        }
        self.announcer.say(Moved {
            folder: group.session,
            generation: group.generation,
            stopped: group.stopped,
            log_position: group.position,
            written: group.written,
            changed,
        });
    }

    /// Follows the log from the checkpoint of the database on.
    async fn lead(
        &self,
        connection: &mut PgConnection,
        session: i32,
        building: &mut Building,
    ) -> Result<End, EngineError> {
        self.make_missing(connection, building).await?;
        self.resume_stopped(connection, building).await?;
        let checkpoints = checkpoint::read(connection).await?;
        self.progress.send_modify(|progress| {
            progress.leading = true;
            progress.set(&checkpoints);
        });
        let mut group = Group::of(&checkpoints, session, self.progress.borrow().stopped());
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
                    if !in_time(PATIENCE, self.look(connection, &mut group)).await? {
                        return Ok(End::Reload);
                    }
                }
                batch = next(&mut batches) => {
                    if !in_time(BATCH_PATIENCE, self.follow(connection, &mut group, batch?)).await? {
                        return Ok(End::Reload);
                    }
                }
            }
        }
    }

    /// What has to be done now and then; false when the checkpoints have been moved by somebody else.
    async fn look(&self, connection: &mut PgConnection, group: &mut Group) -> Result<bool, EngineError> {
        if group.written_at.elapsed() >= IDLE_WRITE && !self.write_idle(connection, group).await? {
            return Ok(false);
        }
        let listeners = listeners(connection, folder::LISTENER, self.reign.listener()).await?;
        if listeners != group.listeners {
            group.listeners = listeners;
            // Who has come has missed what was told before.
            self.announce(group, None);
        }
        Ok(checkpoint::read(connection).await?.generation == group.generation)
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
            self.announce(group, Some(Vec::new()));
            return Ok(true);
        }
        if !group.commit(connection, end).await? {
            return Ok(false);
        }
        let mut changed = HashSet::new();
        let mut announced = Vec::new();
        for member in &group.members {
            member.folding.announce(&mut announced);
        }
        group.flushed();
        announced.retain(|change| changed.insert(change.clone()));
        let stopped: Vec<_> = group.members.iter().filter_map(Member::as_stopped).collect();
        for (name, at, reason) in &stopped {
            tracing::error!(projection = name, log_position = %at, reason = &**reason, "a projection has stopped");
        }
        group.members.retain(|member| member.stopped.is_none());
        group.stopped += stopped.len();
        self.announce(group, Some(announced.clone()));
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

/// What comes in time.
async fn in_time<T, E: Into<EngineError>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(EngineError::Silent { seconds: limit.as_secs() }),
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
