//! Whether a small batch waits a moment for company.
//!
//! Clients that wait for their answers tend to fall into two groups: one's batch is committed while the other's fills, and
//! each commit carries half of what it could. So after a commit a small batch waits for those who have just been answered.
//! Where they do not come back at once, it soon stops waiting.

use std::time::{Duration, Instant};

/// About as long as an answer takes to become the next request, and less than a commit takes.
const PATIENCE: Duration = Duration::from_micros(400);
/// A batch of this size loses nothing by going at once.
const ENOUGH: usize = 32;
/// Commits without waiting after it was in vain again and again.
const LONGEST_REFUSAL: u32 = 63;

#[derive(Debug, Default)]
pub(super) struct Company {
    /// How many units of work the batch waits for, and until when.
    awaited: Option<(usize, Instant)>,
    /// Commits still to come for which nobody is awaited, and how many there will be next time.
    refusals: u32,
    next_refusals: u32,
}

impl Company {
    /// A batch of `answered` units of work has become durable while `waiting` others wait for the next.
    pub(super) fn expect(&mut self, answered: usize, waiting: usize, now: Instant) {
        self.awaited = None;
        if self.refusals > 0 {
            self.refusals -= 1;
            return;
        }
        // Not all come back.
        let enough = (waiting + answered * 3 / 4).min(ENOUGH);
        if enough > waiting {
            self.awaited = Some((enough, now + PATIENCE));
        }
    }

    /// Whether a batch of `waiting` units of work should still wait.
    pub(super) fn is_awaited(&mut self, waiting: usize, now: Instant) -> bool {
        let Some((enough, until)) = self.awaited else { return false };
        if waiting >= enough {
            self.next_refusals = 0;
        } else if now < until {
            return true;
        } else {
            self.next_refusals = (self.next_refusals * 2 + 1).min(LONGEST_REFUSAL);
            self.refusals = self.next_refusals;
        }
        self.awaited = None;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_waits_for_those_just_answered_and_not_for_ever() {
        let (mut company, now) = (Company::default(), Instant::now());
        company.expect(8, 4, now);
        assert!(company.is_awaited(9, now));
        assert!(!company.is_awaited(10, now), "most have come back");
        company.expect(8, 1, now);
        assert!(company.is_awaited(2, now));
        assert!(!company.is_awaited(2, now + PATIENCE));
    }

    #[test]
    fn in_vain_it_is_tried_ever_less_often() {
        let (mut company, mut now) = (Company::default(), Instant::now());
        let mut tried = 0;
        for _ in 0..1_000 {
            company.expect(8, 1, now);
            tried += u32::from(company.is_awaited(1, now));
            now += PATIENCE;
            assert!(!company.is_awaited(1, now));
        }
        assert!(tried < 25, "it has waited {tried} times");
    }

    #[test]
    fn one_client_alone_and_a_large_batch_never_wait() {
        let (mut company, now) = (Company::default(), Instant::now());
        company.expect(1, 0, now);
        assert!(!company.is_awaited(1, now));
        company.expect(1_000, ENOUGH, now);
        assert!(!company.is_awaited(ENOUGH, now));
    }
}
