//! What an order can be asked.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use std::collections::BTreeMap;

use crate::amount::{Money, Quantity};
use crate::ids::{HoldId, OrderId, TradeId};
use crate::order::{Evidence, Liquidity, OrderTicket, RiskStage};
use crate::price::Price;
use crate::rate::Rate;
use crate::refusal::Code;

/// A request to one order.
#[derive(Clone, Debug, PartialEq)]
pub enum OrderCommand {
    /// Write down what was asked for. The ticket has passed the market's filters.
    Place { order_id: OrderId, ticket: OrderTicket },
    /// A risk stage let it pass.
    PassRiskStage { stage: RiskStage, figures: BTreeMap<String, String> },
    /// A risk stage turned it down.
    Reject { stage: RiskStage, code: Code, message: String, figures: BTreeMap<String, String> },
    /// Both stages passed and what it needs is set aside.
    Accept {
        hold_id: Option<HoldId>,
        held: Option<Money>,
        reserved: Option<Quantity>,
        price_bound: Option<Price>,
        maker_fee: Rate,
        taker_fee: Rate,
    },
    /// Part of it, or all, traded. The order computes notional and fee.
    Fill {
        trade_id: TradeId,
        price: Price,
        quantity: Quantity,
        liquidity: Liquidity,
        evidence: Option<Evidence>,
    },
    /// The user takes it back.
    Cancel,
    /// The venue ended it.
    Expire { code: Code },
}
