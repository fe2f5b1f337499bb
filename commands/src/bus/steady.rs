//! Whether the clock runs steadily: a leader whose clock is set must not stamp events with the new time.
//!
//! PostgreSQL's clock is compared with every renewal of the lease; this finds a step at the very next decision.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use domain::Timestamp;
use event_store::leadership::MAX_CLOCK_SKEW;

/// Small corrections of the clock are taken over after this long.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(5);

/// What the clock said at a moment of the time that only ever goes on.
#[derive(Debug, Default)]
pub(super) struct Steady {
    anchor: Option<(Timestamp, Instant)>,
}

impl Steady {
    /// # Errors
    /// The time by the clock as it was before it was set.
    pub(super) fn check(&mut self, clock: Timestamp, now: Instant) -> Result<Timestamp, Timestamp> {
        let Some((then, anchored)) = self.anchor else {
            self.anchor = Some((clock, now));
            return Ok(clock);
        };
        let elapsed = now.saturating_duration_since(anchored);
        let expected = then + TimeDelta::from_std(elapsed).unwrap_or(TimeDelta::MAX);
        let skew = TimeDelta::from_std(MAX_CLOCK_SKEW).unwrap_or(TimeDelta::MAX);
        if (clock - expected).abs() > skew {
            return Err(expected);
        }
        if elapsed > TAKEN_OVER_AFTER {
            self.anchor = Some((clock, now));
        }
        Ok(clock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_found_out_and_small_corrections_are_taken_over() {
        let (mut steady, begun) = (Steady::default(), Instant::now());
        let clock = |ms: i64| Timestamp::UNIX_EPOCH + TimeDelta::milliseconds(ms);
        let mut check = |clock, after_ms| steady.check(clock, begun + Duration::from_millis(after_ms));
        assert_eq!(check(clock(0), 0), Ok(clock(0)));
        assert_eq!(check(clock(1_400), 1_000), Ok(clock(1_400)));
        assert_eq!(check(clock(3_600_000), 2_000), Err(clock(2_000)));
        assert_eq!(check(clock(-3_600_000), 2_000), Err(clock(2_000)));
        assert_eq!(check(clock(6_400), 6_000), Ok(clock(6_400)));
        assert_eq!(check(clock(7_800), 7_000), Ok(clock(7_800)), "400 ms more since the correction");
    }
}
