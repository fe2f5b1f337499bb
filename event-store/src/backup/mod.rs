//! Backups of the log while it is written, and restoring them as a new log.
//!
//! A backup is a folder of gzipped `COPY` files, a `manifest.json` that lists them and a `SHA256SUMS` over all. It holds
//! every command that was acknowledged before it began, ends on a whole command and appears under its name at once, when
//! it is complete.
//!
//! One repeatable-read snapshot gives the head, where processes stand, and the small tables that belong to it. The events
//! up to that head are read after it has ended: they are dense, in commit order and never change, so they are the same in
//! every later snapshot. A snapshot that lived as long as the copying would keep PostgreSQL from reusing the versions of
//! the head's row, and every append would get slower meanwhile.
//!
//! A restore is one transaction into an empty log and so all or nothing. The restored log keeps the `log_id` it was
//! created with, because what was derived from the old log is not its own: appends after the backup are missing, and their
//! log positions will be taken by other events.
//!
//! | module | subject |
//! |---|---|
//! | `take` | making a backup |
//! | `verify` | reading one against its manifest, without a database |
//! | `restore` | bringing one into an empty log |
//! | `manifest`, `table` | what is in one |
//! | `folder`, `writer`, `reader`, `rows` | its files |

mod error;
mod folder;
mod manifest;
mod progress;
mod reader;
mod restore;
mod rows;
mod session;
mod table;
mod take;
mod verify;
mod writer;

pub use error::BackupError;
pub use manifest::{BackedUpFile, BackedUpTable, FORMAT_VERSION, MANIFEST, Manifest};
pub use progress::{Progress, Stage};
pub use restore::{RestoreOptions, Restored, restore};
pub use table::Companion;
pub use take::{BackupOptions, backup};
pub use verify::{manifest, verify};
