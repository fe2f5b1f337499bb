//! The command bus: from a request to its durable events and its answer.
//!
//! ```text
//! execute → keys looked up → decider → committer → answer
//!            (lookup)         │   ↑     (several on their way, in order)
//!                             ↓   │
//!                         cold streams
//! ```
//!
//! One decider works through the queue on aggregates in memory, ahead of the commits; batches commit in its order. Nothing
//! is answered before it is durable, refusals neither: they may rest on what is not. When a commit fails, everything
//! undurable is forgotten and decided again.
//!
//! **Invariants.** A key is written in the transaction of its events. Every append names the epoch of the lease it is made
//! under. What is not durable stays in memory. Requests of one call are decided in their order.

mod backoff;
pub(crate) mod cold;
mod committer;
mod decide;
mod decider;
mod item;
mod keys;
mod known_keys;
mod lookup;
mod queue;
mod reign;
mod settings;
mod states;
mod tails;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use chrono::Utc;
use domain::{Code, Refusal, Timestamp};
use event_store::{Keys, Log};
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::settings::{BusSettings, MAX_REQUESTS};

use self::item::{Ask, Asked, KeyId, Train};
use self::queue::{Places, Queue, overloaded};
use crate::request::{Failure, Outcome, Receipt, Request};

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
}

impl fmt::Debug for BusContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusContext")
            .field("node", &self.node)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl BusContext {
    /// With the log's pool, the default limits and the system's clock.
    pub fn new(node: impl Into<String>, log: Log) -> Self {
        Self {
            node: node.into(),
            pool: log.pool().clone(),
            log,
            settings: BusSettings::default(),
            clock: Arc::new(Utc::now),
        }
    }
}

/// The command bus: a cheap handle on the one decider of this node.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    submitted: mpsc::UnboundedSender<Train>,
    queue: Queue,
    patience: Duration,
    leads: watch::Receiver<bool>,
    epoch: watch::Receiver<Option<u64>>,
    /// No more requests are taken.
    closing: CancellationToken,
    stop: CancellationToken,
    reign: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a request is answered with.
type Reply = Result<Receipt, Failure>;

/// A request on arrival.
enum Arrival {
    /// To be decided.
    Asked(Box<Request>, Asked),
    /// There is nothing to decide.
    Answered(Reply),
}

impl Bus {
    /// Starts the bus and tries to lead. It returns after the first attempt; while that fails it goes on trying, and
    /// [`Bus::leads`] says when it has succeeded.
    pub async fn start(context: BusContext) -> Self {
        let BusContext { node, pool, log, settings, clock } = context;
        let settings = Arc::new(settings);
        let (submitted, to_look_up) = mpsc::unbounded_channel();
        let (admitted, admissions) = mpsc::unbounded_channel();
        let (leads, leads_now) = watch::channel(false);
        let (epoch, epoch_now) = watch::channel(None);
        let durable = Arc::new(AtomicU64::new(0));
        let known = watch::Sender::new(None);
        let stop = CancellationToken::new();
        tokio::spawn(lookup::run(
            to_look_up,
            admitted,
            Keys::new(pool.clone()),
            Arc::clone(&durable),
            known.subscribe(),
            settings.patience,
        ));
        let throne = reign::Throne {
            node,
            pool,
            log,
            settings: Arc::clone(&settings),
            clock,
            durable,
            known,
            epoch,
            leads,
            stop: stop.clone(),
        };
        let (tried, first_attempt) = oneshot::channel();
        let reign = tokio::spawn(throne.hold(admissions, tried));
        // Dropped as soon as the attempt is over.
        let _ = first_attempt.await;
        Self {
            shared: Arc::new(Shared {
                submitted,
                queue: Queue::new(&settings),
                patience: settings.patience,
                leads: leads_now,
                epoch: epoch_now,
                closing: CancellationToken::new(),
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
        self.execute_all(vec![request]).await.pop().unwrap_or(Err(Failure::Internal))
    }

    /// Decides on each request on its own, in their order; answers when all are durable. At most [`MAX_REQUESTS`].
    ///
    /// A request whose key is in use by an earlier one waits for that one's answer and does not hold the others up.
    pub async fn execute_all(&self, requests: Vec<Request>) -> Vec<Result<Receipt, Failure>> {
        let units = requests
            .into_iter()
            .map(|request| match check(&request) {
                Some(answer) => Arrival::Answered(answer),
                None => match item::hash_alone(&request) {
                    Ok(hash) => Arrival::Asked(Box::new(request), hash),
                    Err(error) => Arrival::Answered(unhashable(&error)),
                },
            })
            .collect();
        self.answer(units, false).await
    }

    /// Decides on the requests as one unit of work: all or none. Every key's hash covers the whole set; a set that is
    /// partly a replay is `IDEMPOTENCY_CONFLICT`; those that would have succeeded answer `LINKED_FAILED`, which is not
    /// remembered. At most [`MAX_REQUESTS`].
    ///
    /// The very same set sent again gets the very same answers, those of a refused set too.
    pub async fn execute_linked(&self, requests: Vec<Request>) -> Vec<Result<Receipt, Failure>> {
        if requests.len() == 1 {
            return self.execute_all(requests).await;
        }
        let checked: Vec<_> = requests.iter().map(check).collect();
        if checked.iter().any(Option::is_some) {
            let linked = || refused(keys::linked_failed());
            return counted(checked.into_iter().map(|answer| answer.unwrap_or_else(linked)).collect());
        }
        match item::hash_linked(&requests) {
            Ok(hashes) => {
                let asked = |(request, hash)| Arrival::Asked(Box::new(request), hash);
                self.answer(requests.into_iter().zip(hashes).map(asked).collect(), true).await
            }
            Err(error) => requests.iter().map(|_| unhashable(&error)).collect(),
        }
    }

    /// Whether this node leads, and so decides.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.shared.leads.clone()
    }

    /// The epoch under which this node leads; `None` while it does not. Processes that run once over all nodes work under it.
    pub fn epoch(&self) -> watch::Receiver<Option<u64>> {
        self.shared.epoch.clone()
    }

    /// Takes no more requests, finishes those it has, gives the lease back. Takes no longer than the bus's patience.
    pub async fn stop(&self) {
        self.shared.closing.cancel();
        if tokio::time::timeout(self.shared.patience, self.shared.queue.emptied()).await.is_err() {
            tracing::warn!("stopping with requests unanswered; their keys settle them");
        }
        self.shared.stop.cancel();
        if let Some(reign) = self.shared.reign.lock().await.take()
            && let Err(error) = reign.await
        {
            tracing::error!(%error, "the bus did not stop in order");
        }
    }

    /// Sends what is to be decided on its way and gathers the answers in their order.
    async fn answer(&self, arrivals: Vec<Arrival>, linked: bool) -> Vec<Reply> {
        let places = match self.places_for(&arrivals) {
            Ok(places) => places,
            Err(failure) => {
                let answers = arrivals.into_iter().map(|arrival| match arrival {
                    Arrival::Asked(..) => Err(failure.clone()),
                    Arrival::Answered(answer) => answer,
                });
                return counted(answers.collect());
            }
        };
        let mut asks = Vec::with_capacity(arrivals.len());
        let mut waiting = Vec::with_capacity(arrivals.len());
        for arrival in arrivals {
            let (answer, receiver) = oneshot::channel();
            waiting.push(receiver);
            match arrival {
                Arrival::Asked(request, Asked { hash, bytes }) => {
                    asks.push(Ask { key: KeyId::of(&request), request, hash, bytes, found: None, answer });
                }
                // We hold the receiver.
                Arrival::Answered(given) => drop(answer.send(given)),
            }
        }
        let train = item::train(asks, linked, places);
        if !train.is_empty() && self.shared.submitted.send(train).is_err() {
            tracing::error!("the bus has ended");
        }
        let deadline = Instant::now() + self.shared.patience;
        let mut answers = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            answers.push(match tokio::time::timeout_at(deadline, receiver).await {
                Ok(Ok(answer)) => answer,
                // Dropped by a bus that stepped down, or not answered in time.
                _ => Err(Failure::Unavailable),
            });
        }
        counted(answers)
    }

    /// Places in the queue for what is to be decided.
    fn places_for(&self, arrivals: &[Arrival]) -> Result<Places, Failure> {
        let shared = &self.shared;
        if shared.closing.is_cancelled() || !*shared.leads.borrow() {
            return Err(Failure::Unavailable);
        }
        if arrivals.len() > MAX_REQUESTS {
            return Err(overloaded("call_requests"));
        }
        let asked = arrivals.iter().filter_map(|arrival| match arrival {
            Arrival::Asked(_, asked) => Some(asked.bytes),
            Arrival::Answered(_) => None,
        });
        let (requests, bytes) = asked.fold((0, 0), |(requests, all), bytes| (requests + 1, all + bytes));
        shared.queue.enter(requests, bytes)
    }
}

/// What can be said before anything is decided.
fn check(request: &Request) -> Option<Reply> {
    if let Err(refusal) = request.principal.authorise(&request.command) {
        return Some(Err(Failure::Forbidden(refusal)));
    }
    let key = &request.idempotency_key;
    if (1..=128).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return None;
    }
    Some(refused(
        Refusal::new(
            Code::InvalidIdempotencyKey,
            "an idempotency key has 1 to 128 printable ASCII characters; a UUID is a good one",
        )
        .at("idempotencyKey"),
    ))
}

fn refused(refusal: Refusal) -> Reply {
    Ok(Receipt { outcome: Outcome::Refused(refusal), log_position: None, replayed: false })
}

fn unhashable(error: &serde_json::Error) -> Reply {
    tracing::error!(%error, "a command has no JSON form");
    Err(Failure::Internal)
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
