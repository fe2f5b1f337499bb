//! The append-only event log in PostgreSQL: append, read, subscribe, load streams, snapshots, keys and leadership.
//!
//! **Invariants.** Nothing here knows an event type of the domain. All SQL on the tables of schema `log` is in this
//! crate and in `migrations/`. Positions are dense and in commit order; no reader stops between the events of one
//! command; only the holder of the newest epoch appends.
//!
//! | module | subject |
//! |---|---|
//! | [`position`], [`event`], [`batch`] | the vocabulary: places, events, what is appended |
//! | [`append`] | the one connection that writes |
//! | [`log`] | reading and following, the tail buffer, pages for an auditor |
//! | [`announcements`] | what nodes tell each other by `NOTIFY` |
//! | [`leadership`] | the lease and its epoch |
//! | [`load`], [`snapshots`] | cold loads of streams |
//! | [`keys`] | what commands answered |
//! | [`process_states`] | where background processes stand |
//! | [`migrate`], [`role`] | the schema, and what the application's role may do |
//! | [`backup`] | backups of the log while it is written, and restoring them |
//! | [`clean`] | text that PostgreSQL can keep |
//! | [`embedded`] | the private cluster it lives in by default |

pub mod announcements;
pub mod append;
pub mod backup;
pub mod batch;
pub mod clean;
pub mod embedded;
pub mod event;
pub mod keys;
pub mod leadership;
pub mod load;
pub mod log;
pub mod migrate;
pub mod position;
pub mod process_states;
pub mod role;
pub mod snapshots;

pub use append::{AppendError, Appender, Settled, Ticket};
pub use batch::{Batch, CommandWrite, KeyRow};
pub use event::{Metadata, NewEvent, RecordedEvent, StreamId};
pub use keys::{Keys, StoredOutcome};
pub use leadership::{LeaderContact, Leadership, LeadershipError, Lease, Secret};
pub use load::{load_events, load_snapshots};
pub use log::page::{EventFilter, EventPage, PageRequest};
pub use log::{Log, LogError, LogId};
pub use migrate::{MigrationError, bootstrap, check_schema, migrate};
pub use position::LogPosition;
pub use process_states::{ProcessStateError, ProcessStates};
pub use role::{RoleError, check_application_role, check_durability};
pub use snapshots::{NewSnapshot, Snapshot, Snapshots};
