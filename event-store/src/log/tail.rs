//! The newest events in memory, so that those who follow the log do not read the database.

use std::collections::VecDeque;

use crate::{LogPosition, RecordedEvent};

const MAX_EVENTS: usize = 65_536;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// A gap-free run of events up to the newest position that is known.
#[derive(Debug)]
pub(super) struct Tail {
    /// The position before the first event that is kept.
    start: LogPosition,
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

impl Tail {
    pub(super) fn starting_after(position: LogPosition) -> Self {
        Self { start: position, events: VecDeque::new(), bytes: 0 }
    }

    /// The position of the newest event that is kept.
    pub(super) fn end(&self) -> LogPosition {
        self.start.advance(self.events.len())
    }

    /// Adds the events after a position. What is known already is skipped; after a gap it starts anew.
    pub(super) fn extend(&mut self, after: LogPosition, events: Vec<RecordedEvent>) {
        if after > self.end() {
            *self = Self::starting_after(after);
        }
        let known = usize::try_from(self.end().0 - after.0).unwrap_or(usize::MAX);
        for event in events.into_iter().skip(known) {
            self.bytes += size(&event);
            self.events.push_back(event);
        }
        while self.events.len() > MAX_EVENTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= size(&oldest);
            self.start = oldest.log_position;
        }
    }

    /// Whole commands after a position, as [`Log::read`](super::Log::read); `None` when the tail does not reach back so
    /// far, or ends before the position.
    pub(super) fn read(&self, after: LogPosition, max_events: usize) -> Option<Vec<RecordedEvent>> {
        if after < self.start || after > self.end() {
            return None;
        }
        let skipped = usize::try_from(after.0 - self.start.0).ok()?;
        let rest = self.events.len() - skipped;
        let within = self.events.range(skipped..skipped + rest.min(max_events));
        let count = match within.rev().position(RecordedEvent::ends_command) {
            Some(cut) => rest.min(max_events) - cut,
            None => self.events.range(skipped..).position(RecordedEvent::ends_command).map_or(0, |at| at + 1),
        };
        Some(self.events.range(skipped..skipped + count).cloned().collect())
    }
}

/// About what an event occupies in memory, in bytes.
fn size(event: &RecordedEvent) -> usize {
    256 + event.payload.len() + event.metadata.len() + event.aggregate_id.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    fn event(position: u64, remaining: u16, payload: &Arc<str>) -> RecordedEvent {
        RecordedEvent {
            log_position: LogPosition(position),
            event_id: uuid::Uuid::nil(),
            aggregate_type: "account".into(),
            aggregate_id: "a".into(),
            sequence: position,
            event_type: "E".into(),
            event_version: "1".into(),
            payload: Arc::clone(payload),
            metadata: Arc::from("{}"),
            remaining,
            recorded_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    /// Commands of these sizes, from position 1.
    fn commands(sizes: &[u16]) -> Vec<RecordedEvent> {
        let payload = Arc::from("{}");
        let remainings = sizes.iter().flat_map(|size| (0..*size).rev());
        remainings.zip(1..).map(|(remaining, position)| event(position, remaining, &payload)).collect()
    }

    proptest! {
        #[test]
        fn a_reader_gets_every_event_once_and_stops_only_after_whole_commands(
            sizes in prop::collection::vec(1_u16..7, 1..30), max_events in 1_usize..10
        ) {
            let all = commands(&sizes);
            let mut tail = Tail::starting_after(LogPosition::ZERO);
            tail.extend(LogPosition::ZERO, all.clone());
            let mut seen = Vec::new();
            loop {
                let after = LogPosition(seen.len() as u64);
                let events = tail.read(after, max_events).expect("the tail holds everything");
                let Some(last) = events.last() else { break };
                prop_assert_eq!(last.remaining, 0);
                prop_assert!(events.len() <= max_events.max(6));
                seen.extend(events);
            }
            prop_assert_eq!(seen, all);
        }
    }

    #[test]
    fn what_is_known_is_skipped_and_a_gap_starts_anew() {
        let all = commands(&[1, 1, 1, 1, 1, 1]);
        let mut tail = Tail::starting_after(LogPosition::ZERO);
        tail.extend(LogPosition::ZERO, all[..3].to_vec());
        tail.extend(LogPosition(1), all[1..4].to_vec());
        assert_eq!(tail.read(LogPosition::ZERO, 10).unwrap(), all[..4]);

        tail.extend(LogPosition(5), all[5..].to_vec());
        assert_eq!(tail.read(LogPosition(4), 10), None);
        assert_eq!(tail.read(LogPosition(5), 10).unwrap(), all[5..]);
        assert_eq!(tail.read(LogPosition(7), 10), None);
    }

    #[test]
    fn its_memory_is_bounded_by_events_and_by_bytes() {
        let mut tail = Tail::starting_after(LogPosition::ZERO);
        let small: Arc<str> = Arc::from("{}");
        tail.extend(LogPosition::ZERO, (1..=MAX_EVENTS as u64 + 10).map(|p| event(p, 0, &small)).collect());
        assert_eq!(tail.events.len(), MAX_EVENTS);
        assert_eq!(tail.start, LogPosition(10));

        let large: Arc<str> = Arc::from("x".repeat(MAX_BYTES / 4));
        let end = tail.end();
        tail.extend(end, (1..=5).map(|p| event(end.0 + p, 0, &large)).collect());
        assert!(tail.bytes <= MAX_BYTES);
        assert_eq!(tail.read(tail.end(), 10), Some(Vec::new()));
    }
}
