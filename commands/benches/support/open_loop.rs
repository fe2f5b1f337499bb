//! An open loop: requests come at a fixed rate, whether or not those before are answered, as from many independent clients.
//!
//! A request's latency counts from the moment it was *due*. One that is sent late, because the machine or the loop was busy,
//! has waited all the same; leaving that out would hide the worst moments (coordinated omission).

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;

/// Requests under way at which the rate is plainly too high.
const MOST_UNDER_WAY: usize = 16_384;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop {
    /// Requests a second.
    pub rate: f64,
    /// Before anything is counted.
    pub warm_up: Duration,
    pub length: Duration,
}

/// How long requests took.
#[derive(Clone, Debug)]
pub struct Latencies {
    /// In microseconds.
    histogram: Histogram<u64>,
    /// Requests answered, those of the warm-up too.
    pub count: u64,
}

impl Latencies {
    /// The latency in milliseconds that this share of the requests did not exceed.
    pub fn at(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1_000.0
    }
}

impl OpenLoop {
    /// Sends `request` with its number again and again, for the whole length.
    ///
    /// # Errors
    /// As [`OpenLoop::run_until`].
    pub async fn run<F>(
        self,
        request: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<Latencies>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.run_until(Arc::default(), request).await
    }

    /// Sends `request` with its number again and again, until the length is over or `stop` says so.
    ///
    /// # Errors
    /// The first request's that failed, or when answers do not keep up with the rate.
    pub async fn run_until<F>(
        self,
        stop: Arc<AtomicBool>,
        request: impl Fn(usize) -> F + Clone + Send + Sync + 'static,
    ) -> anyhow::Result<Latencies>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        ensure!(self.rate >= 1.0, "a rate of {} requests a second cannot be kept", self.rate);
        let shared = Arc::new(Shared {
            latencies: Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
            failure: Mutex::new(None),
            under_way: AtomicUsize::new(0),
        });
        let total = ((self.warm_up + self.length).as_secs_f64() * self.rate) as usize;
        let counted = (self.warm_up.as_secs_f64() * self.rate) as usize;
        let runtime = tokio::runtime::Handle::current();
        let pacing = Arc::clone(&shared);
        // A thread of its own: the runtime's timer counts whole milliseconds.
        let pacer = move || {
            let begun = Instant::now();
            for number in 0..total {
                if stop.load(Ordering::Relaxed) {
                    return Ok(number);
                }
                let due = begun + Duration::from_secs_f64(number as f64 / self.rate);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if pacing.under_way.fetch_add(1, Ordering::Relaxed) > MOST_UNDER_WAY {
                    bail!("answers do not keep up with {:.0} requests a second", self.rate);
                }
                let (shared, asked) = (Arc::clone(&pacing), request.clone()(number));
                runtime.spawn(async move {
                    let answer = asked.await;
                    shared.answered(answer, (number >= counted).then(|| due.elapsed()));
                });
            }
            Ok(total)
        };
        let sent = tokio::task::spawn_blocking(pacer).await??;
        let deadline = Instant::now() + Duration::from_secs(30);
        while shared.under_way.load(Ordering::Acquire) > 0 {
            ensure!(Instant::now() < deadline, "some requests were not answered");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Some(error) = shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error).context("a request failed");
        }
        let histogram = shared.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Latencies { histogram, count: sent as u64 })
    }
}

struct Shared {
    latencies: Mutex<Histogram<u64>>,
    failure: Mutex<Option<anyhow::Error>>,
    under_way: AtomicUsize,
}

impl Shared {
    fn answered(&self, answer: anyhow::Result<()>, latency: Option<Duration>) {
        if let Err(error) = answer {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        } else if let Some(latency) = latency {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(micros);
        }
        self.under_way.fetch_sub(1, Ordering::Release);
    }
}
