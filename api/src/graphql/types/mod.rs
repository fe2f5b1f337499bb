//! The schema's output types, each over a row of a read model.

mod account;
mod connection;
mod event;
mod ledger;
mod loan;
mod market;
mod order;
mod portfolio;
mod transfer;

pub use account::{Account, Entry, Hold, Statement};
pub use connection::{Connection, connection};
pub use event::{Event, EventMask};
pub use ledger::{ProjectionStatus, TrialBalanceLine};
pub use loan::{Instalment, Loan};
pub use market::{Candle, Depth, Level, Market, MarketStats, Trade};
pub use order::{Fill, Order};
pub use portfolio::{Portfolio, Position};
pub use transfer::Transfer;
