//! The leader's side: lets other nodes in and decides on what they forward.

use std::sync::Arc;
use std::time::Duration;

use event_store::{LogId, Secret};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::FOLLOWER_SILENCE;
use super::frame::{CallAnswer, CallIn, Packer, Wire, messages, wire};
use super::handshake;
use crate::bus::call::{Call, Tried};
use crate::bus::desk::Desk;
use crate::request::Failure;

/// The most nodes that are connected at a time.
const MOST_CONNECTIONS: usize = 256;
/// The most calls of one node under way at a time; their requests are bound by the queue.
const MOST_CALLS: usize = 65_536;
/// How long the greeting may take.
const GREETING_LIMIT: Duration = Duration::from_secs(5);
/// How long answers may still take when a connection ends.
const FAREWELL_LIMIT: Duration = Duration::from_secs(1);
/// Answers that go into frames at a time.
const ANSWERS_AT_ONCE: usize = 1_024;

/// What is behind the door.
#[derive(Clone)]
pub(in crate::bus) struct Door {
    pub(in crate::bus) log: LogId,
    pub(in crate::bus) desk: Arc<Desk>,
    /// With what other nodes come in; absent while this one does not lead.
    pub(in crate::bus) secret: watch::Receiver<Option<Secret>>,
}

/// What goes back to a follower.
enum Back {
    Alive,
    Answer(CallAnswer),
}

/// Lets nodes in until `stop`, then says what is still to be said.
pub(in crate::bus) async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        tracing::warn!(%address, "too many nodes are connected; another one is turned away");
                        continue;
                    };
                    let (door, stop) = (door.clone(), stop.clone());
                    connections.spawn(async move {
                        connection(stream, door, stop).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection of another node cannot be taken");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    stop.run_until_cancelled(accepting).await;
    connections.close();
    connections.wait().await;
}

async fn connection(stream: TcpStream, mut door: Door, stop: CancellationToken) {
    // Only a leader has a secret; whoever comes to another node looks again who leads.
    let Some(secret) = door.secret.borrow_and_update().clone() else { return };
    let mut wire = wire(stream);
    let greeted = handshake::receive(&mut wire, door.log, &secret);
    let node = match tokio::time::timeout(GREETING_LIMIT, greeted).await {
        Ok(Ok(node)) => node,
        Ok(Err(error)) => {
            metrics::counter!("daybook_peer_refused_total").increment(1);
            tracing::warn!(%error, "a connection to the port for nodes was refused");
            return;
        }
        Err(_) => return,
    };
    tracing::info!(node, "a node forwards its commands");
    let gauge = metrics::gauge!("daybook_peer_connections");
    gauge.increment(1.0);
    let (sink, stream) = wire.split();
    let (answers, to_send) = mpsc::unbounded_channel();
    let calls = TaskTracker::new();
    let mut sending = tokio::spawn(send(sink, to_send));
    tokio::select! {
        () = receive(stream, &door.desk, &answers, &calls) => {}
        () = stop.cancelled() => {}
        // Its reign has ended, and with it what was asked of it.
        _ = door.secret.changed() => {}
        _ = &mut sending => {}
    }
    calls.close();
    drop(answers);
    // The sender ends when the last call has answered.
    if !sending.is_finished() && tokio::time::timeout(FAREWELL_LIMIT, &mut sending).await.is_err() {
        sending.abort();
    }
    gauge.decrement(1.0);
    tracing::info!(node, "a node does not forward its commands any more");
}

/// Gives calls to the desk until the follower has gone.
async fn receive(
    mut stream: SplitStream<Wire>,
    desk: &Arc<Desk>,
    answers: &mpsc::UnboundedSender<Back>,
    calls: &TaskTracker,
) {
    let under_way = Arc::new(Semaphore::new(MOST_CALLS));
    loop {
        let frame = match tokio::time::timeout(FOLLOWER_SILENCE, stream.next()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "the connection of a node has broken");
                return;
            }
            Ok(None) | Err(_) => return,
        };
        if frame.is_empty() && answers.send(Back::Alive).is_err() {
            return;
        }
        for call in messages::<CallIn>(&frame) {
            let call = match call {
                Ok(call) => call,
                Err(error) => {
                    tracing::error!(%error, "a forwarded command cannot be read");
                    return;
                }
            };
            // Over it we do not read on, and the follower has to wait.
            let Ok(place) = Arc::clone(&under_way).acquire_owned().await else { return };
            let (desk, answers) = (Arc::clone(desk), answers.clone());
            calls.spawn(async move {
                let id = call.id;
                let tried = decide(&desk, call).await;
                // The follower may have gone.
                let _ = answers.send(Back::Answer(CallAnswer { id, tried }));
                drop(place);
            });
        }
    }
}

/// Decides here or not at all: what came from another node goes to no third one.
async fn decide(desk: &Desk, forwarded: CallIn) -> Vec<Tried> {
    let CallIn { linked, waited_ms, within_ms, requests, .. } = forwarded;
    let deadline = Instant::now() + Duration::from_millis(within_ms).min(desk.patience());
    // Rights are checked again: this node answers for what it decides.
    let mut call = Call::new(requests, linked);
    let open = call.open();
    metrics::counter!("daybook_peer_served_total").increment(open.len() as u64);
    if open.is_empty() {
        return call.into_tried(&Tried::NotLeading);
    }
    let places = match desk.places(&open) {
        Ok(places) => places,
        // It stops; the next leader decides.
        Err(Failure::Unavailable) => return call.into_tried(&Tried::NotLeading),
        Err(failure) => return call.into_tried(&Tried::Answered(Err(failure))),
    };
    let linked = call.linked;
    let tried = desk.decide(open, linked, places, Duration::from_millis(waited_ms), deadline).await;
    let led = !tried.contains(&Tried::NotLeading);
    call.take(tried);
    call.into_tried(if led { &Tried::Lost } else { &Tried::NotLeading })
}

/// Sends answers as they come, until there can be no more.
async fn send(mut sink: SplitSink<Wire, Bytes>, mut answers: mpsc::UnboundedReceiver<Back>) {
    let mut packer = Packer::default();
    let mut some = Vec::new();
    while answers.recv_many(&mut some, ANSWERS_AT_ONCE).await > 0 {
        if let Err(error) = send_answers(&mut sink, some.drain(..), &mut packer).await {
            tracing::debug!(%error, "the connection of a node cannot be written");
            return;
        }
    }
}

async fn send_answers(
    sink: &mut SplitSink<Wire, Bytes>,
    answers: impl Iterator<Item = Back>,
    packer: &mut Packer,
) -> std::io::Result<()> {
    for answer in answers {
        match answer {
            Back::Alive => sink.feed(Bytes::new()).await?,
            Back::Answer(answer) => match packer.add(&answer) {
                Ok(Some(frame)) => sink.feed(frame).await?,
                Ok(None) => {}
                Err(_) => {
                    tracing::error!("an answer is too long to be sent to another node");
                    let tried = vec![Tried::Answered(Err(Failure::Internal)); answer.tried.len()];
                    // Short, so it fits.
                    let _ = packer.add(&CallAnswer { id: answer.id, tried });
                }
            },
        }
    }
    if let Some(frame) = packer.take() {
        sink.feed(frame).await?;
    }
    sink.flush().await
}
