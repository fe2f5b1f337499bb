//! The processes of a cluster: starting one as the right user, and ending what a crash left behind.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::{account::Account, error::EmbeddedError};

/// How long an orderly shutdown of a leftover server may take.
const ORDERLY: Duration = Duration::from_secs(10);
/// How long processes may take to obey SIGQUIT, then SIGKILL.
const FORCED: Duration = Duration::from_secs(3);
/// How often the process table is looked at while waiting.
const POLL: Duration = Duration::from_millis(10);

/// A command that runs as `account` and gets `signal` when the calling *thread* ends.
///
/// The wish for the signal is expressed by `setpriv` of util-linux, between fork and exec, and the
/// shell behind it leaves when the parent is gone already. Without `setpriv` the command runs
/// without the signal; the next start then ends what was left.
pub(super) fn command_as(account: &Account, signal: &str, program: &Path) -> Command {
    let mut command = match setpriv() {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", signal]);
            if account.dropped_from_root {
                command.arg("--reuid").arg(account.uid.to_string());
                command.arg("--regid").arg(account.gid.to_string()).arg("--clear-groups");
            }
            command.arg("/bin/sh");
            command
        }
        None => {
            let mut command = Command::new("/bin/sh");
            if account.dropped_from_root {
                command.uid(account.uid).gid(account.gid);
            }
            command
        }
    };
    command
        .args(["-c", r#"test "$PPID" = "$1" || exit 1; shift; exec "$@""#, "sh"])
        .arg(std::process::id().to_string())
        .arg(program)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .current_dir("/")
        .stdin(Stdio::null())
        // A Ctrl-C is for the program, which then ends its server in order.
        .process_group(0);
    command
}

/// A `setpriv` that knows `--pdeathsig`; busybox has one that does not.
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let path = env::var_os("PATH").unwrap_or_default();
            let folders = env::split_paths(&path).chain(["/usr/bin".into(), "/bin".into()]);
            let works = |program: &PathBuf| {
                let mut command = Command::new(program);
                command.args(["--pdeathsig", "KILL", "/bin/true"]);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            };
            let found = folders.map(|folder| folder.join("setpriv")).find(works);
            if found.is_none() {
                tracing::warn!(
                    "no setpriv of util-linux: the embedded PostgreSQL would outlive a crash of this program"
                );
            }
            found
        })
        .as_deref()
}

/// Ends every server process that works in `data`, then removes the stale lock file.
///
/// A postmaster gets the chance to shut down in order; backends without one are told to quit, and
/// killed if they do not. The lock file has to go because its process number may belong to
/// another process of the same user by now, which blocks the start.
pub(super) fn end_leftovers(data: &Path) -> Result<(), EmbeddedError> {
    let left = working_in(data);
    if !left.is_empty() {
        tracing::warn!(processes = left.len(), data = %data.display(), "ending PostgreSQL processes left by a crash");
        if let Some(postmaster) = postmaster_of(&left) {
            send(postmaster, Signal::INT);
            wait_until_gone(data, ORDERLY);
        }
        for signal in [Signal::QUIT, Signal::KILL] {
            working_in(data).into_iter().for_each(|pid| send(pid, signal));
            wait_until_gone(data, FORCED);
        }
    }
    let lock = data.join("postmaster.pid");
    match fs::remove_file(&lock) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(EmbeddedError::io("remove", &lock, error))
        }
        _ => Ok(()),
    }
}

/// Sends a signal; a process that is gone already is no error.
pub(super) fn send(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Process numbers of the PostgreSQL processes whose working directory is `data`.
pub(super) fn working_in(data: &Path) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let is_here = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == data);
            is_here
                && fs::read_link(process.join("exe")).is_ok_and(|program| {
                    // "postgres (deleted)" after an upgrade of the package.
                    let name = program.file_name().and_then(|name| name.to_str());
                    name.is_some_and(|name| name.starts_with("postgres"))
                })
        })
        .collect()
}

/// The process whose parent is not among them.
fn postmaster_of(processes: &[i32]) -> Option<i32> {
    let parent = |pid: &i32| -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
    };
    let has_children =
        |pid: &i32| processes.iter().any(|other| parent(other).is_some_and(|parent| parent == *pid));
    processes.iter().copied().find(has_children)
}

fn wait_until_gone(data: &Path, limit: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < limit && !working_in(data).is_empty() {
        thread::sleep(POLL);
    }
}
