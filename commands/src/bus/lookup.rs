//! Looks keys that may have been used up in the database, beside the path of the decisions and many at once. Requests whose
//! keys are surely new do not come here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use event_store::Keys;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::sync::mpsc;

use super::backoff::Backoff;
use super::item::Train;
use super::known_keys::KnownKeys;
use crate::request::Failure;

/// Few, so that under load a look-up takes many keys at once.
const AT_ONCE: usize = 2;
const TRAINS_AT_ONCE: usize = 4_096;

/// Trains whose keys were looked up.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) trains: Vec<Train>,
    /// How many were given here to come to this; none of them is on its way any more.
    pub(super) asked: usize,
    /// The newest batch that was durable before the look-up began, so that it saw every key up to this one. Never less
    /// than that of an earlier admission.
    pub(super) seen_through: u64,
}

/// Works as long as the decider that gives it trains.
pub(super) async fn run(
    mut to_look_up: mpsc::UnboundedReceiver<Train>,
    admitted: mpsc::UnboundedSender<Admission>,
    keys: Keys,
    durable: Arc<AtomicU64>,
    known: Arc<KnownKeys>,
    patience: Duration,
) {
    let mut under_way = FuturesOrdered::new();
    let mut open = true;
    while open || !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(admission) = under_way.next(), if !under_way.is_empty() => {
                if admitted.send(admission).is_err() {
                    return;
                }
            }
            trains = receive(&mut to_look_up), if open && under_way.len() < AT_ONCE => match trains {
                Some(trains) => {
                    let seen_through = durable.load(Ordering::Acquire);
                    under_way.push_back(look_up(trains, seen_through, &known, keys.clone(), patience));
                }
                None => open = false,
            }
        }
    }
}

async fn receive(to_look_up: &mut mpsc::UnboundedReceiver<Train>) -> Option<Vec<Train>> {
    let mut trains = Vec::new();
    // Cancel-safe: nothing is taken unless it is returned.
    (to_look_up.recv_many(&mut trains, TRAINS_AT_ONCE).await > 0).then_some(trains)
}

async fn look_up(
    mut trains: Vec<Train>,
    seen_through: u64,
    known: &KnownKeys,
    keys: Keys,
    patience: Duration,
) -> Admission {
    let asked = trains.len();
    let pairs: Vec<(String, String)> = trains
        .iter()
        .flat_map(Train::asks)
        .filter(|ask| known.may_hold(&ask.key))
        .map(|ask| (ask.request.principal.name.to_string(), ask.request.idempotency_key.clone()))
        .collect();
    metrics::counter!("daybook_bus_key_lookups_total").increment(pairs.len() as u64);
    let mut backoff = Backoff::new(patience);
    loop {
        match keys.lookup(&pairs).await {
            Ok(found) => {
                if !found.is_empty() {
                    for ask in trains.iter_mut().flat_map(Train::asks_mut) {
                        let request = &ask.request;
                        let pair = (request.principal.name.to_string(), request.idempotency_key.clone());
                        // Twins in one group each get a copy.
                        ask.found = found.get(&pair).cloned();
                    }
                }
                return Admission { trains, asked, seen_through };
            }
            Err(error) if backoff.wait().await => {
                tracing::warn!(%error, "idempotency keys cannot be looked up; trying again");
            }
            Err(error) => {
                tracing::warn!(%error, "idempotency keys cannot be looked up");
                trains.into_iter().flatten().for_each(|item| item.fail(&Failure::Unavailable));
                return Admission { trains: Vec::new(), asked, seen_through };
            }
        }
    }
}
