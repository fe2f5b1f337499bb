//! Markets: the instrument, its filters and fees, its status and, on an internal venue, its order book.

mod book;
mod command;
mod event;
mod filters;
mod matching;
mod state;

pub use book::{Book, Depth, DepthLevel, RestingOrder};
pub use command::{IncomingOrder, MarketCommand};
pub use event::MarketEvent;
pub use matching::{MAX_MET_ORDERS, Matching};
pub use state::{Instrument, Market, MarketStatus, Registered, Venue};

crate::bridge_to_cqrs_es!(Market, MarketCommand, MarketEvent);
