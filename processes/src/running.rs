//! Starts every process of the node that leads, and stops them.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use commands::Bus;
use domain::Asset;
use domain::ids::Symbol;
use event_store::{Log, ProcessStates};
use futures::future::BoxFuture;
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::error::ProcessError;
use crate::feed::{Recording, Speed};
use crate::observed_markets::ObservedMarkets;
use crate::paper_venue::venue;
use crate::supervisor::{ProcessStatus, Run, Statuses, supervise};
use crate::tick_archive::{self, TickArchive, keeper};
use crate::{hold_expiry, price_feed, windows};

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
    /// For the tick archive.
    pub pool: PgPool,
    /// Where they stand; of the epoch in which this node leads.
    pub states: ProcessStates,
    /// What they are told.
    pub settings: ProcessSettings,
    /// Stops them all.
    pub shutdown: CancellationToken,
}

/// The processes of this node.
#[derive(Debug)]
pub struct RunningProcesses {
    archive: TickArchive,
    markets: ObservedMarkets,
    statuses: Statuses,
    shutdown: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

/// Starts every process. Call it on the node that leads, when the markets are registered.
///
/// # Errors
/// [`ProcessError`] when the tick archive cannot be opened or a recording names no asset; nothing is left running then.
pub async fn start(context: ProcessContext) -> Result<RunningProcesses, ProcessError> {
    let ProcessContext { bus, log, pool, states, settings, shutdown } = context;
    let shutdown = shutdown.child_token();
    let mut bases = Vec::new();
    let mut quotes: BTreeMap<Symbol, Asset> = BTreeMap::new();
    for recording in Recording::ALL {
        let (base, quote) = recording.assets()?;
        bases.push((recording.symbol(), base));
        quotes.insert(recording.symbol(), quote);
    }
    let archive = TickArchive::open(pool, bases).await?;
    let markets = ObservedMarkets::new(quotes.keys().cloned());
    let statuses = Statuses::default();
    let mut tasks = JoinSet::new();
    let mut spawn = |name: String, run: Run| {
        supervise(name, run, statuses.clone(), shutdown.clone(), &mut tasks);
    };

    // Those that listen come before those that speak.
    spawn("tick-archive".to_owned(), {
        let (archive, markets) = (archive.clone(), markets.clone());
        repeatable(move |stop| keeper::keep(archive.clone(), settings.tick_retention, markets.clone(), stop))
    });
    spawn("observed-prices".to_owned(), {
        let (markets, dispatcher) = (markets.clone(), Dispatcher::new(bus.clone(), "feed"));
        repeatable(move |stop| {
            let length_ms = settings.window_length_ms;
            price_feed::observe_prices(quotes.clone(), length_ms, markets.clone(), dispatcher.clone(), stop)
        })
    });
    spawn(venue::NAME.to_owned(), {
        let (log, states, markets) = (log.clone(), states.clone(), markets.clone());
        let dispatcher = Dispatcher::new(bus.clone(), venue::NAME);
        repeatable(move |stop| {
            venue::run(log.clone(), states.clone(), markets.clone(), dispatcher.clone(), stop)
        })
    });
    spawn(hold_expiry::NAME.to_owned(), {
        let (log, states) = (log.clone(), states.clone());
        let dispatcher = Dispatcher::new(bus.clone(), hold_expiry::NAME);
        repeatable(move |stop| hold_expiry::run(log.clone(), states.clone(), dispatcher.clone(), stop))
    });
    if let Some(speed) = settings.feed_speed {
        for recording in Recording::ALL {
            let (states, markets) = (states.clone(), markets.clone());
            spawn(
                price_feed::feed_process(&recording),
                repeatable(move |stop| {
                    price_feed::play(recording, speed, states.clone(), markets.clone(), stop)
                }),
            );
        }
    }
    Ok(RunningProcesses { archive, markets, statuses, shutdown, tasks: Mutex::new(tasks) })
}

fn repeatable<F, R>(run: F) -> Run
where
    F: Fn(CancellationToken) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), ProcessError>> + Send + 'static,
{
    Box::new(move |stop| -> BoxFuture<'static, Result<(), ProcessError>> { Box::pin(run(stop)) })
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
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
    }
}
