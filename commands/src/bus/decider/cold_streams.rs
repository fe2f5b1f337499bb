//! Units of work that wait for streams to be loaded, while others go on.
//!
//! A stream under way is not in memory, so nothing can change it until it is: what is loaded is never stale.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};

use super::{Decider, Rest};
use crate::aggregates::{Aggregates, Install};
use crate::bus::backoff::Backoff;
use crate::bus::decide::probe;
use crate::bus::item::{Item, Train};
use crate::request::Failure;
use crate::unit::StreamName;

/// A stream that was loaded, or why not.
pub(super) type Loaded = (StreamName, Result<Install, Failure>);

/// What is parked.
#[derive(Debug)]
enum Parked {
    Train(Train),
    /// What was undurable when a commit failed; kept elsewhere.
    Recovery,
}

/// The loads under way and who waits for them.
#[derive(Debug)]
pub(super) struct ColdStreams {
    pool: PgPool,
    at_once: Arc<Semaphore>,
    patience: Duration,
    sender: mpsc::UnboundedSender<Loaded>,
    loaded: mpsc::UnboundedReceiver<Loaded>,
    under_way: HashMap<StreamName, Vec<u64>>,
    parked: HashMap<u64, (Parked, usize)>,
    next_ticket: u64,
}

impl ColdStreams {
    pub(super) fn new(pool: PgPool, at_once: usize, patience: Duration) -> Self {
        let (sender, loaded) = mpsc::unbounded_channel();
        Self {
            pool,
            at_once: Arc::new(Semaphore::new(at_once.max(1))),
            patience,
            sender,
            loaded,
            under_way: HashMap::new(),
            parked: HashMap::new(),
            next_ticket: 0,
        }
    }

    /// The next stream that is loaded.
    pub(super) async fn next(&mut self) -> Loaded {
        match self.loaded.recv().await {
            Some(loaded) => loaded,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// As [`Self::next`], if one is loaded already.
    pub(super) fn try_next(&mut self) -> Option<Loaded> {
        self.loaded.try_recv().ok()
    }

    fn park(&mut self, parked: Parked, mut needs: Vec<StreamName>) {
        needs.sort_unstable();
        needs.dedup();
        self.next_ticket += 1;
        self.parked.insert(self.next_ticket, (parked, needs.len()));
        for stream in needs {
            let waiting = self.under_way.entry(stream.clone()).or_default();
            waiting.push(self.next_ticket);
            if waiting.len() == 1 {
                let load = load(stream, self.pool.clone(), Arc::clone(&self.at_once), self.patience);
                let sender = self.sender.clone();
                tokio::spawn(async move {
                    // A reign that has ended does not want it.
                    let _ = sender.send(load.await);
                });
            }
        }
    }
}

async fn load(stream: StreamName, pool: PgPool, at_once: Arc<Semaphore>, patience: Duration) -> Loaded {
    let _turn = at_once.acquire().await;
    let mut backoff = Backoff::new(patience);
    let begun = std::time::Instant::now();
    loop {
        match Aggregates::load(&stream, pool.clone()).await {
            Ok(install) => {
                metrics::histogram!("daybook_bus_cold_load_seconds").record(begun.elapsed().as_secs_f64());
                return (stream, Ok(install));
            }
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, ?stream, "a stream cannot be loaded now");
                if !backoff.wait().await {
                    return (stream, Err(Failure::Unavailable));
                }
            }
            Err(error) => {
                tracing::error!(%error, ?stream, "a stream cannot be loaded");
                return (stream, Err(Failure::Internal));
            }
        }
    }
}

impl Decider {
    /// Sets the unit of work and what follows it aside until its streams are loaded. What the rest of its train is going
    /// to need loads at the same time.
    pub(super) fn park(&mut self, item: Item, mut needs: Vec<StreamName>, rest: Rest) {
        let (now, number) = (self.filling.now, self.filling.number);
        let parked = match rest {
            Rest::Train(mut train) => {
                for item in &train {
                    needs.extend(probe(&mut self.aggregates, item, now, number));
                }
                self.waiting -= train.len();
                train.push_front(item);
                Parked::Train(train)
            }
            Rest::OfRecovery => {
                for item in self.recovery.park(item) {
                    needs.extend(probe(&mut self.aggregates, item, now, number));
                }
                Parked::Recovery
            }
        };
        self.cold.park(parked, needs);
    }

    /// Puts a stream in memory and wakes who waited for it.
    pub(super) fn loaded(&mut self, (stream, loaded): Loaded) {
        let failure = match loaded {
            Ok(install) => {
                install(&mut self.aggregates, self.filling.number);
                None
            }
            Err(failure) => Some(failure),
        };
        for ticket in self.cold.under_way.remove(&stream).unwrap_or_default() {
            let Some((_, missing)) = self.cold.parked.get_mut(&ticket) else { continue };
            *missing -= 1;
            let complete = *missing == 0;
            if let Some(failure) = &failure {
                self.fail_first(ticket, failure);
            } else if complete {
                self.unpark(ticket);
            }
        }
    }

    /// Puts a train in front of all others.
    fn begin_with(&mut self, train: Train) {
        self.waiting += train.len();
        self.ready.push_front(train);
    }

    fn unpark(&mut self, ticket: u64) {
        match self.cold.parked.remove(&ticket) {
            Some((Parked::Train(train), _)) => self.begin_with(train),
            Some((Parked::Recovery, _)) => self.recovery.unpark(),
            None => {}
        }
    }

    /// A stream that the train needs cannot be loaded. Its first unit of work fails; the rest may not need the stream.
    fn fail_first(&mut self, ticket: u64, failure: &Failure) {
        match self.cold.parked.remove(&ticket) {
            Some((Parked::Train(mut train), _)) => {
                if let Some(item) = train.pop_front() {
                    self.give_up(item, failure);
                }
                if !train.is_empty() {
                    self.begin_with(train);
                }
            }
            Some((Parked::Recovery, _)) => {
                self.recovery.unpark();
                if let Some(item) = self.recovery.next_item() {
                    self.give_up(item, failure);
                }
            }
            None => {}
        }
    }
}
