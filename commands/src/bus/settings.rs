//! The bus's limits.

use std::time::Duration;

use crate::unit::MAX_UNIT_EVENTS;

/// The most requests in one call of [`super::Bus::execute_all`] or [`super::Bus::execute_linked`].
pub const MAX_REQUESTS: usize = 8_190;

/// The limits of the bus. The default serves one machine well.
#[derive(Clone, Debug)]
pub struct BusSettings {
    /// The most requests between arrival and answer; over it a request is refused as overloaded, at once.
    pub queue: usize,
    /// The most bytes that their commands may take as JSON, with 1 KiB for each; over it a request is refused as
    /// overloaded, at once.
    pub queue_bytes: usize,
    /// The most units of work in one commit. Not too many: each connection carries one commit at a time and those behind a
    /// long one wait for it.
    pub batch_commands: usize,
    /// A commit takes no further unit of work once it has this many events.
    pub batch_events: usize,
    /// The most events in one unit of work; over it the unit is refused as overloaded. At most 32,768.
    pub unit_events: usize,
    /// About the most aggregates in memory.
    pub cached_aggregates: usize,
    /// The most loads of streams at the same time, each of up to 64.
    pub loads: usize,
    /// How long a key's answer is kept.
    pub key_retention: Duration,
    /// How long the lease holds without a sign of life: what a take-over from a leader that is gone waits for. It is
    /// renewed five times as often.
    pub lease_ttl: Duration,
    /// How long a request waits for its answer before it is answered as unavailable.
    pub patience: Duration,
    /// A state is written down every so many events of a stream, for cold loads.
    pub snapshot_every: u64,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self {
            queue: 32_768,
            queue_bytes: 128 * 1024 * 1024,
            batch_commands: 512,
            batch_events: 1_024,
            unit_events: MAX_UNIT_EVENTS,
            cached_aggregates: 200_000,
            loads: 12,
            key_retention: Duration::from_secs(7 * 24 * 60 * 60),
            lease_ttl: Duration::from_millis(2_500),
            patience: Duration::from_secs(10),
            snapshot_every: 500,
        }
    }
}
