//! Portfolios and their positions.

use async_graphql::{Context, ID, Object, SimpleObject};
use event_store::LogPosition as Place;
use projections::read;

use super::{Account, Connection, Fill, connection};
use crate::errors::Result;
use crate::graphql::context::{models, page, personal, principal};
use crate::graphql::limits::page_cost;
use crate::graphql::scalars::{BigInt, Decimal, LogPosition};

/// A portfolio.
pub struct Portfolio {
    row: read::Portfolio,
    read_at: Place,
    at_least: Option<Place>,
}

impl Portfolio {
    /// The portfolio as it was read; what hangs on it is read at `at_least` or later.
    pub fn new(row: read::Portfolio, read_at: Place, at_least: Option<Place>) -> Self {
        Self { row, read_at, at_least }
    }

    /// The portfolio of an answer, if there is one.
    pub fn of(answer: read::Read<Option<read::Portfolio>>, at_least: Option<Place>) -> Option<Self> {
        let read_at = answer.log_position;
        answer.value.map(|row| Self::new(row, read_at, at_least))
    }
}

/// Positions in assets and the account that pays for them.
#[Object]
impl Portfolio {
    /// A UUID.
    async fn id(&self) -> ID {
        ID::from(self.row.portfolio_id.as_str())
    }

    /// Whose it is; masked for the role operator.
    async fn owner(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(personal(principal(ctx)?, &self.row.owner))
    }

    /// What the owner calls it; masked for the role operator.
    async fn name(&self, ctx: &Context<'_>) -> Result<String> {
        Ok(personal(principal(ctx)?, &self.row.name))
    }

    /// Pays for purchases and receives proceeds.
    async fn cash_account(&self) -> Account {
        Account::new(self.row.cash_account.clone(), self.read_at, self.at_least)
    }

    /// By asset; one that was sold out stays, for its realised P&L.
    async fn positions(&self) -> Vec<Position> {
        self.row.positions.iter().cloned().map(Position::from).collect()
    }

    /// Cash plus positions at the last price, in the cash account's currency. Null while a position has no price.
    async fn total_value(&self) -> Option<Decimal> {
        self.row.total_value.map(Into::into)
    }

    /// What sales have brought beyond the cost of what was sold.
    async fn realized_pnl(&self) -> Decimal {
        self.row.realized_pnl.into()
    }

    /// Value of the positions beyond their cost. Null, like totalValue, while a position has no price.
    async fn unrealized_pnl(&self) -> Option<Decimal> {
        self.row.unrealized_pnl.map(Into::into)
    }

    /// Number of events in the stream.
    async fn sequence(&self) -> BigInt {
        self.row.sequence.into()
    }

    /// The log position that this answer was read at.
    async fn log_position(&self) -> LogPosition {
        self.read_at.into()
    }

    /// The fills of its orders, oldest first.
    #[graphql(complexity = "page_cost(first, None, child_complexity)")]
    async fn fills(
        &self,
        ctx: &Context<'_>,
        #[graphql(default = 50)] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Fill>> {
        let request = page(first, after)?;
        let of = read::FillsOf::Portfolio(self.row.portfolio_id.clone());
        let answer = models(ctx, self.at_least)?.fills(&of, &request).await?;
        Ok(connection(answer.value, request.after.is_some(), Fill::from))
    }
}

/// A holding of one asset.
#[derive(SimpleObject)]
pub struct Position {
    /// What is held.
    asset: String,
    /// Market it is valued on.
    symbol: Option<String>,
    /// How much, reserved or not.
    quantity: Decimal,
    /// What open sell orders have set aside.
    reserved: Decimal,
    /// Cost of one unit, fees included, half-even to eight digits.
    average_cost: Decimal,
    /// Price of the last trade on that market.
    last_price: Option<Decimal>,
    /// Quantity at the last price.
    market_value: Option<Decimal>,
    /// Market value less cost.
    unrealized_pnl: Option<Decimal>,
    /// What sales have brought beyond the cost of what was sold.
    realized_pnl: Decimal,
}

impl From<read::Position> for Position {
    fn from(row: read::Position) -> Self {
        Self {
            asset: row.asset.to_string(),
            symbol: row.symbol.map(|symbol| symbol.to_string()),
            quantity: row.quantity.into(),
            reserved: row.reserved.into(),
            average_cost: row.average_cost.into(),
            last_price: row.last_price.map(Into::into),
            market_value: row.market_value.map(Into::into),
            unrealized_pnl: row.unrealized_pnl.map(Into::into),
            realized_pnl: row.realized_pnl.into(),
        }
    }
}
