//! Keeps the head and the tail buffer at what other nodes append.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Inner;
use crate::{LogError, LogPosition};

/// The channel on which an append announces its end, as digits.
const CHANNEL: &str = "log_appended";

/// Above this distance the tail buffer starts anew at the head; whoever is behind reads the database.
const MAX_CATCH_UP: u64 = 8_192;

pub(super) fn start(inner: &Arc<Inner>, poll: Duration) -> Vec<AbortHandle> {
    let announced = watch::Sender::new(LogPosition::ZERO);
    let seen = announced.subscribe();
    vec![
        tokio::spawn(listen(inner.pool.clone(), announced)).abort_handle(),
        tokio::spawn(catch_up(Arc::downgrade(inner), seen, poll)).abort_handle(),
    ]
}

/// Passes announcements on. A lost connection loses some of them; the poll makes up for that.
async fn listen(pool: PgPool, announced: watch::Sender<LogPosition>) {
    let listening = async {
        loop {
            if let Err(error) = listen_once(&pool, &announced).await {
                tracing::debug!(%error, "listening for appends failed, trying again");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::select! {
        () = pool.close_event() => {}
        () = listening => {}
    }
}

async fn listen_once(pool: &PgPool, announced: &watch::Sender<LogPosition>) -> Result<(), sqlx::Error> {
    // A connection of its own: one of the caller's pool would be missing there, and would go back to it in the middle
    // of a message when this task is ended.
    let options = pool.connect_options().as_ref().clone().application_name("daybook listener");
    let own = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    loop {
        let notification = listener.recv().await?;
        if let Ok(position) = notification.payload().parse::<LogPosition>() {
            announced.send_if_modified(|newest| {
                let advances = *newest < position;
                *newest = position.max(*newest);
                advances
            });
        }
    }
}

async fn catch_up(inner: Weak<Inner>, mut announced: watch::Receiver<LogPosition>, poll: Duration) {
    let mut ticks = tokio::time::interval(poll);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let ticked = tokio::select! {
            _ = ticks.tick() => true,
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
        if let Err(error) = inner.catch_up(ticked, position).await {
            tracing::warn!(%error, "the end of the log cannot be read, trying again");
        }
    }
}

impl Inner {
    async fn catch_up(&self, ticked: bool, announced: LogPosition) -> Result<(), LogError> {
        // An appender of this process publishes the same events itself, a moment later.
        let own = self.appenders.load(Ordering::SeqCst) > 0;
        let target = if ticked {
            self.read_head().await?
        } else if own {
            return Ok(());
        } else {
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
