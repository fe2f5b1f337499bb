//! The server's memory, a sample a second, with the progress for whoever waits.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::whole::server::Server;

/// Free space of the temporary folder at which the load ends: a full disk would stop everybody on this machine.
const LEAST_FREE_BYTES: u64 = 5_000_000_000;

/// Resident memory in MiB, one a second.
pub struct Samples(Vec<f64>);

/// Watches until the time is over, the load has ended, somebody presses Ctrl-C, or the disk is nearly full.
pub async fn until_over<T>(server: &Server, seconds: u64, load: &JoinHandle<T>) -> anyhow::Result<Samples> {
    let bar = ProgressBar::new(seconds).with_style(ProgressStyle::with_template(
        "{bar:40} {elapsed_precise} of {len} s, {msg}, {eta} left",
    )?);
    let mut samples = vec![server.resident_mib()?];
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    ticks.tick().await;
    while !load.is_finished() && (samples.len() as u64) <= seconds {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupted => {
                bar.abandon_with_message("interrupted");
                break;
            }
        }
        samples.push(server.resident_mib()?);
        bar.set_position(samples.len() as u64 - 1);
        bar.set_message(format!("{:.0} MiB", samples[samples.len() - 1]));
        let disk = rustix::fs::statvfs(std::env::temp_dir())?;
        if disk.f_bavail * disk.f_frsize < LEAST_FREE_BYTES {
            bar.abandon_with_message("the disk is nearly full; set TMPDIR to a larger one");
            break;
        }
    }
    let samples = Samples(samples);
    bar.abandon();
    samples.print();
    Ok(samples)
}

impl Samples {
    /// How long was watched.
    pub fn seconds(&self) -> u64 {
        self.0.len() as u64 - 1
    }

    /// The median over the second sixth: caches have filled. Single samples lie by a fifth to both sides, because the allocator
    /// gives memory back now and then.
    pub fn after_a_sixth(&self) -> f64 {
        let sixth = self.0.len() / 6;
        median(&self.0[sixth..2 * sixth + 1])
    }

    /// The median over the last sixth.
    pub fn at_the_end(&self) -> f64 {
        median(&self.0[self.0.len() * 5 / 6..])
    }

    pub fn most(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// About a dozen of them, also where nobody sees the bar.
    fn print(&self) {
        let step = self.0.len().div_ceil(12);
        for (second, mib) in self.0.iter().enumerate().step_by(step) {
            println!("  after {second} s: {mib:.0} MiB");
        }
    }
}

fn median(samples: &[f64]) -> f64 {
    let mut samples = samples.to_vec();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
