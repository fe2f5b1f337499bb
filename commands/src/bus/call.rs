//! The requests of one call and what they have been answered so far.

use std::sync::Arc;

use domain::{Code, Refusal};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::item::{self, Asked};
use super::keys;
use crate::request::{Failure, Outcome, Receipt, Request};

/// What a request is answered with.
pub(super) type Reply = Result<Receipt, Failure>;

/// Something of each request of a call. Nearly every call has one, and then it takes no allocation.
pub(super) type Each<T> = SmallVec<[T; 1]>;

/// What came of giving a request to a decider.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Tried {
    /// It has its answer.
    Answered(Reply),
    /// That node does not decide: nothing has happened.
    NotLeading,
    /// There will be no answer: the decider stepped down, or the connection to it broke. Whether it has happened is not
    /// known; its key settles it.
    Lost,
}

/// A request that has no answer yet.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) request: Arc<Request>,
    pub(super) asked: Asked,
}

/// The requests of one call, each with its answer once it has one.
#[derive(Debug)]
pub(super) struct Call {
    places: Vec<Place>,
    /// All or none; false for one alone.
    pub(super) linked: bool,
}

#[derive(Debug)]
enum Place {
    Open(Open),
    Answered(Reply),
}

impl Call {
    /// Answers at once what needs no decision.
    pub(super) fn new(requests: Vec<Arc<Request>>, linked: bool) -> Self {
        if linked && requests.len() > 1 {
            return Self { places: link(requests), linked: true };
        }
        Self { places: requests.into_iter().map(Place::alone).collect(), linked: false }
    }

    /// A call of one request.
    pub(super) fn one(request: Request) -> Self {
        Self { places: vec![Place::alone(Arc::new(request))], linked: false }
    }

    /// The requests without an answer, in their order. Of a linked set all are open or none.
    pub(super) fn open(&self) -> Each<Open> {
        let open = self.places.iter().filter_map(|place| match place {
            Place::Open(open) => Some(open),
            Place::Answered(_) => None,
        });
        open.cloned().collect()
    }

    /// Takes what came of [`Call::open`].
    pub(super) fn take(&mut self, tried: Vec<Tried>) {
        let open = self.places.iter_mut().filter(|place| matches!(place, Place::Open(_)));
        for (place, tried) in open.zip(tried) {
            if let Tried::Answered(reply) = tried {
                *place = Place::Answered(reply);
            }
        }
    }

    /// The answers; the failure for those that have none.
    pub(super) fn end(self, failure: &Failure) -> Vec<Reply> {
        let answer = |place| match place {
            Place::Answered(reply) => reply,
            Place::Open(_) => Err(failure.clone()),
        };
        self.places.into_iter().map(answer).collect()
    }

    /// The answers as another node needs them.
    pub(super) fn into_tried(self, otherwise: &Tried) -> Vec<Tried> {
        let tried = |place| match place {
            Place::Answered(reply) => Tried::Answered(reply),
            Place::Open(_) => otherwise.clone(),
        };
        self.places.into_iter().map(tried).collect()
    }
}

impl Place {
    /// Of a request that stands alone.
    fn alone(request: Arc<Request>) -> Self {
        if let Some(answer) = check(&request) {
            return Self::Answered(answer);
        }
        match item::hash_alone(&request) {
            Ok(asked) => Self::Open(Open { request, asked }),
            Err(error) => Self::unhashable(&error),
        }
    }

    fn unhashable(error: &serde_json::Error) -> Self {
        tracing::error!(%error, "a command has no JSON form");
        Self::Answered(Err(Failure::Internal))
    }
}

/// Of the requests of a linked set: when one has its answer, all have.
fn link(requests: Vec<Arc<Request>>) -> Vec<Place> {
    let checked: Vec<_> = requests.iter().map(|request| check(request)).collect();
    if checked.iter().any(Option::is_some) {
        let answer = |checked: Option<Reply>| {
            Place::Answered(checked.unwrap_or_else(|| refused(keys::linked_failed())))
        };
        return checked.into_iter().map(answer).collect();
    }
    match item::hash_linked(&requests) {
        Ok(set) => {
            let open = |(request, asked)| Place::Open(Open { request, asked });
            requests.into_iter().zip(set).map(open).collect()
        }
        Err(error) => requests.iter().map(|_| Place::unhashable(&error)).collect(),
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
