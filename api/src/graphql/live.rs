//! What changes, as it happens: one reader of the log for all subscriptions of this server that send states.
//!
//! A subscriber that falls behind is told so and reads the state again; nothing is buffered for it without bound.

use std::sync::Arc;
use std::time::Duration;

use event_store::{Log, LogPosition, RecordedEvent};
use futures::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Batches a subscriber may be behind.
const MAX_BEHIND: usize = 1_024;
/// The pause before a log that could not be followed is followed again.
const PAUSE: Duration = Duration::from_secs(1);

/// Events that came to the log together.
#[derive(Debug)]
pub struct Batch {
    /// The position of the last one.
    pub end: LogPosition,
    /// In order.
    pub events: Vec<RecordedEvent>,
}

/// What changes, as it happens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Changes {
    batches: broadcast::Sender<Arc<Batch>>,
    position: watch::Receiver<LogPosition>,
}

impl Changes {
    /// Starts to follow the log until the token is cancelled.
    pub fn start(log: Log, stop: CancellationToken) -> Self {
        let (batches, _) = broadcast::channel(MAX_BEHIND);
        let (position_sender, position) = watch::channel(log.head());
        let changes = Self { batches: batches.clone(), position };
        tokio::spawn(async move {
            let follow = async {
                loop {
                    let after = *position_sender.borrow();
                    let mut events = log.subscribe(after);
                    while let Some(batch) = events.next().await {
                        match batch {
                            Ok(events) => {
                                let Some(end) = events.last().map(|event| event.log_position) else {
                                    continue;
                                };
                                // Before it is sent: whoever subscribes in between reads at least this far.
                                position_sender.send_replace(end);
                                // Nobody listening is no error.
                                let _ = batches.send(Arc::new(Batch { end, events }));
                            }
                            Err(error) => {
                                tracing::error!(%error, "subscriptions cannot follow the log");
                                break;
                            }
                        }
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            let _ = stop.run_until_cancelled(follow).await;
        });
        changes
    }

    /// How far it is.
    pub fn position(&self) -> LogPosition {
        *self.position.borrow()
    }

    /// The changes from now on: all after [`Follower::position`].
    pub fn follow(&self) -> Follower {
        let batches = self.batches.subscribe();
        let position = self.position();
        Follower { batches, position, current: self.position.clone() }
    }
}

/// One subscriber's place in the changes.
#[derive(Debug)]
pub struct Follower {
    batches: broadcast::Receiver<Arc<Batch>>,
    position: LogPosition,
    current: watch::Receiver<LogPosition>,
}

/// What came.
#[derive(Debug)]
pub enum Change {
    /// New events.
    Batch(Arc<Batch>),
    /// More than could be kept: read the state again, at this position or later.
    Missed(LogPosition),
}

impl Follower {
    /// Up to here nothing comes any more.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Says that the state was read at a later position; what is in it already does not come.
    pub fn skip_to(&mut self, position: LogPosition) {
        self.position = self.position.max(position);
    }

    /// The next change; `None` when the server stops.
    pub async fn next(&mut self) -> Option<Change> {
        loop {
            match self.batches.recv().await {
                Ok(batch) if batch.end <= self.position => {}
                Ok(batch) => {
                    self.position = batch.end;
                    return Some(Change::Batch(batch));
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    self.position = *self.current.borrow();
                    return Some(Change::Missed(self.position));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// Waits for a change that one of the events touches, and returns where to read the state.
    pub async fn touched(&mut self, touches: impl Fn(&RecordedEvent) -> bool) -> Option<LogPosition> {
        loop {
            match self.next().await? {
                Change::Missed(position) => return Some(position),
                Change::Batch(batch) if batch.events.iter().any(&touches) => return Some(batch.end),
                Change::Batch(_) => {}
            }
        }
    }
}
