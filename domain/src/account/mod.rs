//! Accounts: cash, holds on it, and the two sides of every movement of money.

mod command;
mod decide;
mod event;
mod state;

pub use command::AccountCommand;
pub use decide::{MAX_OPEN_HOLDS, MAX_ORDER_HOLDS};
pub use event::AccountEvent;
pub use state::{Account, AccountKind, AccountStatus, Hold, Opened as OpenedAccount};

crate::bridge_to_cqrs_es!(Account, AccountCommand, AccountEvent);
