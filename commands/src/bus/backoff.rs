//! Waiting longer and longer between attempts, up to a limit.

use std::time::Duration;

use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(1);

/// The pauses between attempts at one thing.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    longest: Duration,
    until: Option<Instant>,
}

impl Backoff {
    /// Gives up after `patience`.
    pub(super) fn new(patience: Duration) -> Self {
        Self { next: SHORTEST, longest: LONGEST, until: Some(Instant::now() + patience) }
    }

    /// Never gives up.
    pub(super) fn endless() -> Self {
        Self::endless_up_to(LONGEST)
    }

    /// Never gives up, and no pause is longer than this.
    pub(super) fn endless_up_to(longest: Duration) -> Self {
        Self { next: SHORTEST, longest, until: None }
    }

    /// The next pause, twice as long as the one before.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause
    }

    /// Waits before the next attempt. False, at once, when it is time to give up.
    pub(super) async fn wait(&mut self) -> bool {
        let pause = self.pause();
        if self.until.is_some_and(|until| Instant::now() + pause > until) {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}
