//! Turns decided units of work into what the log keeps: rows with JSON and ids. This happens on a batch's way to its
//! connection, so it takes no time of the decider's.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::Timestamp;
use event_store::{AppendError, Batch, CommandWrite, KeyRow, LogPosition, NewEvent, StreamId};
use serde::Serialize;
use uuid::Uuid;

use super::decide::Decided;
use super::item::Ask;

/// A request that had waited this long when it was decided has its arrival in the events' metadata.
const LATE: TimeDelta = TimeDelta::seconds(1);

/// The batch of these units of work, decided at `recorded_at`, to be appended after a log position.
///
/// # Errors
/// [`AppendError::Refused`] names the first unit of work that has no JSON form.
pub(super) fn batch(
    after: LogPosition,
    recorded_at: Timestamp,
    decided: &[Decided],
) -> Result<Batch, AppendError> {
    let mut ids = Ids::new();
    let mut json = Json::default();
    let mut commands = Vec::with_capacity(decided.len());
    for (place, decided) in decided.iter().enumerate() {
        commands.push(write(decided, recorded_at, &mut ids, &mut json).map_err(|error| {
            AppendError::Refused { command: Some(place), detail: format!("it has no JSON form: {error}") }
        })?);
    }
    Ok(Batch { after, recorded_at, commands })
}

fn write(
    decided: &Decided,
    now: Timestamp,
    ids: &mut Ids,
    json: &mut Json,
) -> serde_json::Result<CommandWrite> {
    let mut keys = Vec::with_capacity(decided.item.asks.len());
    for (ask, verdict) in decided.item.asks.iter().zip(&decided.verdicts) {
        if let (true, Ok(outcome)) = (verdict.remembered, &verdict.result) {
            keys.push(KeyRow {
                principal: Arc::clone(&ask.request.principal.name),
                key: ask.request.idempotency_key.clone(),
                command_hash: ask.hash,
                outcome: json.of(outcome)?.to_owned(),
            });
        }
    }
    let mut events = Vec::with_capacity(decided.events.len());
    for (ask, verdict) in decided.item.asks.iter().zip(&decided.verdicts) {
        let Some(own) = decided.events.get(events.len()..verdict.end).filter(|own| !own.is_empty()) else {
            continue;
        };
        let metadata: Arc<str> = json.of(&metadata(ask, decided.item.arrived, now, ids.next()))?.into();
        for decided in own {
            events.push(NewEvent {
                stream: StreamId::new(decided.aggregate_type, Arc::clone(&decided.aggregate_id)),
                sequence: decided.sequence,
                event_id: ids.next(),
                event_type: decided.event.name().into(),
                event_version: decided.event.version().into(),
                payload: json.of(&decided.event)?.into(),
                metadata: Arc::clone(&metadata),
            });
        }
    }
    Ok(CommandWrite { keys, events })
}

/// What is known of the events beside their payload. Narrow, because every event carries it.
#[derive(Serialize)]
struct Metadata<'a> {
    actor: &'a str,
    command_id: Uuid,
    #[serde(skip_serializing_if = "Uuid::is_nil")]
    correlation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
}

fn metadata(ask: &Ask, arrived: Timestamp, now: Timestamp, command_id: Uuid) -> Metadata<'_> {
    Metadata {
        actor: &ask.request.principal.name,
        command_id,
        correlation_id: ask.request.correlation_id,
        occurred_at: (now - arrived > LATE)
            .then(|| arrived.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
    }
}

/// Room to write JSON in, used again and again: what is kept of it is then of the right size at once.
#[derive(Default)]
struct Json(Vec<u8>);

impl Json {
    fn of<T: Serialize>(&mut self, value: &T) -> serde_json::Result<&str> {
        self.0.clear();
        serde_json::to_writer(&mut self.0, value)?;
        std::str::from_utf8(&self.0).map_err(serde::ser::Error::custom)
    }
}

/// UUIDv7s for one batch: the first is random, the others count up from it (RFC 9562, 6.2, method 2).
struct Ids(u128);

impl Ids {
    fn new() -> Self {
        Self(Uuid::now_v7().as_u128())
    }

    fn next(&mut self) -> Uuid {
        // The highest bit of the library's counter starts as 0, so this does not reach version, variant or time.
        self.0 = self.0.wrapping_add(1);
        Uuid::from_u128(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_batch_are_of_version_7_and_grow() {
        let mut ids = Ids::new();
        let ids: Vec<Uuid> = (0..100_000).map(|_| ids.next()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122));
    }
}
