//! Pages of events for an auditor: by stream, type and time, in both directions.
//!
//! The log has no index beside its position and its streams, so a filter by type alone looks through a stretch of the
//! log. Each call looks at no more than [`SCAN_EVENTS`] events and says how far it got.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder, Row};

use super::{Log, LogError, sql_limit};
use crate::{LogPosition, RecordedEvent, StreamId};

/// Events that one statement looks at.
const CHUNK_EVENTS: u64 = 20_000;
/// Events that one call looks at before it answers with what it has.
pub const SCAN_EVENTS: u64 = 1_000_000;

/// Which events to show; what is absent does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only streams of this type.
    pub aggregate_type: Option<String>,
    /// Only streams with this id; quick together with the type.
    pub aggregate_id: Option<String>,
    /// Only events of these types; empty for all.
    pub event_types: Vec<String>,
    /// Only events recorded at or after.
    pub recorded_from: Option<DateTime<Utc>>,
    /// Only events recorded before.
    pub recorded_before: Option<DateTime<Utc>>,
}

/// Which stretch of the filtered events to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Only events after this position.
    pub after: Option<LogPosition>,
    /// Only events before this position.
    pub before: Option<LogPosition>,
    /// At most so many.
    pub limit: usize,
    /// From the newest down instead of from the oldest up.
    pub newest_first: bool,
}

impl PageRequest {
    /// The first so many events after a position.
    pub fn forward(after: LogPosition, limit: usize) -> Self {
        Self { after: Some(after), before: None, limit, newest_first: false }
    }

    /// The last so many events before a position, newest first; of the whole log without one.
    pub fn backward(before: Option<LogPosition>, limit: usize) -> Self {
        Self { after: None, before, limit, newest_first: true }
    }
}

/// A page of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventPage {
    /// In the order asked for.
    pub events: Vec<RecordedEvent>,
    /// Whether there may be more: ask again from [`EventPage::scanned_to`]. A page can be short, even empty, and still
    /// have more, when matches are rare.
    pub has_more: bool,
    /// How far it looked: `after` of the next page when oldest first, `before` when newest first.
    pub scanned_to: LogPosition,
}

/// Positions still to be looked at: after `low`, up to and including `high`.
#[derive(Clone, Copy)]
struct Span {
    low: u64,
    high: u64,
}

impl Span {
    /// The next part to look at, and what is left then.
    fn split(self, newest_first: bool, events: u64) -> (Self, Self) {
        if newest_first {
            let cut = self.low.max(self.high.saturating_sub(events));
            (Self { low: cut, ..self }, Self { high: cut, ..self })
        } else {
            let cut = self.high.min(self.low.saturating_add(events));
            (Self { high: cut, ..self }, Self { low: cut, ..self })
        }
    }

    fn is_empty(self) -> bool {
        self.low >= self.high
    }
}

impl Log {
    /// A page of the events that pass the filter, up to the head this process knows.
    ///
    /// # Errors
    /// When PostgreSQL does not answer.
    pub async fn page(&self, filter: &EventFilter, request: PageRequest) -> Result<EventPage, LogError> {
        let limit = request.limit.clamp(1, super::MAX_READ_EVENTS);
        let mut left = self.span(filter, &request).await?;
        let one_stream = filter.stream();
        let mut budget = SCAN_EVENTS;
        let mut events: Vec<RecordedEvent> = Vec::new();
        while !left.is_empty() && budget > 0 && events.len() < limit {
            // The index finds the events of one stream wherever they are.
            let width = if one_stream.is_some() { u64::MAX } else { CHUNK_EVENTS.min(budget) };
            let (part, rest) = left.split(request.newest_first, width);
            let found = self
                .page_part(filter, one_stream.as_ref(), part, request.newest_first, limit - events.len())
                .await?;
            events.extend(found);
            budget = budget.saturating_sub(part.high - part.low);
            left = rest;
        }
        // The last part may hold more than was taken from it.
        let filled = events.last().filter(|_| events.len() >= limit).map(|event| event.log_position);
        let boundary =
            if request.newest_first { LogPosition(left.high).next() } else { LogPosition(left.low) };
        let scanned_to = filled.unwrap_or(boundary);
        Ok(EventPage { has_more: filled.is_some() || !left.is_empty(), scanned_to, events })
    }

    /// The positions that cursors and times leave.
    async fn span(&self, filter: &EventFilter, request: &PageRequest) -> Result<Span, LogError> {
        let mut low = request.after.map_or(0, |after| after.0);
        let mut high = self.head().0;
        if let Some(before) = request.before {
            high = high.min(before.0.saturating_sub(1));
        }
        // PostgreSQL keeps microseconds, so the moment before `t` is `t` less one.
        let just_before = |moment: DateTime<Utc>| moment - chrono::TimeDelta::microseconds(1);
        if let Some(from) = filter.recorded_from {
            low = low.max(self.position_at(just_before(from)).await?.0);
        }
        if let Some(before) = filter.recorded_before {
            high = high.min(self.position_at(just_before(before)).await?.0);
        }
        Ok(Span { low, high })
    }

    async fn page_part(
        &self,
        filter: &EventFilter,
        one_stream: Option<&StreamId>,
        part: Span,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, LogError> {
        let (low, high) = (LogPosition(part.low).to_sql(), LogPosition(part.high).to_sql());
        let mut query = QueryBuilder::<Postgres>::new("SELECT ");
        query.push(RecordedEvent::COLUMNS).push(" FROM log.events WHERE log_position > ").push_bind(low);
        query.push(" AND log_position <= ").push_bind(high);
        if let Some(aggregate_type) = &filter.aggregate_type {
            query.push(" AND aggregate_type = ").push_bind(aggregate_type);
        }
        if let Some(aggregate_id) = &filter.aggregate_id {
            query.push(" AND aggregate_id = ").push_bind(aggregate_id);
        }
        if !filter.event_types.is_empty() {
            query.push(" AND event_type = ANY (").push_bind(&filter.event_types).push(")");
        }
        if let Some(stream) = one_stream {
            // A cursor that is an event of the stream becomes a bound on the index.
            if let Some(sequence) = self.sequence_at(stream, LogPosition(part.low)).await? {
                query.push(" AND sequence > ").push_bind(sequence);
            }
            if let Some(sequence) = self.sequence_at(stream, LogPosition(part.high).next()).await? {
                query.push(" AND sequence < ").push_bind(sequence);
            }
            query.push(" ORDER BY sequence");
        } else {
            query.push(" ORDER BY log_position");
        }
        query.push(if newest_first { " DESC LIMIT " } else { " LIMIT " }).push_bind(sql_limit(limit));
        let rows = query.build().fetch_all(self.pool()).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>()?)
    }

    async fn sequence_at(&self, stream: &StreamId, position: LogPosition) -> Result<Option<i64>, LogError> {
        let row = sqlx::query(
            "SELECT sequence FROM log.events \
             WHERE log_position = $1 AND aggregate_type = $2 AND aggregate_id = $3",
        )
        .bind(position.to_sql())
        .bind(&*stream.aggregate_type)
        .bind(&*stream.aggregate_id)
        .fetch_optional(self.pool())
        .await?;
        Ok(row.map(|row| row.try_get("sequence")).transpose()?)
    }
}

impl EventFilter {
    /// The stream, when the filter names exactly one.
    fn stream(&self) -> Option<StreamId> {
        let (aggregate_type, aggregate_id) = self.aggregate_type.clone().zip(self.aggregate_id.clone())?;
        Some(StreamId::new(aggregate_type, aggregate_id))
    }
}
