//! Who may come in: keys, sent as `Authorization: Bearer <key>`, each naming a principal with one role.
//!
//! A key is 256 random bits, so its plain SHA-256 is what is stored: there is nothing to guess that a slow hash would
//! protect. Answers are remembered for a few seconds, so a revoked key stops working within that time.

mod key;
mod keys;
pub mod rights;

pub use key::{ApiKey, KeyHash};
pub use keys::{BACKUP, KeyError, KeyRecord, Keys};
