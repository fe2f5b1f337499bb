//! A last look at a batch before it is sent: whether it goes on exactly where each of its streams ends.
//!
//! The unique index refuses a twin of an event, but a gap in a stream would be found by the next load alone. A gap can only
//! come of a state in memory that the log knows nothing of, so this remembers the ends by itself, from what was sent and
//! what has failed. It remembers the newest streams only: a table of fixed size, in which a stream takes the place of an
//! older one.

use ahash::RandomState;
use event_store::AppendError;

use crate::unit::DecidedEvent;

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

    /// Takes the events of a batch in that is about to be sent.
    ///
    /// # Errors
    /// [`AppendError::Invalid`] if it does not follow what was sent before.
    pub(super) fn extend<'a>(
        &mut self,
        events: impl Iterator<Item = &'a DecidedEvent>,
    ) -> Result<(), AppendError> {
        for event in events {
            let (stream, place) = self.place(event);
            if place.0 == stream && place.1 + 1 != event.sequence {
                return Err(AppendError::Invalid(format!(
                    "event {} of stream {}/{} would follow event {}",
                    event.sequence, event.aggregate_type, event.aggregate_id, place.1
                )));
            }
            *place = (stream, event.sequence);
        }
        Ok(())
    }

    /// Forgets those of a batch that has failed. All behind it fail as well.
    pub(super) fn undo<'a>(&mut self, events: impl Iterator<Item = &'a DecidedEvent>) {
        for event in events {
            let (stream, place) = self.place(event);
            if place.0 == stream {
                place.1 = place.1.min(event.sequence.saturating_sub(1));
            }
        }
    }

    fn place(&mut self, event: &DecidedEvent) -> (u64, &mut (u64, u64)) {
        let stream = self.hasher.hash_one((event.aggregate_type, &event.aggregate_id)).max(1);
        (stream, &mut self.places[stream as usize % PLACES])
    }
}

#[cfg(test)]
mod tests {
    use domain::account::AccountEvent;

    use super::*;

    fn batch(sequences: &[u64]) -> Vec<DecidedEvent> {
        let event = |sequence: &u64| DecidedEvent {
            aggregate_type: "account",
            aggregate_id: "alice".into(),
            sequence: *sequence,
            event: AccountEvent::AccountFrozen { reason: "a test".to_owned() }.into(),
        };
        sequences.iter().map(event).collect()
    }

    #[test]
    fn a_gap_and_a_twin_are_found_and_what_follows_is_not() {
        let mut tails = Tails::new();
        tails.extend(batch(&[7, 8]).iter()).unwrap();
        tails.extend(batch(&[9]).iter()).unwrap();
        assert!(tails.extend(batch(&[11]).iter()).is_err());
        assert!(tails.extend(batch(&[9]).iter()).is_err());
        tails.extend(batch(&[10]).iter()).unwrap();
    }

    #[test]
    fn after_failures_a_stream_goes_on_where_it_was_before_the_first_of_them() {
        let mut tails = Tails::new();
        let (first, second, third) = (batch(&[1]), batch(&[2, 3]), batch(&[4]));
        for batch in [&first, &second, &third] {
            tails.extend(batch.iter()).unwrap();
        }
        tails.undo(second.iter());
        tails.undo(third.iter());
        assert!(tails.extend(batch(&[5]).iter()).is_err(), "decided on what is not in the log");
        tails.extend(batch(&[2]).iter()).unwrap();
    }
}
