//! The daybook server: HTTP, GraphQL, authorisation, subscriptions, hosting of the live page.
//!
//! - [`auth`]: keys, principals, and who may call what.
//! - [`backup`]: backing the house up and restoring it.
//! - [`graphql`]: the schema.
//! - [`http`]: how all that is reached.
//! - [`errors`]: what goes wrong, as the world outside is told.
//! - [`observed`]: what was observed of outside markets.
//!
//! **Invariant:** no business rule lives here; what is decided is decided by the bus.

pub mod auth;
pub mod backup;
pub mod errors;
pub mod graphql;
pub mod http;
pub mod observed;
