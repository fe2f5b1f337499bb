//! What the paper exchange answers: fills of one order, and its end if it has ended.

use domain::ids::{OrderId, TradeId};
use domain::order::{Evidence, Liquidity};
use domain::{Code, Price, Quantity};

/// One fill.
#[derive(Clone, Debug, PartialEq)]
pub struct PaperFill {
    /// `<order>.f<n>`, numbered from 1 without gap.
    pub trade_id: TradeId,
    /// Not worse than the order's limit.
    pub price: Price,
    /// In whole lots.
    pub quantity: Quantity,
    /// Whether the order had rested.
    pub liquidity: Liquidity,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What follows for one order from one message or arrival: it becomes one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct ExecutionReport {
    /// The order.
    pub order_id: OrderId,
    /// Number of the first fill in it, or of the one that would have been next.
    pub number: u64,
    /// How often a report of the order was refused before.
    pub attempt: u32,
    /// In their order.
    pub fills: Vec<PaperFill>,
    /// Why the venue ends what remains, if it does.
    pub expired: Option<Code>,
}
