//! What the node that folds tells the others: each move of the checkpoint, by `NOTIFY`, after its commit.
//!
//! It is sent beside the folding, over a connection of its own: a notifying commit waits for that of an append, and the
//! fold should not. While one is on its way, what follows is joined into the next. Nothing is sent while nobody listens.
//!
//! An announcement says two facts of the log that stay true whoever folds: up to `written` the rows were committed, and
//! from there to `log_position` no event changes a row. So one that comes late, twice or from a node that no longer folds
//! harms nobody; one that is lost is made up for by looking at the database.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use event_store::LogPosition;
use event_store::announcements::{MAX_PAYLOAD_BYTES, announce};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{EngineError, live};
use crate::changes::Changed;

/// The channel.
pub(super) const CHANNEL: &str = "read_models_moved";

/// Changes that are told one by one; of more than these it is only told that there were some.
const MAX_CHANGED: usize = 256;
/// How long PostgreSQL may take to pass one on.
const PATIENCE: Duration = Duration::from_secs(5);
/// The pause before another attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// A move of the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    /// The session that folds, by its process in PostgreSQL.
    pub(super) folder: i32,
    /// As [`Progress::generation`](super::Progress).
    pub(super) generation: i64,
    /// How many projections have stopped; where another number is known, one has to look.
    pub(super) stopped: usize,
    /// The checkpoint.
    pub(super) log_position: LogPosition,
    /// The same in the database.
    pub(super) written: LogPosition,
    /// What has changed, each once; absent when it is too much to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) changed: Option<Vec<Changed>>,
}

impl Moved {
    /// As it is sent, without what would not fit.
    fn to_payload(&self) -> Result<String, serde_json::Error> {
        let payload = serde_json::to_string(self)?;
        if payload.len() <= MAX_PAYLOAD_BYTES {
            return Ok(payload);
        }
        serde_json::to_string(&Self { changed: None, ..self.clone() })
    }

    /// This one and then a newer one, as one.
    fn join(self, newer: Self) -> Self {
        let both = self.changed.zip(newer.changed).map(|(mut all, more)| {
            let known: HashSet<Changed> = all.iter().cloned().collect();
            all.extend(more.into_iter().filter(|changed| !known.contains(changed)));
            all
        });
        let changed = both.filter(|all| all.len() <= MAX_CHANGED);
        // Where folding began anew, the newer one counts: a crash may have taken the place back.
        Self { changed, ..newer }
    }
}

/// Announces moves. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcer(Arc<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    moved: Mutex<Option<Moved>>,
    wake: Notify,
}

impl Announcer {
    /// Has the move sent soon.
    pub(super) fn say(&self, moved: Moved) {
        let mut waiting = self.lock();
        let joined = match waiting.take() {
            Some(older) => older.join(moved),
            None => moved,
        };
        *waiting = Some(joined);
        drop(waiting);
        self.0.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Option<Moved>> {
        // It holds nothing half changed.
        self.0.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is said until the shutdown.
    pub(super) async fn run(self, pool: PgPool, shutdown: CancellationToken) {
        let sending = async {
            let mut connection = None;
            loop {
                self.0.wake.notified().await;
                let Some(moved) = self.lock().take() else { continue };
                let sent = tokio::time::timeout(PATIENCE, send(&pool, &mut connection, &moved)).await;
                if matches!(sent, Ok(Ok(()))) {
                    continue;
                }
                match sent {
                    Ok(Err(error)) => {
                        tracing::debug!(%error, "the checkpoint cannot be announced, trying again")
                    }
                    _ => tracing::debug!("the checkpoint is not announced in time, trying again"),
                }
                connection = None;
                tokio::time::sleep(PAUSE).await;
                let mut waiting = self.lock();
                *waiting = Some(match waiting.take() {
                    Some(newer) => moved.join(newer),
                    None => moved,
                });
                drop(waiting);
                self.0.wake.notify_one();
            }
        };
        let _: Option<()> = shutdown.run_until_cancelled(sending).await;
    }
}

async fn send(
    pool: &PgPool,
    connection: &mut Option<PgConnection>,
    moved: &Moved,
) -> Result<(), EngineError> {
    let payload = moved.to_payload().map_err(|error| sqlx::Error::Encode(error.into()))?;
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(live::connect(pool).await?),
    };
    announce(connection, CHANNEL, &payload).await?;
    metrics::counter!("daybook_projection_announcements_total").increment(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use domain::ids::{AccountId, Symbol};

    use super::*;

    fn moved(log_position: u64, changed: Vec<Changed>) -> Moved {
        let log_position = LogPosition(log_position);
        Moved {
            folder: 7,
            generation: 1,
            stopped: 0,
            log_position,
            written: log_position,
            changed: Some(changed),
        }
    }

    fn account(number: usize) -> Changed {
        Changed::Account(AccountId::new(format!("account-{number:060}").as_str()))
    }

    #[test]
    fn a_move_arrives_as_it_was_said() {
        let symbol: Symbol = "BTC-USDT".parse().unwrap();
        let said = moved(12, vec![account(1), Changed::Market(symbol)]);
        let heard: Moved = serde_json::from_str(&said.to_payload().unwrap()).unwrap();
        assert_eq!(heard, said);
    }

    #[test]
    fn what_does_not_fit_into_a_payload_is_told_without_what_has_changed() {
        let said = moved(12, (0..200).map(account).collect());
        let payload = said.to_payload().unwrap();
        assert!(payload.len() <= MAX_PAYLOAD_BYTES);
        let heard: Moved = serde_json::from_str(&payload).unwrap();
        assert_eq!(heard, Moved { changed: None, ..said });
    }

    #[test]
    fn moves_that_wait_are_told_as_one_with_each_change_once() {
        let both = moved(1, vec![account(1), account(2)]).join(moved(2, vec![account(2), account(3)]));
        assert_eq!(both, moved(2, vec![account(1), account(2), account(3)]));
        let many =
            moved(1, (0..MAX_CHANGED).map(account).collect()).join(moved(2, vec![account(MAX_CHANGED)]));
        assert_eq!(many.changed, None);
    }
}
