//! Progress of long work, on standard error: a bar in a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use projections::ReplayProgress;

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows how far one projection is.
pub struct Progress {
    verb: &'static str,
    bar: Option<ProgressBar>,
    line_written: Instant,
}

impl Progress {
    pub fn start(verb: &'static str, projection: &str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = ProgressStyle::with_template("{msg:32} {bar:30} {pos}/{len} {prefix}") {
                bar.set_style(style);
            }
            bar.set_message(format!("{verb} {projection}"));
            bar
        });
        Self { verb, bar, line_written: Instant::now() }
    }

    pub fn show(&mut self, progress: ReplayProgress) {
        let rest = match progress.time_left {
            Some(left) => format!("{} events/s, {} s left", progress.events_per_second, left.as_secs()),
            None => String::new(),
        };
        if let Some(bar) = &self.bar {
            bar.set_length(progress.target.0);
            bar.set_position(progress.log_position.0);
            bar.set_prefix(rest);
        } else if self.line_written.elapsed() >= LINE_EVERY {
            self.line_written = Instant::now();
            let ReplayProgress { projection, log_position, target, .. } = progress;
            eprintln!("{} {projection}: {log_position} of {target}, {rest}", self.verb);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
