//! Keeps processes running: one that fails or panics is started again, later each time, and what it is doing can be seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Timestamp;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::ProcessError;
use crate::feed::playback::now;

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// One that has run so long has recovered: its next failure is a first one.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It failed and is about to be started again.
    Restarting,
    /// It was told to stop, or another node leads.
    Stopped,
}

impl ProcessState {
    /// The state as text, for example `running`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Restarting => "restarting",
            Self::Stopped => "stopped",
        }
    }
}

/// What is known of a process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessStatus {
    /// Its name, for example `paper-venue`.
    pub name: String,
    /// What it is doing.
    pub state: ProcessState,
    /// Since when.
    pub since: Timestamp,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it failed last, if it ever did.
    pub last_error: Option<String>,
}

/// The states of all processes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Statuses(Arc<Mutex<BTreeMap<String, ProcessStatus>>>);

impl Statuses {
    pub(crate) fn all(&self) -> Vec<ProcessStatus> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ProcessStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, name: &str, state: ProcessState, error: Option<&ProcessError>) {
        let mut statuses = self.lock();
        let status = statuses.entry(name.to_owned()).or_insert_with(|| ProcessStatus {
            name: name.to_owned(),
            state,
            since: now(),
            restarts: 0,
            last_error: None,
        });
        if status.state != state {
            status.since = now();
        }
        if state == ProcessState::Restarting {
            status.restarts += 1;
            metrics::counter!("daybook_process_restarts_total", "process" => name.to_owned()).increment(1);
        }
        status.state = state;
        if let Some(error) = error {
            status.last_error = Some(error.to_string());
        }
        let running = if state == ProcessState::Running { 1.0 } else { 0.0 };
        metrics::gauge!("daybook_process_running", "process" => name.to_owned()).set(running);
    }
}

/// One run of a process, until it fails or `shutdown` says stop.
pub(crate) type Run =
    Box<dyn Fn(CancellationToken) -> BoxFuture<'static, Result<(), ProcessError>> + Send + Sync>;

/// Runs a process in `tasks` until `shutdown`, and starts it again when it fails.
pub(crate) fn supervise(
    name: String,
    run: Run,
    statuses: Statuses,
    shutdown: CancellationToken,
    tasks: &mut JoinSet<()>,
) {
    statuses.set(&name, ProcessState::Running, None);
    tasks.spawn(async move {
        let mut delay = FIRST_DELAY;
        loop {
            statuses.set(&name, ProcessState::Running, None);
            let started = tokio::time::Instant::now();
            let ended = std::panic::AssertUnwindSafe(run(shutdown.clone())).catch_unwind().await;
            if shutdown.is_cancelled() {
                break;
            }
            let error = match ended {
                Ok(Ok(())) => ProcessError::Ended,
                Ok(Err(error)) => error,
                Err(panic) => ProcessError::Panicked(panic_message(&*panic)),
            };
            if error.is_deposed() {
                tracing::info!(process = name, %error, "process stops");
                break;
            }
            if started.elapsed() >= RECOVERED_AFTER {
                delay = FIRST_DELAY;
            }
            tracing::warn!(process = name, %error, ?delay, "process failed and is started again");
            statuses.set(&name, ProcessState::Restarting, Some(&error));
            if shutdown.run_until_cancelled(tokio::time::sleep(delay)).await.is_none() {
                break;
            }
            delay = (delay * 2).min(LONGEST_DELAY);
        }
        statuses.set(&name, ProcessState::Stopped, None);
    });
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_process_that_fails_or_panics_is_started_again_until_it_is_told_to_stop() {
        let (tell, mut told) = mpsc::unbounded_channel();
        let runs = Arc::new(AtomicU32::new(0));
        let run: Run = Box::new(move |shutdown| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            tell.send(run).unwrap();
            Box::pin(async move {
                match run {
                    0 => Err(ProcessError::FellBehind),
                    1 => panic!("on purpose"),
                    2 => Ok(()),
                    _ => {
                        shutdown.cancelled().await;
                        Ok(())
                    }
                }
            })
        });
        let (statuses, shutdown, mut tasks) = (Statuses::default(), CancellationToken::new(), JoinSet::new());
        supervise("p".to_owned(), run, statuses.clone(), shutdown.clone(), &mut tasks);
        for expected in 0..4 {
            assert_eq!(told.recv().await, Some(expected));
        }
        let status = statuses.all().remove(0);
        assert_eq!((status.state, status.restarts), (ProcessState::Running, 3));
        assert_eq!(status.last_error.as_deref(), Some("it ended by itself"));
        shutdown.cancel();
        tasks.join_all().await;
        assert_eq!(statuses.all()[0].state, ProcessState::Stopped);
    }

    #[tokio::test]
    async fn a_process_of_which_another_leader_has_taken_over_is_not_started_again() {
        let deposed = || ProcessError::State(event_store::ProcessStateError::Deposed("p".to_owned()));
        let run: Run = Box::new(move |_| Box::pin(async move { Err(deposed()) }));
        let (statuses, mut tasks) = (Statuses::default(), JoinSet::new());
        supervise("p".to_owned(), run, statuses.clone(), CancellationToken::new(), &mut tasks);
        tasks.join_all().await;
        let status = statuses.all().remove(0);
        assert_eq!((status.state, status.restarts), (ProcessState::Stopped, 0));
    }
}
