//! Events: as they are handed in, and as they stand in the log.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::LogPosition;

/// What is known about an event beside its payload, a flat map of strings: `command_id`, `correlation_id`,
/// `causation_id` (absent when it equals `command_id`), `actor`, `occurred_at`.
pub type Metadata = BTreeMap<String, String>;

/// Names a stream: the events of one aggregate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// For example `account`.
    pub aggregate_type: Cow<'static, str>,
    /// Unique within the type.
    pub aggregate_id: Arc<str>,
}

impl StreamId {
    /// The stream of the aggregate with this type and id.
    pub fn new(aggregate_type: impl Into<Cow<'static, str>>, aggregate_id: impl Into<Arc<str>>) -> Self {
        Self { aggregate_type: aggregate_type.into(), aggregate_id: aggregate_id.into() }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

/// An event that is not yet in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its place in the stream, from 1; the append fails when the place is taken.
    pub sequence: u64,
    /// UUIDv7, unique.
    pub event_id: Uuid,
    /// Name in the past tense.
    pub event_type: Cow<'static, str>,
    /// Version of the payload's shape.
    pub event_version: Cow<'static, str>,
    /// JSON text, externally tagged; its bytes are kept as they are.
    pub payload: Arc<str>,
    /// JSON text of a [`Metadata`]; the events of one command usually share it.
    pub metadata: Arc<str>,
}

impl NewEvent {
    pub(crate) fn into_recorded(
        self,
        log_position: LogPosition,
        remaining: u16,
        recorded_at: DateTime<Utc>,
    ) -> RecordedEvent {
        let Self { stream, sequence, event_id, event_type, event_version, payload, metadata } = self;
        let StreamId { aggregate_type, aggregate_id } = stream;
        RecordedEvent {
            log_position,
            event_id,
            aggregate_type,
            aggregate_id,
            sequence,
            event_type,
            event_version,
            payload,
            metadata,
            remaining,
            recorded_at,
        }
    }
}

/// An event as it stands in the log, for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Place in the whole log.
    pub log_position: LogPosition,
    /// Unique name.
    pub event_id: Uuid,
    /// Type of the aggregate.
    pub aggregate_type: Cow<'static, str>,
    /// Id of the aggregate.
    pub aggregate_id: Arc<str>,
    /// Place in the stream, from 1.
    pub sequence: u64,
    /// Name in the past tense.
    pub event_type: Cow<'static, str>,
    /// Version of the payload's shape.
    pub event_version: Cow<'static, str>,
    /// JSON text as it was written.
    pub payload: Arc<str>,
    /// JSON text of a [`Metadata`], as it was written.
    pub metadata: Arc<str>,
    /// Events of the same command still to come; 0 on its last.
    pub remaining: u16,
    /// The decider's clock; never moves backward along the log.
    pub recorded_at: DateTime<Utc>,
}

impl RecordedEvent {
    /// The columns that [`RecordedEvent::from_row`] reads, in a `SELECT` from `log.events`.
    pub(crate) const COLUMNS: &str = "log_position, event_id, aggregate_type, aggregate_id, sequence, event_type, \
         event_version, payload::text AS payload, metadata::text AS metadata, remaining, recorded_at";

    pub(crate) fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let places: (i64, i64, i16) =
            (row.try_get("log_position")?, row.try_get("sequence")?, row.try_get("remaining")?);
        Ok(Self {
            log_position: LogPosition::from_sql(places.0),
            sequence: places.1.unsigned_abs(),
            remaining: places.2.unsigned_abs(),
            event_id: row.try_get("event_id")?,
            aggregate_type: Cow::Owned(row.try_get("aggregate_type")?),
            aggregate_id: Arc::from(row.try_get::<&str, _>("aggregate_id")?),
            event_type: Cow::Owned(row.try_get("event_type")?),
            event_version: Cow::Owned(row.try_get("event_version")?),
            payload: Arc::from(row.try_get::<&str, _>("payload")?),
            metadata: Arc::from(row.try_get::<&str, _>("metadata")?),
            recorded_at: row.try_get("recorded_at")?,
        })
    }

    /// The stream it belongs to.
    pub fn stream(&self) -> StreamId {
        StreamId::new(self.aggregate_type.clone(), Arc::clone(&self.aggregate_id))
    }

    /// Whether a reader may stop after it: it is the last of its command.
    pub fn ends_command(&self) -> bool {
        self.remaining == 0
    }

    /// The metadata as a map.
    ///
    /// # Errors
    /// When it is not a flat map of strings.
    pub fn metadata(&self) -> Result<Metadata, serde_json::Error> {
        serde_json::from_str(&self.metadata)
    }

    /// The payload as `E`, without upcasting.
    ///
    /// # Errors
    /// When the payload does not have the shape of `E`.
    pub fn decode<E: DeserializeOwned>(&self) -> Result<E, serde_json::Error> {
        serde_json::from_str(&self.payload)
    }
}
