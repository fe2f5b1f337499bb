//! The desk of this node's decider: takes requests in, within the limit on what is under way, and gathers their answers.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::{Each, Open, Tried};
use super::item::{Ask, Asked, KeyId, Train};
use super::queue::{Places, Queue, overloaded};
use super::settings::{BusSettings, MAX_REQUESTS};
use super::trace::Trace;
use crate::request::Failure;

/// See the module.
#[derive(Debug)]
pub(super) struct Desk {
    submitted: mpsc::UnboundedSender<Train>,
    queue: Queue,
    patience: Duration,
    leads: watch::Receiver<bool>,
    /// No more requests are taken.
    closing: CancellationToken,
}

impl Desk {
    pub(super) fn new(
        submitted: mpsc::UnboundedSender<Train>,
        settings: &BusSettings,
        leads: watch::Receiver<bool>,
    ) -> Self {
        let queue = Queue::new(settings);
        Self { submitted, queue, patience: settings.patience, leads, closing: CancellationToken::new() }
    }

    /// Whether the decider of this node decides.
    pub(super) fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Cancelled when no more requests are taken.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// How long a request waits for its answer.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Takes no more requests and waits, not for ever, until none is under way. False when some still are.
    pub(super) async fn close(&self) -> bool {
        self.closing.cancel();
        tokio::time::timeout(self.patience, self.queue.emptied()).await.is_ok()
    }

    /// Places for these requests, each to be free again when its request is gone.
    ///
    /// # Errors
    /// [`Failure::Overloaded`], at once; [`Failure::Unavailable`] when it is closing.
    pub(super) fn places(&self, open: &[Open]) -> Result<Places, Failure> {
        if self.closing.is_cancelled() {
            return Err(Failure::Unavailable);
        }
        if open.len() > MAX_REQUESTS {
            return Err(overloaded("call_requests"));
        }
        self.queue.enter(open.len(), open.iter().map(|open| open.asked.bytes).sum())
    }

    /// Gives the requests to the decider of this node and gathers what came of them, in their order, until `deadline`.
    /// `waited` is how long they have been waiting already, here or at another node.
    pub(super) async fn decide(
        &self,
        requests: Each<Open>,
        linked: bool,
        places: Places,
        waited: Duration,
        deadline: Instant,
    ) -> Vec<Tried> {
        if !*self.leads.borrow() {
            return vec![Tried::NotLeading; requests.len()];
        }
        let mut asks = Vec::with_capacity(requests.len());
        let mut waiting = Each::with_capacity(requests.len());
        for Open { request, asked: Asked { hash, bytes } } in requests {
            let (answer, receiver) = oneshot::channel();
            waiting.push(receiver);
            let key = KeyId::of(&request);
            let trace = Trace::begin(&request, &key);
            asks.push(Ask { key, request, hash, bytes, found: None, answer, trace });
        }
        let now = Utc::now();
        let arrived = TimeDelta::from_std(waited).ok().and_then(|waited| now.checked_sub_signed(waited));
        let train = Train::of_asks(asks, linked, places, arrived.unwrap_or(now));
        if train.is_some_and(|train| self.submitted.send(train).is_err()) {
            tracing::error!("the bus has ended");
        }
        let mut tried = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            tried.push(match tokio::time::timeout_at(deadline, receiver).await {
                Ok(Ok(answer)) => Tried::Answered(answer),
                // Dropped by a decider that stepped down.
                Ok(Err(_)) => Tried::Lost,
                Err(_) => Tried::Answered(Err(Failure::Unavailable)),
            });
        }
        tried
    }
}
