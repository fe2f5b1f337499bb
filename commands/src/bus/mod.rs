//! The command bus: from a request to its durable events and its answer.
//!
//! ```text
//! execute → desk → decider → committer → answer
//!     │            │ ↑  │ ↑     (several on their way, in order)
//!     │            ↓ │  ↓ │
//!     │            keys that may be known are looked up, cold streams loaded
//!     └─── another node leads → peer → its desk → …
//! ```
//!
//! One decider works through the queue on aggregates in memory, ahead of the commits; batches commit in its order. Nothing
//! is answered before it is durable, refusals neither: they may rest on what is not. When a commit fails, everything
//! undurable is forgotten and decided again. Of several nodes one decides; the others forward to it ([`peer`]) and take
//! over when it is gone ([`reign`]).
//!
//! **Invariants.** A key is written in the transaction of its events. Every append names the epoch of the lease it is made
//! under, and every answer of the decider rests on an append. What is not durable stays in memory. Requests of one call are
//! decided in their order.

mod backoff;
mod call;
pub(crate) mod cold;
mod committer;
mod decide;
mod decider;
mod desk;
mod item;
mod keys;
mod known_keys;
mod lookup;
mod peer;
mod queue;
mod reign;
mod rows;
mod settings;
mod states;
mod steady;
mod tails;
mod trace;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::Utc;
use domain::Timestamp;
use event_store::Log;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::peer::PeerSettings;
pub use self::settings::{BusSettings, MAX_REQUESTS};

use self::call::{Call, Reply, Tried};
use self::desk::Desk;
use self::peer::Link;
use crate::request::{Failure, Outcome, Receipt, Request};

/// How often a request is given to a decider that is lost before it answers.
const MOST_LOSSES: u32 = 5;
/// Before a request is given to the next decider.
const BETWEEN_TRIES: Duration = Duration::from_millis(20);

/// Tells the time of decisions.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a bus is made of.
#[derive(Clone)]
pub struct BusContext {
    /// Unique among the nodes of this log.
    pub node: String,
    /// As `daybook_app`: key look-ups, cold loads, the lease. Appends have a connection of their own.
    pub pool: PgPool,
    /// Readers of this value see what the bus appends at once.
    pub log: Log,
    /// Its limits.
    pub settings: BusSettings,
    /// Tells the time of decisions.
    pub clock: Clock,
    /// Where it takes other nodes' commands. Absent: this is the only node, and while it does not lead, requests are
    /// answered as unavailable.
    pub peer: Option<PeerSettings>,
}

impl fmt::Debug for BusContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusContext")
            .field("node", &self.node)
            .field("settings", &self.settings)
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl BusContext {
    /// With the log's pool, the default limits and the system's clock, alone.
    pub fn new(node: impl Into<String>, log: Log) -> Self {
        Self {
            node: node.into(),
            pool: log.pool().clone(),
            log,
            settings: BusSettings::default(),
            clock: Arc::new(Utc::now),
            peer: None,
        }
    }
}

/// The command bus: a cheap handle on the one decider of the log, here or on another node.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desk: Arc<Desk>,
    /// The connection to the node that leads, when that is another.
    link: watch::Receiver<Option<Link>>,
    /// Whether no other node could lead.
    alone: bool,
    epoch: watch::Receiver<Option<u64>>,
    stop: CancellationToken,
    reign: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Who decides.
enum Way {
    Here,
    There(Link),
}

impl Bus {
    /// Starts the bus and tries to lead. It returns after the first attempt; while that fails it goes on trying, and
    /// [`Bus::leads`] says when it has succeeded. Meanwhile it forwards to the node that leads, if it has peers.
    pub async fn start(context: BusContext) -> Self {
        let BusContext { node, pool, log, settings, clock, peer } = context;
        let settings = Arc::new(settings);
        let (submitted, trains) = mpsc::unbounded_channel();
        let (leads, leads_now) = watch::channel(false);
        let (epoch, epoch_now) = watch::channel(None);
        let (leader, leader_now) = watch::channel(None);
        let (link, link_now) = watch::channel(None);
        let durable = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let desk = Arc::new(Desk::new(submitted, &settings, leads_now));
        let alone = peer.is_none();
        if !alone {
            tokio::spawn(peer::follow(node.clone(), log.log_id(), leader_now, link, stop.clone()));
        }
        let throne = reign::Throne {
            node,
            pool,
            log,
            settings,
            clock,
            peer,
            desk: Arc::clone(&desk),
            durable,
            epoch,
            leads,
            leader,
            stop: stop.clone(),
        };
        let (tried, first_attempt) = oneshot::channel();
        let reign = tokio::spawn(throne.hold(trains, tried));
        // Dropped as soon as the attempt is over.
        let _ = first_attempt.await;
        Self {
            shared: Arc::new(Shared {
                desk,
                link: link_now,
                alone,
                epoch: epoch_now,
                stop,
                reign: tokio::sync::Mutex::new(Some(reign)),
            }),
        }
    }

    /// Decides on the request and answers when its events are durable.
    ///
    /// # Errors
    /// [`Failure`]; asking again with the same key settles what happened.
    pub async fn execute(&self, request: Request) -> Result<Receipt, Failure> {
        self.settle(Call::one(request)).await.pop().unwrap_or(Err(Failure::Internal))
    }

    /// Decides on each request on its own, in their order; answers when all are durable. At most [`MAX_REQUESTS`].
    ///
    /// A request whose key is in use by an earlier one waits for that one's answer and does not hold the others up.
    pub async fn execute_all(&self, requests: Vec<Request>) -> Vec<Result<Receipt, Failure>> {
        self.settle(Call::new(requests.into_iter().map(Arc::new).collect(), false)).await
    }

    /// Decides on the requests as one unit of work: all or none. Every key's hash covers the whole set; a set that is
    /// partly a replay is `IDEMPOTENCY_CONFLICT`; those that would have succeeded answer `LINKED_FAILED`, which is not
    /// remembered. At most [`MAX_REQUESTS`].
    ///
    /// The very same set sent again gets the very same answers, those of a refused set too.
    pub async fn execute_linked(&self, requests: Vec<Request>) -> Vec<Result<Receipt, Failure>> {
        self.settle(Call::new(requests.into_iter().map(Arc::new).collect(), true)).await
    }

    /// Whether this node leads, and so decides.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.shared.desk.leads()
    }

    /// The epoch under which this node leads; `None` while it does not. Processes that run once over all nodes work under it.
    pub fn epoch(&self) -> watch::Receiver<Option<u64>> {
        self.shared.epoch.clone()
    }

    /// Whether commands are decided at this moment: this node leads, or it is connected to the one that does.
    pub fn is_served(&self) -> bool {
        self.way_now().is_some()
    }

    /// Waits until [`Bus::is_served`], not longer than `limit`; whether it is.
    pub async fn served_within(&self, limit: Duration) -> bool {
        self.wait_for_way(Instant::now() + limit).await.is_some()
    }

    /// Takes no more requests, finishes those it has, gives the lease back. Takes no longer than the bus's patience.
    pub async fn stop(&self) {
        if !self.shared.desk.close().await {
            tracing::warn!("stopping with requests unanswered; their keys settle them");
        }
        self.shared.stop.cancel();
        if let Some(reign) = self.shared.reign.lock().await.take()
            && let Err(error) = reign.await
        {
            tracing::error!(%error, "the bus did not stop in order");
        }
    }

    /// Has the open requests decided by whoever leads, and by the next one when that one is lost, within the patience.
    async fn settle(&self, mut call: Call) -> Vec<Reply> {
        let begun = Instant::now();
        let deadline = begun + self.shared.desk.patience();
        let mut waited = Duration::ZERO;
        let mut losses = 0;
        let failure = loop {
            let open = call.open();
            // Nobody is told of the failure when nothing is open.
            if open.is_empty() || losses >= MOST_LOSSES || begun + waited >= deadline {
                break Failure::Unavailable;
            }
            if self.shared.alone && !*self.leads().borrow() {
                break Failure::Unavailable;
            }
            // Kept as long as the requests are under way, here or at the node that leads.
            let places = match self.shared.desk.places(&open) {
                Ok(places) => places,
                Err(failure) => break failure,
            };
            let way = match self.way_now() {
                None => {
                    let way = self.wait_for_way(deadline).await;
                    waited = begun.elapsed();
                    way
                }
                way => way,
            };
            let tried = match way {
                None => break Failure::Unavailable,
                Some(Way::Here) => self.shared.desk.decide(open, call.linked, places, waited, deadline).await,
                Some(Way::There(link)) => link.ask(open, call.linked, waited, deadline).await,
            };
            let lost = tried.contains(&Tried::Lost);
            let settled = tried.iter().all(|tried| matches!(tried, Tried::Answered(_)));
            call.take(tried);
            if settled || self.shared.alone {
                break Failure::Unavailable;
            }
            if lost {
                losses += 1;
                metrics::counter!("daybook_peer_retries_total").increment(1);
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
            waited = begun.elapsed();
        };
        counted(call.end(&failure))
    }

    fn way_now(&self) -> Option<Way> {
        if *self.shared.desk.leads().borrow() {
            return Some(Way::Here);
        }
        self.shared.link.borrow().as_ref().filter(|link| link.is_open()).cloned().map(Way::There)
    }

    /// Waits until somebody decides. `None` when nobody did until `deadline`, or when the bus stops meanwhile.
    async fn wait_for_way(&self, deadline: Instant) -> Option<Way> {
        let (mut leads, mut link) = (self.shared.desk.leads(), self.shared.link.clone());
        loop {
            leads.mark_unchanged();
            link.mark_unchanged();
            if let Some(way) = self.way_now() {
                return Some(way);
            }
            tokio::select! {
                Ok(()) = leads.changed() => {}
                Ok(()) = link.changed() => {}
                () = self.shared.desk.closing().cancelled() => return None,
                () = tokio::time::sleep_until(deadline) => return None,
            }
        }
    }
}

/// Counts refusals and failures by their code, on the way out.
fn counted(answers: Vec<Reply>) -> Vec<Reply> {
    for answer in &answers {
        match answer {
            Ok(Receipt { outcome: Outcome::Accepted(_), .. }) => {}
            Ok(Receipt { outcome: Outcome::Refused(refusal), .. }) => {
                metrics::counter!("daybook_bus_refusals_total", "code" => refusal.code.as_str()).increment(1);
            }
            Err(failure) => {
                metrics::counter!("daybook_bus_refusals_total", "code" => failure.code().as_str())
                    .increment(1);
            }
        }
    }
    answers
}
