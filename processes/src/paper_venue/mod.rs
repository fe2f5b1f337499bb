//! The paper venue: answers orders on PAPER markets with fills from the observed market, as a distant exchange would.
//!
//! - [`exchange`]: one market's rules, pure.
//! - [`report`]: what they answer.
//! - `resting`: the places of what rests.
//! - `open_orders`: what it knows from the log.
//! - `venue`: the process around both.

pub mod exchange;
pub(crate) mod open_orders;
pub mod report;
mod resting;
pub(crate) mod venue;

pub use exchange::PaperExchange;
pub use report::{ExecutionReport, PaperFill};
