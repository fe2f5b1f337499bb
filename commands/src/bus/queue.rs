//! The queue's limits: how many requests are between arrival and answer, and how much memory they take.
//!
//! Whatever the bus keeps of a request lives no longer than its place here, so these limits bound the channels, the waiting
//! twins and what is parked for cold streams, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::settings::BusSettings;
use crate::request::Failure;

/// What a request takes beside its command: itself, its key, its way back, and its events until they are durable.
const REQUEST_BYTES: usize = 1_024;

/// The places of the queue.
#[derive(Debug)]
pub(super) struct Queue {
    places: Arc<Semaphore>,
    limit: usize,
    memory: Arc<Memory>,
}

#[derive(Debug)]
struct Memory {
    used: AtomicUsize,
    limit: usize,
    depth: GaugeHandle,
    bytes: GaugeHandle,
}

/// A gauge, found once.
struct GaugeHandle(Gauge);

impl std::fmt::Debug for GaugeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gauge")
    }
}

/// Places of some requests; free again when it is gone.
#[derive(Debug)]
pub(super) struct Places {
    requests: OwnedSemaphorePermit,
    bytes: usize,
    memory: Arc<Memory>,
}

impl Queue {
    pub(super) fn new(settings: &BusSettings) -> Self {
        let limit = settings.queue.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let memory = Memory {
            used: AtomicUsize::new(0),
            limit: settings.queue_bytes,
            depth: GaugeHandle(metrics::gauge!("daybook_bus_queue_depth")),
            bytes: GaugeHandle(metrics::gauge!("daybook_bus_queue_bytes")),
        };
        Self { places: Arc::new(Semaphore::new(limit)), limit, memory: Arc::new(memory) }
    }

    /// Places for so many requests whose commands take so many bytes together. Never waits.
    ///
    /// # Errors
    /// [`Failure::Overloaded`].
    pub(super) fn enter(&self, requests: usize, bytes: usize) -> Result<Places, Failure> {
        let count = u32::try_from(requests).map_err(|_| overloaded("queue_requests"))?;
        let permit = Arc::clone(&self.places)
            .try_acquire_many_owned(count)
            .map_err(|_| overloaded("queue_requests"))?;
        let bytes = bytes.saturating_add(requests.saturating_mul(REQUEST_BYTES));
        let memory = &self.memory;
        let taken = memory.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            used.checked_add(bytes).filter(|used| *used <= memory.limit)
        });
        taken.map_err(|_| overloaded("queue_bytes"))?;
        memory.depth.0.increment(requests as f64);
        memory.bytes.0.increment(bytes as f64);
        Ok(Places { requests: permit, bytes, memory: Arc::clone(memory) })
    }

    /// Waits until nobody is in it.
    pub(super) async fn emptied(&self) {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        // Nobody closes the semaphore, so this waits for all permits.
        let _all = self.places.acquire_many(all).await;
    }
}

impl Places {
    /// The place of one request whose command takes so many bytes.
    pub(super) fn split(&mut self, bytes: usize) -> Option<Self> {
        let requests = self.requests.split(1)?;
        let bytes = (bytes + REQUEST_BYTES).min(self.bytes);
        self.bytes -= bytes;
        Some(Self { requests, bytes, memory: Arc::clone(&self.memory) })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
        self.memory.bytes.0.decrement(self.bytes as f64);
        self.memory.depth.0.decrement(self.requests.num_permits() as f64);
    }
}

/// The failure of what is over a limit, which is counted by the limit's name.
pub(super) fn overloaded(limit: &'static str) -> Failure {
    metrics::counter!("daybook_bus_overloaded_total", "limit" => limit).increment(1);
    Failure::Overloaded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_bytes_are_bounded_and_given_back() {
        let settings =
            BusSettings { queue: 3, queue_bytes: 3 * REQUEST_BYTES + 100, ..BusSettings::default() };
        let queue = Queue::new(&settings);
        let mut two = queue.enter(2, 60).unwrap();
        assert_eq!(queue.enter(2, 0).unwrap_err(), Failure::Overloaded, "there are three places");
        assert_eq!(queue.enter(1, 41).unwrap_err(), Failure::Overloaded, "there are 100 bytes");
        let one = queue.enter(1, 40).unwrap();
        let first = two.split(60).unwrap();
        drop((one, two));
        assert_eq!(queue.memory.used.load(Ordering::SeqCst), REQUEST_BYTES + 60);
        drop(first);
        assert_eq!(queue.memory.used.load(Ordering::SeqCst), 0);
        queue.enter(3, 100).unwrap();
    }
}
