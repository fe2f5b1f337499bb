//! Cold streams: loaded beside the path of the decisions, from a snapshot and the events after it.

use std::sync::Arc;

use cqrs_es::DomainEvent;
use cqrs_es::persist::PersistenceError;
use event_store::{LoadError, Snapshots, StreamId};
use sqlx::PgPool;
use thiserror::Error;

use crate::aggregates::{Install, Kept, Slot};

/// Why a stream cannot be loaded.
#[derive(Debug, Error)]
pub(crate) enum ColdLoadError {
    /// PostgreSQL does not answer, or the stream is damaged.
    #[error(transparent)]
    Stream(#[from] LoadError),
    /// PostgreSQL does not answer.
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(#[from] sqlx::Error),
    /// An event was written by another version of Daybook.
    #[error(
        "event {sequence} of {stream}, {event_type} of version {event_version}, cannot be read: {reason}"
    )]
    UnknownEvent {
        stream: StreamId,
        sequence: usize,
        event_type: String,
        event_version: String,
        reason: String,
    },
    /// No aggregate has this type.
    #[error("there is no aggregate of type {0}")]
    UnknownType(&'static str),
}

impl ColdLoadError {
    /// Whether trying again can help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Snapshot(_) => true,
            Self::Stream(LoadError::Repository(error)) => {
                matches!(error, PersistenceError::ConnectionError(_) | PersistenceError::UnknownError(_))
            }
            _ => false,
        }
    }
}

/// Loads one aggregate.
pub(crate) async fn load<A: Kept>(pool: PgPool, id: Arc<str>) -> Result<Install, ColdLoadError> {
    let stream = StreamId::new(A::TYPE, id.as_ref());
    let snapshot = Snapshots::new(pool.clone(), A::STATE_VERSION).load(&stream).await?;
    let (mut state, mut sequence) = match snapshot {
        None => (A::default(), 0),
        Some(snapshot) => match serde_json::from_str(&snapshot.state) {
            Ok(state) => (state, snapshot.sequence),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot cannot be read; loading the stream from its start");
                (A::default(), 0)
            }
        },
    };
    for event in A::events_after(&pool, &id, sequence).await? {
        let unknown = |reason: String| ColdLoadError::UnknownEvent {
            stream: stream.clone(),
            sequence: event.sequence,
            event_type: event.event_type.clone(),
            event_version: event.event_version.clone(),
            reason,
        };
        let decoded: A::Event =
            serde_json::from_value(event.payload.clone()).map_err(|error| unknown(error.to_string()))?;
        if decoded.event_type() != event.event_type || decoded.event_version() != event.event_version {
            return Err(unknown("its type or version is not known".to_owned()));
        }
        state.apply(&decoded);
        sequence = event.sequence as u64;
    }
    Ok(Box::new(move |aggregates, batch| {
        A::shelf_mut(aggregates).load(id, Slot::loaded(state, sequence, batch));
    }))
}
