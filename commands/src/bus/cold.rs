//! Cold streams: loaded beside the path of the decisions, several of one type at a time, from snapshots and the events
//! after them.

use std::borrow::Cow;
use std::sync::Arc;

use domain::{AnyEvent, UnknownEvent};
use event_store::{RecordedEvent, StreamId};
use futures::TryStreamExt;
use sqlx::PgPool;
use thiserror::Error;

use crate::aggregates::{Install, Kept, Slot};

/// Why one stream cannot be loaded, however often it is tried.
#[derive(Debug, Error)]
pub(crate) enum ColdLoadError {
    /// The database is damaged, or was restored in part.
    #[error("stream {stream} is damaged: expected sequence {expected}, found {found}")]
    Damaged { stream: StreamId, expected: u64, found: u64 },
    /// An event was written by another version of Daybook.
    #[error("event {sequence} of stream {stream} cannot be read: {error}")]
    UnknownEvent { stream: StreamId, sequence: u64, error: Box<UnknownEvent> },
    /// No aggregate has this type.
    #[error("there is no aggregate of type {0} here")]
    UnknownType(Cow<'static, str>),
}

/// The streams that were asked for, each in memory or not.
pub(crate) type Loaded = Vec<(Arc<str>, Result<Install, ColdLoadError>)>;

/// The fold of one stream, as far as it is read.
struct Fold<A> {
    state: A,
    sequence: u64,
}

impl<A: Kept> Fold<A> {
    fn add(&mut self, event: &RecordedEvent) -> Result<(), ColdLoadError> {
        let expected = self.sequence + 1;
        if event.sequence != expected {
            let stream = event.stream();
            return Err(ColdLoadError::Damaged { stream, expected, found: event.sequence });
        }
        let decoded =
            AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload);
        let decoded = decoded.map_err(|error| ColdLoadError::UnknownEvent {
            stream: event.stream(),
            sequence: event.sequence,
            error: Box::new(error),
        })?;
        let Some(decoded) = A::event_of(decoded) else {
            return Err(ColdLoadError::UnknownType(event.aggregate_type.clone()));
        };
        self.state.apply(&decoded);
        self.sequence = expected;
        Ok(())
    }
}

/// Loads aggregates of one type.
///
/// # Errors
/// When PostgreSQL does not answer; trying again can help.
pub(crate) async fn load<A: Kept>(pool: PgPool, ids: Vec<Arc<str>>) -> Result<Loaded, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let snapshots = event_store::load_snapshots(&mut connection, A::TYPE, &ids, A::STATE_VERSION).await?;
    let mut folds: Vec<Result<Fold<A>, ColdLoadError>> =
        ids.iter().map(|_| Ok(Fold { state: A::default(), sequence: 0 })).collect();
    for (place, snapshot) in snapshots {
        match (serde_json::from_str(&snapshot.state), folds.get_mut(place)) {
            (Ok(state), Some(fold)) => *fold = Ok(Fold { state, sequence: snapshot.sequence }),
            (Ok(_), None) => {}
            (Err(error), _) => {
                let id = ids.get(place);
                tracing::warn!(aggregate_type = A::TYPE, ?id, %error, "a snapshot cannot be read; loading the stream from its start");
            }
        }
    }
    let after: Vec<u64> = folds.iter().map(|fold| fold.as_ref().map_or(0, |fold| fold.sequence)).collect();
    let streams = ids.iter().map(AsRef::as_ref).zip(after);
    let mut events = std::pin::pin!(event_store::load_events(&mut connection, A::TYPE, streams));
    while let Some((place, event)) = events.try_next().await? {
        if let Some(fold) = folds.get_mut(place)
            && let Ok(so_far) = fold
            && let Err(error) = so_far.add(&event)
        {
            *fold = Err(error);
        }
    }
    let install = |id: Arc<str>, fold: Fold<A>| -> Install {
        Box::new(move |aggregates, batch| {
            A::shelf_mut(aggregates).load(Slot::loaded(id, fold.state, fold.sequence, batch));
        })
    };
    let loaded = ids.iter().zip(folds).map(|(id, fold)| {
        let installed = fold.map(|fold| install(Arc::clone(id), fold));
        (Arc::clone(id), installed)
    });
    Ok(loaded.collect())
}
