//! States of long streams, so that a cold load need not read them from the start. They can be emptied at any time.

use sqlx::PgPool;

use crate::StreamId;

/// The state of an aggregate after one of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Sequence of the last event in it.
    pub sequence: u64,
    /// JSON text.
    pub state: String,
}

/// A snapshot to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Whose state it is.
    pub stream: StreamId,
    /// Sequence of the last event in it; that event must be durable.
    pub sequence: u64,
    /// JSON text.
    pub state: String,
}

/// Keeps the newest snapshot of each stream, in one version of the state's shape. [`crate::load_snapshots`] reads them.
#[derive(Clone, Debug)]
pub struct Snapshots {
    pool: PgPool,
    state_version: i32,
}

impl Snapshots {
    /// Works through the application's pool. Raise `state_version` whenever the shape of a state, or what `apply` makes
    /// of an event, changes: snapshots of another version are ignored and in time overwritten.
    pub fn new(pool: PgPool, state_version: u16) -> Self {
        Self { pool, state_version: i32::from(state_version) }
    }

    /// Keeps the snapshots in one statement; an older one never replaces a newer one of the same version. Name each
    /// stream once.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or a state is not JSON.
    pub async fn save(&self, snapshots: &[NewSnapshot]) -> Result<(), sqlx::Error> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let types: Vec<&str> = snapshots.iter().map(|s| &*s.stream.aggregate_type).collect();
        let ids: Vec<&str> = snapshots.iter().map(|s| &*s.stream.aggregate_id).collect();
        let sequences: Vec<i64> =
            snapshots.iter().map(|s| i64::try_from(s.sequence).unwrap_or(i64::MAX)).collect();
        let states: Vec<&str> = snapshots.iter().map(|s| s.state.as_str()).collect();
        // Sorted, so that two savers take their row locks in the same order.
        sqlx::query(
            "INSERT INTO log.snapshots AS kept (aggregate_type, aggregate_id, sequence, state_version, state) \
             SELECT aggregate_type, aggregate_id, sequence, $5, state::json \
             FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) \
                  AS new (aggregate_type, aggregate_id, sequence, state) \
             ORDER BY aggregate_type COLLATE \"C\", aggregate_id COLLATE \"C\" \
             ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE \
             SET sequence = excluded.sequence, state_version = excluded.state_version, state = excluded.state \
             WHERE kept.state_version <> excluded.state_version OR kept.sequence < excluded.sequence",
        )
        .bind(types)
        .bind(ids)
        .bind(sequences)
        .bind(states)
        .bind(self.state_version)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
