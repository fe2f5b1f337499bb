//! What travels through the bus: requests on their way to one decision.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

use ahash::RandomState;
use domain::Timestamp;
use event_store::StoredOutcome;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use tokio::sync::oneshot;

use super::queue::Places;
use super::trace::Trace;
use crate::request::{Failure, Receipt, Request};

/// An idempotency key with the principal it belongs to.
///
/// A key has no NUL, so the last one separates the two and different pairs never meet. Its hash is made once, by who asks:
/// the decider has a key in its hands several times, and its text is in another processor's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyId {
    hash: u64,
    text: Arc<[u8]>,
}

/// Bytes that have room for the longest key and a usual name.
const USUAL_KEY: usize = 192;

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl KeyId {
    pub(super) fn of(request: &Request) -> Self {
        Self::from_parts(&request.principal.name, &request.idempotency_key)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    pub(super) fn from_parts(principal: &str, key: &str) -> Self {
        let mut text = SmallVec::<[u8; USUAL_KEY]>::new();
        for part in [principal, "\0", key] {
            text.extend_from_slice(part.as_bytes());
        }
        Self { hash: HASHER.hash_one(text.as_slice()), text: Arc::from(text.as_slice()) }
    }

    /// Of the whole, other in every process.
    pub(super) fn hash_bits(&self) -> u64 {
        self.hash
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// SHA-256 of what a request asks.
pub(super) type CommandHash = [u8; 32];

/// What a request asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) hash: CommandHash,
    /// Of its command as JSON.
    pub(super) bytes: usize,
}

/// Bytes that have room for most commands.
const USUAL_COMMAND: usize = 512;

/// The hash of a request that stands alone.
pub(super) fn hash_alone(request: &Request) -> serde_json::Result<Asked> {
    let mut command = Vec::with_capacity(USUAL_COMMAND);
    serde_json::to_writer(&mut command, &request.command)?;
    Ok(Asked { hash: Sha256::digest(&command).into(), bytes: command.len() })
}

/// The hash of each request of a linked set: it covers the whole set and the place in it.
pub(super) fn hash_linked(requests: &[Arc<Request>]) -> serde_json::Result<Vec<Asked>> {
    let mut set = Sha256::new();
    let mut sizes = Vec::with_capacity(requests.len());
    for request in requests {
        let command = serde_json::to_vec(&request.command)?;
        for part in [request.idempotency_key.as_bytes(), &command] {
            set.update((part.len() as u64).to_be_bytes());
            set.update(part);
        }
        sizes.push(command.len());
    }
    let hash = |place: u64| set.clone().chain_update(b"linked").chain_update(place.to_be_bytes()).finalize();
    Ok((0..).zip(sizes).map(|(place, bytes)| Asked { hash: hash(place).into(), bytes }).collect())
}

/// One request and where its answer goes.
#[derive(Debug)]
pub(super) struct Ask {
    /// Shared with the call, which may have to ask again.
    pub(super) request: Arc<Request>,
    pub(super) key: KeyId,
    pub(super) hash: CommandHash,
    /// Of its command as JSON.
    pub(super) bytes: usize,
    /// What the database has under the key.
    pub(super) found: Option<StoredOutcome>,
    pub(super) answer: oneshot::Sender<Result<Receipt, Failure>>,
    /// Absent unless the log is to tell of it.
    pub(super) trace: Option<Box<Trace>>,
}

/// One unit of work: a request, or a linked set of them.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) asks: Vec<Ask>,
    pub(super) arrived: Timestamp,
    /// The database has refused what it would write.
    pub(super) poisoned: bool,
    /// Its places in the queue, free again when it is gone.
    pub(super) _places: Places,
}

impl Item {
    /// Whether nobody waits for an answer any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.asks.iter().all(|ask| ask.answer.is_closed())
    }

    /// Answers each request.
    pub(super) fn answer(self, answers: impl IntoIterator<Item = Result<Receipt, Failure>>) {
        for (ask, answer) in self.asks.into_iter().zip(answers) {
            if let Some(trace) = ask.trace {
                trace.end(&answer);
            }
            // Whoever has given up asks again with the same key.
            let _ = ask.answer.send(answer);
        }
    }

    /// Answers every request with the failure.
    pub(super) fn fail(self, failure: &Failure) {
        let answers = vec![Err(failure.clone()); self.asks.len()];
        self.answer(answers);
    }

    /// What is told of its requests; mostly nothing.
    pub(super) fn traces(&mut self) -> impl Iterator<Item = &mut Trace> {
        self.asks.iter_mut().filter_map(|ask| ask.trace.as_deref_mut())
    }

    pub(super) fn keys(&self) -> Vec<KeyId> {
        self.asks.iter().map(|ask| ask.key.clone()).collect()
    }
}

/// Units of work that are decided in their order: at least one, and nearly always no other.
#[derive(Debug)]
pub(super) struct Train {
    pub(super) first: Item,
    pub(super) rest: VecDeque<Item>,
}

impl Train {
    /// `None` without units of work.
    pub(super) fn of(items: impl IntoIterator<Item = Item>) -> Option<Self> {
        let mut items = items.into_iter();
        Some(Self { first: items.next()?, rest: items.collect() })
    }

    /// The requests as units of work: one each, or all as one.
    pub(super) fn of_asks(
        asks: Vec<Ask>,
        linked: bool,
        mut places: Places,
        arrived: Timestamp,
    ) -> Option<Self> {
        let item = |asks, places| Item { asks, arrived, poisoned: false, _places: places };
        if asks.is_empty() {
            return None;
        }
        if linked || asks.len() == 1 {
            return Self::of([item(asks, places)]);
        }
        let alone = |ask: Ask| {
            let place = places.split(ask.bytes)?;
            Some(item(vec![ask], place))
        };
        Self::of(asks.into_iter().filter_map(alone))
    }

    /// What is left of one whose first has gone; `None` without units of work.
    pub(super) fn of_rest(mut rest: VecDeque<Item>) -> Option<Self> {
        rest.pop_front().map(|first| Self { first, rest })
    }

    pub(super) fn len(&self) -> usize {
        1 + self.rest.len()
    }

    pub(super) fn asks(&self) -> impl Iterator<Item = &Ask> {
        std::iter::once(&self.first).chain(&self.rest).flat_map(|item| &item.asks)
    }

    pub(super) fn asks_mut(&mut self) -> impl Iterator<Item = &mut Ask> {
        std::iter::once(&mut self.first).chain(&mut self.rest).flat_map(|item| &mut item.asks)
    }
}

impl IntoIterator for Train {
    type Item = Item;
    type IntoIter = std::iter::Chain<std::iter::Once<Item>, std::collections::vec_deque::IntoIter<Item>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(self.first).chain(self.rest)
    }
}
