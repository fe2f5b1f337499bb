//! How far a backup or a restore is.

use std::time::{Duration, Instant};

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The small tables are copied out. Counted in rows.
    CopyingTables,
    /// The events are copied out. Counted in rows.
    CopyingEvents,
    /// The files are read against the manifest. Counted in bytes.
    Verifying,
    /// The rows are copied in. Counted in rows.
    Loading,
    /// The restored log is checked in the database. Not counted.
    Checking,
}

impl Stage {
    /// For people, as what is going on.
    pub fn name(self) -> &'static str {
        match self {
            Self::CopyingTables => "copying tables",
            Self::CopyingEvents => "copying events",
            Self::Verifying => "verifying files",
            Self::Loading => "loading",
            Self::Checking => "checking the log",
        }
    }

    /// What is counted.
    pub fn unit(self) -> &'static str {
        if self == Self::Verifying { "bytes" } else { "rows" }
    }
}

/// How far one stage is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done, in the stage's unit.
    pub done: u64,
    /// How much there is in all, where it is known beforehand.
    pub total: Option<u64>,
    /// Since when this stage has been running.
    pub elapsed: Duration,
}

impl Progress {
    /// Units a second since the stage began.
    pub fn rate(&self) -> u64 {
        let elapsed_ms = self.elapsed.as_millis().max(1);
        u64::try_from(u128::from(self.done) * 1000 / elapsed_ms).unwrap_or(u64::MAX)
    }

    /// How long the stage will still take at this rate; unknown before anything is done and where the total is.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.done);
        let elapsed_ms = self.elapsed.as_millis();
        let left_ms = (elapsed_ms * u128::from(left)).checked_div(u128::from(self.done))?;
        Some(Duration::from_millis(u64::try_from(left_ms).unwrap_or(u64::MAX)))
    }
}

/// Who is told.
pub(super) type Report<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// How often somebody is told at most, beside the beginning and the end of a stage.
const PERIOD: Duration = Duration::from_millis(200);

/// Counts one stage.
pub(super) struct Meter<'a> {
    report: Report<'a>,
    stage: Stage,
    done: u64,
    total: Option<u64>,
    begun: Instant,
    told: Instant,
}

impl<'a> Meter<'a> {
    pub(super) fn start(report: Report<'a>, stage: Stage, total: Option<u64>) -> Self {
        let begun = Instant::now();
        let meter = Self { report, stage, done: 0, total, begun, told: begun };
        meter.tell();
        meter
    }

    pub(super) fn advance(&mut self, by: u64) {
        self.done += by;
        if self.told.elapsed() >= PERIOD {
            self.told = Instant::now();
            self.tell();
        }
    }

    pub(super) fn finish(self) {
        self.tell();
    }

    fn tell(&self) {
        let (stage, done, total) = (self.stage, self.done, self.total);
        (self.report)(Progress { stage, done, total, elapsed: self.begun.elapsed() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_follow_from_what_is_done() {
        let elapsed = Duration::from_secs(2);
        let progress = Progress { stage: Stage::Loading, done: 100, total: Some(400), elapsed };
        assert_eq!(progress.rate(), 50);
        assert_eq!(progress.time_left(), Some(Duration::from_secs(6)));
        assert_eq!(Progress { done: 0, ..progress }.time_left(), None);
        assert_eq!(Progress { total: None, ..progress }.time_left(), None);
    }
}
