//! A clock of a server's own, which steps while it runs: `libfaketime`, of Debian's package `faketime`.
//!
//! Only the time of day is faked; the monotonic clock, which timers go by, stays as it is. PostgreSQL keeps the true time.

use std::path::{Path, PathBuf};
use std::process::Command;

/// How far a server's clock is off.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, its file in `folder`. `None` without the library.
    pub fn create(folder: &Path, name: &str) -> Option<Self> {
        let of_machine = |folder: std::fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
        let library = std::fs::read_dir("/usr/lib")
            .ok()?
            .flatten()
            .map(of_machine)
            .find(|library| library.is_file())?;
        let clock = Self { library, file: folder.join(format!("{name}.clock")) };
        clock.step(0);
        Some(clock)
    }

    /// Makes a server go by it.
    pub fn give_to(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// Steps it to so many milliseconds ahead of the true time.
    pub fn step(&self, ahead_ms: i64) {
        let new = self.file.with_extension("new");
        let sign = if ahead_ms < 0 { '-' } else { '+' };
        let offset = format!("{sign}{}.{:03}\n", ahead_ms.abs() / 1_000, ahead_ms.abs() % 1_000);
        std::fs::write(&new, offset).unwrap();
        // Whole or not at all: it is read all the time.
        std::fs::rename(&new, &self.file).unwrap();
    }
}
