//! The server's log and metrics.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogSettings};

/// Bounds of the histograms of seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Bounds of the histograms of counts.
const COUNTS: &[f64] =
    &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0];

/// Starts to write the log to the standard error output.
///
/// # Errors
/// When the filter cannot be read.
pub fn start_log(settings: &LogSettings) -> anyhow::Result<()> {
    // What the pool remarks on lost connections is told by whoever used them, and what PostgreSQL remarks on statements of
    // ours is news to nobody; the setting may say otherwise.
    let filter = EnvFilter::try_new(format!("sqlx::pool=warn,sqlx::postgres::notice=warn,{}", settings.log))
        .with_context(|| {
            format!("DAYBOOK_LOG is {:?}; use for example info or info,event_store=debug", settings.log)
        })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // It would tell of lines that it cannot write by a macro that panics: a full disk would end whatever task logs.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let started = match settings.log_format {
        LogFormat::People => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}

/// The metrics of this process; they are collected from the first call on.
///
/// # Errors
/// When another recorder was installed.
pub fn metrics() -> anyhow::Result<PrometheusHandle> {
    // Held while the recorder is installed: whoever comes meanwhile would find one installed and no handle to it.
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut installed = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_commands".to_owned()), COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), COUNTS)?
        .install_recorder()
        .context("metrics cannot be collected")?;
    Ok(installed.insert(handle).clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::metrics;

    #[test]
    fn servers_that_start_at_once_in_one_process_share_its_metrics() {
        const SERVERS: usize = 32;
        let together = Barrier::new(SERVERS);
        thread::scope(|scope| {
            let starts: Vec<_> = (0..SERVERS)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        metrics()
                    })
                })
                .collect();
            for start in starts {
                start.join().unwrap().unwrap();
            }
        });
    }
}
