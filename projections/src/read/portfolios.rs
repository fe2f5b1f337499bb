//! Portfolios and their positions, valued at the last price.

use std::collections::{BTreeSet, HashMap};

use domain::ids::{PortfolioId, Symbol};
use domain::portfolio::RiskLimits;
use domain::price::Rounding;
use domain::{Asset, Decimal, Money, Price, Quantity, Refusal};

use super::accounts::by_id;
use super::query::{Bind, Snapshot, Which};
use super::ratio::ratio;
use super::{Account, Cursor, Edge, Page, PageRequest, Read, ReadError, ReadModels, amount};
use crate::models::accounts::AccountRow;
use crate::models::markets::{MarketRow, PriceRow};
use crate::models::portfolios::PortfolioRow;
use crate::models::positions::PositionRow;

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

/// What a portfolio's value rests on.
const VALUED: &[&str] = &["portfolios", "positions", "accounts", "markets"];

impl ReadModels {
    /// The portfolio with this id.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn portfolio(&self, portfolio_id: &PortfolioId) -> Result<Read<Option<Portfolio>>, ReadError> {
        let mut snapshot = self.snapshot(VALUED).await?;
        let which = Which::all().filter("t.portfolio_id = ?", portfolio_id.as_str());
        let rows = snapshot.rows::<PortfolioRow>(which).await?;
        let value = valued(&mut snapshot, rows).await?.pop();
        Ok(Read { value, log_position: snapshot.log_position })
    }

    /// Portfolios of one owner or of all, in the order in which they were opened.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn portfolios(
        &self,
        owner: Option<&str>,
        page: &PageRequest,
    ) -> Result<Read<Page<Portfolio>>, ReadError> {
        let mut snapshot = self.snapshot(VALUED).await?;
        let which = Which::all().filter_if("t.owner = ?", owner).page_by_id(page, "t.portfolio_id");
        let rows = snapshot.rows::<PortfolioRow>(which).await?;
        let portfolios = valued(&mut snapshot, rows).await?;
        let edges = portfolios
            .into_iter()
            .map(|portfolio| Edge { cursor: Cursor::of(&portfolio.portfolio_id), node: portfolio });
        let value = Page::of(edges.collect(), page.limit());
        Ok(Read { value, log_position: snapshot.log_position })
    }
}

/// The portfolios with their cash, positions and values, in the order given.
async fn valued(snapshot: &mut Snapshot, rows: Vec<PortfolioRow>) -> Result<Vec<Portfolio>, ReadError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids = rows.iter().map(|row| row.portfolio_id.as_str().to_owned()).collect();
    let which = Which::all()
        .filter("t.portfolio_id = ANY (?)", Bind::Texts(ids))
        .then("ORDER BY t.portfolio_id, t.asset");
    let mut positions: HashMap<PortfolioId, Vec<PositionRow>> = HashMap::new();
    let mut assets = BTreeSet::new();
    for row in snapshot.rows::<PositionRow>(which).await? {
        assets.insert(row.asset.to_string());
        positions.entry(row.portfolio_id.clone()).or_default().push(row);
    }
    let accounts: Vec<_> = rows.iter().map(|row| row.cash_account_id.clone()).collect();
    let mut cash: HashMap<_, Account> = HashMap::new();
    for row in snapshot.rows::<AccountRow>(by_id(&accounts)).await? {
        cash.insert(row.account_id.clone(), row.try_into()?);
    }
    let assets = Bind::Texts(assets.into_iter().collect());
    let markets = snapshot.rows::<MarketRow>(Which::all().filter("t.base = ANY (?)", assets.clone())).await?;
    let prices = snapshot.rows::<PriceRow>(Which::all().filter("t.base = ANY (?)", assets)).await?;
    let prices: HashMap<Symbol, Option<Price>> =
        prices.into_iter().map(|row| (row.symbol, row.last_price)).collect();
    let markets: HashMap<(Asset, Asset), (Symbol, Option<Price>)> = markets
        .into_iter()
        .map(|row| ((row.base, row.quote), (row.symbol.clone(), prices.get(&row.symbol).copied().flatten())))
        .collect();
    rows.into_iter()
        .map(|row| {
            let cash_account = cash.get(&row.cash_account_id).cloned().ok_or_else(|| ReadError::Corrupt {
                projection: "portfolios",
                detail: format!("portfolio {} has no cash account", row.portfolio_id),
            })?;
            let positions = positions.remove(&row.portfolio_id).unwrap_or_default();
            let positions = positions
                .into_iter()
                .map(|position| {
                    let market = markets.get(&(position.asset, position.currency)).cloned();
                    Position::of(position, market)
                })
                .collect::<Result<Vec<_>, _>>()?;
            Portfolio::of(row, cash_account, positions)
        })
        .collect()
}

fn out_of_range(refusal: &Refusal) -> ReadError {
    ReadError::Corrupt { projection: "positions", detail: refusal.to_string() }
}

impl Position {
    fn of(row: PositionRow, market: Option<(Symbol, Option<Price>)>) -> Result<Self, ReadError> {
        let quantity: Quantity = amount("positions", row.asset, row.quantity)?;
        let cost: Money = amount("positions", row.currency, row.cost)?;
        let (symbol, last_price) = market.map_or((None, None), |(symbol, price)| (Some(symbol), price));
        // A value beyond all amounts is not shown rather than refused: the rest of the portfolio is right.
        let market_value =
            last_price.and_then(|price| price.notional(quantity, row.currency, Rounding::HalfEven).ok());
        Ok(Self {
            asset: row.asset,
            symbol,
            reserved: amount("positions", row.asset, row.reserved)?,
            average_cost: ratio(cost, quantity).unwrap_or(Decimal::ZERO),
            last_price,
            unrealized_pnl: market_value.and_then(|value| value.minus(cost).ok()),
            market_value,
            realized_pnl: amount("positions", row.currency, row.realized_pnl)?,
            quantity,
            cost,
        })
    }
}

impl Portfolio {
    fn of(row: PortfolioRow, cash_account: Account, positions: Vec<Position>) -> Result<Self, ReadError> {
        let limit =
            |units: Option<i128>| units.map(|units| amount("portfolios", row.currency, units)).transpose();
        let mut realized_pnl = Money::zero(row.currency);
        let mut total_value = Some(cash_account.balance);
        let mut unrealized_pnl = Some(Money::zero(row.currency));
        for position in &positions {
            realized_pnl =
                realized_pnl.plus(position.realized_pnl).map_err(|refusal| out_of_range(&refusal))?;
            if position.quantity.is_zero() {
                continue;
            }
            let plus = |sum: Option<Money>, part: Option<Money>| sum?.plus(part?).ok();
            total_value = plus(total_value, position.market_value);
            unrealized_pnl = plus(unrealized_pnl, position.unrealized_pnl);
        }
        Ok(Self {
            limits: RiskLimits {
                max_order_notional: limit(row.max_order_notional)?,
                max_position_notional: limit(row.max_position_notional)?,
                max_exposure: limit(row.max_exposure)?,
                max_open_orders: row.max_open_orders.and_then(|orders| u32::try_from(orders).ok()),
            },
            portfolio_id: row.portfolio_id,
            owner: row.owner,
            name: row.name,
            cash_account,
            positions,
            total_value,
            realized_pnl,
            unrealized_pnl,
            sequence: row.sequence,
        })
    }
}
