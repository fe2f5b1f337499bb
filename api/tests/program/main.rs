//! The program `daybook` itself, as an operator starts, stops and kills it.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod crashes;
mod crashes_under_load;
mod databases;
mod daybook;
mod frozen_leader;
mod keys;
mod logs;
mod nodes;
mod starts;
