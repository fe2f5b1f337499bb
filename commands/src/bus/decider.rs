//! The one decider of a reign: works through the queue on aggregates in memory, ahead of the commits.
//!
//! It decides on the state that earlier, not yet durable units of work leave behind. While batches are in flight the next
//! one fills. When a commit fails, everything undurable is forgotten and decided again in its order, before anything
//! else.

mod cold_streams;
mod company;
mod recovery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::SubsecRound;
use domain::Timestamp;
use event_store::append::CONNECTIONS;
use event_store::{Keys, Lease, LogPosition};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::cold_streams::ColdStreams;
use self::company::Company;
use self::recovery::Recovery;
use super::Clock;
use super::backoff::Backoff;
use super::committer::{Commit, Shipment};
use super::decide::{Decided, decide};
use super::item::{Item, Train};
use super::keys::KeyTable;
use super::known_keys::KnownKeys;
use super::lookup::Admission;
use super::settings::BusSettings;
use super::steady::Steady;
use super::trace::Trace;
use crate::aggregates::Aggregates;
use crate::request::Failure;

/// Units of work decided between two looks at what else has happened.
const BURST: usize = 256;

/// Trains taken in between two looks at what else has happened.
const TRAINS_AT_ONCE: usize = 4_096;

/// A batch with fewer units of work waits while another is in flight: commits follow each other, so a small one
/// delays those behind it and gains nothing.
const WORTH_OVERLAPPING: usize = 32;

/// A batch takes at least so many units of work, if there are, before it is full: what a batch costs by itself is spread
/// over them.
const LEAST_FULL: usize = 128;

/// Full batches that are made ready while all connections are taken, so that none has to wait for its rows.
const READY: usize = 2;

/// Why a reign has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The bus is stopping.
    Stopped,
    /// This node may not decide any more.
    Deposed,
}

/// The batch that is filling.
#[derive(Debug)]
struct Filling {
    number: u64,
    now: Timestamp,
    decided: Vec<Decided>,
    events: usize,
    seconds: f64,
}

impl Filling {
    fn new(number: u64) -> Self {
        let decided = Vec::with_capacity(LEAST_FULL);
        Self { number, now: Timestamp::default(), decided, events: 0, seconds: 0.0 }
    }
}

/// The decider's channels to those who work beside it.
#[derive(Debug)]
pub(super) struct Channels {
    pub(super) shipments: mpsc::UnboundedSender<Shipment>,
    pub(super) commits: mpsc::UnboundedReceiver<Commit>,
    /// To those who look keys up, and back.
    pub(super) to_look_up: mpsc::UnboundedSender<Train>,
    pub(super) admissions: mpsc::UnboundedReceiver<Admission>,
    /// Cancelled when the lease is lost.
    pub(super) deposed: CancellationToken,
    pub(super) stop: CancellationToken,
}

/// The decider of one reign. Dropping it answers everything that waits as unavailable.
pub(super) struct Decider {
    settings: Arc<BusSettings>,
    clock: Clock,
    pool: PgPool,
    epoch: u64,
    channels: Channels,
    /// Number of the newest durable batch, for the look-ups of keys.
    durable: Arc<AtomicU64>,
    known: Arc<KnownKeys>,
    aggregates: Aggregates,
    keys: KeyTable,
    ready: VecDeque<Train>,
    cold: ColdStreams,
    filling: Filling,
    /// Units of work in `ready`.
    waiting: usize,
    /// The batches that are being committed, oldest first: their numbers, and how many units of work each has.
    in_flight: VecDeque<(u64, usize)>,
    company: Company,
    /// Units of work that had to wait for streams since the last batch was sent.
    parked: u64,
    recovery: Recovery,
    /// Where the next batch begins.
    head: LogPosition,
    last_recorded_at: Option<Timestamp>,
    steady: Steady,
}

impl Decider {
    pub(super) fn new(
        settings: Arc<BusSettings>,
        clock: Clock,
        pool: PgPool,
        channels: Channels,
        durable: Arc<AtomicU64>,
        known: Arc<KnownKeys>,
        lease: &Lease,
    ) -> Self {
        // Batches are numbered on through all reigns of this process.
        let filling = Filling::new(durable.load(Ordering::Acquire) + 1);
        Self {
            recovery: Recovery::new(settings.batch_commands),
            cold: ColdStreams::new(pool.clone(), settings.loads, settings.patience),
            settings,
            clock,
            pool,
            epoch: lease.epoch(),
            channels,
            durable,
            known,
            aggregates: Aggregates::default(),
            keys: KeyTable::default(),
            ready: VecDeque::new(),
            filling,
            waiting: 0,
            in_flight: VecDeque::with_capacity(CONNECTIONS + READY),
            company: Company::default(),
            parked: 0,
            head: lease.head,
            last_recorded_at: lease.last_recorded_at,
            steady: Steady::default(),
        }
    }

    /// Decides until the reign ends.
    pub(super) async fn run(&mut self, trains: &mut mpsc::UnboundedReceiver<Train>) -> End {
        let mut received = Vec::new();
        loop {
            let paused = self.recovery.paused_until();
            let mut more = false;
            if paused.is_none() {
                more = self.decide_some();
                more |= self.ship();
                more |= self.in_flight.is_empty() && !self.filling.decided.is_empty();
            }
            let (stop, deposed) = (self.channels.stop.clone(), self.channels.deposed.clone());
            tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = deposed.cancelled() => return End::Deposed,
                commit = self.channels.commits.recv() => match commit {
                    Some(Commit::Durable { number, keys }) => {
                        // Before the batch's number is told: a look-up relies on that.
                        for (key, _) in keys.iter().filter(|(_, remembered)| remembered.is_some()) {
                            self.known.insert(key);
                        }
                        self.committed(number, keys.len());
                        for (key, remembered) in keys {
                            let waiting = self.keys.settle(key, remembered, number);
                            self.admit_again(waiting);
                        }
                        self.keys.committed(number);
                    }
                    Some(Commit::Failed { error, shipment }) => {
                        if let Some(end) = self.recover(error, shipment).await {
                            return end;
                        }
                    }
                    None => {
                        tracing::error!("the committer has ended unexpectedly");
                        return End::Deposed;
                    }
                },
                loaded = self.cold.next() => {
                    self.loaded(loaded);
                    while let Some(loaded) = self.cold.try_next() {
                        self.loaded(loaded);
                    }
                }
                admission = self.channels.admissions.recv() => match admission {
                    Some(admission) => self.admit_looked_up(admission),
                    None => {
                        tracing::error!("the look-up of keys has ended unexpectedly");
                        return End::Deposed;
                    }
                },
                arrived = trains.recv_many(&mut received, TRAINS_AT_ONCE) => {
                    if arrived == 0 {
                        return End::Stopped;
                    }
                    self.receive(&mut received);
                }
                () = tokio::time::sleep_until(paused.unwrap_or_else(Instant::now)), if paused.is_some() => {
                    self.recovery.resume();
                }
                () = tokio::task::yield_now(), if more => {}
            }
        }
    }

    /// Takes requests in, or has their keys looked up first.
    fn receive(&mut self, trains: &mut Vec<Train>) {
        let may_be_known = |train: &Train| train.asks().any(|ask| self.known.may_hold(&ask.key));
        // One after the other, so that the processor waits for the memory of several at a time.
        let known: Vec<bool> = trains.iter().map(may_be_known).collect();
        for (train, may_be_known) in trains.drain(..).zip(known) {
            if may_be_known {
                self.keys.look_up_begins();
                // If it is gone, its other channel says so.
                let _ = self.channels.to_look_up.send(train);
            } else {
                self.admit(train);
            }
        }
    }

    fn admit_looked_up(&mut self, admission: Admission) {
        for train in admission.trains {
            self.admit(train);
        }
        self.keys.look_ups_ended(admission.asked, admission.seen_through);
    }

    fn admit(&mut self, items: impl IntoIterator<Item = Item>) {
        if let Some(train) = Train::of(items.into_iter().filter_map(|item| self.keys.admit(item))) {
            self.waiting += train.len();
            self.ready.push_back(train);
        }
    }

    /// Those who waited for another request with the same key.
    fn admit_again(&mut self, waiting: Vec<Item>) {
        for item in waiting {
            self.admit([item]);
        }
    }

    /// Ends a unit of work without a decision.
    fn give_up(&mut self, item: Item, failure: &Failure) {
        let keys = item.keys();
        item.fail(failure);
        for key in keys {
            let waiting = self.keys.settle(key, None, 0);
            self.admit_again(waiting);
        }
    }

    /// The number of the oldest batch that is not durable.
    fn first_undurable(&self) -> u64 {
        self.in_flight.front().map_or(self.filling.number, |(number, _)| *number)
    }

    /// Decides until the batch is full, nothing is left or it is time to look around; true in the last case.
    fn decide_some(&mut self) -> bool {
        let begun = std::time::Instant::now();
        let mut looked_around = false;
        for done in 0.. {
            if self.is_full() {
                break;
            }
            if done >= BURST {
                looked_around = true;
                break;
            }
            let Some((item, rest)) = self.next_item() else { break };
            if item.is_abandoned() {
                self.give_up(item, &Failure::Unavailable);
                self.put_back(rest);
                continue;
            }
            if self.filling.decided.is_empty() {
                self.filling.now = self.stamp();
            }
            let (now, number) = (self.filling.now, self.filling.number);
            let mut item = item;
            item.traces().for_each(Trace::take_up);
            match decide(&mut self.aggregates, item, now, number, &self.settings) {
                Ok(mut decided) => {
                    decided.item.traces().for_each(Trace::decide);
                    self.filling.events += decided.events.len();
                    self.filling.decided.push(decided);
                    self.put_back(rest);
                }
                Err((item, needs)) => {
                    self.parked += 1;
                    metrics::counter!("daybook_bus_cache_misses_total").increment(1);
                    self.park(item, needs, rest);
                }
            }
        }
        self.filling.seconds += begun.elapsed().as_secs_f64();
        looked_around
    }

    /// max(clock, last `recorded_at`), at the precision that is kept. A clock that was set ends the reign.
    fn stamp(&mut self) -> Timestamp {
        let clock = self.steady.check((self.clock)(), std::time::Instant::now()).unwrap_or_else(|before| {
            tracing::error!("the clock of this node was set by more than 500 ms; it does not lead on");
            self.channels.deposed.cancel();
            before
        });
        let clock = clock.trunc_subsecs(6);
        let now = self.last_recorded_at.map_or(clock, |last| clock.max(last));
        self.last_recorded_at = Some(now);
        now
    }

    /// The next unit of work and the rest of its train.
    fn next_item(&mut self) -> Option<(Item, Rest)> {
        if self.recovery.is_under_way() {
            return self.recovery.next_item().map(|item| (item, Rest::OfRecovery));
        }
        let Train { first, rest } = self.ready.pop_front()?;
        self.waiting -= 1;
        Some((first, Rest::OfTrain(rest)))
    }

    fn put_back(&mut self, rest: Rest) {
        if let Rest::OfTrain(rest) = rest
            && let Some(train) = Train::of_rest(rest)
        {
            self.ready.push_front(train);
        }
    }

    /// What each connection has to carry when all share what is under way.
    fn share(&self) -> usize {
        let in_flight: usize = self.in_flight.iter().map(|(_, units)| units).sum();
        (in_flight + self.filling.decided.len() + self.waiting) / CONNECTIONS
    }

    /// Whether the batch takes no further unit of work.
    fn is_full(&self) -> bool {
        let limit = self.recovery.batch_limit();
        let units = self.filling.decided.len();
        units >= limit
            || (units >= LEAST_FULL && units >= self.share())
            || self.filling.events >= self.settings.batch_events
    }

    /// Whether the batch should wait no longer. While a culprit is hunted, batches go one by one.
    fn is_due(&mut self) -> bool {
        let waiting = self.filling.decided.len();
        match self.in_flight.len() {
            0 => waiting > 0 && !self.company.is_awaited(waiting, std::time::Instant::now()),
            _ if self.recovery.is_careful() => false,
            in_flight if in_flight < CONNECTIONS => {
                waiting >= (self.share() / 2).clamp(WORTH_OVERLAPPING, 2 * LEAST_FULL)
            }
            // While no connection is free it can as well grow.
            in_flight => in_flight < CONNECTIONS + READY && self.is_full(),
        }
    }

    /// Sends the batch off, if it is time. Says whether it did.
    fn ship(&mut self) -> bool {
        if !self.is_due() {
            return false;
        }
        let next = Filling::new(self.filling.number + 1);
        let Filling { number, now, decided, seconds, .. } = std::mem::replace(&mut self.filling, next);
        metrics::histogram!("daybook_bus_batch_commands").record(decided.len() as f64);
        metrics::histogram!("daybook_bus_decide_seconds").record(seconds);
        // What was parked is counted when it is decided, too.
        let hits = (decided.len() as u64).saturating_sub(std::mem::take(&mut self.parked));
        metrics::counter!("daybook_bus_cache_hits_total").increment(hits);
        let attempt = self.recovery.attempt();
        let shipment = Shipment { number, attempt, after: self.head, recorded_at: now, decided };
        self.head = shipment.end();
        self.in_flight.push_back((number, shipment.decided.len()));
        // If the committer is gone, its other channel says so.
        let _ = self.channels.shipments.send(shipment);
        true
    }

    fn committed(&mut self, number: u64, units: usize) {
        // They are reported in their order.
        self.in_flight.pop_front();
        self.company.expect(units, self.filling.decided.len(), std::time::Instant::now());
        self.durable.store(number, Ordering::Release);
        self.recovery.succeeded();
        let first_undurable = self.first_undurable();
        self.aggregates.evict(self.settings.cached_aggregates, first_undurable);
        metrics::gauge!("daybook_bus_cached_aggregates").set(self.aggregates.len() as f64);
    }

    fn look_up(&self) -> (Keys, Backoff) {
        (Keys::new(self.pool.clone()), Backoff::new(self.settings.patience))
    }
}

/// What follows a unit of work in its order.
enum Rest {
    OfTrain(VecDeque<Item>),
    /// It is still where it was.
    OfRecovery,
}
