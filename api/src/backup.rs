//! `daybook backup` and `daybook restore`: what they are asked and how they tell what they do.
//!
//! The log's own part is [`event_store::backup`]; here is what else belongs into a backup: the keys' hashes and the ticks.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use event_store::backup::{
    BackupError, BackupOptions, Companion, Manifest, Progress, RestoreOptions, Restored, Stage, manifest,
    verify,
};
use indicatif::{ProgressBar, ProgressStyle};
use processes::tick_archive;
use sqlx::PgPool;

use crate::auth;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Everything beside the log that Daybook keeps and cannot derive.
const COMPANIONS: [Companion; 2] = [auth::BACKUP, tick_archive::BACKUP];

/// What `daybook backup` takes.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The backup's folder; must not exist yet
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Leaves the archive of single trades of outside markets out
    #[arg(long)]
    pub without_ticks: bool,
}

/// What `daybook restore` takes.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The backup's folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// Does not restore the archive of single trades of outside markets
    #[arg(long)]
    pub without_ticks: bool,
    /// Verifies the backup's files and restores nothing; needs no database
    #[arg(long)]
    pub check: bool,
}

/// Backs up over the pool of the application's role and says on standard output what is in the backup. Dropped before its
/// end, it leaves nothing.
///
/// # Errors
/// [`BackupError`] says what to do.
pub async fn back_up(pool: &PgPool, args: &BackupArgs) -> Result<Manifest, BackupError> {
    let kept = |companion: &Companion| !(args.without_ticks && companion.table == tick_archive::BACKUP.table);
    let options = BackupOptions {
        companions: COMPANIONS.into_iter().filter(kept).collect(),
        ..BackupOptions::default()
    };
    let told = Told::default();
    let begun = Instant::now();
    let manifest =
        event_store::backup::backup(pool, &args.folder, &options, &|progress| told.show(progress)).await?;
    told.clear();
    println!(
        "backed up to {} in {}: {}",
        args.folder.display(),
        seconds(begun.elapsed()),
        contents(&manifest)
    );
    println!("restore it with: daybook restore {}", args.folder.display());
    Ok(manifest)
}

/// What can be said of a backup before a database is opened or made for it: whether it is one that this version reads.
///
/// # Errors
/// [`BackupError`] says what to do.
pub async fn look_at(args: &RestoreArgs) -> Result<(), BackupError> {
    manifest(&args.folder).await.map(drop)
}

/// Verifies the backup's files, without a database.
///
/// # Errors
/// [`BackupError`] names the damaged file.
pub async fn check(args: &RestoreArgs) -> Result<Manifest, BackupError> {
    let told = Told::default();
    let manifest = verify(&args.folder, &|progress| told.show(progress)).await?;
    told.clear();
    println!("{} is whole: {}", args.folder.display(), contents(&manifest));
    Ok(manifest)
}

/// Restores over the pool of the application's role into an empty, migrated database and says on standard output what
/// was restored. Dropped before its end, it leaves the log empty.
///
/// # Errors
/// [`BackupError`] says what to do.
pub async fn restore(pool: &PgPool, args: &RestoreArgs) -> Result<Restored, BackupError> {
    let leave_out = if args.without_ticks { vec![tick_archive::BACKUP.table] } else { Vec::new() };
    let options = RestoreOptions { companions: COMPANIONS.to_vec(), leave_out };
    let told = Told::default();
    let begun = Instant::now();
    let restored =
        event_store::backup::restore(pool, &args.folder, &options, &|progress| told.show(progress)).await?;
    told.clear();
    println!(
        "restored {} in {}: {}",
        args.folder.display(),
        seconds(begun.elapsed()),
        contents(&restored.manifest)
    );
    println!(
        "the restored log is {}; the next start of the server rebuilds the read models",
        restored.log_id
    );
    Ok(restored)
}

fn contents(manifest: &Manifest) -> String {
    let Manifest { log_id, log_position, began_at, .. } = manifest;
    let rows = manifest.rows() - manifest.events();
    let megabytes = manifest.bytes().div_ceil(1_000_000);
    let began_at = began_at.format("%Y-%m-%d %H:%M:%S UTC");
    format!(
        "log {log_id} up to position {log_position} at {began_at}, {rows} rows of other tables, {megabytes} MB"
    )
}

fn seconds(time: Duration) -> String {
    format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100)
}

/// Progress on standard error: a bar in a terminal, a line now and then elsewhere.
#[derive(Default)]
struct Told {
    shown: Mutex<Option<Shown>>,
}

struct Shown {
    stage: Stage,
    bar: Option<ProgressBar>,
    line_written: Instant,
}

impl Told {
    fn show(&self, progress: Progress) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match &mut *shown {
            Some(current) if current.stage == progress.stage => current,
            other => {
                if let Some(bar) = other.take().and_then(|before| before.bar) {
                    bar.finish_and_clear();
                }
                other.insert(Shown::start(progress.stage))
            }
        };
        let rest = rest(&progress);
        if let Some(bar) = &current.bar {
            bar.set_length(progress.total.unwrap_or(progress.done));
            bar.set_position(progress.done);
            bar.set_prefix(rest);
        } else if current.line_written.elapsed() >= LINE_EVERY {
            current.line_written = Instant::now();
            let (stage, unit) = (progress.stage.name(), progress.stage.unit());
            match progress.total {
                Some(total) => eprintln!("{stage}: {} of {total} {unit}, {rest}", progress.done),
                None => eprintln!("{stage}: {} {unit}, {rest}", progress.done),
            }
        }
    }

    fn clear(&self) {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = shown.and_then(|shown| shown.bar) {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shown {
    fn start(stage: Stage) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{msg:18} {bar:30} {pos}/{len} {prefix}") {
                bar.set_style(style);
            }
            bar.set_message(stage.name());
            bar
        });
        Self { stage, bar, line_written: Instant::now() }
    }
}

/// Rate and time left, as far as they are known.
fn rest(progress: &Progress) -> String {
    let rate = format!("{} {}/s", progress.rate(), progress.stage.unit());
    match progress.time_left() {
        Some(left) => format!("{rate}, {} s left", left.as_secs()),
        None => rate,
    }
}
