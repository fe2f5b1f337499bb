//! What Daybook decides: money, aggregates and their rules.
//!
//! Everything here is pure: the same history and the same command give the same events on every machine. There is
//! no I/O, no clock, no randomness and no floating point; the time of a decision is an argument.
//!
//! - [`decimal`], [`asset`], [`amount`], [`price`], [`rate`], [`rounding`]: exact numbers.
//! - [`ids`], [`text`]: the names of things.
//! - [`decider`]: the two functions every aggregate has, `decide` and `apply`, and the bridge to `cqrs_es`.
//! - [`account`], [`portfolio`], [`order`], [`market`], [`quote`]: one folder an aggregate: `command`, `event`, `state`, rules.
//! - [`risk`]: the two stages an order passes before it reaches a venue.
//! - [`event`], [`upcast`]: an event of any aggregate and any version, read back from the log.
//! - [`refusal`]: every stable code with which a command is refused or an order rejected.

pub mod account;
pub mod amount;
pub mod asset;
pub mod decider;
pub mod decimal;
pub mod event;
pub mod ids;
pub mod market;
pub mod order;
pub mod portfolio;
pub mod price;
pub mod quote;
pub mod rate;
pub mod refusal;
pub mod risk;
pub mod rounding;
pub mod text;
pub mod upcast;

pub use amount::{Money, Quantity};
pub use asset::Asset;
pub use decider::Decider;
pub use decimal::Decimal;
pub use event::{AnyEvent, UnknownEvent};
pub use price::Price;
pub use rate::Rate;
pub use refusal::{Code, Refusal};

/// A point in time, UTC, kept to the microsecond.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
