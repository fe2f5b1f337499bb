//! Starts every process of the node that leads, and stops them.

use std::future::Future;
use std::time::Duration;

use commands::Bus;
use event_store::{Log, ProcessStates};
use futures::future::BoxFuture;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::error::ProcessError;
use crate::feed::{Recording, Speed};
use crate::observed_markets::ObservedMarkets;
use crate::paper_venue::venue;
use crate::supervisor::{ProcessStatus, Run, Statuses, supervise};
use crate::tick_archive::{self, TickArchive, keeper};
use crate::{hold_expiry, price_feed, relay, windows};

/// What processes are told.
#[derive(Clone, Copy, Debug)]
pub struct ProcessSettings {
    /// How fast the recordings play; none: there is no feed, and orders on paper markets wait.
    pub feed_speed: Option<Speed>,
    /// Length of the windows of observed prices, in milliseconds.
    pub window_length_ms: u32,
    /// How long trades are kept in the tick archive.
    pub tick_retention: Duration,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            feed_speed: Some(Speed::REAL),
            window_length_ms: windows::DEFAULT_LENGTH_MS,
            tick_retention: tick_archive::DEFAULT_RETENTION,
        }
    }
}

/// What processes work with.
#[derive(Clone, Debug)]
pub struct ProcessContext {
    /// Takes their commands.
    pub bus: Bus,
    /// What they read.
    pub log: Log,
    /// For the tick archive and for where they stand.
    pub pool: PgPool,
    /// What they are told.
    pub settings: ProcessSettings,
    /// Stops them all.
    pub shutdown: CancellationToken,
}

/// The processes of this node. They stop when this is dropped; [`RunningProcesses::stop`] also waits for them.
#[derive(Debug)]
pub struct RunningProcesses {
    archive: TickArchive,
    markets: ObservedMarkets,
    statuses: Statuses,
    shutdown: CancellationToken,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// Starts every process as soon as this node leads, and stops them when it does not any more, so each runs once over all
/// nodes. Call it when the markets are registered.
///
/// # Errors
/// [`ProcessError`] when the tick archive cannot be opened or a recording names no asset; nothing is left running then.
pub async fn start(context: ProcessContext) -> Result<RunningProcesses, ProcessError> {
    let shutdown = context.shutdown.child_token();
    let mut bases = Vec::new();
    for recording in Recording::ALL {
        bases.push((recording.symbol(), recording.assets()?.0));
    }
    let archive = TickArchive::open(context.pool.clone(), bases).await?;
    let markets = ObservedMarkets::new(Recording::ALL.iter().map(Recording::symbol));
    let statuses = Statuses::default();
    let plan =
        Plan { context, archive: archive.clone(), markets: markets.clone(), statuses: statuses.clone() };
    let keeper = tokio::spawn(plan.follow_leadership(shutdown.clone()));
    Ok(RunningProcesses { archive, markets, statuses, shutdown, keeper: Mutex::new(Some(keeper)) })
}

/// What is needed to start the processes, any number of times.
struct Plan {
    context: ProcessContext,
    archive: TickArchive,
    markets: ObservedMarkets,
    statuses: Statuses,
}

impl Plan {
    async fn follow_leadership(self, shutdown: CancellationToken) {
        let mut epochs = self.context.bus.epoch();
        loop {
            let leads = async { epochs.wait_for(Option::is_some).await.ok().and_then(|epoch| *epoch) };
            // While another node leads, its feeds are heard.
            let hear = relay::receiver::receive(
                self.context.pool.clone(),
                self.markets.clone(),
                self.archive.clone(),
            );
            let leads = async {
                tokio::select! {
                    biased;
                    epoch = leads => epoch,
                    () = hear => None,
                }
            };
            let Some(Some(epoch)) = shutdown.run_until_cancelled(leads).await else { return };
            let reign = shutdown.child_token();
            let mut tasks = JoinSet::new();
            self.spawn_all(epoch, &reign, &mut tasks);
            let changed = async { epochs.wait_for(|now| *now != Some(epoch)).await.is_ok() };
            let stops = shutdown.run_until_cancelled(changed).await != Some(true);
            reign.cancel();
            while tasks.join_next().await.is_some() {}
            if stops {
                return;
            }
        }
    }

    fn spawn_all(&self, epoch: u64, shutdown: &CancellationToken, tasks: &mut JoinSet<()>) {
        let ProcessContext { bus, log, pool, settings, .. } = self.context.clone();
        let states = ProcessStates::new(pool.clone(), epoch);
        let mut spawn = |name: String, run: Run| {
            supervise(name, run, self.statuses.clone(), shutdown.clone(), tasks);
        };
        // Those that listen come before those that speak.
        spawn("tick-archive".to_owned(), {
            let (archive, markets) = (self.archive.clone(), self.markets.clone());
            repeatable(move |stop| {
                keeper::keep(archive.clone(), settings.tick_retention, markets.clone(), stop)
            })
        });
        spawn("observed-relay".to_owned(), {
            let (pool, markets, archive) = (pool.clone(), self.markets.clone(), self.archive.clone());
            repeatable(move |stop| relay::sender::send(pool.clone(), markets.clone(), archive.clone(), stop))
        });
        spawn("observed-prices".to_owned(), {
            let (markets, dispatcher) = (self.markets.clone(), Dispatcher::new(bus.clone(), "feed"));
            repeatable(move |stop| {
                price_feed::observe_prices(
                    settings.window_length_ms,
                    markets.clone(),
                    dispatcher.clone(),
                    stop,
                )
            })
        });
        spawn(venue::NAME.to_owned(), {
            let (log, states, markets) = (log.clone(), states.clone(), self.markets.clone());
            let dispatcher = Dispatcher::new(bus.clone(), venue::NAME);
            repeatable(move |stop| {
                venue::run(log.clone(), states.clone(), markets.clone(), dispatcher.clone(), stop)
            })
        });
        spawn(hold_expiry::NAME.to_owned(), {
            let states = states.clone();
            let dispatcher = Dispatcher::new(bus, hold_expiry::NAME);
            repeatable(move |stop| hold_expiry::run(log.clone(), states.clone(), dispatcher.clone(), stop))
        });
        let Some(speed) = settings.feed_speed else { return };
        for recording in Recording::ALL {
            let (states, markets) = (states.clone(), self.markets.clone());
            let play = move |stop| price_feed::play(recording, speed, states.clone(), markets.clone(), stop);
            spawn(price_feed::feed_process(&recording), repeatable(play));
        }
    }
}

fn repeatable<F, R>(run: F) -> Run
where
    F: Fn(CancellationToken) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ProcessError>> + Send + 'static,
{
    Box::new(move |stop| -> BoxFuture<'static, Result<(), ProcessError>> { Box::pin(run(stop)) })
}

impl Drop for RunningProcesses {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl RunningProcesses {
    /// The trades of outside markets.
    pub fn tick_archive(&self) -> &TickArchive {
        &self.archive
    }

    /// The outside markets as they are now.
    pub fn observed_markets(&self) -> &ObservedMarkets {
        &self.markets
    }

    /// What each process is doing, by name.
    pub fn status(&self) -> Vec<ProcessStatus> {
        self.statuses.all()
    }

    /// Stops every process and waits for them: a second or two. Stop them before the bus.
    pub async fn stop(&self) {
        self.shutdown.cancel();
        if let Some(keeper) = self.keeper.lock().await.take()
            && let Err(error) = keeper.await
        {
            tracing::error!(%error, "processes did not stop in order");
        }
    }
}
