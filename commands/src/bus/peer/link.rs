//! The connection of a node that does not lead to the one that does: many calls at a time, each answered or lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use event_store::{LeaderContact, LogId};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::frame::{CallAnswer, CallOut, Packer, Wire, messages, wire};
use super::handshake::{HandshakeError, introduce};
use super::{LEADER_SILENCE, PING_EVERY};
use crate::bus::call::{Each, Open, Tried};
use crate::request::{Failure, Request};

/// How long connecting may take.
const DIAL_LIMIT: Duration = Duration::from_secs(1);
/// Calls that go into frames at a time.
const CALLS_AT_ONCE: usize = 1_024;

/// A call and where its answer goes.
#[derive(Debug)]
struct Sent {
    requests: Vec<Arc<Request>>,
    linked: bool,
    waited: Duration,
    deadline: Instant,
    answer: oneshot::Sender<Vec<Tried>>,
}

/// Who waits for an answer, by the number of the call. `None` once there will be no more answers.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Vec<Tried>>>>>>;

/// A cheap handle on the connection. It ends with [`Link::close`], when it breaks, or when the leader falls silent.
#[derive(Clone, Debug)]
pub(in crate::bus) struct Link {
    calls: mpsc::UnboundedSender<Sent>,
    closed: CancellationToken,
}

impl Link {
    /// Connects to the leader.
    pub(super) async fn dial(
        contact: &LeaderContact,
        node: &str,
        log: LogId,
    ) -> Result<Self, HandshakeError> {
        let dialled = tokio::time::timeout(DIAL_LIMIT, async {
            let mut wire = wire(TcpStream::connect(&contact.address).await?);
            introduce(&mut wire, node, log, &contact.secret).await?;
            Ok::<_, HandshakeError>(wire)
        });
        let wire = dialled.await.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))??;
        Ok(Self::over(wire))
    }

    fn over(wire: Wire) -> Self {
        let (sink, stream) = wire.split();
        let (calls, to_send) = mpsc::unbounded_channel();
        let closed = CancellationToken::new();
        let waiting = Waiting::default();
        *lock(&waiting) = Some(HashMap::new());
        tokio::spawn({
            let (waiting, closed) = (Arc::clone(&waiting), closed.clone());
            async move {
                closed.run_until_cancelled(send(sink, to_send, &waiting)).await;
                closed.cancel();
            }
        });
        tokio::spawn({
            let closed = closed.clone();
            async move {
                closed.run_until_cancelled(receive(stream, &waiting)).await;
                closed.cancel();
                // Whoever waits learns that no answer comes.
                lock(&waiting).take();
            }
        });
        Self { calls, closed }
    }

    /// Whether answers may still come.
    pub(in crate::bus) fn is_open(&self) -> bool {
        !self.closed.is_cancelled()
    }

    /// Waits until no more answers come.
    pub(super) async fn ended(&self) {
        self.closed.cancelled().await;
    }

    /// Gives the connection up; what is on it is lost.
    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    /// Asks the leader. What came of each request, in their order, at the latest at `deadline`.
    pub(in crate::bus) async fn ask(
        &self,
        open: Each<Open>,
        linked: bool,
        waited: Duration,
        deadline: Instant,
    ) -> Vec<Tried> {
        let requests: Vec<Arc<Request>> = open.into_iter().map(|open| open.request).collect();
        let count = requests.len();
        metrics::counter!("daybook_peer_forwarded_total").increment(count as u64);
        let begun = Instant::now();
        let (answer, answered) = oneshot::channel();
        // If it is closed, the answer is lost with it.
        let _ = self.calls.send(Sent { requests, linked, waited, deadline, answer });
        let tried = match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(tried)) if tried.len() == count => tried,
            Ok(_) => vec![Tried::Lost; count],
            Err(_) => vec![Tried::Answered(Err(Failure::Unavailable)); count],
        };
        metrics::histogram!("daybook_peer_forward_seconds").record(begun.elapsed().as_secs_f64());
        tried
    }
}

/// Sends calls as they come, and signs of life, until the connection breaks.
async fn send(mut sink: SplitSink<Wire, Bytes>, mut calls: mpsc::UnboundedReceiver<Sent>, waiting: &Waiting) {
    let mut pings = tokio::time::interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut packer = Packer::default();
    let mut some = Vec::new();
    for id in 0.. {
        let sent = tokio::select! {
            taken = calls.recv_many(&mut some, CALLS_AT_ONCE) => {
                if taken == 0 {
                    return;
                }
                send_calls(&mut sink, id * CALLS_AT_ONCE as u64, some.drain(..), &mut packer, waiting).await
            }
            _ = pings.tick() => sink.send(Bytes::new()).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the connection to the leader cannot be written");
            return;
        }
    }
}

async fn send_calls(
    sink: &mut SplitSink<Wire, Bytes>,
    first_id: u64,
    calls: impl Iterator<Item = Sent>,
    packer: &mut Packer,
    waiting: &Waiting,
) -> std::io::Result<()> {
    for (id, sent) in (first_id..).zip(calls) {
        let within = sent.deadline.saturating_duration_since(Instant::now());
        let call = CallOut {
            id,
            linked: sent.linked,
            waited_ms: millis(sent.waited),
            within_ms: millis(within),
            requests: &sent.requests,
        };
        match packer.add(&call) {
            Ok(full) => {
                // Before it can be answered.
                if let Some(waiting) = &mut *lock(waiting) {
                    waiting.insert(id, sent.answer);
                }
                if let Some(frame) = full {
                    sink.feed(frame).await?;
                }
            }
            Err(_) => {
                drop(sent.answer.send(vec![Tried::Answered(Err(Failure::Overloaded)); sent.requests.len()]))
            }
        }
    }
    if let Some(frame) = packer.take() {
        sink.feed(frame).await?;
    }
    sink.flush().await
}

/// Takes answers until the connection breaks or the leader falls silent.
async fn receive(mut stream: SplitStream<Wire>, waiting: &Waiting) {
    loop {
        let frame = match tokio::time::timeout(LEADER_SILENCE, stream.next()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "the connection to the leader has broken");
                return;
            }
            Ok(None) => return,
            Err(_) => {
                tracing::warn!("the leader has fallen silent");
                return;
            }
        };
        for answer in messages::<CallAnswer>(&frame) {
            match answer {
                Ok(CallAnswer { id, tried }) => {
                    let caller = lock(waiting).as_mut().and_then(|waiting| waiting.remove(&id));
                    if let Some(caller) = caller {
                        // It may have given up.
                        let _ = caller.send(tried);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the leader's answer cannot be read");
                    return;
                }
            }
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
