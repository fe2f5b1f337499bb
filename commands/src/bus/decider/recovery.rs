//! After a commit has failed: what was undurable is decided again, in its order and before anything else.

use std::collections::VecDeque;
use std::time::Duration;

use event_store::{AppendError, Leadership};
use tokio::time::Instant;

use super::{Decider, End, Filling};
use crate::bus::backoff::Backoff;
use crate::bus::committer::{Commit, Shipment};
use crate::bus::item::Item;
use crate::request::Failure;

/// Failures in a row that cannot be explained before the batch is given up.
const MAX_STRIKES: u32 = 4;

/// The longest pause before the next attempt. A connection that breaks again and again may hold long enough for a batch;
/// an attempt costs one connection.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long the database is asked who leads.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// What is still to be decided again, and how carefully.
#[derive(Debug)]
pub(super) struct Recovery {
    items: VecDeque<Item>,
    parked: bool,
    /// The most units of work in a batch; less than usual while one that the database refuses is hunted.
    batch_limit: usize,
    usual_batch_limit: usize,
    strikes: u32,
    backoff: Backoff,
    paused_until: Option<Instant>,
    /// Whether the last failure was followed by no pause.
    unpaused: bool,
    attempt: u64,
}

impl Recovery {
    pub(super) fn new(batch_limit: usize) -> Self {
        let batch_limit = batch_limit.max(1);
        Self {
            items: VecDeque::new(),
            parked: false,
            batch_limit,
            usual_batch_limit: batch_limit,
            strikes: 0,
            backoff: Backoff::endless_up_to(LONGEST_PAUSE),
            paused_until: None,
            unpaused: false,
            attempt: 0,
        }
    }

    /// How many recoveries there have been.
    pub(super) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Whether something is decided again, or one that the database refuses is hunted.
    pub(super) fn is_careful(&self) -> bool {
        self.is_under_way() || self.batch_limit < self.usual_batch_limit
    }

    pub(super) fn is_under_way(&self) -> bool {
        !self.items.is_empty()
    }

    /// The next unit of work to decide again, unless it waits for streams.
    pub(super) fn next_item(&mut self) -> Option<Item> {
        if self.parked { None } else { self.items.pop_front() }
    }

    /// The unit of work waits for streams. Gives those that follow it.
    pub(super) fn park(&mut self, item: Item) -> impl Iterator<Item = &Item> {
        self.parked = true;
        self.items.push_front(item);
        self.items.iter().skip(1)
    }

    pub(super) fn unpark(&mut self) {
        self.parked = false;
    }

    pub(super) fn batch_limit(&self) -> usize {
        self.batch_limit
    }

    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = None;
    }

    /// A batch has become durable.
    pub(super) fn succeeded(&mut self) {
        self.batch_limit = (self.batch_limit * 2).min(self.usual_batch_limit);
        self.strikes = 0;
        self.unpaused = false;
        self.backoff = Backoff::endless_up_to(LONGEST_PAUSE);
    }

    /// Every other attempt follows at once: a connection that was made to find out about the last one is still fresh.
    fn pause(&mut self) {
        self.unpaused = !self.unpaused;
        if !self.unpaused {
            self.paused_until = Some(Instant::now() + self.backoff.pause());
        }
    }
}

impl Decider {
    /// Forgets everything undurable and queues it to be decided again.
    pub(super) async fn recover(&mut self, error: Option<AppendError>, shipment: Shipment) -> Option<End> {
        let error = error.unwrap_or_else(|| AppendError::Unavailable("a batch before it failed".to_owned()));
        metrics::counter!("daybook_bus_commit_failures_total", "code" => error.code()).increment(1);
        if let AppendError::Deposed(reason) = &error {
            tracing::warn!(reason, "another node leads now; stepping down");
            return Some(End::Deposed);
        }
        metrics::counter!("daybook_bus_recoveries_total").increment(1);
        tracing::warn!(%error, commands = shipment.decided.len(), "a commit has failed; deciding again");
        self.recovery.attempt += 1;
        self.aggregates.forget_since(shipment.number);
        self.head = shipment.after;
        let culprits = shipment.decided.len();
        let mut failed = shipment.decided;
        self.in_flight.pop_front();
        // Those behind it fail as well, also what was shipped a moment ago.
        while !self.in_flight.is_empty() {
            match self.channels.commits.recv().await {
                Some(Commit::Failed { shipment, .. }) => failed.extend(shipment.decided),
                // Neither can be: a batch is not committed before those in front of it.
                Some(Commit::Durable { .. }) | None => return Some(End::Deposed),
            }
            self.in_flight.pop_front();
        }
        let next = Filling::new(self.filling.number + 1);
        let behind = std::mem::replace(&mut self.filling, next).decided;
        let mut undurable: VecDeque<Item> =
            failed.into_iter().chain(behind).map(|decided| decided.item).collect();
        match error {
            AppendError::Refused { command, .. } => {
                let culprit = command.or_else(|| (culprits == 1).then_some(0));
                match culprit {
                    Some(place) => self.convict(&mut undurable, place),
                    None => self.recovery.batch_limit = (culprits / 2).max(1),
                }
            }
            AppendError::KeyConflict => {
                undurable = self.look_up_again(undurable).await;
                self.recovery.strikes += 1;
            }
            AppendError::SequenceConflict => self.recovery.strikes += 1,
            // A defect, or another head than we believe: the next reign begins with what the log has.
            AppendError::Invalid(_) => {
                if self.leads().await {
                    tracing::error!("a batch rests on what is not in the log; beginning anew");
                    let batch = undurable.drain(..culprits);
                    batch.for_each(|item| item.fail(&Failure::Internal));
                }
                return Some(End::Deposed);
            }
            _ => self.recovery.pause(),
        }
        if self.recovery.strikes >= MAX_STRIKES {
            if !self.leads().await {
                return Some(End::Deposed);
            }
            tracing::error!("commits fail again and again; giving the batch up");
            self.recovery.strikes = 0;
            for item in undurable.drain(..culprits.min(undurable.len())).collect::<Vec<_>>() {
                self.give_up(item, &Failure::Internal);
            }
        }
        // What of an earlier recovery was not decided yet comes after.
        undurable.append(&mut self.recovery.items);
        self.recovery.items = undurable;
        None
    }

    /// Whether this node still leads as far as the database knows. What cannot be explained otherwise, another leader may
    /// have written; then nobody is told of an error, for the requests are decided there.
    fn leads(&self) -> impl Future<Output = bool> + use<> {
        let (leadership, epoch) = (Leadership::new(self.pool.clone()), self.epoch);
        async move {
            let asked = tokio::time::timeout(ASK_LIMIT, leadership.current()).await;
            // Who has to ask again loses nothing.
            matches!(asked, Ok(Ok(current)) if current.epoch == epoch)
        }
    }

    /// The database refuses what the unit of work at `place` would write.
    fn convict(&mut self, undurable: &mut VecDeque<Item>, place: usize) {
        match undurable.get_mut(place) {
            // Even its refusal cannot be kept.
            Some(item) if item.poisoned => {
                if let Some(item) = undurable.remove(place) {
                    self.give_up(item, &Failure::Internal);
                }
            }
            Some(item) => item.poisoned = true,
            None => {}
        }
    }

    /// Somebody else has written one of the keys. Answers what has an answer now and gives back the rest.
    async fn look_up_again(&mut self, undurable: VecDeque<Item>) -> VecDeque<Item> {
        let pairs: Vec<(String, String)> = undurable
            .iter()
            .flat_map(|item| &item.asks)
            .map(|ask| (ask.request.principal.name.to_string(), ask.request.idempotency_key.clone()))
            .collect();
        let (keys, mut backoff) = self.look_up();
        let found = loop {
            match keys.lookup(&pairs).await {
                Ok(found) => break found,
                Err(error) => {
                    tracing::warn!(%error, "idempotency keys cannot be looked up");
                    if !backoff.wait().await {
                        return undurable;
                    }
                }
            }
        };
        let mut pairs = pairs.iter();
        let mut rest = VecDeque::new();
        for mut item in undurable {
            let mut any = false;
            for (ask, pair) in item.asks.iter_mut().zip(pairs.by_ref()) {
                ask.found = found.get(pair).cloned();
                any |= ask.found.is_some();
            }
            if any {
                // Its keys are under way in its own name.
                let waiting: Vec<Item> =
                    item.keys().into_iter().flat_map(|key| self.keys.settle(key, None, 0)).collect();
                if let Some(item) = self.keys.admit(item) {
                    rest.push_back(item);
                }
                self.admit_again(waiting);
            } else {
                rest.push_back(item);
            }
        }
        rest
    }
}
