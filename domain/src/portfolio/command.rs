//! What a portfolio can be asked.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decimal::Decimal;
use crate::ids::{AccountId, OrderId, Party, PortfolioId, TradeId};

/// A request to one portfolio.
#[derive(Clone, Debug, PartialEq)]
pub enum PortfolioCommand {
    /// Open it; `currency` is that of the cash account.
    Open {
        portfolio_id: PortfolioId,
        owner: String,
        name: String,
        cash_account_id: AccountId,
        currency: Asset,
    },
    /// Set the limits of the portfolio risk stage; `None` is no limit. Amounts are in the portfolio's currency.
    SetRiskLimits {
        max_order_notional: Option<Decimal>,
        max_position_notional: Option<Decimal>,
        max_exposure: Option<Decimal>,
        max_open_orders: Option<u32>,
    },
    /// An asset comes in from the world, with what one unit had cost (zero if absent).
    DepositAsset { asset: Asset, quantity: Decimal, unit_cost: Option<Decimal>, reference: Option<String> },
    /// An asset goes out to the world, at average cost.
    WithdrawAsset { asset: Asset, quantity: Decimal, reference: Option<String> },
    /// An accepted buy order counts towards exposure with its worst notional.
    CommitBuy { order_id: OrderId, asset: Asset, notional: Money },
    /// Set quantity aside for a sell order.
    Reserve { order_id: OrderId, quantity: Quantity },
    /// A purchase: quantity for `cost` (notional and fee); `committed` is the worst notional of what remains of the order.
    Increase {
        trade_id: TradeId,
        order_id: OrderId,
        from: Party,
        quantity: Quantity,
        cost: Money,
        committed: Money,
    },
    /// A sale out of the order's reservation for `proceeds` (notional less fee).
    Reduce { trade_id: TradeId, order_id: OrderId, to: Party, quantity: Quantity, proceeds: Money },
    /// The order has ended: what it still had set aside comes free. Changes nothing if it has nothing.
    ReleaseOrder { order_id: OrderId },
}
