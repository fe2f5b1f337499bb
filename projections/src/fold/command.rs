//! The events of the log as a fold sees them: decoded, and by whole commands.

use std::sync::Arc;

use domain::{AnyEvent, Timestamp, UnknownEvent};
use event_store::{LogPosition, RecordedEvent};

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) log_position: LogPosition,
    /// Id of the aggregate it happened to.
    pub(crate) stream: Arc<str>,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    pub(crate) recorded_at: Timestamp,
    pub(crate) event: AnyEvent,
}

/// The events of one command, in their order; at least one.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) facts: Vec<Fact>,
    /// JSON text, of its first event.
    pub(crate) metadata: Arc<str>,
}

impl Command {
    /// Position of its last event, where a reader may stop.
    pub(crate) fn end(&self) -> LogPosition {
        self.facts.last().map_or(LogPosition::ZERO, |fact| fact.log_position)
    }

    /// Position of its first event.
    pub(crate) fn start(&self) -> LogPosition {
        self.facts.first().map_or(LogPosition::ZERO, |fact| fact.log_position)
    }
}

/// The commands of some events that end with a whole command. At the first event that cannot be decoded it stops and
/// says so; the command it belongs to is left out.
pub(crate) fn commands_of(events: &[RecordedEvent]) -> (Vec<Command>, Option<(LogPosition, UnknownEvent)>) {
    let mut commands = Vec::new();
    let mut facts = Vec::new();
    let mut metadata = None;
    for event in events {
        let decoded =
            AnyEvent::decode(&event.aggregate_type, &event.event_type, &event.event_version, &event.payload);
        match decoded {
            Ok(decoded) => facts.push(Fact {
                log_position: event.log_position,
                stream: Arc::clone(&event.aggregate_id),
                sequence: event.sequence,
                recorded_at: event.recorded_at,
                event: decoded,
            }),
            Err(unknown) => return (commands, Some((event.log_position, unknown))),
        }
        let first = metadata.get_or_insert_with(|| Arc::clone(&event.metadata));
        if event.ends_command() {
            let metadata = Arc::clone(first);
            commands.push(Command { facts: std::mem::take(&mut facts), metadata });
        }
        if facts.is_empty() {
            metadata = None;
        }
    }
    (commands, None)
}
