//! Accounts: cash, holds on it, and the two sides of every movement of money.

mod command;
mod event;
mod state;

pub use command::AccountCommand;
pub use event::AccountEvent;
pub use state::{Account, AccountKind, AccountStatus, Hold};

crate::bridge_to_cqrs_es!(Account, AccountCommand, AccountEvent);
