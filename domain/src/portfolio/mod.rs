//! Portfolios: everything that is not cash, what it cost, and what open orders have set aside.

mod command;
mod decide;
mod event;
mod state;

pub use command::PortfolioCommand;
pub use decide::MAX_OPEN_ORDERS;
pub use event::PortfolioEvent;
pub use state::{OpenOrder, Opened as OpenedPortfolio, Portfolio, Position, RiskLimits};

crate::bridge_to_cqrs_es!(Portfolio, PortfolioCommand, PortfolioEvent);
