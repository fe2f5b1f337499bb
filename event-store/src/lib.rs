//! The append-only log in PostgreSQL, and the private cluster it lives in by default.

pub mod embedded;
pub mod position;

pub use position::LogPosition;
