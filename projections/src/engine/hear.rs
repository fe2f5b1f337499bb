//! Hears on every node what the one that folds announces, so that a read need not ask the database how far it is.

use std::time::Duration;

use event_store::announcements::{Heard, Listener};
use sqlx::PgPool;

use super::announce::{CHANNEL, Moved};
use super::folder;
use super::live::Leader;
use crate::changes::{Changed, Changes};

/// How long the database may take to say how far it is.
const PATIENCE: Duration = Duration::from_secs(5);

impl Leader {
    /// Listens until the shutdown.
    pub(crate) async fn hear(self) {
        let mut listener = Listener::new(&self.pool, CHANNEL, folder::LISTENER);
        let hearing = async {
            loop {
                match listener.next().await {
                    Heard::Listening { backend } => {
                        self.reign.set_listener(backend);
                        let looked = self.look_again().await;
                        self.progress.send_modify(|progress| progress.hearing = looked);
                    }
                    Heard::Lost => self.progress.send_modify(|progress| progress.hearing = false),
                    Heard::Said(payload) => match serde_json::from_str::<Moved>(&payload) {
                        Ok(moved) => self.take_in(moved).await,
                        // A node of another version: the look at the database makes up for it.
                        Err(error) => tracing::debug!(%error, "an announcement cannot be read"),
                    },
                }
            }
        };
        let _: Option<()> = self.shutdown.run_until_cancelled(hearing).await;
    }

    /// Reads how far the database is; false when it does not answer.
    async fn look_again(&self) -> bool {
        let looking = async { self.watch(&mut *self.pool.acquire().await?).await };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::debug!(%error, "how far the read models are cannot be read");
                false
            }
            Err(_) => false,
        }
    }

    async fn take_in(&self, moved: Moved) {
        if let Some((session, reign)) = self.reign.folder() {
            if moved.folder != session && !holds_the_lock(&self.pool, session).await {
                reign.cancel();
            }
            return;
        }
        let is_known = {
            let progress = self.progress.borrow();
            progress.generation == moved.generation && progress.stopped() == moved.stopped
        };
        if !is_known {
            let looked = self.look_again().await;
            self.progress.send_modify(|progress| progress.hearing = looked);
        }
        let mut advanced = false;
        self.progress.send_if_modified(|progress| {
            let fits = progress.generation == moved.generation && progress.stopped() == moved.stopped;
            if progress.leading || !fits {
                return false;
            }
            let before = (progress.log_position, progress.written);
            progress.advance(moved.log_position, moved.written);
            advanced = (progress.log_position, progress.written) != before;
            advanced
        });
        let changed = moved.changed.unwrap_or_else(|| vec![Changed::Unknown]);
        if !changed.is_empty() {
            let _ = self.changes.send(Changes { log_position: moved.log_position, changed: changed.into() });
        }
    }
}

/// Whether the session still is the one that folds. If that cannot be told, the session itself will find out.
async fn holds_the_lock(pool: &PgPool, session: i32) -> bool {
    let asking = async { folder::folds(&mut *pool.acquire().await?, session).await };
    matches!(tokio::time::timeout(PATIENCE, asking).await, Ok(Ok(true)) | Ok(Err(_)) | Err(_))
}
