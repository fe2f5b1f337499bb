//! The whole server in one process, over real HTTP and WebSockets on a real database.

#[path = "../support/mod.rs"]
mod support;

mod bank;
mod ownership;
mod rights;
mod schema;
