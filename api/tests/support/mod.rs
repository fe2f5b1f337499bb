//! What tests of the whole server share: the server in this process, and a client with verbs for what callers do.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

mod app;
mod client;
mod socket;

pub use app::{TestApp, settings};
pub use client::{Client, Reply, code_of, fresh_key, leaks_nothing, text};
pub use socket::{Live, PATIENCE, soon};
