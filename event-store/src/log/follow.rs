//! Keeps the head and the tail buffer at what other nodes append.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::Inner;
use crate::announcements::{Heard, Listener};
use crate::{LogError, LogPosition};

/// The channel on which an append announces its end, as digits.
const CHANNEL: &str = "log_appended";

/// Above this distance the tail buffer starts anew at the head; whoever is behind reads the database.
const MAX_CATCH_UP: u64 = 8_192;
/// How long an appender of this process may take to publish what was announced. Another node's event is read after it:
/// an appender may be deposed and not know it yet.
const OWN_PUBLISH: Duration = Duration::from_millis(100);
/// How long the database may take to answer, before it is asked over another connection.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn start(inner: &Arc<Inner>, poll: Duration) -> Vec<AbortHandle> {
    let announced = watch::Sender::new(LogPosition::ZERO);
    let seen = announced.subscribe();
    let missed = Arc::new(Notify::new());
    vec![
        tokio::spawn(listen(inner.pool.clone(), announced, Arc::clone(&missed))).abort_handle(),
        tokio::spawn(catch_up(Arc::downgrade(inner), seen, missed, poll)).abort_handle(),
    ]
}

/// Passes announcements on. What was lost while there was no connection is read as soon as there is one; the poll finds
/// it, too.
async fn listen(pool: PgPool, announced: watch::Sender<LogPosition>, missed: Arc<Notify>) {
    let mut listener = Listener::new(&pool, CHANNEL, "daybook listener");
    let listening = async {
        loop {
            match listener.next().await {
                Heard::Listening { .. } => missed.notify_one(),
                Heard::Lost => {}
                Heard::Said(payload) => {
                    let Ok(position) = payload.parse::<LogPosition>() else { continue };
                    announced.send_if_modified(|newest| {
                        let advances = *newest < position;
                        *newest = position.max(*newest);
                        advances
                    });
                }
            }
        }
    };
    tokio::select! {
        () = pool.close_event() => {}
        () = listening => {}
    }
}

async fn catch_up(
    inner: Weak<Inner>,
    mut announced: watch::Receiver<LogPosition>,
    missed: Arc<Notify>,
    poll: Duration,
) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            _ = ticks.tick() => true,
            () = missed.notified() => true,
            changed = announced.changed() => {
                if changed.is_err() {
                    return;
                }
                false
            }
        };
        let Some(inner) = inner.upgrade() else { return };
        if inner.pool.is_closed() {
            return;
        }
        let position = *announced.borrow_and_update();
        match tokio::time::timeout(PATIENCE, inner.catch_up(ticked, position)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the end of the log cannot be read, trying again"),
            Err(_) => tracing::warn!("the end of the log is not answered in time, trying again"),
        }
    }
}

impl Inner {
    /// Whether the head this process knows gets to the position in time.
    async fn reaches(&self, position: LogPosition, limit: Duration) -> bool {
        let mut heads = self.head.subscribe();
        let reached = heads.wait_for(|head| *head >= position);
        matches!(tokio::time::timeout(limit, reached).await, Ok(Ok(_)))
    }

    async fn catch_up(&self, ticked: bool, announced: LogPosition) -> Result<(), LogError> {
        let target = if ticked {
            self.read_head().await?
        } else {
            // An appender of this process publishes the same events itself, a moment later.
            let own = self.appenders.load(Ordering::SeqCst) > 0;
            if own && self.reaches(announced, OWN_PUBLISH).await {
                return Ok(());
            }
            announced
        };
        loop {
            let end = self.tail().end();
            if end >= target {
                self.advance_head(end);
                return Ok(());
            }
            if target.0 - end.0 > MAX_CATCH_UP {
                self.publish(target, Vec::new());
                return Ok(());
            }
            let events = self.read_database(end, usize::try_from(MAX_CATCH_UP).unwrap_or(usize::MAX)).await?;
            if events.is_empty() {
                return Ok(());
            }
            self.publish(end, events);
        }
    }
}
