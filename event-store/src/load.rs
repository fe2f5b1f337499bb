//! Cold loads of one stream, through `postgres-es`, with upcasters applied.

use cqrs_es::Aggregate;
use cqrs_es::persist::{EventUpcaster, PersistedEventRepository, PersistenceError, SerializedEvent};
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use thiserror::Error;

/// Why a stream cannot be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// PostgreSQL did not answer, or a row is not what was written.
    #[error("the stream cannot be loaded: {0}")]
    Repository(#[from] PersistenceError),
    /// An event of the stream is missing: the database is damaged, or was restored in part.
    #[error("stream {aggregate_type}/{aggregate_id} is damaged: expected sequence {expected}, found {found}")]
    Damaged {
        /// Type of the aggregate.
        aggregate_type: &'static str,
        /// Id of the aggregate.
        aggregate_id: String,
        /// The next sequence.
        expected: u64,
        /// The sequence that was found.
        found: u64,
    },
}

/// The events of the aggregate after a sequence (0 for all), in order and in their newest version. Empty when it does
/// not exist.
///
/// # Errors
/// [`LoadError`] says whether trying again can help.
pub async fn load_events<A: Aggregate>(
    pool: &PgPool,
    aggregate_id: &str,
    after_sequence: u64,
    upcasters: &[Box<dyn EventUpcaster>],
) -> Result<Vec<SerializedEvent>, LoadError> {
    let repository = PostgresEventRepository::new(pool.clone()).with_tables("log.events", "log.snapshots");
    let events = match usize::try_from(after_sequence).unwrap_or(usize::MAX) {
        0 => repository.get_events::<A>(aggregate_id).await?,
        after => repository.get_last_events::<A>(aggregate_id, after).await?,
    };
    for (event, expected) in events.iter().zip(after_sequence + 1..) {
        if event.sequence as u64 != expected {
            return Err(LoadError::Damaged {
                aggregate_type: A::TYPE,
                aggregate_id: aggregate_id.to_owned(),
                expected,
                found: event.sequence as u64,
            });
        }
    }
    Ok(events.into_iter().map(|event| upcast(event, upcasters)).collect())
}

/// The event in its newest version: every upcaster that can is applied, in order.
pub fn upcast(event: SerializedEvent, upcasters: &[Box<dyn EventUpcaster>]) -> SerializedEvent {
    upcasters.iter().fold(event, |event, upcaster| {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            upcaster.upcast(event)
        } else {
            event
        }
    })
}
