//! The whole server in one process, over real HTTP and WebSockets on a real database.

#[path = "../support/mod.rs"]
mod support;

mod bank;
mod exchange;
mod first_trade;
mod followers;
mod observed;
mod ownership;
mod reads;
mod rights;
mod schema;
mod subscriptions;
mod wrong_input;
