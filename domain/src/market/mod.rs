//! Markets: the instrument, its filters and fees, its status and, on an internal venue, its order book.

mod command;
mod event;
mod state;

pub use command::{IncomingOrder, MarketCommand};
pub use event::MarketEvent;
pub use state::{Instrument, Market, MarketStatus, Venue};

crate::bridge_to_cqrs_es!(Market, MarketCommand, MarketEvent);
