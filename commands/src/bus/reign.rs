//! Leading: acquires the lease, decides under it until it is lost, and tries again.
//!
//! Safety does not rest on this file: an append names its epoch, so a node that does not know yet that it is deposed
//! changes nothing.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::TimeDelta;
use event_store::{Appender, Keys, Leadership, LeadershipError, Lease, Log};
use futures::FutureExt;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Clock;
use super::backoff::Backoff;
use super::decider::{Channels, Decider, End};
use super::known_keys::KnownKeys;
use super::lookup::Admission;
use super::settings::BusSettings;
use super::{committer, states};

/// Keys deleted in one short transaction.
const PRUNE_CHUNK: u32 = 2_000;
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// What is left for giving the lease back when PostgreSQL does not answer.
const RELEASE_LIMIT: Duration = Duration::from_secs(3);
/// States of long streams that wait to be written.
const STATES_WAITING: usize = 64;

/// What it takes to lead.
pub(super) struct Throne {
    pub(super) node: String,
    pub(super) pool: PgPool,
    pub(super) log: Log,
    pub(super) settings: Arc<BusSettings>,
    pub(super) clock: Clock,
    pub(super) durable: Arc<AtomicU64>,
    /// What is known of the keys under the present lease.
    pub(super) known: watch::Sender<Option<Arc<KnownKeys>>>,
    pub(super) epoch: watch::Sender<Option<u64>>,
    pub(super) leads: watch::Sender<bool>,
    pub(super) stop: CancellationToken,
}

impl Throne {
    /// Leads whenever it can, until the bus stops. Says through `tried` that the first attempt to lead is over.
    pub(super) async fn hold(
        self,
        mut admissions: mpsc::UnboundedReceiver<Admission>,
        tried: oneshot::Sender<()>,
    ) {
        let clock = Arc::clone(&self.clock);
        let leadership = Leadership::with_clock(self.pool.clone(), move || clock());
        let mut tried = Some(tried);
        let mut backoff = Backoff::endless();
        while !self.stop.is_cancelled() {
            let won = tokio::select! {
                () = self.stop.cancelled() => break,
                won = self.win(&leadership) => won,
                () = refuse_all(&mut admissions) => break,
            };
            if let Some((lease, appender)) = won {
                backoff = Backoff::endless();
                self.reign(&leadership, &lease, appender, &mut admissions, &mut tried).await;
                let released = leadership.release(lease);
                if !matches!(tokio::time::timeout(RELEASE_LIMIT, released).await, Ok(Ok(()))) {
                    tracing::warn!("the lease could not be given back; it runs out by itself");
                }
            }
            tried.take();
            let pause = backoff.pause();
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
                () = refuse_all(&mut admissions) => break,
            }
        }
    }

    /// Tries once to get the lease and a connection to append over.
    async fn win(&self, leadership: &Leadership) -> Option<(Lease, Appender)> {
        let lease = match leadership.acquire(&self.node, self.settings.lease_ttl).await {
            Ok(lease) => lease?,
            Err(error) => {
                tracing::warn!(%error, "this node cannot lead now");
                return None;
            }
        };
        match Appender::connect(&self.log, &lease).await {
            Ok(appender) => Some((lease, appender)),
            Err(error) => {
                tracing::warn!(%error, "this node cannot lead now");
                None
            }
        }
    }

    async fn reign(
        &self,
        leadership: &Leadership,
        lease: &Lease,
        appender: Appender,
        admissions: &mut mpsc::UnboundedReceiver<Admission>,
        tried: &mut Option<oneshot::Sender<()>>,
    ) {
        let (shipments, to_commit) = mpsc::unbounded_channel();
        let (commits, committed) = mpsc::unbounded_channel();
        let (due, due_states) = mpsc::channel(STATES_WAITING);
        let deposed = CancellationToken::new();
        let known = Arc::new(KnownKeys::new());
        self.known.send_replace(Some(Arc::clone(&known)));
        let beside = [
            tokio::spawn(committer::run(appender, to_commit, commits, due)),
            tokio::spawn(states::run(self.pool.clone(), due_states)),
            tokio::spawn(renew(leadership.clone(), lease.clone(), deposed.clone())),
            tokio::spawn(read_keys_in(Arc::clone(&known), Keys::new(self.pool.clone()))),
            tokio::spawn(prune(
                Keys::new(self.pool.clone()),
                self.settings.key_retention,
                Arc::clone(&self.clock),
            )),
        ];
        let beside = beside.map(AbortOnDropHandle::new);
        let channels = Channels { shipments, commits: committed, deposed, stop: self.stop.clone() };
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
        tried.take();
        let end = AssertUnwindSafe(decider.run(admissions)).catch_unwind().await;
        self.leads.send_replace(false);
        self.epoch.send_replace(None);
        self.known.send_replace(None);
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
async fn refuse_all(admissions: &mut mpsc::UnboundedReceiver<Admission>) {
    // A dropped request is answered as unavailable.
    while admissions.recv().await.is_some() {}
}

async fn read_keys_in(known: Arc<KnownKeys>, keys: Keys) {
    known.read_in(&keys).await;
}

/// Extends the lease in time, and says when it is lost.
async fn renew(leadership: Leadership, lease: Lease, deposed: CancellationToken) {
    let period = lease.ttl() / 3;
    loop {
        tokio::time::sleep(period).await;
        match leadership.renew(&lease).await {
            Ok(()) => {}
            // The epoch still protects the log; appends go on as soon as PostgreSQL answers.
            Err(LeadershipError::Database(error)) => {
                tracing::warn!(%error, "the lease cannot be renewed now")
            }
            Err(error) => {
                tracing::warn!(%error, "the lease is lost");
                deposed.cancel();
                return;
            }
        }
    }
}

/// Deletes old keys, a few at a time.
async fn prune(keys: Keys, retention: Duration, clock: Clock) {
    let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
    loop {
        if let Some(older_than) = clock().checked_sub_signed(retention) {
            match keys.prune(older_than, PRUNE_CHUNK).await {
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
