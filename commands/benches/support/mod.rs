//! What the benchmark programs share: the cluster they measure on, loads, Daybook's side, peers, and the figures' file.
//!
//! Programs of other crates take it in by `#[path]`, because a crate cannot depend on another one's benches.

#![allow(dead_code, reason = "each program uses a part of it")]

pub mod batched;
pub mod cluster;
pub mod load;
pub mod open_loop;
pub mod ours;
pub mod spread;
pub mod sql;
pub mod summary;
