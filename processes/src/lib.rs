//! What acts by itself: feeds, the paper venue, timers. Each process runs once over all nodes, on the one that leads; it reads
//! the log and the observed markets and issues commands. What is decided is decided there, not here.
//!
//! | module | subject |
//! |---|---|
//! | [`feed`] | where market data comes from: recordings played in the present |
//! | [`observed_book`] | one outside market's book, exact |
//! | [`observed_markets`] | all of them as they are now, for processes and readers |
//! | [`windows`], `price_feed` | observed prices in windows of time, written to the log |
//! | [`tick_archive`] | every trade, kept for a time beside the log |
//! | `relay` | the observed markets on nodes that do not lead |
//! | [`paper_venue`] | answers orders on paper markets from the observed market |
//! | `hold_expiry` | sweeps due holds |
//! | [`supervisor`], `dispatch`, [`error`] | how processes run, issue commands and fail |
//!
//! **Invariants.** Nothing here decides: a fill, a price or an expiry is a command that may be refused. A process that stops at any
//! point and starts again repeats no effect.

mod dispatch;
pub mod error;
pub mod feed;
mod hold_expiry;
pub mod observed_book;
pub mod observed_markets;
pub mod paper_venue;
mod price_feed;
mod relay;
mod running;
pub mod supervisor;
pub mod tick_archive;
pub mod windows;

pub use error::ProcessError;
pub use observed_markets::{Depth, ObservedMarkets};
pub use running::{ProcessContext, ProcessSettings, RunningProcesses, start};
pub use supervisor::{ProcessState, ProcessStatus};
pub use tick_archive::TickArchive;
