//! What can happen to a portfolio.

#![expect(missing_docs, reason = "a variant's comment explains its fields")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::ids::{AccountId, MovementId, OrderId, Party, PortfolioId, TradeId};

/// A fact about one portfolio. Money is in the portfolio's currency; quantities are above zero unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub enum PortfolioEvent {
    /// The portfolio exists.
    PortfolioOpened {
        portfolio_id: PortfolioId,
        owner: String,
        name: String,
        cash_account_id: AccountId,
        currency: Asset,
    },
    /// The limits of the portfolio risk stage from now on; what is absent is unlimited.
    RiskLimitsSet {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_order_notional: Option<Money>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_position_notional: Option<Money>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_exposure: Option<Money>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_open_orders: Option<u32>,
    },
    /// Debit of `from`, credit of the position: an asset came in, with its cost basis (zero or more).
    AssetDeposited {
        movement_id: MovementId,
        from: Party,
        quantity: Quantity,
        cost: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// An asset went out, and took its share of the cost basis along.
    AssetWithdrawn {
        movement_id: MovementId,
        to: Party,
        quantity: Quantity,
        cost_removed: Money,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
    /// An open buy order counts towards exposure.
    BuyCommitted { order_id: OrderId, asset: Asset, notional: Money },
    /// An open sell order has quantity set aside.
    QuantityReserved { order_id: OrderId, quantity: Quantity },
    /// A purchase. `cost` is notional and fee; `committed` (zero or more; zero ends the commitment) remains of the order.
    PositionIncreased {
        trade_id: TradeId,
        order_id: OrderId,
        from: Party,
        quantity: Quantity,
        cost: Money,
        committed: Money,
    },
    /// A sale. `proceeds` is notional less fee, `cost_removed` the average cost of what was sold (half-even),
    /// `realized_pnl` their difference (signed); `reserved` (zero or more; zero ends the reservation) remains of the order.
    PositionReduced {
        trade_id: TradeId,
        order_id: OrderId,
        to: Party,
        quantity: Quantity,
        proceeds: Money,
        cost_removed: Money,
        realized_pnl: Money,
        reserved: Quantity,
    },
    /// A buy order ended before it was filled.
    CommitmentReleased { order_id: OrderId, notional: Money },
    /// A sell order ended before it was filled.
    ReservationReleased { order_id: OrderId, quantity: Quantity },
}

crate::domain_event!(Portfolio: PortfolioEvent {
    PortfolioOpened,
    RiskLimitsSet,
    AssetDeposited,
    AssetWithdrawn,
    BuyCommitted,
    QuantityReserved,
    PositionIncreased,
    PositionReduced,
    CommitmentReleased,
    ReservationReleased,
});
