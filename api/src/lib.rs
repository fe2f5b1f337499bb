//! The daybook server: HTTP, GraphQL, authorisation, subscriptions, hosting of the live page.
//!
//! - [`auth`]: keys, principals, and who may call what.
//! - [`graphql`]: the schema.
//! - [`http`]: how all that is reached.
//! - [`errors`]: what goes wrong, as the world outside is told.
//! - [`observed`]: what was observed of outside markets.
//!
//! **Invariant:** no business rule lives here; what is decided is decided by the bus.

pub mod auth;
pub mod errors;
pub mod graphql;
pub mod http;
pub mod observed;
