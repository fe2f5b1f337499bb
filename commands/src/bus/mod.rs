//! The command bus.

use tokio::sync::watch;

use crate::request::{Failure, Receipt, Request};

/// The command bus: a cheap handle on the one decider of this node.
#[derive(Clone, Debug)]
pub struct Bus {}

impl Bus {
    /// Decides on the request and answers when its events are durable.
    ///
    /// # Errors
    /// [`Failure`]; asking again with the same key settles what happened.
    pub async fn execute(&self, _request: Request) -> Result<Receipt, Failure> {
        Err(Failure::Unavailable)
    }

    /// Decides on each request on its own, in their order; answers when all are durable.
    pub async fn execute_all(&self, requests: Vec<Request>) -> Vec<Result<Receipt, Failure>> {
        requests.into_iter().map(|_| Err(Failure::Unavailable)).collect()
    }

    /// Decides on the requests as one unit of work: all or none. Every key's hash covers the whole set; a set that is
    /// partly a replay is `IDEMPOTENCY_CONFLICT`; those that would have succeeded answer `LINKED_FAILED`, which is not remembered.
    pub async fn execute_linked(&self, requests: Vec<Request>) -> Vec<Result<Receipt, Failure>> {
        requests.into_iter().map(|_| Err(Failure::Unavailable)).collect()
    }

    /// Whether this node leads, and so decides.
    pub fn leads(&self) -> watch::Receiver<bool> {
        watch::channel(false).1
    }

    /// Takes no more requests, finishes those it has, gives the lease back.
    pub async fn stop(&self) {}
}
