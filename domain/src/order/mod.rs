//! Orders: from placing over the two risk stages to fills and the end.

mod command;
mod event;
mod state;

pub use command::OrderCommand;
pub use event::{Evidence, LevelUsed, OrderEvent, RiskStage};
pub use state::{
    Accepted, Liquidity, Order, OrderSide, OrderStatus, OrderTicket, OrderType, SelfTradePrevention,
    TimeInForce,
};

crate::bridge_to_cqrs_es!(Order, OrderCommand, OrderEvent);
