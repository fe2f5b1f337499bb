//! What one append writes: the events and keys of some commands.

use std::sync::Arc;

use ahash::AHashMap;
use chrono::{DateTime, SubsecRound, Utc};

use crate::clean::escapes_nul;
use crate::{AppendError, LogPosition, NewEvent, RecordedEvent, StreamId};

/// What a command answered, to be kept under the key it carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Who sent the command.
    pub principal: Arc<str>,
    /// The key, unique per principal.
    pub key: String,
    /// SHA-256 of the parsed command.
    pub command_hash: [u8; 32],
    /// JSON text.
    pub outcome: String,
}

/// What one command writes. Its events are never split, neither here nor by a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandWrite {
    /// One a request it answers: none when it carried no key, several when requests were decided as one.
    pub keys: Vec<KeyRow>,
    /// In order; empty for a refusal that is remembered. At most 32,768.
    pub events: Vec<NewEvent>,
}

/// Some commands that commit together, directly after a log position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The head that the batch expects: its first event gets the position after it.
    pub after: LogPosition,
    /// Stamped by the decider; kept to the microsecond.
    pub recorded_at: DateTime<Utc>,
    /// In the order in which they were decided.
    pub commands: Vec<CommandWrite>,
}

impl Batch {
    /// Number of events of all commands.
    pub fn event_count(&self) -> usize {
        self.commands.iter().map(|command| command.events.len()).sum()
    }

    /// The head once the batch is committed.
    pub fn end(&self) -> LogPosition {
        self.after.advance(self.event_count())
    }

    /// The events as they stand in the log once the batch is committed.
    pub fn recorded(&self) -> Vec<RecordedEvent> {
        let mut recorded = Vec::with_capacity(self.event_count());
        for command in &self.commands {
            self.record(command.events.iter().cloned(), &mut recorded);
        }
        recorded
    }

    /// As [`Batch::recorded`], of a batch that is not needed any more: its events are moved.
    pub fn into_recorded(mut self) -> Vec<RecordedEvent> {
        let mut recorded = Vec::with_capacity(self.event_count());
        for command in std::mem::take(&mut self.commands) {
            self.record(command.events.into_iter(), &mut recorded);
        }
        recorded
    }

    /// Adds the events of the next command to those before it.
    fn record(&self, events: impl ExactSizeIterator<Item = NewEvent>, recorded: &mut Vec<RecordedEvent>) {
        let (count, recorded_at) = (events.len(), self.recorded_at());
        for (place, event) in events.enumerate() {
            let log_position = self.after.advance(recorded.len() + 1);
            recorded.push(event.into_recorded(log_position, following(count, place), recorded_at));
        }
    }

    /// `recorded_at` at the precision PostgreSQL keeps, so that it compares equal to what is read back.
    pub(crate) fn recorded_at(&self) -> DateTime<Utc> {
        self.recorded_at.trunc_subsecs(6)
    }

    pub(crate) fn first_event(&self) -> Option<&NewEvent> {
        self.commands.iter().find_map(|command| command.events.first())
    }

    pub(crate) fn first_key(&self) -> Option<&KeyRow> {
        self.commands.iter().find_map(|command| command.keys.first())
    }

    /// The keys in the order of their index, each with the position of its command's last event: neighbours share pages,
    /// so PostgreSQL finds their places quicker. A key of a refusal has no position.
    pub(crate) fn sorted_keys(&self) -> Vec<(&KeyRow, Option<LogPosition>)> {
        let mut log_position = self.after;
        let mut keys = Vec::new();
        for command in &self.commands {
            log_position = log_position.advance(command.events.len());
            let position = (!command.events.is_empty()).then_some(log_position);
            keys.extend(command.keys.iter().map(|row| (row, position)));
        }
        keys.sort_unstable_by_key(|(row, _)| (&*row.key, &*row.principal));
        keys
    }

    /// Finds what the database would refuse or could not notice, before anything is sent.
    pub(crate) fn check(&self) -> Result<(), AppendError> {
        let mut sequences: AHashMap<&StreamId, u64> = AHashMap::with_capacity(self.event_count());
        for (place, command) in self.commands.iter().enumerate() {
            if command.events.len() > i16::MAX as usize + 1 {
                return Err(AppendError::Invalid(format!(
                    "a command has {} events; at most 32768 fit",
                    command.events.len()
                )));
            }
            let refused =
                |detail: &str| AppendError::Refused { command: Some(place), detail: detail.to_owned() };
            if command.keys.iter().any(holds_nul) {
                return Err(refused("a key or its outcome contains a NUL character"));
            }
            for event in &command.events {
                if event_holds_nul(event) {
                    return Err(refused("an event contains a NUL character"));
                }
                let expected = sequences.get(&event.stream).map(|newest| newest + 1);
                if event.sequence == 0 || expected.is_some_and(|expected| expected != event.sequence) {
                    return Err(AppendError::Invalid(format!(
                        "event {} of stream {} does not follow the one before it in the batch",
                        event.sequence, event.stream
                    )));
                }
                sequences.insert(&event.stream, event.sequence);
            }
        }
        Ok(())
    }
}

/// Events of the command that follow the one at `place`.
pub(crate) fn remaining(command: &CommandWrite, place: usize) -> u16 {
    following(command.events.len(), place)
}

/// How many of `count` events follow the one at `place`; [`Batch::check`] keeps it within a smallint.
fn following(count: usize, place: usize) -> u16 {
    u16::try_from(count - 1 - place).unwrap_or(u16::MAX)
}

fn holds_nul(row: &KeyRow) -> bool {
    row.principal.contains('\0') || row.key.contains('\0') || escapes_nul(&row.outcome)
}

fn event_holds_nul(event: &NewEvent) -> bool {
    event.stream.aggregate_id.contains('\0')
        || event.stream.aggregate_type.contains('\0')
        || event.event_type.contains('\0')
        || event.event_version.contains('\0')
        || escapes_nul(&event.payload)
        || escapes_nul(&event.metadata)
}
