//! Orders: from placing over the two risk stages to fills and the end.

mod command;
mod decide;
mod event;
mod fee;
mod state;
mod ticket;

pub use command::OrderCommand;
pub use event::{Evidence, LevelUsed, OrderEvent, RiskStage};
pub use fee::{FeeAccrual, QuoteBudget};
pub use state::{
    Accepted, Liquidity, Order, OrderSide, OrderStatus, OrderTicket, OrderType, Placed, SelfTradePrevention,
    TimeInForce,
};
pub use ticket::Requirements;

crate::bridge_to_cqrs_es!(Order, OrderCommand, OrderEvent);
