//! The daybook server: HTTP, GraphQL, authorisation, subscriptions, hosting of the live page.
//!
//! - [`auth`]: keys, principals, and who may call what.
//! - [`backup`]: backing the house up and restoring it.
//! - [`graphql`]: the schema.
//! - [`errors`]: what goes wrong, as the world outside is told.
//! - [`http`]: routes, the handlers of GraphQL over HTTP and WebSocket, pages, health.
//! - [`observed`]: what was observed of outside markets.
//! - [`application`]: the server from start to stop, on [`store`], [`settings`], [`telemetry`] and, at first, [`demo`].
//!
//! **Invariant:** no business rule lives here; what is decided is decided by the bus.

pub mod application;
pub mod auth;
pub mod backup;
pub mod demo;
pub mod errors;
pub mod graphql;
pub mod http;
pub mod observed;
pub mod settings;
pub mod store;
pub mod telemetry;
