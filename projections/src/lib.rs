//! Read models: folds of the log into tables that queries can afford, their checkpoints and rebuilds.
//!
//! [`read::ReadModels`] answers queries.

pub mod read;
