//! A last look at a batch before it is sent: whether it goes on exactly where each of its streams ends.
//!
//! The unique index refuses a twin of an event, but a gap in a stream would be found by the next load alone. A gap can only
//! come of a state in memory that the log knows nothing of, so this remembers the ends by itself, from what was sent and
//! what has failed. It remembers the newest streams only: a table of fixed size, in which a stream takes the place of an
//! older one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use event_store::{AppendError, Batch, NewEvent};

/// Of 16 bytes each: 1 MiB.
const PLACES: usize = 65_536;

/// Where the streams end that were written to last.
#[derive(Debug)]
pub(super) struct Tails {
    /// Hash of the stream, and the sequence of its newest event on its way or durable; 0 is an empty place.
    places: Box<[(u64, u64)]>,
    hasher: RandomState,
}

impl Tails {
    pub(super) fn new() -> Self {
        Self { places: vec![(0, 0); PLACES].into_boxed_slice(), hasher: RandomState::new() }
    }

    /// Takes a batch in that is about to be sent.
    ///
    /// # Errors
    /// [`AppendError::Invalid`] if it does not follow what was sent before.
    pub(super) fn extend(&mut self, batch: &Batch) -> Result<(), AppendError> {
        for event in events(batch) {
            let (stream, place) = self.place(event);
            if place.0 == stream && place.1 + 1 != event.sequence {
                return Err(AppendError::Invalid(format!(
                    "event {} of stream {} would follow event {}",
                    event.sequence, event.stream, place.1
                )));
            }
            *place = (stream, event.sequence);
        }
        Ok(())
    }

    /// Forgets a batch that has failed. All behind it fail as well.
    pub(super) fn undo(&mut self, batch: &Batch) {
        for event in events(batch) {
            let (stream, place) = self.place(event);
            if place.0 == stream {
                place.1 = place.1.min(event.sequence.saturating_sub(1));
            }
        }
    }

    fn place(&mut self, event: &NewEvent) -> (u64, &mut (u64, u64)) {
        let stream = self.hasher.hash_one(&event.stream).max(1);
        (stream, &mut self.places[stream as usize % PLACES])
    }
}

fn events(batch: &Batch) -> impl Iterator<Item = &NewEvent> {
    batch.commands.iter().flat_map(|command| &command.events)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use event_store::{CommandWrite, LogPosition, StreamId};
    use uuid::Uuid;

    use super::*;

    fn batch(sequences: &[u64]) -> Batch {
        let event = |sequence: &u64| NewEvent {
            stream: StreamId::new("account", "alice"),
            sequence: *sequence,
            event_id: Uuid::now_v7(),
            event_type: "FundsDeposited".into(),
            event_version: "1".into(),
            payload: "{}".into(),
            metadata: "{}".into(),
        };
        let command = CommandWrite { keys: Vec::new(), events: sequences.iter().map(event).collect() };
        Batch { after: LogPosition(0), recorded_at: Utc::now(), commands: vec![command] }
    }

    #[test]
    fn a_gap_and_a_twin_are_found_and_what_follows_is_not() {
        let mut tails = Tails::new();
        tails.extend(&batch(&[7, 8])).unwrap();
        tails.extend(&batch(&[9])).unwrap();
        assert!(tails.extend(&batch(&[11])).is_err());
        assert!(tails.extend(&batch(&[9])).is_err());
        tails.extend(&batch(&[10])).unwrap();
    }

    #[test]
    fn after_failures_a_stream_goes_on_where_it_was_before_the_first_of_them() {
        let mut tails = Tails::new();
        let (first, second, third) = (batch(&[1]), batch(&[2, 3]), batch(&[4]));
        for batch in [&first, &second, &third] {
            tails.extend(batch).unwrap();
        }
        tails.undo(&second);
        tails.undo(&third);
        assert!(tails.extend(&batch(&[5])).is_err(), "decided on what is not in the log");
        tails.extend(&batch(&[2])).unwrap();
    }
}
