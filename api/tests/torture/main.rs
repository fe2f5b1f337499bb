//! Broken on purpose: servers and PostgreSQL are killed, frozen, cut off, starved of disk and given wrong clocks while
//! clients journal every request, and after each fault everything is compared. See docs/runbooks/torture.md.

#![allow(missing_docs)]

#[path = "../support/mod.rs"]
mod support;

#[path = "../program/daybook.rs"]
mod daybook;

mod asking;
mod canaries;
mod clock;
mod disk;
mod faults;
mod findings;
mod hold_check;
mod holds;
mod house;
mod journal;
mod load;
mod log_check;
mod made_up;
mod rogue;
mod run;
mod sabotage;
mod scene;
mod settle;
mod short;
mod snapshots;
mod torture;
mod wire;
