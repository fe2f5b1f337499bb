//! The thread that starts the server, keeps it running and stops it.
//!
//! The server is told of this program's death through its parent *thread*, so one thread spawns it
//! and lives as long as it does.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::sync::watch;

use super::{
    account::Account,
    binaries::Binaries,
    error::{EmbeddedError, tells_of_full_disk},
    home::{self, Home, SOCKET_NAME},
    processes::{command_as, end_leftovers, send},
};

/// How often a starting or stopping server is looked at.
const BUSY_POLL: Duration = Duration::from_millis(5);
/// How often a running server is looked at.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// How often its socket and its log are looked at.
const INSPECTION: Duration = Duration::from_secs(2);
/// How long an orderly shutdown may take before the server is told to quit (it then recovers at the next start).
const ORDERLY: Duration = Duration::from_secs(20);
/// How long it may take to quit before it is killed.
const FORCED: Duration = Duration::from_secs(5);
/// First and longest pause between attempts to bring a dead server back.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// Size at which the server's log begins anew; one old log is kept.
const LOG_BYTES: u64 = 16 * 1_024 * 1_024;

/// What the embedded server is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerState {
    /// It accepts connections.
    Running,
    /// It died and is being brought back.
    Recovering,
    /// It was stopped.
    Stopped,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Open transactions are rolled back and everything is written (SIGINT).
    Fast,
    /// At once, as in a crash (SIGQUIT); for data nobody will read again.
    Immediate,
}

/// Everything needed to start the server, again and again.
#[derive(Debug)]
pub(super) struct Plan {
    pub binaries: Binaries,
    pub account: Account,
    pub home: Home,
    pub sockets: PathBuf,
    /// Signal the server gets when this program dies.
    pub signal_on_death: &'static str,
}

#[derive(Debug)]
struct Shared {
    ending: Mutex<Option<Ending>>,
    asked: Condvar,
    state: watch::Sender<ServerState>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Ending>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the end is asked for or the time is over.
    fn wait(&self, time: Duration) -> Option<Ending> {
        let guard = self.lock();
        if guard.is_some() {
            return *guard;
        }
        *self.asked.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A running server; dropped, it ends.
#[derive(Debug)]
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ending_on_drop: Ending,
}

impl Supervisor {
    /// Starts the server and waits until it accepts connections.
    pub fn start(plan: Plan, ending_on_drop: Ending) -> Result<Self, EmbeddedError> {
        let (state, _) = watch::channel(ServerState::Recovering);
        let shared = Arc::new(Shared { ending: Mutex::new(None), asked: Condvar::new(), state });
        let (report, first_start) = mpsc::channel();
        let log = plan.home.log();
        let thread = thread::Builder::new()
            .name("postgres".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || supervise(&plan, &shared, &report)
            })
            .map_err(|error| EmbeddedError::io("start a thread for", &log, error))?;
        let supervisor = Self { shared, thread: Some(thread), ending_on_drop };
        match first_start.recv() {
            Ok(Ok(())) => Ok(supervisor),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EmbeddedError::Start { detail: "its thread ended".to_owned(), log }),
        }
    }

    /// What the server is doing, now and from now on.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.shared.state.subscribe()
    }

    /// Ends the server and waits for it.
    pub fn stop(mut self, ending: Ending) {
        self.end(ending);
    }

    fn end(&mut self, ending: Ending) {
        if let Some(thread) = self.thread.take() {
            self.shared.lock().get_or_insert(ending);
            self.shared.asked.notify_all();
            if thread.join().is_err() {
                tracing::error!("the thread of the embedded PostgreSQL panicked");
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.end(self.ending_on_drop);
    }
}

/// How a look at the running server ended.
enum Outcome {
    Stopped,
    Died(ExitStatus),
    SocketLost,
}

fn supervise(plan: &Plan, shared: &Shared, report: &mpsc::Sender<Result<(), EmbeddedError>>) {
    let mut is_first = true;
    let mut pause = PAUSES.0;
    loop {
        match start(plan, shared) {
            Ok(Some(child)) => {
                shared.state.send_replace(ServerState::Running);
                if std::mem::take(&mut is_first) {
                    // Nobody listens when the opening was given up; the drop then ends us.
                    let _ = report.send(Ok(()));
                } else {
                    tracing::info!("the embedded PostgreSQL is back");
                }
                pause = PAUSES.0;
                match run(plan, shared, child) {
                    Outcome::Stopped => break,
                    Outcome::Died(status) => {
                        tracing::error!(%status, "the embedded PostgreSQL died; bringing it back");
                    }
                    Outcome::SocketLost => {
                        tracing::error!(folder = %plan.sockets.display(), "the socket of the embedded PostgreSQL is gone; starting it again");
                    }
                }
                shared.state.send_replace(ServerState::Recovering);
            }
            Ok(None) => break,
            Err(error) if is_first => {
                let _ = report.send(Err(error));
                break;
            }
            Err(error) => tracing::error!(%error, "the embedded PostgreSQL cannot be brought back yet"),
        }
        if shared.wait(pause).is_some() {
            break;
        }
        pause = (pause * 2).min(PAUSES.1);
    }
    if let Err(error) = end_leftovers(&plan.home.data()).and_then(|()| home::remove_sockets(&plan.sockets)) {
        tracing::warn!(%error, "something of the embedded PostgreSQL is left");
    }
    shared.state.send_replace(ServerState::Stopped);
}

/// Starts the server; none when the end was asked for meanwhile.
fn start(plan: &Plan, shared: &Shared) -> Result<Option<Child>, EmbeddedError> {
    let data = plan.home.data();
    end_leftovers(&data)?;
    home::remove_sockets(&plan.sockets)?;
    home::make_private(&plan.sockets, &plan.account)?;
    let log_path = plan.home.log();
    trim_log(&log_path);
    let log_io = |error| EmbeddedError::io("write", &log_path, error);
    let log = OpenOptions::new().create(true).append(true).open(&log_path).map_err(log_io)?;
    let log_start = log.metadata().map_err(log_io)?.len();
    let mut child = command_as(&plan.account, plan.signal_on_death, &plan.binaries.postgres())
        .arg("-D")
        .arg(&data)
        .arg("-c")
        .arg(format!("unix_socket_directories={}", plan.sockets.display()))
        .args(["-c", "listen_addresses=", "-c", "port=5432"])
        .stdout(log.try_clone().map_err(log_io)?)
        .stderr(log)
        .spawn()
        .map_err(|error| EmbeddedError::io("run", plan.binaries.postgres(), error))?;
    let begun = Instant::now();
    let mut told = Duration::ZERO;
    loop {
        if is_ready(&data, child.id()) {
            return Ok(Some(child));
        }
        match child.try_wait() {
            Ok(Some(status)) => return Err(start_error(plan, &log_path, log_start, status)),
            Ok(None) => {}
            Err(error) => return Err(EmbeddedError::io("watch", plan.binaries.postgres(), error)),
        }
        if let Some(ending) = shared.wait(BUSY_POLL) {
            end(&mut child, ending, &data);
            return Ok(None);
        }
        // Recovery after a crash takes as long as it takes, but not in silence.
        if begun.elapsed() > told + Duration::from_secs(5) {
            told = begun.elapsed();
            tracing::info!(seconds = told.as_secs(), "waiting for PostgreSQL to recover");
        }
    }
}

/// Watches a running server until it ends.
fn run(plan: &Plan, shared: &Shared, mut child: Child) -> Outcome {
    let data = plan.home.data();
    let socket = plan.sockets.join(SOCKET_NAME);
    let mut inspected = Instant::now();
    loop {
        if let Some(ending) = shared.wait(IDLE_POLL) {
            end(&mut child, ending, &data);
            return Outcome::Stopped;
        }
        match child.try_wait() {
            Ok(Some(status)) => return Outcome::Died(status),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot watch the embedded PostgreSQL"),
        }
        if inspected.elapsed() > INSPECTION {
            inspected = Instant::now();
            trim_log(&plan.home.log());
            if fs::symlink_metadata(&socket).is_err() {
                end(&mut child, Ending::Fast, &data);
                return Outcome::SocketLost;
            }
        }
    }
}

/// Ends the server in order, harder if it does not obey.
fn end(child: &mut Child, ending: Ending, data: &Path) {
    let steps = match ending {
        Ending::Fast => [(Signal::INT, ORDERLY), (Signal::QUIT, FORCED), (Signal::KILL, FORCED)],
        Ending::Immediate => [(Signal::QUIT, FORCED), (Signal::KILL, FORCED), (Signal::KILL, FORCED)],
    };
    // The child is not reaped yet, so its number is still its own.
    let pid = i32::try_from(child.id()).unwrap_or_default();
    for (signal, limit) in steps {
        send(pid, signal);
        let begun = Instant::now();
        while begun.elapsed() < limit {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(BUSY_POLL);
        }
        tracing::warn!(?signal, data = %data.display(), "the embedded PostgreSQL does not end");
    }
}

/// Whether `postmaster.pid` is this server's and says that it accepts connections.
fn is_ready(data: &Path, pid: u32) -> bool {
    postmaster_status(data).is_some_and(|(number, status)| number == pid && status == "ready")
}

/// Process number and status of `postmaster.pid`.
pub(super) fn postmaster_status(data: &Path) -> Option<(u32, String)> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let mut lines = text.lines();
    let pid = lines.next()?.trim().parse().ok()?;
    // Lines: number, directory, start, port, socket folder, address, shared memory, status.
    Some((pid, lines.nth(6)?.trim().to_owned()))
}

fn start_error(plan: &Plan, log: &Path, from: u64, status: ExitStatus) -> EmbeddedError {
    let text = read_from(log, from).unwrap_or_default();
    if tells_of_full_disk(&text) {
        return EmbeddedError::DiskFull {
            path: plan.home.path().to_path_buf(),
            detail: "while PostgreSQL started".to_owned(),
        };
    }
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let tail = &lines[lines.len().saturating_sub(5)..];
    let detail = if tail.is_empty() { status.to_string() } else { tail.join(" | ") };
    EmbeddedError::Start { detail, log: log.to_path_buf() }
}

fn read_from(path: &Path, offset: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(64 * 1_024).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Begins the log anew once it is long; the server keeps writing to the same file.
fn trim_log(log: &Path) {
    let trim = || -> std::io::Result<()> {
        if fs::metadata(log)?.len() > LOG_BYTES {
            fs::copy(log, log.with_extension("log.1"))?;
            OpenOptions::new().write(true).open(log)?.set_len(0)?;
        }
        Ok(())
    };
    match trim() {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "cannot trim PostgreSQL's log");
        }
        _ => {}
    }
}
