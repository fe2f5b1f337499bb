//! Units of work that wait for streams to be loaded, while others go on.
//!
//! A stream under way is not in memory, so nothing can change it until it is: what is loaded is never stale.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::mpsc;

use super::{Decider, Rest};
use crate::aggregates::{Aggregates, Install};
use crate::bus::backoff::Backoff;
use crate::bus::decide::probe;
use crate::bus::item::{Item, Train};
use crate::request::Failure;
use crate::unit::StreamName;

/// The most streams of one load. More would save little, and the first of them would wait for the last.
const AT_A_TIME: usize = 64;

/// A stream that was loaded, or why not.
type LoadedStream = (StreamName, Result<Install, Failure>);

/// What has come of a load.
pub(super) struct Loaded {
    streams: Vec<LoadedStream>,
    /// Nothing more comes of it.
    over: bool,
}

/// What is parked.
#[derive(Debug)]
enum Parked {
    Train(Train),
    /// What was undurable when a commit failed; kept elsewhere.
    Recovery,
}

/// Who waits for streams.
#[derive(Debug)]
struct Waiting {
    parked: Parked,
    /// What its first unit of work needs. What else is loaded is for those behind it.
    needs: Vec<StreamName>,
    /// How many streams are not here yet.
    missing: usize,
}

/// The loads under way and who waits for them.
#[derive(Debug)]
pub(super) struct ColdStreams {
    pool: PgPool,
    /// How many more loads may be under way.
    free: usize,
    patience: Duration,
    sender: mpsc::UnboundedSender<Loaded>,
    loaded: mpsc::UnboundedReceiver<Loaded>,
    /// Streams whose load has not begun, by their type; the types take turns.
    queued: VecDeque<(&'static str, Vec<Arc<str>>)>,
    /// Those who wait for each stream, queued ones too.
    under_way: HashMap<StreamName, Vec<u64>>,
    waiting: HashMap<u64, Waiting>,
    next_ticket: u64,
}

impl ColdStreams {
    pub(super) fn new(pool: PgPool, at_once: usize, patience: Duration) -> Self {
        let (sender, loaded) = mpsc::unbounded_channel();
        Self {
            pool,
            free: at_once.max(1),
            patience,
            sender,
            loaded,
            queued: VecDeque::new(),
            under_way: HashMap::new(),
            waiting: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// The next streams that are loaded.
    pub(super) async fn next(&mut self) -> Loaded {
        match self.loaded.recv().await {
            Some(loaded) => self.arrived(loaded),
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// As [`Self::next`], if some are loaded already.
    pub(super) fn try_next(&mut self) -> Option<Loaded> {
        self.loaded.try_recv().ok().map(|loaded| self.arrived(loaded))
    }

    fn arrived(&mut self, loaded: Loaded) -> Loaded {
        if loaded.over {
            self.free += 1;
            self.begin_loads();
        }
        loaded
    }

    /// `needs` are those of the first unit of work, `more` those of others.
    fn park(&mut self, parked: Parked, needs: Vec<StreamName>, more: Vec<StreamName>) {
        let mut missing = [needs.as_slice(), &more].concat();
        missing.sort_unstable();
        missing.dedup();
        self.next_ticket += 1;
        self.waiting.insert(self.next_ticket, Waiting { parked, needs, missing: missing.len() });
        for stream in missing {
            let (aggregate_type, id) = (stream.aggregate_type, Arc::clone(&stream.aggregate_id));
            let waiting = self.under_way.entry(stream).or_default();
            waiting.push(self.next_ticket);
            if waiting.len() == 1 {
                match self.queued.iter_mut().find(|(name, _)| *name == aggregate_type) {
                    Some((_, ids)) => ids.push(id),
                    None => self.queued.push_back((aggregate_type, vec![id])),
                }
            }
        }
        self.begin_loads();
    }

    /// Begins as many loads as may be under way. One alone is loaded at once; when there are more than loads, each load
    /// takes several.
    fn begin_loads(&mut self) {
        while self.free > 0
            && let Some((aggregate_type, mut ids)) = self.queued.pop_front()
        {
            let share = ids.len().div_ceil(self.free).min(AT_A_TIME);
            let rest = ids.split_off(share);
            if !rest.is_empty() {
                self.queued.push_back((aggregate_type, rest));
            }
            self.free -= 1;
            let sender = self.sender.clone();
            let load = load(aggregate_type, ids.clone(), self.pool.clone(), self.patience, sender.clone());
            let load = tokio::spawn(load);
            tokio::spawn(async move {
                let failed = load.await.err().map(|error| {
                    tracing::error!(%error, aggregate_type, "loading streams failed");
                    all_failed(aggregate_type, ids, &Failure::Internal)
                });
                let _ = sender.send(Loaded { streams: failed.unwrap_or_default(), over: true });
            });
        }
    }
}

/// Loads the streams and hands them over.
async fn load(
    aggregate_type: &'static str,
    mut ids: Vec<Arc<str>>,
    pool: PgPool,
    patience: Duration,
    loaded: mpsc::UnboundedSender<Loaded>,
) {
    // A reign that has ended does not want them.
    let hand_over = |streams| drop(loaded.send(Loaded { streams, over: false }));
    let mut backoff = Backoff::new(patience);
    if ids.len() > 1 {
        match try_load(aggregate_type, ids.clone(), &pool).await {
            Ok(streams) => return hand_over(streams),
            // One of them may be to blame; the others are not to suffer for it.
            Err(error) => tracing::warn!(%error, aggregate_type, "streams cannot be loaded together"),
        }
    }
    loop {
        for id in std::mem::take(&mut ids) {
            match try_load(aggregate_type, vec![Arc::clone(&id)], &pool).await {
                Ok(streams) => hand_over(streams),
                Err(error) => {
                    tracing::warn!(%error, aggregate_type, %id, "a stream cannot be loaded now");
                    ids.push(id);
                }
            }
        }
        if ids.is_empty() || !backoff.wait().await {
            return hand_over(all_failed(aggregate_type, ids, &Failure::Unavailable));
        }
    }
}

async fn try_load(
    aggregate_type: &'static str,
    ids: Vec<Arc<str>>,
    pool: &PgPool,
) -> Result<Vec<LoadedStream>, sqlx::Error> {
    let begun = std::time::Instant::now();
    let loaded = Aggregates::load(aggregate_type, ids, pool.clone()).await?;
    metrics::histogram!("daybook_bus_cold_load_seconds").record(begun.elapsed().as_secs_f64());
    metrics::counter!("daybook_bus_cold_streams_total").increment(loaded.len() as u64);
    let failed = |error| {
        tracing::error!(%error, "a stream cannot be loaded");
        Failure::Internal
    };
    let named = |(aggregate_id, install): (_, Result<_, _>)| {
        (StreamName { aggregate_type, aggregate_id }, install.map_err(failed))
    };
    Ok(loaded.into_iter().map(named).collect())
}

fn all_failed(aggregate_type: &'static str, ids: Vec<Arc<str>>, failure: &Failure) -> Vec<LoadedStream> {
    let names = ids.into_iter().map(|aggregate_id| StreamName { aggregate_type, aggregate_id });
    names.map(|name| (name, Err(failure.clone()))).collect()
}

impl Decider {
    /// Sets the unit of work and what follows it aside until its streams are loaded. What the rest of its train is going
    /// to need loads at the same time.
    pub(super) fn park(&mut self, item: Item, needs: Vec<StreamName>, rest: Rest) {
        let (now, number) = (self.filling.now, self.filling.number);
        let mut more = Vec::new();
        let parked = match rest {
            Rest::OfTrain(rest) => {
                for item in &rest {
                    more.extend(probe(&mut self.aggregates, item, now, number));
                }
                self.waiting -= rest.len();
                Parked::Train(Train { first: item, rest })
            }
            Rest::OfRecovery => {
                for item in self.recovery.park(item) {
                    more.extend(probe(&mut self.aggregates, item, now, number));
                }
                Parked::Recovery
            }
        };
        self.cold.park(parked, needs, more);
    }

    /// Puts streams in memory and wakes who waited for them.
    pub(super) fn loaded(&mut self, loaded: Loaded) {
        for (stream, loaded) in loaded.streams {
            self.loaded_one(&stream, loaded);
        }
    }

    fn loaded_one(&mut self, stream: &StreamName, loaded: Result<Install, Failure>) {
        let failure = match loaded {
            Ok(install) => {
                install(&mut self.aggregates, self.filling.number);
                None
            }
            Err(failure) => Some(failure),
        };
        for ticket in self.cold.under_way.remove(stream).unwrap_or_default() {
            let Some(waiting) = self.cold.waiting.get_mut(&ticket) else { continue };
            waiting.missing -= 1;
            let complete = waiting.missing == 0;
            // One behind the first asks again in its turn, and fails by itself.
            match failure.as_ref().filter(|_| waiting.needs.contains(stream)) {
                Some(failure) => self.fail_first(ticket, failure),
                None if complete => self.unpark(ticket),
                None => {}
            }
        }
    }

    /// Puts a train in front of all others.
    fn begin_with(&mut self, train: Train) {
        self.waiting += train.len();
        self.ready.push_front(train);
    }

    fn unpark(&mut self, ticket: u64) {
        match self.cold.waiting.remove(&ticket).map(|waiting| waiting.parked) {
            Some(Parked::Train(train)) => self.begin_with(train),
            Some(Parked::Recovery) => self.recovery.unpark(),
            None => {}
        }
    }

    /// A stream that the train needs cannot be loaded. Its first unit of work fails; the rest may not need the stream.
    fn fail_first(&mut self, ticket: u64, failure: &Failure) {
        match self.cold.waiting.remove(&ticket).map(|waiting| waiting.parked) {
            Some(Parked::Train(Train { first, rest })) => {
                self.give_up(first, failure);
                if let Some(train) = Train::of_rest(rest) {
                    self.begin_with(train);
                }
            }
            Some(Parked::Recovery) => {
                self.recovery.unpark();
                if let Some(item) = self.recovery.next_item() {
                    self.give_up(item, failure);
                }
            }
            None => {}
        }
    }
}
