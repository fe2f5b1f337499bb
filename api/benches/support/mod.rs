//! What the benchmarks of the whole server share: the server as a process, and a client that comes over HTTP.

#![allow(dead_code, reason = "each program uses a part of it")]

pub mod client;
pub mod server;
