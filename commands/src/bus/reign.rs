//! Leading: acquires the lease, decides under it until it is lost, and tries again. Meanwhile it looks who else leads.
//!
//! Safety does not rest on this file: an append names its epoch, so a node that does not know yet that it is deposed
//! changes nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::TimeDelta;
use event_store::{
    AppendError, Appender, Keys, LeaderContact, Leadership, LeadershipError, Lease, Log, Secret,
};
use futures::FutureExt;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Clock;
use super::backoff::Backoff;
use super::decider::{Channels, Decider, End};
use super::desk::Desk;
use super::item::Train;
use super::known_keys::KnownKeys;
use super::peer::{self, Door, PeerSettings};
use super::settings::BusSettings;
use super::{committer, lookup, states};

/// Keys deleted in one short transaction.
const PRUNE_CHUNK: u32 = 2_000;
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// What is left for giving the lease back when PostgreSQL does not answer.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);
/// Before the port for other nodes is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
/// The lease is renewed so many times before it runs out, so that some of them may fail.
const RENEWALS: u32 = 5;
/// States of long streams that wait to be written.
const STATES_WAITING: usize = 64;

/// How often it is said that this node cannot lead.
const COMPLAIN_EVERY: Duration = Duration::from_secs(5);

/// Why this node cannot lead, though nobody else does.
#[derive(Debug, Error)]
enum CannotLead {
    #[error(transparent)]
    Lease(#[from] LeadershipError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// What it takes to lead.
pub(super) struct Throne {
    pub(super) node: String,
    pub(super) pool: PgPool,
    pub(super) log: Log,
    pub(super) settings: Arc<BusSettings>,
    pub(super) clock: Clock,
    pub(super) durable: Arc<AtomicU64>,
    pub(super) epoch: watch::Sender<Option<u64>>,
    pub(super) leads: watch::Sender<bool>,
    /// Where other nodes' commands are taken; absent when there are no other nodes.
    pub(super) peer: Option<PeerSettings>,
    /// Takes what other nodes forward.
    pub(super) desk: Arc<Desk>,
    /// The other node that leads, as far as is known; absent while this one does.
    pub(super) leader: watch::Sender<Option<LeaderContact>>,
    pub(super) stop: CancellationToken,
}

impl Throne {
    /// Leads whenever it can, until the bus stops. Says through `tried` that the first attempt to lead is over.
    pub(super) async fn hold(self, mut trains: mpsc::UnboundedReceiver<Train>, tried: oneshot::Sender<()>) {
        let mut tried = Some(tried);
        // Of its own: neither a busy pool nor a locked head keeps the lease from being renewed in time.
        let pool = lease_pool(&self.pool);
        let clock = Arc::clone(&self.clock);
        let mut leadership = Leadership::with_clock(pool.clone(), move || clock());
        let secret = watch::Sender::new(None);
        let stop_serving = CancellationToken::new();
        let mut serving: Option<JoinHandle<()>> = None;
        if let Some(peer) = &self.peer {
            let Some(Some((listener, address))) =
                self.stop.run_until_cancelled(open(peer, &mut tried, &mut trains)).await
            else {
                return;
            };
            leadership = leadership.reachable_at(address);
            let door =
                Door { log: self.log.log_id(), desk: Arc::clone(&self.desk), secret: secret.subscribe() };
            serving = Some(tokio::spawn(peer::serve(listener, door, stop_serving.clone())));
        }
        self.seek(&leadership, &secret, &mut trains, &mut tried).await;
        stop_serving.cancel();
        if let Some(serving) = serving
            && let Err(error) = serving.await
        {
            tracing::error!(%error, "other nodes were not served in order");
        }
        pool.close().await;
    }

    async fn seek(
        &self,
        leadership: &Leadership,
        secret: &watch::Sender<Option<Secret>>,
        trains: &mut mpsc::UnboundedReceiver<Train>,
        tried: &mut Option<oneshot::Sender<()>>,
    ) {
        metrics::gauge!("daybook_bus_leads").set(0.0);
        let mut backoff = Backoff::endless();
        let mut complained: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            let won = tokio::select! {
                () = self.stop.cancelled() => break,
                won = self.win(leadership) => won,
                () = refuse_all(trains) => break,
            };
            let won = won.unwrap_or_else(|error| {
                if complained.is_none_or(|at| at.elapsed() > COMPLAIN_EVERY) {
                    complained = Some(Instant::now());
                    tracing::warn!(%error, "this node cannot lead now");
                }
                None
            });
            if let Some((lease, appender)) = won {
                backoff = Backoff::endless();
                self.leader.send_replace(None);
                secret.send_replace(lease.secret().cloned());
                self.reign(leadership, &lease, appender, trains, tried).await;
                secret.send_replace(None);
                self.give_back(leadership, lease).await;
            }
            tried.take();
            let pause = if self.peer.is_some() { peer::LOOK_EVERY } else { backoff.pause() };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                () = refuse_all(trains) => break,
            }
        }
    }

    /// Tries once to get the lease and a connection to append over. Looks first, so that a node that only follows writes
    /// nothing.
    async fn win(&self, leadership: &Leadership) -> Result<Option<(Lease, Appender)>, CannotLead> {
        if self.another_leads(leadership).await? {
            return Ok(None);
        }
        let Some(lease) = leadership.acquire(&self.node, self.settings.lease_ttl).await? else {
            // Another one was quicker: who?
            self.another_leads(leadership).await?;
            return Ok(None);
        };
        match Appender::connect(&self.log, &lease).await {
            Ok(appender) => Ok(Some((lease, appender))),
            Err(error) => {
                self.give_back(leadership, lease).await;
                Err(error.into())
            }
        }
    }

    async fn give_back(&self, leadership: &Leadership, lease: Lease) {
        let released = leadership.release(lease);
        if !matches!(tokio::time::timeout(RELEASE_LIMIT, released).await, Ok(Ok(()))) {
            tracing::warn!("the lease could not be given back; it runs out by itself");
        }
    }

    /// Whether another node holds the lease; tells where it is.
    async fn another_leads(&self, leadership: &Leadership) -> Result<bool, LeadershipError> {
        let current = leadership.current().await?;
        if !current.holds || current.node.as_ref() == Some(&self.node) {
            return Ok(false);
        }
        self.leader.send_if_modified(|known| {
            let is_new = *known != current.contact;
            *known = current.contact;
            is_new
        });
        Ok(true)
    }

    async fn reign(
        &self,
        leadership: &Leadership,
        lease: &Lease,
        appender: Appender,
        trains: &mut mpsc::UnboundedReceiver<Train>,
        tried: &mut Option<oneshot::Sender<()>>,
    ) {
        let (shipments, to_commit) = mpsc::unbounded_channel();
        let (commits, committed) = mpsc::unbounded_channel();
        let (due, due_states) = mpsc::channel(STATES_WAITING);
        let deposed = CancellationToken::new();
        let known = Arc::new(KnownKeys::new());
        let (looked_up, admissions) = mpsc::unbounded_channel();
        let (to_look_up, asked) = mpsc::unbounded_channel();
        let keys = || Keys::new(self.pool.clone());
        let beside = [
            tokio::spawn(committer::run(appender, to_commit, commits, due)),
            tokio::spawn(states::run(self.pool.clone(), due_states)),
            tokio::spawn(renew(leadership.clone(), lease.clone(), deposed.clone(), self.peer.is_some())),
            tokio::spawn(read_keys_in(Arc::clone(&known), keys())),
            tokio::spawn(prune(keys(), self.settings.key_retention, Arc::clone(&self.clock))),
            tokio::spawn(lookup::run(
                asked,
                looked_up,
                keys(),
                Arc::clone(&self.durable),
                Arc::clone(&known),
                self.settings.patience,
            )),
        ];
        let beside = beside.map(AbortOnDropHandle::new);
        let stop = self.stop.clone();
        let channels = Channels { shipments, commits: committed, to_look_up, admissions, deposed, stop };
        let mut decider = Decider::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            self.pool.clone(),
            channels,
            Arc::clone(&self.durable),
            known,
            lease,
        );
        tracing::info!(epoch = lease.epoch(), head = %lease.head, "this node leads");
        self.epoch.send_replace(Some(lease.epoch()));
        self.leads.send_replace(true);
        metrics::gauge!("daybook_bus_leads").set(1.0);
        metrics::gauge!("daybook_bus_epoch").set(lease.epoch() as f64);
        metrics::counter!("daybook_bus_takeovers_total").increment(1);
        tried.take();
        let end = AssertUnwindSafe(decider.run(trains)).catch_unwind().await;
        self.leads.send_replace(false);
        metrics::gauge!("daybook_bus_leads").set(0.0);
        self.epoch.send_replace(None);
        match end {
            Ok(End::Stopped) => tracing::info!(epoch = lease.epoch(), "this node stops leading"),
            Ok(End::Deposed) => tracing::warn!(epoch = lease.epoch(), "this node has stepped down"),
            Err(_) => tracing::error!(epoch = lease.epoch(), "the decider panicked; beginning anew"),
        }
        // Whatever waits in it is answered as unavailable.
        drop(decider);
        drop(beside);
    }
}

/// While nobody decides here, requests are not kept waiting. Ends when no more can come.
async fn refuse_all(trains: &mut mpsc::UnboundedReceiver<Train>) {
    // A dropped request is answered as unavailable.
    while trains.recv().await.is_some() {}
}

async fn read_keys_in(known: Arc<KnownKeys>, keys: Keys) {
    known.read_in(&keys).await;
}

/// Connections for the lease alone.
fn lease_pool(pool: &PgPool) -> PgPool {
    let options = pool.connect_options().as_ref().clone().application_name("daybook lease");
    PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options.options([("statement_timeout", "2s")]))
}

/// Listens for other nodes. What is asked meanwhile is not kept waiting.
async fn open(
    peer: &PeerSettings,
    tried: &mut Option<oneshot::Sender<()>>,
    trains: &mut mpsc::UnboundedReceiver<Train>,
) -> Option<(TcpListener, String)> {
    loop {
        match peer.open().await {
            Ok(opened) => return Some(opened),
            Err(error) => {
                tracing::error!(%error, listen = %peer.listen, "cannot listen for other nodes, so this one does not lead");
            }
        }
        tried.take();
        tokio::select! {
            () = tokio::time::sleep(LISTEN_AGAIN) => {}
            () = refuse_all(trains) => return None,
        }
    }
}

/// Extends the lease in time, and says when it is lost. With other nodes it counts as lost when it could not be extended
/// until its end: one of them may lead, and the processes that run once over all nodes have to end here.
async fn renew(leadership: Leadership, lease: Lease, deposed: CancellationToken, others: bool) {
    let mut until = Instant::now() + lease.ttl();
    loop {
        tokio::time::sleep(lease.ttl() / RENEWALS).await;
        let asked = Instant::now();
        match tokio::time::timeout(lease.ttl(), leadership.renew(&lease)).await {
            Ok(Ok(())) => until = asked + lease.ttl(),
            // The epoch still protects the log; appends go on as soon as PostgreSQL answers.
            Ok(Err(LeadershipError::Database(error))) => {
                tracing::warn!(%error, "the lease cannot be renewed now");
            }
            Err(_) => tracing::warn!("the lease cannot be renewed now: PostgreSQL does not answer"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the lease is lost");
                deposed.cancel();
                return;
            }
        }
        if others && Instant::now() >= until {
            tracing::warn!("the lease has run out before it could be renewed");
            deposed.cancel();
            return;
        }
    }
}

/// Deletes old keys, a few at a time.
async fn prune(keys: Keys, retention: Duration, clock: Clock) {
    let back = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    loop {
        if let Some(older_than) = clock().checked_sub_signed(back) {
            match keys.prune(older_than, retention, PRUNE_CHUNK).await {
                Ok(deleted) if deleted >= u64::from(PRUNE_CHUNK) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "old idempotency keys cannot be deleted now"),
            }
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}
