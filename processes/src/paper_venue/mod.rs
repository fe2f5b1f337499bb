//! The paper venue: answers orders on PAPER markets with fills from the observed market, as a distant exchange would.
//!
//! - [`exchange`]: one market's rules, pure.

pub mod exchange;

pub use exchange::{ExecutionReport, PaperExchange, PaperFill};
