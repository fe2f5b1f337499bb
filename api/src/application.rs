//! The server from start to stop: what is built on what, and in which order it ends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use commands::Bus;
use commands::bus::BusContext;
use event_store::Log;
use metrics_exporter_prometheus::PrometheusHandle;
use processes::{ProcessContext, ProcessSettings, RunningProcesses};
use projections::RunningProjections;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::auth::Keys;
use crate::demo;
use crate::graphql::context::Services;
use crate::graphql::{self, live::Changes};
use crate::http::{self, AppState, Readiness};
use crate::observed::ObservedMarkets;
use crate::settings::ServeSettings;
use crate::store::Store;
use crate::telemetry;

/// How long requests under way may take when the server stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Nobody waits for the lease of a private cluster's server, so it need not be renewed often.
const LEASE_OF_ONE: Duration = Duration::from_secs(10);
/// How often the metrics are folded.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// A server that is ready to run.
pub struct Application {
    listener: TcpListener,
    router: axum::Router,
    state: AppState,
    /// Cancelled to stop taking requests.
    drain: CancellationToken,
    /// Cancelled when no request is under way any more.
    end: CancellationToken,
    bus: Bus,
    processes: RunningProcesses,
    projections: RunningProjections,
    store: Store,
    has_demo: bool,
    keys_file: Option<std::path::PathBuf>,
}

impl Application {
    /// Builds everything the server is made of. The address is bound first, so a busy port changes nothing.
    ///
    /// # Errors
    /// Says what to do. What was begun is stopped.
    pub async fn build(settings: ServeSettings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await.with_context(|| {
            format!(
                "cannot listen on {}; if another program uses it, stop that or choose another address with \
                 --listen or DAYBOOK_LISTEN",
                settings.listen
            )
        })?;
        let peer = settings.peer();
        if let Some(peer) = &peer {
            // The bus listens itself, and would go on trying.
            TcpListener::bind(peer.listen).await.with_context(|| {
                format!(
                    "cannot listen on {} for other servers; choose another address with --peer-listen or \
                     DAYBOOK_PEER_LISTEN",
                    peer.listen
                )
            })?;
        }
        let metrics = telemetry::metrics()?;
        let store = Store::open(&settings.store, settings.allow_unsafe_role).await?;
        let (drain, end) = (CancellationToken::new(), CancellationToken::new());

        let log = Log::open(store.pool.clone()).await?;
        settings.limits.publish();
        let mut context = BusContext::new(node_name(&store), log.clone());
        context.settings = settings.limits.bus();
        context.peer = peer;
        if store.is_embedded() {
            context.settings.lease_ttl = LEASE_OF_ONE;
        }
        let bus = Bus::start(context).await;
        let projections = projections::start(
            store.pool.clone(),
            log.clone(),
            projections::Settings::default(),
            end.clone(),
        )
        .await?;
        let keys = Keys::new(store.pool.clone());
        let mut keys_file = None;
        if store.is_embedded() {
            demo::install_keys(&settings.store.data_dir, &keys).await?;
            keys_file = Some(settings.store.data_dir.join(demo::KEYS_FILE));
        }
        let has_demo = settings.wants_demo();
        if has_demo {
            demo::set_up(&bus, &log).await?;
        }
        let processes = processes::start(ProcessContext {
            bus: bus.clone(),
            log: log.clone(),
            pool: store.pool.clone(),
            settings: ProcessSettings {
                feed_speed: settings.feed_speed.0.filter(|_| has_demo),
                tick_retention: settings.tick_retention,
                ..ProcessSettings::default()
            },
            shutdown: end.clone(),
        })
        .await?;

        let models = projections.read_models();
        let services = Services {
            bus: bus.clone(),
            log: log.clone(),
            models: models.clone(),
            observed: ObservedMarkets::new(
                processes.tick_archive().clone(),
                processes.observed_markets().clone(),
            ),
            changes: Changes::start(log.clone(), end.clone()),
        };
        tokio::spawn(keep_metrics(metrics.clone(), end.clone()));
        let readiness = Readiness::new(store.pool.clone(), bus.clone(), models);
        let state = AppState::new(
            graphql::schema(services),
            keys,
            readiness,
            metrics,
            settings.limits.http(),
            drain.clone(),
        );
        let router = http::router(state.clone());
        Ok(Self {
            listener,
            router,
            state,
            drain,
            end,
            bus,
            processes,
            projections,
            store,
            has_demo,
            keys_file,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Where everything is and what to try, for people.
    ///
    /// # Errors
    /// When the operating system does not say where it listens.
    pub fn banner(&self) -> anyhow::Result<String> {
        let url = format!("http://{}", self.address()?);
        let mut lines = vec![
            format!("Daybook {} is ready.", env!("CARGO_PKG_VERSION")),
            format!("  page       {url}/"),
            format!("  GraphQL    {url}/graphql   explore it at {url}/graphiql"),
            format!("  health     {url}/readyz   metrics at {url}/internal/metrics"),
            format!("  database   {}", self.store.place()),
        ];
        match &self.keys_file {
            Some(file) => {
                lines.push(format!("  keys       {} (one a role; keep it to yourself)", file.display()));
                lines.push(format!(
                    "  try        curl -s {url}/graphql -H 'Content-Type: application/json' \\\n             \
                     -H \"Authorization: Bearer $(sed -n 's/.*\"trader\": \"\\(.*\\)\".*/\\1/p' {})\" \\\n             \
                     -d '{{\"query\": \"{{ markets {{ symbol lastPrice bid ask }} }}\"}}'",
                    file.display()
                ));
            }
            None => lines.push("  keys       daybook keys create --help".to_owned()),
        }
        if self.has_demo {
            lines.push("  trade      examples/first-trade.sh".to_owned());
        }
        lines.push("  stop       Ctrl-C".to_owned());
        Ok(lines.join("\n"))
    }

    /// Serves until `stop` is cancelled, then drains: requests under way are answered, processes, bus, projections and
    /// the private cluster end in this order.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run_until_stopped(self, stop: CancellationToken) -> anyhow::Result<()> {
        let Self { listener, router, state, drain, end, bus, processes, projections, store, .. } = self;
        let stopped = drain.clone();
        let limits = state.limits().clone();
        let mut serving = tokio::spawn(async move { http::serve(listener, router, &limits, stopped).await });
        let failed = tokio::select! {
            () = stop.cancelled() => None,
            served = &mut serving => Some(served),
        };
        tracing::info!("stopping");
        drain.cancel();
        let served = match failed {
            Some(served) => served,
            None => match tokio::time::timeout(DRAIN_LIMIT, &mut serving).await {
                Ok(served) => served,
                Err(_) => {
                    tracing::warn!("some requests took too long; their keys settle what became of them");
                    serving.abort();
                    Ok(Ok(()))
                }
            },
        };
        if tokio::time::timeout(DRAIN_LIMIT, state.sockets_closed()).await.is_err() {
            tracing::warn!("some WebSockets did not close in time");
        }
        processes.stop().await;
        bus.stop().await;
        end.cancel();
        projections.stopped().await;
        store.close().await;
        tracing::info!("stopped");
        served.context("the server ended unexpectedly")?.context("the server cannot listen any more")
    }
}

/// Histograms are folded now and then, or they would grow while nobody reads them.
async fn keep_metrics(metrics: PrometheusHandle, end: CancellationToken) {
    while end.run_until_cancelled(tokio::time::sleep(METRICS_UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Unique among the nodes of a log. A private cluster has one owner, who gets its own lease back at once after a crash.
fn node_name(store: &Store) -> String {
    if store.is_embedded() { "embedded".to_owned() } else { format!("node-{}", uuid::Uuid::now_v7()) }
}
