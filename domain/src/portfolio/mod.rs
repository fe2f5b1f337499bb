//! Portfolios: everything that is not cash, what it cost, and what open orders have set aside.

mod command;
mod event;
mod state;

pub use command::PortfolioCommand;
pub use event::PortfolioEvent;
pub use state::{OpenOrder, Portfolio, Position, RiskLimits};

crate::bridge_to_cqrs_es!(Portfolio, PortfolioCommand, PortfolioEvent);
