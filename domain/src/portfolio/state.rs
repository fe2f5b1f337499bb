//! A portfolio as its events have made it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::amount::{Money, Quantity};
use crate::asset::Asset;
use crate::decider::Decider;
use crate::ids::{AccountId, OrderId, PortfolioId};
use crate::portfolio::{PortfolioCommand, PortfolioEvent};
use crate::refusal::{Code, Refusal};

/// A holding of one asset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// What is held, reserved or not.
    pub quantity: Quantity,
    /// What open sell orders have set aside.
    pub reserved: Quantity,
    /// What the quantity has cost, fees included.
    pub cost: Money,
    /// What sales have brought beyond the cost of what was sold.
    pub realized_pnl: Money,
}

/// What an open order has set aside here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OpenOrder {
    /// A buy order's worst notional, for exposure.
    Buy { asset: Asset, committed: Money },
    /// A sell order's quantity.
    Sell { reserved: Quantity },
}

/// The limits of the portfolio risk stage; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RiskLimits {
    /// Of one order.
    pub max_order_notional: Option<Money>,
    /// Of one position with its open buy orders.
    pub max_position_notional: Option<Money>,
    /// Of all positions with all open buy orders.
    pub max_exposure: Option<Money>,
    /// How many orders may be open.
    pub max_open_orders: Option<u32>,
}

/// A portfolio; `None` inside before it was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Portfolio {
    opened: Option<Opened>,
}

/// What is known of a portfolio since it was opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// Its id.
    pub portfolio_id: PortfolioId,
    /// Whose it is.
    pub owner: String,
    /// What the owner calls it.
    pub name: String,
    /// Pays for purchases and receives proceeds.
    pub cash_account_id: AccountId,
    /// Currency of the cash account.
    pub currency: Asset,
    /// Limits of the portfolio risk stage.
    pub limits: RiskLimits,
    /// Holdings by asset; one that was sold out stays, for its realised P&L.
    pub positions: BTreeMap<Asset, Position>,
    /// What open orders have set aside.
    pub open_orders: BTreeMap<OrderId, OpenOrder>,
    /// How many movements it began.
    pub movement_count: u64,
}

impl Portfolio {
    /// The portfolio, if it was opened.
    ///
    /// # Errors
    /// [`Code::PortfolioNotFound`].
    pub fn opened(&self) -> Result<&Opened, Refusal> {
        self.opened
            .as_ref()
            .ok_or_else(|| Refusal::new(Code::PortfolioNotFound, "there is no such portfolio"))
    }
}

impl Decider for Portfolio {
    const TYPE: &'static str = "portfolio";
    type Command = PortfolioCommand;
    type Event = PortfolioEvent;

    fn decide(&self, _command: &PortfolioCommand, _now: Timestamp) -> Result<Vec<PortfolioEvent>, Refusal> {
        Ok(Vec::new())
    }

    fn apply(&mut self, _event: &PortfolioEvent) {}
}
