//! Following the log from a position on.

use std::time::Duration;

use futures::Stream;
use futures::stream;
use tokio::sync::watch;

use super::{Log, LogError};
use crate::{LogPosition, RecordedEvent};

const BATCH_EVENTS: usize = 1_000;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

struct Follower {
    log: Log,
    after: LogPosition,
    max_events: usize,
    heads: watch::Receiver<LogPosition>,
    damaged: bool,
}

impl Log {
    /// The events after a position and then every new one, in batches of whole commands, each event once.
    ///
    /// While PostgreSQL does not answer it waits and tries again. It yields an error only when the log is damaged, and
    /// then ends. To resume, subscribe after the last position that was handled.
    pub fn subscribe(
        &self,
        after: LogPosition,
    ) -> impl Stream<Item = Result<Vec<RecordedEvent>, LogError>> + Send + Unpin + use<> {
        self.subscribe_by(after, BATCH_EVENTS)
    }

    /// [`Log::subscribe`] with about this many events a batch.
    pub fn subscribe_by(
        &self,
        after: LogPosition,
        max_events: usize,
    ) -> impl Stream<Item = Result<Vec<RecordedEvent>, LogError>> + Send + Unpin + use<> {
        let follower = Follower { log: self.clone(), after, max_events, heads: self.heads(), damaged: false };
        // Boxed, so that callers need not pin it.
        Box::pin(stream::unfold(follower, |mut follower| async move {
            let batch = follower.next_batch().await?;
            Some((batch, follower))
        }))
    }
}

impl Follower {
    async fn next_batch(&mut self) -> Option<Result<Vec<RecordedEvent>, LogError>> {
        if self.damaged {
            return None;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let after = self.after;
            // Fails only when the log is gone, which our own clone of it prevents.
            self.heads.wait_for(|head| *head > after).await.ok()?;
            match self.log.read(after, self.max_events).await {
                Ok(events) => {
                    let Some(last) = events.last() else {
                        // The head is durable, so this is a database that was set back under us.
                        tokio::time::sleep(LONGEST_PAUSE).await;
                        continue;
                    };
                    self.after = last.log_position;
                    return Some(Ok(events));
                }
                Err(LogError::Database(sqlx::Error::PoolClosed)) => return None,
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, %after, "following the log failed, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    self.damaged = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
