//! Which node folds: the one whose session holds an advisory lock, as long as that session is heard of.
//!
//! The lock goes with the session, so a folder that is killed is succeeded at once. One that is frozen or cut off keeps
//! its session; but the folder asks the database something twice a second, so its session shows when it was last active.
//! One that has been silent for [`SILENCE`] is ended by whoever waits: its transaction is rolled back, and when it wakes
//! it finds that it cannot write any more. All of this is judged by PostgreSQL and its clock, and costs no write.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::checkpoint::LEADER_LOCK;

/// The name under which nodes listen for moves of the checkpoint.
pub(super) const LISTENER: &str = "daybook projections listener";

/// A folding session that was not active for so long has ceased to fold. The folder is active every
/// [`LOOK`](super::live::LOOK).
const SILENCE: Duration = Duration::from_secs(2);

/// Tries to become the one who folds, for as long as the session lasts.
pub(super) async fn try_to_fold(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    if try_lock(connection).await? {
        return Ok(true);
    }
    // Not while PostgreSQL itself works for it. Its process may wait for the client in the middle of a statement.
    let ended: Option<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(s.pid, 1000) FROM pg_stat_activity s JOIN pg_locks l ON l.pid = s.pid \
         WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.database = s.datid \
           AND s.datname = current_database() AND (l.classid::bigint << 32) | l.objid::bigint = $1 \
           AND s.state_change < clock_timestamp() - $2 * interval '1 millisecond' \
           AND (s.state <> 'active' OR s.wait_event_type = 'Client') LIMIT 1",
    )
    .bind(LEADER_LOCK)
    .bind(i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX))
    .fetch_optional(&mut *connection)
    .await?;
    if ended.is_none() {
        return Ok(false);
    }
    tracing::warn!("the node that folded was silent for too long; its session is ended");
    metrics::counter!("daybook_projection_takeovers_total").increment(1);
    try_lock(connection).await
}

async fn try_lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LEADER_LOCK).fetch_one(connection).await
}

/// Whether the session with this process is the one that folds.
pub(super) async fn folds(connection: &mut PgConnection, session: i32) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
         AND (l.classid::bigint << 32) | l.objid::bigint = $1 AND l.pid = $2)",
    )
    .bind(LEADER_LOCK)
    .bind(session)
    .fetch_one(connection)
    .await
}

/// The session over which this process folds, while it does, and the session that listens for others who do.
#[derive(Clone, Debug, Default)]
pub(super) struct Reign(Arc<Mutex<Sessions>>);

#[derive(Clone, Debug, Default)]
struct Sessions {
    folder: Option<(i32, CancellationToken)>,
    listener: i32,
}

impl Reign {
    fn sessions<T>(&self, with: impl FnOnce(&mut Sessions) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self, session: i32) -> CancellationToken {
        let end = CancellationToken::new();
        self.sessions(|sessions| sessions.folder = Some((session, end.clone())));
        end
    }

    pub(super) fn end(&self) {
        self.sessions(|sessions| sessions.folder = None);
    }

    pub(super) fn set_listener(&self, session: i32) {
        self.sessions(|sessions| sessions.listener = session);
    }

    pub(super) fn listener(&self) -> i32 {
        self.sessions(|sessions| sessions.listener)
    }

    /// The session over which this process folds, and what ends it.
    pub(super) fn folder(&self) -> Option<(i32, CancellationToken)> {
        self.sessions(|sessions| sessions.folder.clone())
    }
}
