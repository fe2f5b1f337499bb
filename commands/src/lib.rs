//! The write side: what can be asked of Daybook, and how it becomes events.
//!
//! - [`principal`]: who asks, and what each role may do.
//! - [`request`]: every command with its fields, and the receipt that answers it.
//! - [`use_cases`]: one file a use case: a script over aggregates.
//! - [`unit`]: the unit of work in which a script runs: all its events or none.
//! - [`aggregates`]: the aggregates that are in memory.
//! - [`bus`]: the queue, the decider, the group commit, idempotency.
//!
//! **Invariant:** nothing here reads a read model; every decision is made on the log's own truth.

pub mod aggregates;
pub mod bus;
pub mod principal;
pub mod request;
#[cfg(feature = "testing")]
pub mod testing;
pub mod unit;
pub mod use_cases;

pub use bus::{Bus, BusContext, BusSettings, PeerSettings};
pub use principal::{Principal, Role};
pub use request::{Answer, Command, Failure, Outcome, Receipt, Request};
